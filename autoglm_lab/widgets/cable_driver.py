"""A phone, a cable and a server on this machine: one request after the other, and every piece of every answer noted."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from autoglm_lab.edge.hybrid.breaker import Breaker
from autoglm_lab.edge.hybrid.coordinator import CLOUD, CLOUD_ONLY, DEVICE, FAIL_OVER, OFFLINE_FIRST, Policy
from autoglm_lab.edge.hybrid.engine import HybridEngine, NoAnswerError, Trip
from autoglm_lab.edge.hybrid.faulty_link import Fault, Link
from autoglm_lab.edge.hybrid.outbox import new_id
from autoglm_lab.phone.actions import Action
from autoglm_lab.runtime.engine import Answer, Engine, Request, Stream, ask, memory_length
from autoglm_lab.serve.client import RemoteEngine
from autoglm_lab.serve.server import running
from autoglm_lab.widgets import cable_view as view

DEADLINE_S = 5.0
SILENCE_S = 2.0  # without a byte, after which the cloud has failed
HEDGE_S = 0.3
REST_S = 5.0  # of the breaker
SLOW_BYTES_PER_S = 4000.0
MOST_CUT_MS = 2000
CLOSE_S = 15.0

POLICIES = {
    policy.name: replace(policy, deadline_s=DEADLINE_S)
    for policy in (CLOUD_ONLY, FAIL_OVER, Policy("hedge", hedge_after_s=HEDGE_S), OFFLINE_FIRST)
}
CUT = "cut at"
FAULTS = {
    "none": Fault(),
    CUT: Fault(),  # a timer cuts
    "slow": Fault("slow", bytes_per_s=SLOW_BYTES_PER_S),
    "silent": Fault("silent"),
    "captive portal": Fault("portal"),
    "429": Fault("busy"),
    "500": Fault("broken"),
}


@dataclass(frozen=True)
class Settings:
    """The policy and the fault of the next request. ValueError for another name, or a cut outside 0 to 2000 ms."""

    policy: str = FAIL_OVER.name
    fault: str = "none"
    cut_at_ms: int = 400

    def __post_init__(self) -> None:
        for name, value, options in (("policy", self.policy, POLICIES), ("fault", self.fault, FAULTS)):
            if value not in options:
                raise ValueError(f"there is no {name} {value!r}; there are {', '.join(options)}")
        if not 0 <= self.cut_at_ms <= MOST_CUT_MS:
            raise ValueError(f"cut_at_ms is {self.cut_at_ms}; it lies from 0 to {MOST_CUT_MS}")

    def in_words(self) -> str:
        """The fault, and the moment of a cut."""
        return f"{CUT} {self.cut_at_ms} ms" if self.fault == CUT else self.fault


class Log:
    """Events of a request, noted by several threads."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._events: list[view.Event] = []
        self._changed, self._on_change, self._began = threading.Condition(), on_change, time.monotonic()

    def note(self, lane: str, kind: str, text: str = "") -> None:
        """Add an event that happens now."""
        with self._changed:
            self._events.append(view.Event(1000 * (time.monotonic() - self._began), lane, kind, text))
            self._changed.notify_all()
        self._on_change()

    def events(self) -> tuple[view.Event, ...]:
        """All events so far."""
        with self._changed:
            return tuple(self._events)

    def wait_for_ends(self, lanes: Collection[str]) -> None:
        """Wait until each of these engines has answered or failed."""
        with self._changed:
            self._changed.wait_for(
                lambda: {*lanes} <= {each.lane for each in self._events if each.kind in (view.END, view.FAILURE)}
            )


class Watched(Engine):
    """An engine that reports each piece of its answers. With `apart_s` pieces come that far apart, as those of a large model do."""

    def __init__(self, engine: Engine, note: Callable[[str, str], None] = lambda kind, text: None, apart_s: float = 0.0) -> None:
        self._engine, self._note, self._apart_s = engine, note, apart_s
        self.memory, self.reads_history = memory_length(engine), getattr(engine, "reads_history", False)

    def stream(self, request: Request) -> Stream:
        """See `runtime.engine.Engine.stream`."""
        self._note(view.START, "")
        stream = ask(self._engine, request)
        return Stream(self._pieces(stream), stream.prompt_tokens, stream.goal, stream.unsure)

    def _pieces(self, stream: Stream) -> Iterator[str | Answer]:
        try:
            for piece in stream:
                time.sleep(self._apart_s)
                self._note(view.PIECE, piece)
                yield piece
            answer = stream.answer
        except Exception as error:
            self._note(view.FAILURE, f"{type(error).__name__}: {error}")
            raise
        self._note(view.END, answer.text)
        yield answer


