"""The engine of phone and laptop: ONNX Runtime, numpy and a tokenizer. No PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from autoglm_lab.runtime.bundle import GRAPHS, TOKENIZER, Bundle
from autoglm_lab.runtime.engine import Stopwatch, Stream, spoken
from autoglm_lab.runtime.features import image_features, log_mel, mono_16k
from autoglm_lab.runtime.prompt import MAX_TOKENS, write_prompt

States = dict[str, NDArray[np.float32]]


class OnnxEngine:
    """Answers from a bundle, greedily; keys and values of what was seen, heard and said are kept for the whole answer."""

    def __init__(self, folder: Path | str, *, threads: int | None = None) -> None:
        self.bundle = Bundle.open(folder)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # threads that spin on between two calls, waiting for work, slow down everything else: numpy ten times
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        self.sessions = {
            name: onnxruntime.InferenceSession(str(self.bundle.path(name)), options, providers=["CPUExecutionProvider"])
            for name in GRAPHS
        }
        self.tokenizer = Tokenizer.from_file(str(self.bundle.folder / TOKENIZER))
        step = self.sessions["step"]
        self.present = [output.name for output in step.get_outputs()[1:]]
        # what is there before anything was seen, heard or said: one empty place, and no token
        lengths = {"past": 0}
        self.nothing: States = {
            value.name: np.zeros([size if isinstance(size, int) else lengths.get(size, 1) for size in value.shape], np.float32)
            for value in step.get_inputs()
            if value.name.split("_")[0] in ("image", "audio", "past")
        }

    def answer(self, task: str = "", image: Any = None, audio: Any = None, *, current_app: str = "System Home", last: str = "",
               think: bool = False, max_new_tokens: int = 96) -> Stream:  # fmt: skip
        """See `runtime.engine.Engine.answer`. ValueError for an empty request, bad pictures or sound, and over 512 tokens."""
        watch = Stopwatch()
        task = task.strip()
        if not task and audio is None:
            raise ValueError("the request is empty; give a text or a sound")
        prompt = write_prompt(task, current_app, last, image=image is not None, audio=audio is not None, think=think)
        ids = self.tokenizer.encode(prompt, add_special_tokens=False).ids
        if len(ids) > MAX_TOKENS:
            raise ValueError(f"the request has {len(ids)} tokens; at most {MAX_TOKENS} fit")
        features: States = {}
        if image is not None:
            features["image"] = image_features(image)[None]
        if audio is not None:
            features["audio"] = log_mel(mono_16k(audio, 16_000))[None]
        watch.lap("features")
        return Stream(spoken(self._tokens(ids, features, max_new_tokens, watch), self._text, watch))

    def _text(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def _tokens(self, ids: list[int], features: States, max_new_tokens: int, watch: Stopwatch) -> Iterator[int]:
        states = dict(self.nothing)
        for name, values in features.items():
            session = self.sessions[name]
            made = session.run(None, {session.get_inputs()[0].name: values})
            states.update(zip((output.name for output in session.get_outputs()), made, strict=True))
            watch.lap(name)
        given = np.array([float(name in features) for name in ("image", "audio")], np.float32)
        step = ids
        for number in range(max_new_tokens):
            token = self._next(step, given, states)
            watch.lap("decode" if number else "prefill")
            if token == self.bundle.end:
                break
            yield token
            step = [token]

    def _next(self, ids: list[int], given: NDArray[np.float32], states: States) -> int:
        """The likeliest next token; `states` afterwards holds the new ones as well."""
        scores, *present = self.sessions["step"].run(None, {"input_ids": np.array([ids]), "present": given, **states})
        states.update((name.replace("present", "past"), value) for name, value in zip(self.present, present, strict=True))
        return int(scores[0].argmax())
