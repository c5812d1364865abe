"""Checks of chapter 11."""

from __future__ import annotations

from autoglm_lab.checks.exercise import Exercise

Module = tuple[str, int, float, bool]  # name, bytes, moment of the last use, in use now
Event = tuple[str, object]


def dropped(built: list[Module], wanted: int, room: int) -> list[str] | None:
    """Names in the order in which they are dropped so that `wanted` bytes fit; None if they cannot."""
    total, gone = sum(size for _, size, _, _ in built), list[str]()
    for name, size, _, in_use in sorted(built, key=lambda module: module[2]):
        if total + wanted <= room:
            break
        if not in_use:
            gone.append(name)
            total -= size
    return gone if total + wanted <= room else None


def _in_use_too(built: list[Module], n_bytes: int, room: int) -> list[str] | None:
    return dropped([(name, size, moment, False) for name, size, moment, _ in built], n_bytes, room)


def _newest(built: list[Module], n_bytes: int, room: int) -> list[str] | None:
    return dropped([(name, size, -moment, in_use) for name, size, moment, in_use in built], n_bytes, room)


def _largest(built: list[Module], n_bytes: int, room: int) -> list[str] | None:
    return dropped([(name, size, -float(size), in_use) for name, size, _, in_use in built], n_bytes, room)


def _everything(built: list[Module], n_bytes: int, room: int) -> list[str] | None:
    return [name for name, _, _, in_use in sorted(built, key=lambda module: module[2]) if not in_use]


def _too_few(built: list[Module], n_bytes: int, room: int) -> list[str] | None:
    return dropped(built, 0, room)


def _never_none(built: list[Module], n_bytes: int, room: int) -> list[str] | None:
    right = dropped(built, n_bytes, room)
    return _everything(built, n_bytes, room) if right is None else right


def speed(speeds: list[float], powers: list[float], idle: float, work: float, deadline: float) -> float | None:
    """The speed at which some work takes least energy until its deadline, idling included; None if none is fast enough."""
    cost = {s: p * work / s + idle * (deadline - work / s) for s, p in zip(speeds, powers, strict=True) if work / s <= deadline}
    return min(cost, key=lambda s: cost[s]) if cost else None


def _slowest(speeds: list[float], powers: list[float], idle: float, work: float, deadline: float) -> float | None:
    return min((s for s in speeds if work / s <= deadline), default=None)


def _fastest(speeds: list[float], powers: list[float], idle: float, work: float, deadline: float) -> float | None:
    return max((s for s in speeds if work / s <= deadline), default=None)


def _no_idle(speeds: list[float], powers: list[float], idle: float, work: float, deadline: float) -> float | None:
    return speed(speeds, powers, 0.0, work, deadline)


def _no_deadline(speeds: list[float], powers: list[float], idle: float, work: float, deadline: float) -> float | None:
    cost = {s: (p - idle) * work / s for s, p in zip(speeds, powers, strict=True)}
    return min(cost, key=lambda s: cost[s])


def _times_speed(speeds: list[float], powers: list[float], idle: float, work: float, deadline: float) -> float | None:
    cost = {s: p * work * s for s, p in zip(speeds, powers, strict=True) if work * s <= deadline}
    return min(cost, key=lambda s: cost[s]) if cost else None


def generations(events: list[Event]) -> tuple[dict[object, object], list[set[object]]]:
    """The generation that answers each request, and those in memory after each event."""
    now: object = 1
    generation_of, under_way, memory = dict[object, object](), dict[object, object](), list[set[object]]()
    for kind, what in events:
        if kind == "ask":
            generation_of[what] = under_way[what] = now
        elif kind == "done":
            del under_way[what]
        else:
            now = what
        memory.append({now, *under_way.values()})
    return generation_of, memory


def _dropped_late(events: list[Event]) -> tuple[dict[object, object], list[set[object]]]:
    """Never frees an old generation."""
    generation_of, memory = generations(events)
    union: set[object] = set()
    return generation_of, [union := union | each for each in memory]


