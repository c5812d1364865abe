"""Preparing the answers to requests that may come, beside everything else: pictures are encoded and prompts read, nothing is done.

One thread prepares at most two requests, the likeliest first. Between two units of work (encode the picture, read the prompt) it
looks whether it should stop. It holds no phone, so that no prediction can act, and what it made is used only for a request that is
the same in every word and every pixel.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from autoglm_lab.edge.intent.foresight import Request
from autoglm_lab.phone.catalog import HOME_SCREEN
from autoglm_lab.runtime.engine import Stream

MOST_AT_ONCE = 2  # as browsers limit speculation on phones: each holds a screen's keys and values


class Engine(Protocol):
    """The part of `runtime.onnx_engine.OnnxEngine` that is used here: it encodes, reads the prompt, and writes."""

    def prepare(self, task: str = "", image: Any = None, *, current_app: str = HOME_SCREEN, last: str = "") -> Any:
        """Encode the picture of a request."""

    def prefill(self, asked: Any) -> Any:
        """Read the prompt of a request."""

    def write(self, asked: Any) -> Stream:
        """Write the answer."""


class Status(Enum):
    """State of a preparation."""

    WAITING = "waiting"
    RUNNING = "running"
    READY = "ready"
    DROPPED = "dropped"


@dataclass(eq=False)
class Preparation:
    """One request that may come, and what was made for it. `stop` is the flag that its thread looks at between two units."""

    request: Request
    status: Status = Status.WAITING
    stop: bool = False
    asked: Any = None
    work_ms: float = 0.0
    error: Exception | None = None

    def drop(self) -> None:
        """Give up what was made, or stop making it."""
        self.stop = True
        if self.status is not Status.RUNNING:
            self.status, self.asked = Status.DROPPED, None


class Precomputer:
    """Prepares for expected requests on a thread of its own, and answers the real ones. Use it in a `with` block, or `close` it.

    `counts` holds how often a real request met what was "ready", what was still "running" (then that is waited for, and not done
    twice), or nothing ("plain"), and how many preparations were "dropped"; `wasted_ms` is the work that went into those.
    ValueError when `most` is below 1.
    """

    def __init__(self, engine: Engine, most: int = MOST_AT_ONCE, clock: Callable[[], float] = time.perf_counter) -> None:
        if most < 1:
            raise ValueError(f"most is {most}; a precomputer prepares 1 request or more at once")
        self._engine, self.most, self._clock = engine, most, clock
        self._turn = threading.Condition()
        self._live: list[Preparation] = []  # likeliest first
        self._running: Preparation | None = None  # live, or about to stop
        self._closed = False
        self.counts, self.wasted_ms = Counter[str](), 0.0
        self._thread = threading.Thread(target=self._work, name="precompute", daemon=True)
        self._thread.start()

    def expect(self, requests: Sequence[Request]) -> None:
        """Prepare the first `most` of these, likeliest first; what is not among them is dropped. RuntimeError once closed."""
        with self._turn:
            if self._closed:
                raise RuntimeError("this precomputer is closed; make a new one")
            live: list[Preparation] = []
            for request in requests:
                if len(live) < self.most and not any(each.request.equals(request) for each in live):
                    live.append(self._same(request) or Preparation(request))
            for old in self._live:
                if old not in live:
                    self._drop(old)
            self._live = live
            self._turn.notify_all()

    def wait(self) -> None:
        """Wait until all that is expected is ready, and what was dropped has stopped."""
        with self._turn:
            self._turn.wait_for(lambda: self._running is None and self._next() is None)

    def answer(self, request: Request) -> Stream:
        """Answer a real request. Everything that was prepared for others is dropped; the answer is the one without preparation."""
        with self._turn:
            mine = self._same(request)
            for other in self._live:
                if other is not mine or other.status is Status.WAITING:  # what has not begun is done at once, and not there
                    self._drop(other)
            self._live = []
            status = "plain" if mine is None else mine.status.value
            if mine is not None:
                self._turn.wait_for(lambda: mine.status is not Status.RUNNING)
            usable = mine is not None and mine.status is Status.READY
            self.counts[status if usable else "plain"] += 1
        return self._engine.write(mine.asked if mine is not None and usable else self._begin(request))

    def close(self) -> None:
        """Stop what runs after its unit of work, drop the rest and end the thread; real requests are answered plainly then."""
        with self._turn:
            self._closed = True
            for each in self._live:
                self._drop(each)
            self._live = []
            self._turn.notify_all()
        self._thread.join()

    def __enter__(self) -> Precomputer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, request: Request) -> Any:
        return self._engine.prepare(request.task, request.picture, current_app=request.current_app, last=request.last)

    def _same(self, request: Request) -> Preparation | None:
        return next((each for each in self._live if each.status is not Status.DROPPED and each.request.equals(request)), None)

    def _drop(self, preparation: Preparation) -> None:
        if preparation.status in (Status.WAITING, Status.READY):  # one that runs is counted when it has stopped
            self._count_waste(preparation)
        preparation.drop()

    def _count_waste(self, preparation: Preparation) -> None:
        self.counts["dropped"] += 1
        self.wasted_ms += preparation.work_ms

    def _next(self) -> Preparation | None:
        return next((each for each in self._live if each.status is Status.WAITING), None)

    def _work(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._closed or self._next() is not None)
                preparation = self._next()
                if self._closed or preparation is None:
                    return
                preparation.status, self._running = Status.RUNNING, preparation
            self._prepare(preparation)

    def _prepare(self, mine: Preparation) -> None:
        began = self._clock()
        try:
            prompt = self._begin(mine.request)
            mine.asked = prompt if mine.stop else self._engine.prefill(prompt)
        except Exception as error:  # a guess that fails is no error of the request that comes: that one meets its own
            mine.error, mine.stop = error, True
        with self._turn:
            mine.work_ms = 1000 * (self._clock() - began)
            mine.status, self._running = Status.READY, None
            if mine.stop:
                mine.drop()
                self._count_waste(mine)
            self._turn.notify_all()
