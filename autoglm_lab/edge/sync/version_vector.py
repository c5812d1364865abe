"""Version vectors: the writes that a replica knows, as one counter for each replica that ever wrote (Parker et al. 1983)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

MOST_REPLICA, MOST_COUNTER = 2**16 - 1, 2**53 - 1  # a counter stays exact where numbers are floats, as in a browser


class Dot(NamedTuple):
    """The name of one write: the replica that made it, and its count of writes, from 1 (Preguica et al. 2010)."""

    replica: int
    counter: int


class Order(Enum):
    """The relation of two vectors; no clock is asked."""

    EQUAL = "equal"
    BEFORE = "before"
    AFTER = "after"
    CONCURRENT = "concurrent"


@dataclass(frozen=True)
class VersionVector:
    """Number of known writes of each replica, all from the first on; a replica that is missing has none.

    ValueError for a replica outside 0 to 65,535, or a counter outside 1 to 2^53 - 1.

    >>> mine, yours = VersionVector({0: 3, 1: 1}), VersionVector({0: 2, 1: 4})
    >>> mine.compare(yours), Dot(1, 3) in yours, mine.merge(yours)[1]
    (<Order.CONCURRENT: 'concurrent'>, True, 4)
    """

    counters: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for replica, counter in self.counters.items():
            if not (0 <= replica <= MOST_REPLICA and 1 <= counter <= MOST_COUNTER):
                raise ValueError(f"replica {replica} with counter {counter} is none: 0 to {MOST_REPLICA}, and 1 to 2^53 - 1")
        object.__setattr__(self, "counters", MappingProxyType(dict(sorted(self.counters.items()))))

    def __getitem__(self, replica: int) -> int:
        return self.counters.get(replica, 0)

    def __contains__(self, dot: Dot) -> bool:
        return dot.counter <= self[dot.replica]

    def __le__(self, other: VersionVector) -> bool:
        return all(counter <= other[replica] for replica, counter in self.counters.items())

    def __bool__(self) -> bool:
        return bool(self.counters)

    def __str__(self) -> str:
        """Write it as people do: {0:3, 1:1}."""
        return "{" + ", ".join(f"{replica}:{counter}" for replica, counter in self.counters.items()) + "}"

    def compare(self, other: VersionVector) -> Order:
        """Compare with another vector: a vector is before another one that knows all its writes and more."""
        behind, ahead = self <= other, other <= self
        if behind:
            return Order.EQUAL if ahead else Order.BEFORE
        return Order.AFTER if ahead else Order.CONCURRENT

    def merge(self, other: VersionVector) -> VersionVector:
        """The least vector that knows the writes of both."""
        return VersionVector({r: max(self[r], other[r]) for r in self.counters.keys() | other.counters.keys()})

    def meet(self, other: VersionVector) -> VersionVector:
        """The greatest vector whose writes both know."""
        return VersionVector({r: min(self[r], other[r]) for r in self.counters.keys() & other.counters.keys()})

    def next_dot(self, replica: int) -> Dot:
        """The name of a replica's next write."""
        return Dot(replica, self[replica] + 1)

    def add(self, dot: Dot) -> VersionVector:
        """The vector with one more write. ValueError for a dot that is not the next one: a gap would claim what is not known."""
        if dot != self.next_dot(dot.replica):
            raise ValueError(f"write {dot.counter} of replica {dot.replica} does not follow {self[dot.replica]}; take next_dot")
        return VersionVector({**self.counters, dot.replica: dot.counter})


NOTHING = VersionVector()
