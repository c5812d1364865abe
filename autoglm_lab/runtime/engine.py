"""The engine protocol: whatever answers about a screen, a command and a sound - PyTorch, ONNX, or a server far away."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from autoglm_lab.phone.actions import Action, parse_answer
from autoglm_lab.phone.catalog import HOME_SCREEN
from autoglm_lab.runtime.confidence import Confidence
from autoglm_lab.runtime.sampling import Sampling

GREEDY = Sampling()
# results of an action, as a model reads them
CHANGED, UNCHANGED, TAKEN_OVER = "the screen changed", "nothing changed", "a person took over"
NO_APP, NOT_DONE = "there is no app", "not done: "


@dataclass(frozen=True)
class Answer:
    """An engine's answer. `action` is None when the text holds no valid action; `error` then says why."""

    text: str
    thinking: str = ""
    action: Action | None = None
    error: str | None = None
    tokens: int = 0
    passes: int = 0  # how often the decoder was run for them
    # per stage: features, image, audio (where hearing goes on beside looking, only what it took longer), prefill, decode, total
    ms: dict[str, float] = field(default_factory=dict)
    prompt_tokens: int = 0
    irregularities: tuple[str, ...] = ()  # what a tolerant reader overlooked in the text of another model
    goal: str = ""  # what the command was understood as, by an engine that works by goals
    unsure: bool = False  # true where a person should confirm the goal first: the engine's confidence in it is low
    confidence: float = 1.0  # of the engine in this text (`runtime.confidence`); 1 from one that does not tell

    @classmethod
    def read(
        cls,
        text: str,
        tokens: int,
        ms: dict[str, float],
        passes: int = 0,
        prompt_tokens: int = 0,
        goal: str = "",
        unsure: bool = False,
        confidence: float = 1.0,
    ) -> Answer:
        """Parse a model's text; a text without a valid action gives an answer with an error, never a success."""
        facts: dict[str, Any] = {"prompt_tokens": prompt_tokens, "goal": goal, "unsure": unsure, "confidence": confidence}
        try:
            thinking, action = parse_answer(text)
        except ValueError as problem:
            return cls(text, "", None, str(problem), tokens, passes, ms, **facts)
        return cls(text, thinking, action, None, tokens, passes, ms, **facts)


class Stream:
    """An answer as it comes: iterate for pieces of text, one for each token; afterwards `answer` holds the whole.

    `prompt_tokens`, `goal` and `unsure` are those of the answer.
    """

    def __init__(self, pieces: Iterator[str | Answer], prompt_tokens: int = 0, goal: str = "", unsure: bool = False) -> None:
        self._pieces, self.prompt_tokens, self.goal, self.unsure = pieces, prompt_tokens, goal, unsure
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            if isinstance(piece, Answer):
                self._answer = piece
            else:
                yield piece

    @property
    def answer(self) -> Answer:
        """The finished answer; what has not been read of the stream yet is read first."""
        for _ in self:
            pass
        if self._answer is None:
            raise RuntimeError("the engine ended without an answer")
        return self._answer


def spoken(
    tokens: Iterable[int],
    decode: Callable[[list[int]], str],
    watch: Stopwatch,
    prompt_tokens: int = 0,
    goal: str = "",
    unsure: bool = False,
    confidence: Confidence | None = None,
) -> Stream:
    """A `Stream` of tokens as they come, and the answer that they make; its confidence is what has been counted by its end."""
    facts = {"prompt_tokens": prompt_tokens, "goal": goal, "unsure": unsure}
    return Stream(_spoken(tokens, decode, watch, confidence or Confidence(), facts), prompt_tokens, goal, unsure)


def _spoken(
    tokens: Iterable[int],
    decode: Callable[[list[int]], str],
    watch: Stopwatch,
    confidence: Confidence,
    facts: dict[str, Any],
) -> Iterator[str | Answer]:
    ids: list[int] = []
    prefix = ""
    for token in tokens:
        ids.append(token)
        text = decode(ids)
        whole = not text.endswith("\ufffd")  # never hand out half a character
        yield text[len(prefix) :] if whole else ""
        prefix = text if whole else prefix
    passes = watch.laps["prefill"] + watch.laps["decode"]
    yield Answer.read(decode(ids), len(ids), watch.total(), passes, confidence=confidence.value, **facts)


