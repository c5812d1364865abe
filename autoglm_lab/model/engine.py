"""The reference engine: PyTorch, one request at a time, every stage timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from autoglm_lab.marks import read_whole
from autoglm_lab.model.modeling import Memories, PhoneGLMForConditionalGeneration
from autoglm_lab.model.processing import PhoneGLMProcessor
from autoglm_lab.paths import data_dir
from autoglm_lab.runtime.confidence import Confidence
from autoglm_lab.runtime.constraints import Pick, Quotes, Spelling, Typing, chooser
from autoglm_lab.runtime.engine import GREEDY, Engine, Request, Stopwatch, Stream, spoken
from autoglm_lab.runtime.spelling import spelling
from autoglm_lab.runtime.understanding import MAX_GOAL, Commands

# of a model folder, besides reports and cards
SETTINGS = ("config.json", "generation_config.json", "structure.json", "recipe.json", "processor_config.json")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
LOADED = ("model.safetensors", *SETTINGS, *TOKENIZER)


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Say in one line that a model folder is damaged: its files may fail in as many ways as there are libraries that read them."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"{folder.name} cannot be opened ({type(error).__name__}: {reason}); copy the folder again, or make it anew"
        ) from None


class TorchEngine(Engine):
    """Answers with a PhoneGLM in PyTorch, greedily, with the key-value cache."""

    def __init__(self, model: PhoneGLMForConditionalGeneration, processor: PhoneGLMProcessor) -> None:
        self.model, self.processor = model, processor
        self.model.train(False)
        self._commands = Commands(model.config.confirm_below)

    @classmethod
    def load(cls, folder: Path | str | None = None) -> TorchEngine:
        """Open a model folder (default: the shipped one). FileNotFoundError names what is missing, ValueError what was changed."""
        path = Path(folder) if folder is not None else data_dir() / "model"
        for needed in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (path / needed).exists():
                raise FileNotFoundError(f"{path.name} holds no {needed}; give a folder written by save_pretrained")
        logging.disable_progress_bar()  # a second of loading needs no bar, and its output would stay in the notebook
        return read_whole(path, LOADED, lambda: cls._load(path))

    @classmethod
    def _load(cls, path: Path) -> TorchEngine:
        with readable(path):
            model = PhoneGLMForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
            return cls(model, PhoneGLMProcessor.from_pretrained(path))

    @property
    def memory(self) -> int:
        """Number of past actions that the model was trained to read."""
        return int(self.model.config.memory)

    @property
    def understands(self) -> bool:
        """True if the model reads a command once and works by its goal."""
        return bool(self.model.config.understands)

    def forget(self) -> None:
        """Forget what commands mean, so that the next answer understands its command anew: to time that, or to free memory."""
        self._commands.clear()

    @cached_property
    def spelling(self) -> Spelling:
        """The vocabulary by the bytes of its tokens."""
        return spelling(self.processor.tokenizer.backend_tokenizer)

    def example(self) -> dict[str, Any]:
        """One request that uses every part of the model, as tensors: a screen, a sound and a few words."""
        inputs = self.processor(text="open Settings", images=np.zeros((224, 224, 3), np.uint8), audio=np.zeros(8000, np.float32))
        return {**inputs, "use_cache": False}

    def stream(self, request: Request) -> Stream:
        """See `runtime.engine.Engine.stream`. ValueError for an empty request, bad pictures or sound, and over 512 tokens."""
        watch, goal, unsure, task, audio = Stopwatch(), request.goal, False, request.task, request.audio
        pick: Pick = request.sampling.picker()
        if not goal and self.understands and (task.strip() or audio is not None):
            understood = self._commands.understand(task, audio, lambda: self.read_command(task, audio, watch))
            if understood.refusal:
                return understood.declined(watch, think=request.think)
            goal, unsure = understood.goal, understood.unsure
        if goal:
            pick = chooser(Typing(goal, self.processor.tokenizer.encode), pick)
        inputs = self.processor(
            text=goal or task,
            images=request.image,
            audio=None if goal else audio,
            current_app=request.current_app,
            last=request.last,
            think=request.think,
        )
        watch.lap("features")
        confidence = Confidence()
        tokens = self._tokens(dict(inputs), request.max_new_tokens, confidence.watch(pick), watch)
        return spoken(tokens, self.processor.tokenizer.decode, watch, inputs["input_ids"].shape[1], goal, unsure, confidence)

    def read_command(self, task: str, audio: Any = None, watch: Stopwatch | None = None) -> tuple[str, float]:
        """The model's text for a command that is to be understood, typed or (without text) spoken, and its confidence."""
        inputs = self.processor(text=task, audio=None if task.strip() else audio, command=True)
        constraint = Quotes(task, self.spelling) if task.strip() else None
        confidence = Confidence()
        pick = confidence.watch(chooser(constraint, GREEDY.picker()))
        text = str(self.processor.tokenizer.decode(list(self._tokens(dict(inputs), MAX_GOAL, pick, Stopwatch()))))
        if watch is not None:
            watch.lap("understand")
        return text, confidence.value

    @torch.inference_mode()
    def _tokens(self, inputs: dict[str, Any], max_new_tokens: int, pick: Pick, watch: Stopwatch) -> Iterator[int]:
        memories = self._memories(inputs, watch)
        step, past = inputs["input_ids"], None
        for number in range(max_new_tokens):
            out = self.model(step, memories=memories, past_key_values=past, use_cache=True, logits_to_keep=1)
            past, token = out.past_key_values, pick(out.logits[0, -1].numpy())
            watch.lap("decode" if number else "prefill")
            if token == self.processor.tokenizer.eos_token_id:
                break
            yield token
            step = torch.tensor([[token]])

    def _memories(self, inputs: dict[str, Any], watch: Stopwatch) -> Memories:
        image = audio = None
        if "pixel_values" in inputs:
            image = self.model.encode_image(inputs["pixel_values"])
            watch.lap("image")
        if "input_features" in inputs:
            audio = self.model.encode_audio(inputs["input_features"])
            watch.lap("audio")
        memories: Memories = self.model.remember(image, audio, 1)
        watch.lap("image" if image is not None else "audio")
        return memories
