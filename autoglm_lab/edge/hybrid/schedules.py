"""Random schedules for the promises of a hybrid engine: each request ends once and in time, each action is performed once.

The coordinator sees replies, failures and silence in any order. Requests that wait in an outbox go over a link that loses and
repeats them, from a program that ends at any point. Both are played event by event, without threads, clocks or a network.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, TypeAlias

from autoglm_lab.edge.hybrid.coordinator import CLOUD, DEVICE, Command, Coordinator, Deliver, Fail, Policy, Route, Start
from autoglm_lab.edge.hybrid.outbox import Outbox, Receiver, new_id

SCHEDULES = 10_000
BOTH: frozenset[Route] = frozenset((DEVICE, CLOUD))
ANSWER = "answer"
OUTCOMES = (ANSWER, ANSWER, ANSWER, "cut", "refused")
OPEN_ROUTES = (BOTH, BOTH, BOTH, frozenset((DEVICE,)), frozenset((CLOUD,)), frozenset[Route]())
LINK = ("sent", "lost before", "lost after", "crash before", "crash after", "twice")
FAULTS = ("endless", "twice", "late", "lost", "forbidden", "invented")
REQUESTS, MOST_FATES = 5, 30  # in an outbox, and of its link
ROUNDING_S = 1e-9
Fate: TypeAlias = tuple[float | None, str]  # seconds until it comes (None: never); an answer, or why there is none
End: TypeAlias = Deliver[Route] | Fail


@dataclass(frozen=True)
class Schedule:
    """One request: its policy, the fate of each engine if it is asked, the engines that may be, and how sure the device is."""

    policy: Policy
    fates: Mapping[Route, Fate]
    open_routes: frozenset[Route] = BOTH
    confidence: float = 1.0

    @classmethod
    def draw(cls, rng: random.Random) -> Schedule:
        """Draw a request with any policy; some answers come at the very moment at which the engine gives up or hedges."""
        deadline_s = rng.uniform(0.1, 10)
        hedge_after_s = rng.choice((None, rng.uniform(0.01, 1.2 * deadline_s)))
        escalate_below = rng.choice((None, rng.random()))
        policy = Policy("any", rng.choice((DEVICE, CLOUD)), deadline_s, rng.random() < 0.5, hedge_after_s, escalate_below)
        in_time, later = (rng.uniform(0, deadline_s) for _ in range(5)), rng.uniform(deadline_s, 2 * deadline_s)
        moments = (None, deadline_s, hedge_after_s, *in_time, later)
        routes: tuple[Route, ...] = (DEVICE, CLOUD)
        fates = {route: (rng.choice(moments), rng.choice(OUTCOMES)) for route in routes}
        return cls(policy, fates, rng.choice(OPEN_ROUTES), rng.random())


@dataclass
class Course:
    """The ends of a request, the engines that were asked, and the answers that came, each with its second."""

    ends: list[tuple[float, End]] = field(default_factory=list)
    starts: list[tuple[float, Route]] = field(default_factory=list)
    answers: list[tuple[float, Route]] = field(default_factory=list)

    @property
    def starts_by_route(self) -> Counter[Route]:
        """The number of times each engine was asked."""
        return Counter(route for _, route in self.starts)


def play(schedule: Schedule) -> Course:
    """Let engines answer, fail or stay silent, until nothing is left to happen; also what comes after the end."""
    coordinator = Coordinator[Route](schedule.policy, 0.0, schedule.open_routes)
    course, events = Course(), list[tuple[float, int, Route, str]]()

    def perform(commands: Iterable[Command[Route]], now: float) -> None:
        for command in commands:
            if isinstance(command, Start):
                course.starts.append((now, command.route))
                delay_s, outcome = schedule.fates[command.route]
                if delay_s is not None:
                    heappush(events, (now + delay_s, len(course.starts), command.route, outcome))
            else:
                course.ends.append((now, command))

    perform(coordinator.begin(), 0.0)
    while True:
        wakes_at = coordinator.wakes_at()
        if events and (wakes_at is None or events[0][0] <= wakes_at):
            now, _, route, outcome = heappop(events)
            if outcome == ANSWER:
                course.answers.append((now, route))
                perform(coordinator.reply(route, now, route, schedule.confidence if route == DEVICE else 1.0), now)
            else:
                perform(coordinator.failure(route, now, outcome), now)
        elif wakes_at is not None:
            perform(coordinator.tick(wakes_at), wakes_at)
        else:
            return course


def faults(schedule: Schedule, course: Course) -> set[str]:
    """Name the broken promises (`FAULTS`).

    Endless: no end. Twice: several ends, or an engine that was asked again. Late: an end after the deadline. Lost: no answer
    although one came in time. Forbidden: an engine that may not be asked. Invented: an answer that nobody gave.
    """
    deadline_s = schedule.policy.deadline_s
    deliveries = [(now, end.route) for now, end in course.ends if isinstance(end, Deliver)]
    arrivals = {route: now for now, route in course.answers}
    is_broken = {
        "endless": not course.ends,
        "twice": len(course.ends) > 1 or max(course.starts_by_route.values(), default=0) > 1,
        "late": any(now > deadline_s + ROUNDING_S for now, _ in course.ends),
        "lost": not deliveries and min(arrivals.values(), default=math.inf) <= deadline_s,
        "forbidden": not set(course.starts_by_route) <= schedule.open_routes,
        "invented": any(arrivals.get(route, math.inf) > now for now, route in deliveries),
    }
    return {name for name in FAULTS if is_broken[name]}


@dataclass
class MemoryStore:
    """A record store in memory; it outlives the program of a schedule."""

    records: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def put(self, table: str, id: str, data: bytes) -> None:
        """Keep a record."""
        self.records[table, id] = data

    def get(self, table: str, id: str) -> bytes:
        """Read a record. KeyError when there is none."""
        return self.records[table, id]

    def ids(self, table: str) -> list[str]:
        """List the records of a table, in order."""
        return sorted(id for name, id in self.records if name == table)

    def delete(self, table: str, id: str) -> None:
        """Forget a record."""
        del self.records[table, id]


class Crash(BaseException):
    """The program ends at this point."""


@dataclass
class Wire:
    """A link between an outbox and its receiver: each sending has the next of the fates (`LINK`); it arrives when none is left."""

    receive: Callable[[str, bytes], bytes]
    fates: deque[str]
    fate: str = LINK[0]
    replies: dict[str, bytes] = field(default_factory=dict)

    def send(self, request_id: str, request: bytes) -> bytes:
        """Send a request; ConnectionError where it or its reply is lost, Crash where the program ends before the reply is noted."""
        self.fate = self.fates.popleft() if self.fates else LINK[0]
        if self.fate == "lost before":
            raise ConnectionError("cut")
        reply = self.receive(request_id, request)
        if self.fate == "twice":
            self.receive(request_id, request)
        if self.fate == "lost after":
            raise ConnectionError("cut")
        if self.fate == "crash before":
            raise Crash
        return reply

    def note(self, request_id: str, reply: bytes) -> None:
        """Note a reply; Crash where the program ends before the request is forgotten."""
        self.replies[request_id] = reply
        if self.fate == "crash after":
            raise Crash


def send_all(requests: Sequence[bytes], fates: Iterable[str], *, has_ids: bool = True) -> tuple[list[bytes], dict[str, bytes]]:
    """Send requests from an outbox until each has its reply: the actions in the order of their performance, and the replies by id.

    The program ends and starts again as the fates say. Without ids the receiver does not know a copy, and performs it again.
    """
    store, actions = MemoryStore(), list[bytes]()

    def perform(request: bytes) -> bytes:
        actions.append(request)
        return b"done " + request

    receiver = Receiver(perform, MemoryStore())
    wire = Wire(receiver.receive if has_ids else lambda _, request: perform(request), deque(fates))
    for second, request in enumerate(requests):
        Outbox(store).add(new_id(second), request)
    while Outbox(store).pending():
        try:
            Outbox(store).flush(wire.send, wire.note)
        except Crash:
            continue
    return actions, wire.replies


@dataclass(frozen=True)
class Tally:
    """Counts over many schedules, each of one request to two engines and of `REQUESTS` that wait in an outbox.

    Of the requests to engines: those that end with an answer, with an error, and with each of the faults. Of those in an outbox:
    their actions, those that are never performed, and performances beyond the first.
    """

    n: int
    n_answers: int
    n_errors: int
    n_endless: int
    n_twice: int
    n_late: int
    n_lost: int
    n_forbidden: int
    n_invented: int
    n_actions: int
    n_actions_lost: int
    n_actions_twice: int
    n_unsound: int
    first_unsound: int | None  # its seed

    def data(self) -> dict[str, Any]:
        """Give the counts as JSON values."""
        return vars(self)


def tally(seeds: Iterable[int], *, has_ids: bool = True) -> Tally:
    """Play one schedule for each seed and count."""
    counts, unsound = Counter[str](), list[int]()
    requests = [bytes([number]) for number in range(REQUESTS)]
    for seed in seeds:
        rng = random.Random(seed)
        schedule = Schedule.draw(rng)
        course = play(schedule)
        kinds = faults(schedule, course)
        counts.update(("schedules", *kinds))
        counts["answers"] += any(isinstance(end, Deliver) for _, end in course.ends)
        counts["errors"] += any(isinstance(end, Fail) for _, end in course.ends)
        actions, _ = send_all(requests, rng.choices(LINK, k=rng.randrange(MOST_FATES + 1)), has_ids=has_ids)
        times = Counter(actions)
        lost, again = sum(request not in times for request in requests), len(actions) - len(times)
        counts["actions lost"] += lost
        counts["actions twice"] += again
        if kinds or lost or again:
            unsound.append(seed)
    return Tally(
        n=counts["schedules"],
        **{f"n_{name}": counts[name] for name in ("answers", "errors", *FAULTS)},
        n_actions=counts["schedules"] * REQUESTS,
        n_actions_lost=counts["actions lost"],
        n_actions_twice=counts["actions twice"],
        n_unsound=len(unsound),
        first_unsound=unsound[0] if unsound else None,
    )


def report(schedules: int = SCHEDULES) -> dict[str, Any]:
    """Count over so many schedules, with ids and without: the same figures for the same number."""
    return {"schedules": tally(range(schedules)).data(), "schedules_without_ids": tally(range(schedules), has_ids=False).data()}