def _at_once(events: list[Event]) -> tuple[dict[object, object], list[set[object]]]:
    generation_of, _ = generations(events)
    now: object = 1
    alone = []
    for kind, what in events:
        now = what if kind == "reload" else now
        alone.append({now})
    return generation_of, alone


def _by_the_end(events: list[Event]) -> tuple[dict[object, object], list[set[object]]]:
    generation_of, memory = generations(events)
    now: object = 1
    for kind, what in events:
        if kind == "reload":
            now = what
        elif kind == "done":
            generation_of[what] = now
    return generation_of, memory


BUILT: list[Module] = [
    ("image", 30, 5.0, False),
    ("audio", 10, 2.0, False),
    ("step", 40, 9.0, True),
    ("rows", 20, 1.0, True),
]
FREE: list[Module] = [("page", 10, 9.0, False), ("image", 50, 5.0, False), ("audio", 20, 2.0, False)]
POINTS = ([0.2, 0.4, 0.6, 0.8, 1.0], [1.0, 1.4, 2.2, 4.0, 7.0])
EVENTS: list[Event] = [
    ("ask", "a"),
    ("reload", 2),
    ("ask", "b"),
    ("done", "a"),
    ("reload", 3),
    ("done", "b"),
    ("ask", "c"),
    ("done", "c"),
]

EXERCISES = (
    Exercise(
        "11.dropped",
        dropped,
        (
            (_in_use_too, "a module in use was dropped: whoever uses it would find nothing."),
            (_newest, "these were used last, and will be wanted again soonest: begin with those used longest ago."),
            (_largest, "that begins with the largest; what was used longest ago goes first, whatever its size."),
            (_everything, "more was dropped than is needed: stop as soon as it fits."),
            (_too_few, "the bytes that are wanted have to fit as well: what is there and `wanted` together, against `room`."),
            (_never_none, "where it cannot be made to fit, say None: a list means that there is room now."),
        ),
        ((FREE, 10, 80), (BUILT, 15, 100), (BUILT, 30, 100), (BUILT, 45, 100), ([*BUILT[:2], ("page", 5, 3.0, False)], 20, 50)),
        "the oldest go first, nobody loses what they use, and nothing goes without need.",
        edges=(([], 5, 5), ([], 6, 5), (BUILT, 0, 100)),
    ),
    Exercise(
        "11.speed",
        speed,
        (
            (_slowest, "that is the slowest that is in time; slower takes less power but for longer."),
            (_fastest, "that is the fastest, which sleeps soonest; compare its energy with the others'."),
            (_no_idle, "the processor takes `idle` until the deadline when it is done: count that, too."),
            (_no_deadline, "one that is too slow for the deadline cannot be chosen."),
            (_times_speed, "at half the speed the work takes twice the time: divide by the speed."),
        ),
        (
            (*POINTS, 0.0, 0.3, 2.0),
            (*POINTS, 0.9, 0.3, 2.0),
            (*POINTS, 0.0, 0.9, 1.0),
            (*POINTS, 0.3, 0.1, 0.15),
            (*POINTS, 0.0, 2.0, 1.0),
        ),
        "neither slow nor fast: what takes least until the deadline.",
    ),
    Exercise(
        "11.generations",
        generations,
        (
            (_dropped_late, "an old generation leaves the memory when its last answer is done."),
            (_at_once, "an old generation stays in memory while one of its answers is under way."),
            (_by_the_end, "a request is answered by the generation with which it began, not by that at its end."),
        ),
        ((EVENTS,), ([("ask", "a"), ("ask", "b"), ("reload", 2), ("done", "b"), ("done", "a")],)),
        "each request has one generation, and each generation leaves when it is not needed.",
        edges=(([],), ([("reload", 2)],)),
    ),
)
