"""A replica's data: values under keys, conflicts side by side, and the deltas that make another replica equal.

The rule of a merge is that of the optimised observed-remove set (Bieniusa et al. 2012) and of server-wide dotted clocks
(Goncalves et al. 2015): a version that I have and you do not list is gone if your vector knows its dot, for then you have seen it
replaced; if your vector does not know it, it is news to you. So no version has to carry a vector of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import reduce

from autoglm_lab.edge.sync.message import Changes
from autoglm_lab.edge.sync.operation import Entry, Reading, Version, check_key
from autoglm_lab.edge.sync.version_vector import NOTHING, Dot, VersionVector


class Store:
    """One replica. Writes need no network; `changes_since` and `merge` do the rest, in any order and as often as you like.

    `replica` is the small number that this device got when it was paired, `members` are those of the others. Reading, writing and
    merging are not thread-safe. `needs_new_id` is true once the store turns out to be an old copy of itself: it still reads and
    merges, and writes only after `renew`.
    """

    def __init__(self, replica: int, members: Iterable[int] = ()) -> None:
        self.replica = replica
        self.needs_new_id = False
        self.vector = NOTHING  # the writes that this replica knows
        self.floor = NOTHING  # the deletions whose tombstones it has dropped
        self.peer_vectors = {member: NOTHING for member in members if member != replica}  # as far as is known
        self.former_members: set[int] = set()
        self._versions: dict[str, tuple[Version, ...]] = {}
        self._digest = 0

    # Reading

    def get(self, key: str) -> Reading:
        """Read a key: its value, or all values that stand side by side."""
        return Reading(key, self._versions.get(key, ()))

    def keys(self) -> list[str]:
        """List the keys that have a value, in order."""
        return [key for key in sorted(self._versions) if self.get(key).values]

    def conflicts(self) -> list[Reading]:
        """List the keys between whose values the user has to choose."""
        return [reading for key in self.keys() if (reading := self.get(key)).is_conflict]

    @property
    def digest(self) -> int:
        """Digest, 64 bits, of all values under their keys and dots: replicas that know the same writes have the same."""
        return self._digest

    @property
    def n_tombstones(self) -> int:
        """The number of deletions that are still remembered."""
        return sum(version.value is None for versions in self._versions.values() for version in versions)

    # Writing

    def put(self, key: str, value: bytes, over: Reading | None = None) -> Dot:
        """Write a value over what `over` has read; without it, over what the key holds now.

        ValueError when that is a conflict, when this store needs a new replica number, or for a key or value that is too long.
        """
        return self._write(key, value, over)

    def delete(self, key: str, over: Reading | None = None) -> Dot | None:
        """Delete what `over` has read, as `put` writes; None where nothing is there."""
        if not (over or self.get(key)).values:
            return None
        return self._write(key, None, over)

    def resolve(self, reading: Reading, value: bytes | None) -> Dot:
        """Replace all versions that were read by the user's choice; one that came in meanwhile stays beside it. Errors as `put`."""
        return self._write(reading.key, value, reading)

    def _write(self, key: str, value: bytes | None, over: Reading | None) -> Dot:
        if self.needs_new_id:
            raise ValueError(
                f"this store is an old copy: replica {self.replica} has written more than it knows, and would name new writes like "
                "lost ones; pair it again, `renew` with the new number, then write"
            )
        check_key(key)
        reading = over or self.get(key)
        if reading.key != key:
            raise ValueError(f"what was read is {reading.key!r}, what is to be written {key!r}")
        if over is None:
            _ = reading.value  # refuses a conflict
        dot = self.vector.next_dot(self.replica)
        dots = {version.dot for version in reading.versions}
        others = [version for version in self._versions.get(key, ()) if version.dot not in dots]
        self._set(key, [*others, Version(dot, value)])
        self.vector = self.vector.add(dot)
        return dot

    # Exchanging

    def changes_since(self, vector: VersionVector) -> Changes:
        """Changes for a peer that knows `vector`: keys with a new version, without the values that it has.

        A copy of everything if tombstones were dropped that it may need.
        """
        base = vector.meet(self.vector) if self.floor <= vector else NOTHING
        news = {key: versions for key, versions in self._versions.items() if any(version.dot not in base for version in versions)}
        entries = tuple(_entry(key, news[key], base) for key in sorted(news))
        return Changes(self.replica, base, self.vector, entries, NOTHING if base else self.floor)

    def merge(self, changes: Changes) -> bool:
        """Take in a replica's changes; False, and nothing happens, when they build on writes that this store does not know.

        Commutative, associative and idempotent. ValueError, and nothing happens, for a sender that is no member, or for a dot that
        stands for two different writes.
        """
        self.check_member(changes.sender)
        for entry in changes.entries:
            self._check_dots(entry)
        if not changes.base <= self.vector:
            return False
        entries = {entry.key: entry for entry in changes.entries}
        for key in entries.keys() | (set() if changes.base else self._versions.keys()):
            self._merge_entry(entries.get(key, Entry(key, ())), changes.end)
        self._watch_own_counter(changes.end)
        self.vector, self.floor = self.vector.merge(changes.end), self.floor.merge(changes.floor)
        self.record_peer(changes.sender, changes.end)
        return True

    def _merge_entry(self, entry: Entry, end: VersionVector) -> None:
        remaining = [v for v in self._versions.get(entry.key, ()) if v.dot in entry.dots or v.dot not in end]
        new = [version for version in entry.versions if version.dot not in self.vector]
        self._set(entry.key, [*remaining, *new])

    def _check_dots(self, entry: Entry) -> None:
        own = {version.dot: version.value for version in self._versions.get(entry.key, ())}
        for version in entry.versions:
            if own.get(version.dot, version.value) != version.value:
                raise ValueError(
                    f"write {version.dot.counter} of replica {version.dot.replica} stands for two values of {entry.key!r}: "
                    "two devices use this number, or one was restored from a backup; pair one of them again"
                )

    # Membership

    def check_member(self, sender: int) -> None:
        """Raise a ValueError for a sender that is no member, or is this replica itself."""
        if sender == self.replica:
            raise ValueError(f"the message is from replica {sender}, which is this one; pair one of the two again")
        if sender not in self.peer_vectors:
            state = "was removed" if sender in self.former_members else "is unknown"
            raise ValueError(f"replica {sender} {state}; pair it with this device first (members are {sorted(self.peer_vectors)})")

    def record_peer(self, sender: int, vector: VersionVector) -> None:
        """Note what a peer knows; replicas in its vector are members from now on. ValueError for a sender that is no member."""
        self.check_member(sender)
        self._watch_own_counter(vector)
        for replica in vector.counters.keys() - self.former_members - {self.replica}:
            self.peer_vectors.setdefault(replica, NOTHING)
        self.peer_vectors[sender] = self.peer_vectors[sender].merge(vector)

    def _watch_own_counter(self, vector: VersionVector) -> None:
        if vector[self.replica] > self.vector[self.replica]:
            self.needs_new_id = True

    def admit(self, replica: int) -> None:
        """Make a replica a member, as pairing does. ValueError for one that was removed: numbers are not used twice."""
        if replica in self.former_members:
            raise ValueError(f"replica {replica} was removed; a device that comes back gets a new number")
        if replica != self.replica:
            self.peer_vectors.setdefault(replica, NOTHING)

    def remove(self, replica: int) -> None:
        """Wait no longer for a device that is gone; its writes and its counter stay."""
        self.peer_vectors.pop(replica, None)
        self.former_members.add(replica)

    def renew(self, replica: int) -> None:
        """Go on under a new number. ValueError for one that this store has met."""
        if replica == self.replica or replica in self.vector.counters or replica in self.peer_vectors.keys() | self.former_members:
            raise ValueError(f"replica number {replica} is in use; take one that was never handed out")
        self.remove(self.replica)
        self.replica, self.needs_new_id = replica, False

    # Deletions

    @property
    def stable(self) -> VersionVector:
        """The writes that every member is known to know."""
        return reduce(VersionVector.meet, self.peer_vectors.values(), self.vector)

    def compact(self) -> int:
        """Drop the tombstones that every member knows, and count them.

        Should a member come back to an earlier state, or one turn up that was not known, it is behind the floor and gets all data.
        """
        stable, before = self.stable, self.n_tombstones
        for key, versions in list(self._versions.items()):
            dots = [version.dot for version in versions if version.value is None and version.dot in stable]
            self.floor = reduce(VersionVector.merge, (VersionVector(dict([dot])) for dot in dots), self.floor)
            self._set(key, [version for version in versions if version.dot not in dots])
        return before - self.n_tombstones

    # Keeping

    def take_over(self, changes: Changes) -> None:
        """Fill an empty store with all data of an earlier one. ValueError when it is not empty, or these are not all data."""
        if self.vector or changes.base:
            raise ValueError("only an empty store takes over data, and only all of them")
        for entry in changes.entries:
            self._set(entry.key, entry.versions)
        self.vector, self.floor = changes.end, changes.floor

    def entries(self) -> tuple[Entry, ...]:
        """All keys with their versions, tombstones too, in order."""
        return tuple(Entry(key, versions) for key, versions in sorted(self._versions.items()))

    def _set(self, key: str, versions: Iterable[Version]) -> None:
        before, after = self._versions.pop(key, ()), tuple(sorted(versions, key=lambda version: version.dot))
        if after:
            self._versions[key] = after
        self._digest ^= _fingerprint(key, before) ^ _fingerprint(key, after)


def _entry(key: str, versions: tuple[Version, ...], base: VersionVector) -> Entry:
    new = tuple(version for version in versions if version.dot not in base)
    return Entry(key, new, tuple(version.dot for version in versions if version.dot in base))


def _fingerprint(key: str, versions: Iterable[Version]) -> int:
    """Hash the values of a key to 64 bits, 0 where there are none; deletions do not count: some replicas dropped them."""
    live = [(*version.dot, version.value) for version in versions if version.value is not None]
    return int.from_bytes(hashlib.blake2b(repr((key, live)).encode(), digest_size=8).digest(), "big") if live else 0
