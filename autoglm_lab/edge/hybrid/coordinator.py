"""Decide which of two engines answers a request, event by event.

No thread, no clock, no network: events come in with their times, commands go out. So every order of events can be tried, and the
promise can be checked: exactly one end for each request, an answer or an error, not after its deadline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar

Answer = TypeVar("Answer")
Route = Literal["device", "cloud"]
DEVICE: Route = "device"
CLOUD: Route = "cloud"


@dataclass(frozen=True)
class Policy:
    """Rules for the order in which the engines are asked. ValueError for times that are not above 0.

    With `fail_over` the other one is asked when the first fails. With `hedge_after_s` it is asked as well once the first has taken
    so long (hedged requests; Dean and Barroso 2013). With `escalate_below` a request whose answer by the device is less sure than
    this goes to the cloud; the answer is kept in case the cloud gives none.
    """

    name: str
    first: Route = CLOUD
    deadline_s: float = 8.0
    fail_over: bool = True
    hedge_after_s: float | None = None
    escalate_below: float | None = None

    def __post_init__(self) -> None:
        if not self.deadline_s > 0 or not (self.hedge_after_s is None or self.hedge_after_s > 0):
            raise ValueError(f"{self.name}: deadline_s and hedge_after_s have to be above 0")


DEVICE_ONLY = Policy("device only", DEVICE, fail_over=False)
CLOUD_ONLY = Policy("cloud only", CLOUD, fail_over=False)
FAIL_OVER = Policy("fail-over")
OFFLINE_FIRST = Policy("device first", DEVICE)


class Start(NamedTuple):
    """Ask an engine."""

    route: Route


class Deliver(NamedTuple, Generic[Answer]):
    """Give the caller this answer; nothing else comes after it."""

    route: Route
    answer: Answer


class Fail(NamedTuple):
    """Tell the caller why there is no answer; nothing else comes after it."""

    reason: str


Command: TypeAlias = Start | Deliver[Answer] | Fail


@dataclass
class Coordinator(Generic[Answer]):
    """One request. `open_routes` are the engines that may be asked: without the cloud for what has to stay on the device."""

    policy: Policy
    began: float
    open_routes: frozenset[Route] = frozenset((DEVICE, CLOUD))
    running: set[Route] = field(default_factory=set)
    reasons: dict[Route, str] = field(default_factory=dict)  # why an engine did not answer
    spare: Answer | None = None  # an answer of the device that was not sure enough
    is_done: bool = False

    @property
    def due(self) -> float:
        """The time after which no answer is given."""
        return self.began + self.policy.deadline_s

    def begin(self) -> list[Command[Answer]]:
        """Ask the first engine, or the other where that one may not be asked."""
        first, second = self.policy.first, other(self.policy.first)
        if first in self.open_routes:
            return self._start(first)
        if second in self.open_routes and self.policy.fail_over:
            return self._start(second)
        return self._end(Fail(f"the {first} may not be asked"))

    def wakes_at(self) -> float | None:
        """The time of the next `tick`; None once the request has ended."""
        if self.is_done:
            return None
        hedge = self.policy.hedge_after_s
        hedges = hedge is not None and self._may_start(other(self.policy.first))
        return min(self.due, self.began + hedge) if hedges and hedge is not None else self.due

    def tick(self, now: float) -> list[Command[Answer]]:
        """Take note of the time: hedge, or give up."""
        if self.is_done:
            return []
        if now >= self.due:
            return self._give_up("no answer within the deadline")
        second, hedge = other(self.policy.first), self.policy.hedge_after_s
        if hedge is not None and now >= self.began + hedge and self._may_start(second):
            return self._start(second)
        return []

    def reply(self, route: Route, now: float, answer: Answer, confidence: float = 1.0) -> list[Command[Answer]]:
        """Take an answer of an engine; one that comes when the request has ended is dropped."""
        self.running.discard(route)
        if self.is_done:
            return []
        if now > self.due:
            return self._give_up("no answer within the deadline")
        limit = self.policy.escalate_below
        if route == DEVICE and limit is not None and confidence < limit and (self.running or self._may_start(CLOUD)):
            self.spare = answer
            return [] if self.running else self._start(CLOUD)
        return self._end(Deliver(route, answer))

    def failure(self, route: Route, now: float, reason: str) -> list[Command[Answer]]:
        """Take note that an engine does not answer."""
        self.running.discard(route)
        self.reasons[route] = reason
        if self.is_done:
            return []
        if now >= self.due:
            return self._give_up("no answer within the deadline")
        if self.running:
            return []
        if self.policy.fail_over and self.spare is None and self._may_start(other(route)):
            return self._start(other(route))
        return self._give_up("no engine answered")

    def _may_start(self, route: Route) -> bool:
        return route in self.open_routes and route not in self.running and route not in self.reasons and self._unasked(route)

    def _unasked(self, route: Route) -> bool:
        return route != DEVICE or self.spare is None

    def _start(self, route: Route) -> list[Command[Answer]]:
        self.running.add(route)
        return [Start(route)]

    def _give_up(self, reason: str) -> list[Command[Answer]]:
        if self.spare is not None:
            return self._end(Deliver(DEVICE, self.spare))
        details = "; ".join(f"{route}: {why}" for route, why in self.reasons.items())
        return self._end(Fail(f"{reason} ({details})" if details else reason))

    def _end(self, command: Command[Answer]) -> list[Command[Answer]]:
        self.is_done = True
        return [command]


def other(route: Route) -> Route:
    """The other engine."""
    return CLOUD if route == DEVICE else DEVICE
