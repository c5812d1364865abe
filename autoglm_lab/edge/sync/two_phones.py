"""Two phones that are on and off line write the same note: what clocks make of it, and what dots make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from autoglm_lab.edge.sync.by_clock import ClockStore
from autoglm_lab.edge.sync.store import Store

KEY = "note"


class TimelineEvent(NamedTuple):
    """A write of one of the phones, or of none when the line comes back; and the state of the line from now on."""

    second: float
    phone: int | None
    is_online: bool


@dataclass(frozen=True)
class Habits:
    """Mean seconds between two writes, mean length of a stretch with and without a line; all exponential."""

    write_s: float = 40.0
    online_s: float = 300.0
    offline_s: float = 120.0


@dataclass(frozen=True)
class ClockCount:
    """Counts of one timeline. An ordered pair is a write and one that its author had on the screen, earlier or now."""

    n_writes: int
    n_lost: int  # gone from all phones, though nobody replaced them knowingly
    n_pairs: int  # of concurrent writes that met
    n_later_lost: int  # of those, pairs whose later write is gone, by true time
    n_ordered: int  # pairs that met
    n_reverted: int  # of those, pairs whose first write came back over its successor


def timeline(habits: Habits, count: int, seed: int) -> Iterator[TimelineEvent]:
    """Draw `count` writes of two phones at random, while the line comes and goes."""
    rng = np.random.default_rng([seed, 31])
    now, switch, is_online = 0.0, float(rng.exponential(habits.online_s)), True
    for _ in range(count):
        now += float(rng.exponential(habits.write_s))
        while switch <= now:
            is_online = not is_online
            if is_online:
                yield TimelineEvent(switch, None, True)
            switch += float(rng.exponential(habits.online_s if is_online else habits.offline_s))
        yield TimelineEvent(now, int(rng.integers(2)), is_online)


class _Account:
    """True times, and what each author had on the screen, of all writes of a timeline."""

    def __init__(self) -> None:
        self.ancestors: list[frozenset[int]] = []

    def add(self, over: set[int]) -> int:
        self.ancestors.append(frozenset(over).union(*(self.ancestors[number] for number in over)))
        return len(self.ancestors) - 1


def count_by_clock(habits: Habits, skew_s: float, count: int, seed: int) -> ClockCount:
    """Let clocks decide; the second phone's clock is `skew_s` seconds ahead, or behind for an odd seed."""
    phones, account, skews = [ClockStore(0), ClockStore(1)], _Account(), (0.0, skew_s if seed % 2 == 0 else -skew_s)
    meetings = Counter[tuple[bool, bool]]()  # is ordered, is the second one lost
    for event in timeline(habits, count, seed):
        if event.phone is not None:
            own = phones[event.phone]
            over = own.get(KEY)
            number = account.add({int(over)} if over else set())
            own.put(KEY, b"%d" % number, 1000 * (event.second + skews[event.phone]))
        if event.is_online:
            before = {int(value) for phone in phones if (value := phone.get(KEY))}
            for phone in (0, 1):
                phones[phone].merge(phones[1 - phone])
            if len(before) == 2:
                first, second = sorted(before)  # numbers rise with true time
                meetings[first in account.ancestors[second], phones[0].get(KEY) == b"%d" % first] += 1
    later_lost, reverted = meetings[False, True], meetings[True, True]
    pairs, ordered = meetings[False, False] + later_lost, meetings[True, False] + reverted
    return ClockCount(count, pairs + reverted, pairs, later_lost, ordered, reverted)


@dataclass(frozen=True)
class DotCount:
    """Counts of the same timeline without clocks: conflicts that were shown, and writes gone that nobody replaced knowingly."""

    n_writes: int
    n_conflicts: int
    n_lost: int


def count_by_dots(habits: Habits, count: int, seed: int) -> DotCount:
    """Let the stores keep both; who writes next has read what stands side by side, and chooses."""
    phones, predecessors, conflicts, number = [Store(0, [1]), Store(1, [0])], set[bytes](), set[tuple[bytes, ...]](), 0
    for event in timeline(habits, count, seed):
        if event.phone is not None:
            reading = phones[event.phone].get(KEY)
            predecessors |= set(reading.values)
            phones[event.phone].resolve(reading, b"%d" % number)
            number += 1
        if event.is_online:
            exchange(*phones)
            conflicts |= {reading.values for reading in phones[0].conflicts()}
    exchange(*phones)
    gone = {b"%d" % each for each in range(count)} - predecessors - set(phones[0].get(KEY).values)
    return DotCount(count, len(conflicts), len(gone))


def exchange(one: Store, other: Store) -> None:
    """Make two stores equal, without a line."""
    for source, target in ((one, other), (other, one)):
        target.merge(source.changes_since(target.vector))