class Driver:
    """Asks a `HybridEngine` over a `Link` to a real server of the `cloud` engine. Close it, or use a `with`.

    `perform` is called with the action of each answer. `on_change` is called, in any thread, when there is something new to see.
    ValueError for a negative `apart_s`, the seconds between two pieces of the cloud.
    """

    def __init__(
        self,
        device: Engine,
        cloud: Engine,
        task: str,
        image: Any,
        apart_s: float,
        perform: Callable[[Action], object],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        if not 0 <= apart_s < 60:
            raise ValueError(f"apart_s is {apart_s}; it is a number of seconds of at least 0")
        self.settings, self.executor = Settings(), view.Executor(perform)
        self.requests: list[view.Request] = []
        self.breaker = Breaker(rest_s=REST_S)
        self._task, self._image, self._on_change = task, image, on_change
        self._log, self._trips = Log(on_change), list[Trip]()
        self._now: view.Request | None = None
        self._open_id = ""
        self._thread: threading.Thread | None = None
        with ExitStack() as stack:
            address = stack.enter_context(running(Watched(cloud, apart_s=apart_s)))
            # engine and client load parts of theirs at the first answer: no request is to wait for that
            _ = RemoteEngine(address, model="cloud").answer(task, image, max_new_tokens=1).answer
            self.link = stack.enter_context(Link(urlsplit(address).port or 0))
            remote = RemoteEngine(f"http://127.0.0.1:{self.link.port}/v1", model="cloud", timeout_s=SILENCE_S, retries=0)
            self._device, self._cloud = Watched(device, self._noting(DEVICE)), Watched(remote, self._noting(CLOUD))
            self._hybrid = self._engine()
            stack.callback(self._end)
            self._open: ExitStack | None = stack.pop_all()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_running(self) -> bool:
        """True until a request has ended, and all that it started."""
        return self._now is not None

    @property
    def current(self) -> view.Request | None:
        """The request that is under way, as it stands."""
        now = self._now
        return None if now is None else replace(now, events=self._log.events())

    @property
    def tally(self) -> view.Tally:
        """Count the ends of the requests."""
        return self.executor.tally({self._open_id})

    def start(self) -> None:
        """Ask under the present settings; `wait` waits for the end. RuntimeError while another is under way, or when closed."""
        if self._open is None:
            raise RuntimeError("this cable was closed; run the cell that opens it again")
        if self.is_running:
            raise RuntimeError("a request is under way; one comes after the other")
        if self._hybrid.policy != POLICIES[self.settings.policy]:
            self._hybrid.close()
            self._hybrid = self._engine()
        self._now = view.Request(len(self.requests) + 1, self.settings.policy, self.settings.in_words())
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._ask,), name="cable", daemon=True)
        self._thread.start()

    def wait(self) -> view.Request:
        """Wait until the request has ended, and all that it started; returns the request."""
        if self._thread is not None:
            self._thread.join()
        return self.requests[-1]

    def cut(self) -> None:
        """Cut the cable: what is under way breaks, nothing passes until it is mended."""
        self.link.cut_now()
        self._log.note(view.CABLE, view.CUT)

    def mend(self) -> None:
        """Plug the cable in again."""
        self.link.mend()
        self._log.note(view.CABLE, view.MEND)

    def close(self) -> None:
        """Close link, server and threads. A request that is under way ends first: without the cable it soon does."""
        if self._open is not None:
            stack, self._open = self._open, None
            stack.close()
            del self._device, self._cloud, self._hybrid  # a notebook's history keeps the widget; the weights must not stay with it

    def _end(self) -> None:
        self.link.cut_now()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        self._hybrid.close()

    def _engine(self) -> HybridEngine:
        policy = POLICIES[self.settings.policy]
        return HybridEngine(self._device, self._cloud, policy, breaker=self.breaker, on_trip=self._trips.append)

    def _noting(self, lane: str) -> Callable[[str, str], None]:
        return lambda kind, text: self._log.note(lane, kind, text)

    def _ask(self) -> None:
        """Run one request from its beginning until nothing of it is open any more."""
        settings, was_cut, self._log = self.settings, self.link.is_cut, Log(self._on_change)
        self.link.fault = FAULTS[settings.fault]
        if not was_cut:  # a connection that was kept would go on under the fault it began with
            self.link.cut_now()
            self.link.mend()
        timer = threading.Timer(settings.cut_at_ms / 1000, self.cut)
        if settings.fault == CUT:
            timer.start()
        try:
            self._exchange()
        finally:
            timer.cancel()
            if timer.is_alive():
                timer.join()
            if settings.fault == CUT and not was_cut and self.link.is_cut:
                self.mend()
            request, self._now = self.current, None
            if request is not None and request.ms is not None:
                self.requests.append(request)
            self._on_change()

    def _exchange(self) -> None:
        """Ask, let the answer's action be performed, and wait for what comes late."""
        self._open_id, error = new_id(), ""
        self.executor.begin(self._open_id)
        try:
            action = self._hybrid.answer(self._task, self._image).answer.action
            assert action is not None, "an answer without an action is none"
            self.executor.act(self._open_id, action)
        except NoAnswerError as problem:
            self.executor.fail(self._open_id)
            error = str(problem)
        finally:
            self._open_id = ""
        trip = self._trips.pop()
        if self._now is not None:
            self._now = replace(self._now, route=trip.route, ms=1000 * trip.seconds, reasons=trip.reasons, error=error)
        self._on_change()
        self._log.wait_for_ends({*trip.routes} - {*trip.reasons} - {trip.route})
