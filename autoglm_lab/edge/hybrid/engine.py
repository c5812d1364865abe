"""The engine that a phone agent holds: it asks the device, the cloud, or both, and gives back exactly one answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from autoglm_lab.edge.hybrid.breaker import Breaker
from autoglm_lab.edge.hybrid.coordinator import CLOUD, DEVICE, FAIL_OVER, Coordinator, Deliver, Fail, Policy, Route, Start
from autoglm_lab.runtime.engine import Answer, Engine, Request, Stream, ask, memory_length

MOST_OPEN = 4  # requests to the cloud that nobody waits for any more, but that have not ended
Confidence = Callable[[Answer], float]


def brevity(answer: Answer) -> float:
    """Trust short answers more, by their length alone.

    It needs no probabilities, and is worth no more: in `data/reports/edge/cascade.json` wrong answers are hardly longer than right
    ones, and this signal tells them apart little better than a coin. Log-probabilities and the kind of task do better.
    """
    return 1 / max(1, answer.tokens)


class NoAnswerError(RuntimeError):
    """No engine answered in time; the message says why of each."""


@dataclass(frozen=True)
class Trip:
    """Course of one request: the engine whose answer was taken (None for none), all that were started, and the seconds."""

    route: Route | None
    routes: tuple[Route, ...]
    seconds: float
    reasons: dict[Route, str] = field(default_factory=dict)


class HybridEngine(Engine):
    """Two engines as one, under a `Policy`. An answer is data: whoever asked performs its action, once.

    With `private`, pictures and sound never go to the cloud: such a request is the device's alone. The answer comes whole, so
    that no engine is changed in the middle of one. `on_trip` is called with every request's `Trip`. Close it, or use a `with`.
    """

    reads_history = True

    def __init__(
        self,
        device: Engine,
        cloud: Engine,
        policy: Policy = FAIL_OVER,
        *,
        private: bool = False,
        confidence: Confidence = brevity,
        breaker: Breaker | None = None,
        on_trip: Callable[[Trip], None] = lambda trip: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engines: dict[Route, Engine] = {DEVICE: device, CLOUD: cloud}
        self.policy, self.private, self.confidence, self.on_trip, self.clock = policy, private, confidence, on_trip, clock
        self.breaker = breaker or Breaker(clock=clock)
        self.memory = memory_length(device)
        self._pools = {DEVICE: ThreadPoolExecutor(1, "device"), CLOUD: ThreadPoolExecutor(MOST_OPEN, "cloud")}
        self._places = threading.Semaphore(MOST_OPEN)

    def __enter__(self) -> HybridEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take no more requests; what is still open in the cloud ends by its own time-out."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def stream(self, request: Request) -> Stream:
        """See `runtime.engine.Engine.stream`. ValueError for an empty request; NoAnswerError when no engine answered in time."""
        if not request.task.strip() and request.audio is None:
            raise ValueError("the request is empty; give a text or a sound")
        return Stream(self._pieces(request))

    def _pieces(self, request: Request) -> Iterator[str | Answer]:
        answer = self._ask(request)
        yield answer.text
        yield answer

    def _ask(self, request: Request) -> Answer:
        events: queue.SimpleQueue[tuple[Route, Answer | Exception]] = queue.SimpleQueue()
        began = self.clock()
        stays = self.private and (request.image is not None or request.audio is not None)
        coordinator = Coordinator[Answer](self.policy, began, frozenset((DEVICE,)) if stays else frozenset((DEVICE, CLOUD)))
        commands, routes = coordinator.begin(), list[Route]()
        while True:
            for command in commands:
                if isinstance(command, Start):
                    routes.append(command.route)
                    self._start(command.route, request, events)
                else:
                    return self._end(command, coordinator, tuple(routes), began)
            commands = self._next(coordinator, events)

    def _next(self, coordinator: Coordinator[Answer], events: queue.SimpleQueue[tuple[Route, Answer | Exception]]) -> list[Any]:
        """Wait for the next event or the next time to wake; the commands that follow from it."""
        wakes_at = coordinator.wakes_at()
        try:
            route, result = events.get(timeout=None if wakes_at is None else max(0.0, wakes_at - self.clock()))
        except queue.Empty:
            return list(coordinator.tick(self.clock()))
        if isinstance(result, Exception):
            return list(coordinator.failure(route, self.clock(), f"{type(result).__name__}: {result}"))
        return list(coordinator.reply(route, self.clock(), result, self.confidence(result) if route == DEVICE else 1.0))

    def _start(
        self,
        route: Route,
        request: Request,
        events: queue.SimpleQueue[tuple[Route, Answer | Exception]],
    ) -> None:
        if route == CLOUD and not self._enter_cloud(events):
            return
        engine = self.engines[route]
        future = self._pools[route].submit(lambda: ask(engine, request).answer)
        future.add_done_callback(lambda future: self._finish(route, future, events))

    def _enter_cloud(self, events: queue.SimpleQueue[tuple[Route, Answer | Exception]]) -> bool:
        """Take a place among the open requests to the cloud; without one, or while the breaker is open, the cloud has failed."""
        if not self._places.acquire(blocking=False):
            events.put((CLOUD, ConnectionError(f"{MOST_OPEN} requests to it are still open")))
            return False
        if not self.breaker.allows():
            self._places.release()
            events.put((CLOUD, ConnectionError("it failed too often and is left alone for a while")))
            return False
        return True

    def _finish(self, route: Route, future: Future[Answer], events: queue.SimpleQueue[tuple[Route, Answer | Exception]]) -> None:
        """Hand an engine's result on. An answer without an action is none: a page of a hotel's network is text as well."""
        if future.cancelled():
            result: Answer | Exception = RuntimeError("the engine was closed")
        elif (error := future.exception()) is not None:
            result = error if isinstance(error, Exception) else RuntimeError(repr(error))
        else:
            answer = future.result()
            result = answer if answer.action is not None else ValueError(f"no action in its answer: {answer.error}")
        if route == CLOUD:
            self._places.release()
            self.breaker.fail() if isinstance(result, Exception) else self.breaker.succeed()
        events.put((route, result))

    def _end(self, command: Any, coordinator: Coordinator[Answer], routes: tuple[Route, ...], began: float) -> Answer:
        route = command.route if isinstance(command, Deliver) else None
        self.on_trip(Trip(route, routes, self.clock() - began, dict(coordinator.reasons)))
        if isinstance(command, Fail):
            raise NoAnswerError(command.reason)
        return command.answer  # type: ignore[no-any-return]


SIZES = ("lite", "full")


def client(
    cloud: Engine | None = None,
    *,
    offline: bool = True,
    size: str = "lite",
    open_device: Callable[[str], Engine] | None = None,
    **options: Any,
) -> Engine:
    """Build the engine of a phone: `offline` says that the device answers too, `size` which model it carries.

    `open_device` opens the device's engine of a size; `options` are those of `HybridEngine`. Without `offline` the cloud alone is
    asked. ValueError for another size, or if nothing is left that could answer.
    """
    if size not in SIZES:
        raise ValueError(f"size is {size!r}; there are {' and '.join(map(repr, SIZES))}")
    if offline and open_device is None:
        raise ValueError("offline needs a model on the device: give open_device, which opens the engine of a size")
    if not offline:
        if cloud is None:
            raise ValueError("without a cloud and without offline there is nothing that answers")
        return cloud
    assert open_device is not None
    device = open_device(size)
    return device if cloud is None else HybridEngine(device, cloud, **options)