class Turn(NamedTuple):
    """A step of an agent that is done: which app was in front, what the engine said, and in words what came of it."""

    app: str
    said: str
    result: str


@dataclass(frozen=True)
class Request:
    """A request to an engine: a typed task or a spoken one (16 kHz waveform) about a screen (any picture), and how to answer it.

    `current_app` and `last` are what an agent knows besides the picture; `last` are its last `memory` actions, written by
    `prompt.write_memory`. `history` is all that was done before, for an engine that reads it. `sampling` says how tokens are
    picked; by default the likeliest is. `goal` is one wish of a task that the engine has understood before (`Answer.goal`): it
    works by that, and does not read the task again.
    """

    task: str = ""
    image: Any = None
    audio: Any = None
    current_app: str = HOME_SCREEN
    last: str = ""
    think: bool = False
    max_new_tokens: int = 96
    sampling: Sampling = GREEDY
    history: Sequence[Turn] = ()
    goal: str = ""


def is_unchanged(result: str) -> bool:
    """True if the words for an action's result say that it left the screen as it was.

    >>> [is_unchanged(words) for words in ("nothing changed", "Type was not done: no field", "the screen changed", "")]
    [True, True, False, False]
    """
    return result == UNCHANGED or result.startswith(NO_APP) or NOT_DONE in result


def memory_length(engine: object) -> int:
    """Number of past actions that an engine is told of: its `memory`, or 1."""
    return int(getattr(engine, "memory", 1))


class Engine(Protocol):
    """The interface of an engine, which answers requests.

    One whose model was trained to read more than one past action has their number as `memory` (`memory_length`). One that can make
    use of all that was done before sets `reads_history = True`, and is given it as `history`, a list of `Turn`.
    """

    def answer(
        self,
        task: str = "",
        image: Any = None,
        audio: Any = None,
        *,
        current_app: str = HOME_SCREEN,
        last: str = "",
        think: bool = False,
        max_new_tokens: int = 96,
        sampling: Sampling = GREEDY,
        history: Sequence[Turn] = (),
        goal: str = "",
    ) -> Stream:
        """Answer a request that is given in words: see `Request`. Errors as `stream`."""
        return self.stream(Request(task, image, audio, current_app, last, think, max_new_tokens, sampling, history, goal))

    def stream(self, request: Request) -> Stream:
        """Answer a request. ValueError for one that is empty, holds bad pictures or sound, or is too long."""
        ...


def ask(engine: Any, request: Request) -> Stream:
    """Answer a request with whatever has an `answer`, a class of the reader's own as well.

    It is told the task, the screen, the sound, and what an agent knows besides; anything else only where it differs from the
    default, and `history` only if it reads it.
    """
    more = {"current_app": request.current_app, "last": request.last, "think": request.think}
    for name, default in (("max_new_tokens", Request.max_new_tokens), ("sampling", GREEDY), ("goal", "")):
        if getattr(request, name) != default:
            more[name] = getattr(request, name)
    if getattr(engine, "reads_history", False):
        more["history"] = request.history
    stream: Stream = engine.answer(request.task, request.image, request.audio, **more)
    return stream


class Stopwatch:
    """Milliseconds per named stage."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self.laps: Counter[str] = Counter()  # how often each stage was booked
        self._began = self._mark = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap under `stage`."""
        now = time.perf_counter()
        self.ms[stage] = self.ms.get(stage, 0.0) + (now - self._mark) * 1000
        self.laps[stage] += 1
        self._mark = now

    def total(self) -> dict[str, float]:
        """All laps and their `total`."""
        return {**self.ms, "total": (time.perf_counter() - self._began) * 1000}
