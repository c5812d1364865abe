"""Last writer wins, by the clock of whoever wrote: the method that fails."""

from __future__ import annotations

from typing import NamedTuple


class Stamp(NamedTuple):
    """A time on the writer's own clock in milliseconds; of two equal ones the higher replica wins."""

    clock_ms: float
    replica: int


class ClockStore:
    """A value for each key, and the stamp of its write. A merge keeps the higher stamp and drops the other value without a word."""

    def __init__(self, replica: int) -> None:
        self.replica = replica
        self.values: dict[str, tuple[Stamp, bytes | None]] = {}

    def put(self, key: str, value: bytes | None, clock_ms: float) -> Stamp:
        """Write a value, or None to delete, at a time of this device's clock."""
        stamp = Stamp(clock_ms, self.replica)
        self.values[key] = (stamp, value)
        return stamp

    def get(self, key: str) -> bytes | None:
        """The value of a key; None for one that is not there."""
        return self.values[key][1] if key in self.values else None

    def merge(self, other: ClockStore) -> None:
        """Take over what has a higher stamp there."""
        for key, (stamp, value) in other.values.items():
            if key not in self.values or stamp > self.values[key][0]:
                self.values[key] = (stamp, value)
