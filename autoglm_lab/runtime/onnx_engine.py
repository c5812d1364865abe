"""The engine of phone and laptop: ONNX Runtime, numpy and a tokenizer. No PyTorch."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from autoglm_lab.phone.goals import plain
from autoglm_lab.runtime.bundle import TOKENIZER, Bundle
from autoglm_lab.runtime.confidence import Confidence
from autoglm_lab.runtime.constraints import Constraint, Pick, Quotes, Spelling, Typing, chooser
from autoglm_lab.runtime.engine import GREEDY, Engine, Request, Stopwatch, Stream, spoken
from autoglm_lab.runtime.features import image_features, log_mel, mono_16k
from autoglm_lab.runtime.grammar import Grammar, State
from autoglm_lab.runtime.mapped import mapped_graph, place_of
from autoglm_lab.runtime.prompt import MAX_TOKENS, TooLongError, read_tokenizer, write_command, write_prompt
from autoglm_lab.runtime.sampling import Sampling
from autoglm_lab.runtime.sessions import Sessions, open_graph, quiet
from autoglm_lab.runtime.spelling import spelling
from autoglm_lab.runtime.understanding import MAX_GOAL, Commands, Understood

States = dict[str, NDArray[np.float32]]


@dataclass
class PreparedRequest:
    """A request on its way through the engine: its tokens and features, and what the decoder is given once they are encoded."""

    ids: list[int]
    features: States
    max_new_tokens: int
    state: State | None
    watch: Stopwatch
    sampling: Sampling = GREEDY
    hearing: Future[States] | None = None  # the encoded sound, while the picture is still being prepared
    states: States | None = None
    think: bool = False
    understood: Understood | None = None  # what the command means, by an engine that understands it first
    constraint: Constraint | None = None  # what may be typed, or quoted from the command
    confidence: Confidence = field(default_factory=Confidence)  # of what is written
    prefix: tuple[Step, NDArray[np.float32]] | None = None  # a decoder that has read the prompt, and the scores after it; used once

    @property
    def declined(self) -> bool:
        """True if the command was understood as one that the agent declines: there is nothing to see or write."""
        return self.understood is not None and bool(self.understood.refusal)


def _open_tokenizer(bundle: Bundle) -> Tokenizer:
    """Open the tokenizer of a bundle. ValueError when it is none, or has no token that ends an answer."""
    tokenizer = read_tokenizer(bundle.folder / TOKENIZER)
    if bundle.end >= tokenizer.get_vocab_size():
        raise ValueError(
            f"{TOKENIZER} of {bundle.folder.name} has no token {bundle.end}, which ends answers; export the bundle anew"
        )
    return tokenizer


class OnnxEngine(Engine):
    """Answers from a bundle, greedily; keys and values of what was seen, heard and said are kept for the whole answer.

    What the action grammar expects next is read ahead and confirmed in the same pass (`speculate`): the answer is the one that
    would have been written token by token, in fewer passes. By default that is done where it holds: not for a bundle whose tokens
    share a scale when they are read at once. With `grammar` only what that grammar allows is written, so that every
    answer parses, and what it forces is not even asked. With `one_call` the whole answer is one call of the runtime, and comes at
    once. FileNotFoundError for a bundle that was exported without that graph, ValueError for both. With `profile`, a folder, the
    runtime notes the time of every operator there (`evaluation.layers`).

    With `mapped` the weights stay in files that the system maps (`runtime.mapped`): beside the bundle, or in the folder that is
    given. NotWrittenError when they cannot be written there. With `lazy` what sees and what hears is opened when it is first
    needed; a number drops each after so many seconds without use, looked at with every request. An encoder that does not fit
    the bundle is then a ValueError of the first request that needs it.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        threads: int | None = None,
        grammar: bool = False,
        speculate: bool | None = None,
        one_call: bool = False,
        profile: Path | None = None,
        mapped: bool | Path = False,
        lazy: bool | float = False,
    ) -> None:
        if grammar and one_call:
            raise ValueError("an answer in one call is picked by the graph; grammar picks token by token: give one of the two")
        self.bundle = Bundle.open(folder)
        # where there is a second core it hears while the first looks at the picture
        self._audio_pool = ThreadPoolExecutor(1, "ears") if (threads or os.cpu_count() or 1) > 1 else None

        self._mapped, self._profile = mapped, profile
        self.sessions = Sessions(
            self.bundle,
            lambda name: self.open_session(name, 1 if name == "audio" and self._audio_pool is not None else threads),
            one_call=one_call,
            lazy=lazy is not False,
            idle_s=None if isinstance(lazy, bool) else lazy,
        )
        self.tokenizer = _open_tokenizer(self.bundle)
        self._commands = Commands(self.bundle.confirm_below)
        self._write_by(grammar, speculate)
        # the encoders' states before any picture or sound: one empty place
        self.nothing: States = {
            value.name: np.zeros([size if isinstance(size, int) else 1 for size in value.shape], np.float32)
            for value in self._decoder.get_inputs()
            if value.name.split("_")[0] in ("image", "audio")
        }

    @property
    def weights_folder(self) -> Path | None:
        """The folder whose files hold the weights; None where they were read into memory."""
        if not self._mapped:
            return None
        return self._mapped if isinstance(self._mapped, Path) else place_of(self.bundle.folder)

    def open_session(self, name: str, threads: int | None = None) -> Any:
        """Open a graph of the bundle as this engine opens its own: read or mapped, with a profile or without.

        ValueError when the runtime refuses it, FileNotFoundError for one that was not exported, NotWrittenError as `mapped`.
        """
        options, graph = quiet(threads), self.bundle.path(name)
        if self.weights_folder is not None:
            graph = mapped_graph(graph, self.weights_folder, quiet(threads))
        if self._profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(self._profile / "profile")
        return open_graph(graph, options)

    def _write_by(self, grammar: bool, speculate: bool | None) -> None:
        self.constrained, self.speculates = grammar, not self.bundle.shared_scale if speculate is None else speculate
        self.grammar = Grammar(self.tokenizer) if self.constrained or self.speculates else None

    def writing(self, *, grammar: bool = False, speculate: bool | None = None) -> OnnxEngine:
        """An engine on the very same graphs that writes otherwise: no weight is loaded a second time.

        ValueError if the graph holds the whole loop (`one_call`): it picks by itself.
        """
        if "answer" in self.sessions:
            raise ValueError("this engine answers in one call, its graph picks the tokens; open the bundle without one_call")
        other = copy.copy(self)
        other._write_by(grammar, speculate)
        return other

    @property
    def memory(self) -> int:
        """Number of past actions that the model was trained to read."""
        return self.bundle.memory

    @property
    def understands(self) -> bool:
        """True if the model reads a command once and works by its goal."""
        return self.bundle.understands

    def forget(self) -> None:
        """Forget what commands mean, so that the next answer understands its command anew: to time that, or to free memory."""
        self._commands.clear()

    @cached_property
    def spelling(self) -> Spelling:
        """The vocabulary by the bytes of its tokens."""
        return spelling(self.tokenizer)

    @property
    def _decoder(self) -> Any:
        """The session that writes."""
        return self.sessions.decoder

    def stream(self, request: Request) -> Stream:
        """See `runtime.engine.Engine.stream`. ValueError for an empty request, bad pictures or sound, and over 512 tokens.

        What is remembered lies in buffers that are made once for an answer: each token is written into them in place. Sampling is
        not for an engine with a grammar, or with answers in one call.
        """
        return self.write(self._read(request))

    def prepare(self, task: str = "", image: Any = None, audio: Any = None, **options: Any) -> PreparedRequest:
        """As `encode`, with the arguments of `answer`."""
        return self.encode(Request(task, image, audio, **options))

    def encode(self, request: Request) -> PreparedRequest:
        """The first half of `stream`: what is seen and heard is encoded, nothing is written yet (`write`). Same errors."""
        prepared = self._read(request)
        if not prepared.declined:
            prepared.states = self._encode(prepared)
        return prepared

    def new_step(self, states: States, room: int) -> Step:
        """A decoder for an answer about encoded `states`, with a cache [1, K, room, E] of its own."""
        return Step(self.sessions["step"], states, room)

    def prefill(self, request: PreparedRequest) -> PreparedRequest:
        """Read the prompt of what was prepared as well, so that `write` begins with the first token; the answer stays the same.

        ValueError for an engine with `one_call`, whose graph reads and writes in one.
        """
        if "answer" in self.sessions:
            raise ValueError("this engine answers in one call and cannot stop after the prompt; open the bundle without one_call")
        if request.declined:
            return request
        if request.states is None:
            request.states = self._encode(request)
        step = self.new_step(request.states, len(request.ids) + request.max_new_tokens)
        request.prefix = step, step.scores(request.ids)
        request.watch.lap("prefill")
        return request

    def write(self, request: PreparedRequest) -> Stream:
        """The answer to what was prepared."""
        if request.understood is None:
            return spoken(self._tokens(request), self.text, request.watch, len(request.ids), confidence=request.confidence)
        if request.declined:
            return request.understood.declined(request.watch, think=request.think)
        goal, unsure = request.understood.goal, request.understood.unsure
        return spoken(self._tokens(request), self.text, request.watch, len(request.ids), goal, unsure, request.confidence)

    def _understand(self, task: str, audio: Any, watch: Stopwatch) -> Understood:
        def read() -> tuple[str, float]:
            text = self._read_command(task, audio)
            watch.lap("understand")  # a command that is known costs nothing
            return text

        return self._commands.understand(task, audio, read)

    def _read_command(self, task: str, audio: Any) -> tuple[str, float]:
        """The model's text for a command that is to be understood, and its confidence.

        That is 1 in one call, which keeps its scores to itself: such an engine never asks back.
        """
        ids = self._ids(write_command(plain(task), audio=not task), MAX_GOAL)
        features = {} if task else {"audio": log_mel(mono_16k(audio, 16_000))[None]}
        state = None if self.grammar is None else self.grammar.start(think=False, command=True)
        constraint = Quotes(task, self.spelling) if task else None
        request = PreparedRequest(ids, features, MAX_GOAL, state, Stopwatch(), constraint=constraint)
        return self.text(list(self._tokens(request))), request.confidence.value

    def _ids(self, prompt: str, max_new_tokens: int) -> list[int]:
        """The tokens of a prompt. ValueError when they or the answer do not fit."""
        ids: list[int] = self.tokenizer.encode(prompt, add_special_tokens=False).ids
        if len(ids) > MAX_TOKENS:
            raise TooLongError(len(ids))
        if len(ids) + max_new_tokens > self.bundle.places:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; after this request at most {self.bundle.places - len(ids)} fit")
        return ids

    def _read(self, request: Request) -> PreparedRequest:
        """Understand the command where the model does that first; then tokens, and features that are not encoded yet."""
        watch, task, audio = Stopwatch(), request.task.strip(), request.audio
        self.sessions.sweep()
        if request.sampling != GREEDY and (self.constrained or "answer" in self.sessions):
            raise ValueError("this engine picks the likeliest token that may come; sampling needs one without grammar and one_call")
        if not task and audio is None and not request.goal:
            raise ValueError("the request is empty; give a text or a sound")
        image, think, max_new_tokens = request.image, request.think, request.max_new_tokens
        understood = constraint = None
        if request.goal or self.understands:
            understood = Understood(request.goal) if request.goal else self._understand(task, audio, watch)
            if understood.refusal:
                return PreparedRequest([], {}, max_new_tokens, None, watch, think=think, understood=understood)
            task, audio = understood.goal, None
            constraint = Typing(task, lambda text: self.tokenizer.encode(text, add_special_tokens=False).ids)
        prompt = write_prompt(
            task, request.current_app, request.last, image=image is not None, audio=audio is not None, think=think
        )
        ids = self._ids(prompt, max_new_tokens)
        state = None if self.grammar is None else self.grammar.start(think=think)
        if self.constrained and state is not None and max_new_tokens < state.least:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; the shortest answer has {state.least} tokens")
        features, hearing = States(), None
        wave = None if audio is None else mono_16k(audio, 16_000)
        if wave is not None and image is not None and self._audio_pool is not None:
            hearing = self._audio_pool.submit(self._encode_audio, wave)
        elif wave is not None:
            features["audio"] = log_mel(wave)[None]
        if image is not None:
            features["image"] = image_features(image)[None]
        watch.lap("features")
        return PreparedRequest(
            ids, features, max_new_tokens, state, watch, request.sampling, hearing, understood=understood, constraint=constraint
        )

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values of one token, in bytes."""
        shapes = [value.shape for value in self._decoder.get_inputs() if "past_" in value.name]
        return sum(4 * int(np.prod([size for size in shape if isinstance(size, int)])) for shape in shapes)

    def text(self, ids: list[int]) -> str:
        """Decode tokens to text."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False)
        return text

    def _encode(self, request: PreparedRequest) -> States:
        """Encode picture and sound: the decoder's inputs for an answer besides tokens."""
        states = dict(self.nothing)
        for name, values in request.features.items():
            states |= self._encoded(name, values)
            request.watch.lap(name)
        modalities = set(request.features)
        if request.hearing is not None:
            states |= request.hearing.result()
            modalities.add("audio")
            request.watch.lap("audio")
        return {"present": np.array([float(name in modalities) for name in ("image", "audio")], np.float32), **states}

    def _encoded(self, name: str, values: NDArray[np.float32]) -> States:
        """The keys and values of what is seen or heard."""
        with self.sessions.lease(name) as session:
            outputs = session.run(None, {session.get_inputs()[0].name: values})
            return dict(zip((output.name for output in session.get_outputs()), outputs, strict=True))

    def _encode_audio(self, wave: NDArray[np.float32]) -> States:
        return self._encoded("audio", log_mel(wave)[None])

    def _tokens(self, request: PreparedRequest) -> Iterator[int]:
        watch, ids, state, max_new_tokens = request.watch, request.ids, request.state, request.max_new_tokens
        if request.states is not None:
            watch.lap("waiting")
        states = self._encode(request) if request.states is None else request.states
        if "answer" in self.sessions:
            whole = self._in_one_call(ids, states, max_new_tokens)
            watch.lap("decode")
            yield from whole
            return
        if request.prefix is None:
            step, scores, unread = self.new_step(states, len(ids) + max_new_tokens), None, ids
        else:
            (step, scores), unread, request.prefix = request.prefix, [], None
        pick, output = request.sampling.picker(), list[int]()
        while len(output) < max_new_tokens:
            remaining = max_new_tokens - len(output)
            picks = state.chooser(remaining) if self.constrained and state is not None else pick
            picks = chooser(request.constraint, picks, output)
            picks = request.confidence.watch(picks)
            if self.constrained and state is not None and state.forced is not None:
                tokens = [state.forced]
                request.confidence.add(0.0)
                unread = [*unread, *tokens]
            elif scores is not None and not unread:
                tokens = unread = [picks(scores)]
            else:
                tokens = step.write(unread, self._drafts(request, state, output, remaining - 1), picks)
                watch.lap("decode" if output else "prefill")
                unread = tokens[-1:]
            for token in tokens:
                if token == self.bundle.end:
                    return
                state = None if state is None else state.leads(token)
                output.append(token)
                yield token

    def _drafts(self, request: PreparedRequest, state: State | None, output: list[int], most: int) -> list[int]:
        """Draft what probably follows: a text that the goal says is to be typed, or tokens that the grammar expects."""
        if not self.speculates or state is None:
            return []
        to_type = request.constraint.draft(output, most) if isinstance(request.constraint, Typing) else []
        return to_type or state.draft(most)

    def _in_one_call(self, ids: list[int], states: States, max_new_tokens: int) -> list[int]:
        """The tokens of an answer, without the one that ends it."""
        room, session = len(ids) + max_new_tokens, self.sessions["answer"]
        empty = {
            value.name: np.zeros([size if isinstance(size, int) else room for size in value.shape], np.float32)
            for value in session.get_inputs()
            if value.name.startswith("first_past")
        }
        prompt = {"first_input_ids": np.array([ids]), "first_total": np.array([len(ids)], np.int32)}
        [output] = session.run(["tokens"], {**states, **empty, **prompt, "max_new_tokens": np.array(max_new_tokens)})
        tokens: list[int] = output.tolist()
        return tokens[:-1] if tokens[-1] == self.bundle.end else tokens


def confirmed(rows: NDArray[np.float32], drafts: Sequence[int], pick: Pick) -> list[int]:
    """The tokens that are picked from scores [1 + drafts, V], up to the first that was not drafted.

    Each of them is what would have been picked had the tokens been read one by one, by chance or not: a draft is only compared.
    """
    tokens: list[int] = []
    for scores, draft in zip(rows, [*drafts, None], strict=True):
        tokens.append(pick(scores))
        if tokens[-1] != draft:
            break
    return tokens


class Step:
    """The step graph with the memories of one answer and a cache, which stay in their places; every token is written in place."""

    def __init__(self, session: Any, states: States, room: int) -> None:
        self._session, self._binding = session, session.io_binding()
        self.room, self.total = room, 0  # tokens that fit, and tokens that are there
        for name, values in states.items():
            self._binding.bind_cpu_input(name, values)
        self.cache: States = {}  # keys and values [1, K, room, E] of every layer
        for value in session.get_inputs():
            if value.name.startswith("past"):
                shape = [size if isinstance(size, int) else room for size in value.shape]
                buffer = self.cache[value.name] = np.empty(shape, np.float32)
                for bind, name in (
                    (self._binding.bind_input, value.name),
                    (self._binding.bind_output, value.name.replace("past", "present")),
                ):
                    bind(name, "cpu", 0, np.float32, shape, buffer.ctypes.data)
        self._vocabulary = next(value.shape[-1] for value in session.get_outputs() if value.name == "scores")
        # bound once and changed in place: what is bound anew for each token costs a tenth of a step
        self._ids, self._total = np.zeros((1, 0), np.int64), np.zeros(1, np.int32)
        self._scores: NDArray[np.float32] = np.zeros((0, self._vocabulary), np.float32)
        self._binding.bind_cpu_input("total", self._total)

    def scores(self, ids: list[int]) -> NDArray[np.float32]:
        """Scores [V] of the token after `ids`, which follow all that was given before. ValueError if they are none or too many."""
        scores: NDArray[np.float32] = self.read(ids)[0]
        return scores

    def read(self, ids: list[int], drafts: Sequence[int] = ()) -> NDArray[np.float32]:
        """Scores [1 + drafts, V] of the tokens after `ids` and after each of `drafts`, which are read as well, in one pass.

        ValueError without `ids`, or when there is no room. `forget` takes back what turned out not to follow.
        """
        if not ids:
            raise ValueError("there are no tokens to read; give one at least")
        new = [*ids, *drafts]
        if self.total + len(new) > self.room:
            raise ValueError(f"there is room for {self.room} tokens; {self.total} are there, {len(new)} more do not fit")
        self.total += len(new)
        if len(new) != self._ids.shape[1]:
            self._ids = np.array([new], np.int64)
            self._binding.bind_cpu_input("input_ids", self._ids)
        count = len(drafts) + 1
        if count != len(self._scores):
            self._scores = np.zeros((count, self._vocabulary), np.float32)
            self._binding.bind_cpu_input("places", np.arange(-count, 0))
            self._binding.bind_output("scores", "cpu", 0, np.float32, [count, self._vocabulary], self._scores.ctypes.data)
        self._ids[0], self._total[0] = new, self.total
        self._session.run_with_iobinding(self._binding)
        scores: NDArray[np.float32] = self._scores.copy()
        return scores

    def write(self, ids: list[int], drafts: Sequence[int], pick: Pick) -> list[int]:
        """Verify `drafts` in one forward pass; return the accepted tokens and the model's next one, which alone is not read yet."""
        tokens = confirmed(self.read(ids, drafts), drafts, pick)
        self.forget(1 + len(drafts) - len(tokens))
        return tokens

    def forget(self, count: int) -> None:
        """Drop the last `count` tokens from the cache. ValueError for more than there are."""
        if not 0 <= count <= self.total:
            raise ValueError(f"{count} tokens cannot be forgotten; {self.total} are there")
        self.total -= count
