"""Messages between two replicas: a heartbeat, a request, and changes. None holds a clock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from autoglm_lab.edge.sync.operation import Entry
from autoglm_lab.edge.sync.version_vector import NOTHING, VersionVector


@dataclass(frozen=True)
class Heartbeat:
    """The sender's vector and a digest of its data: equal vectors are believed to be equal data only when the digests agree."""

    sender: int
    vector: VersionVector
    digest: int  # 64 bits


@dataclass(frozen=True)
class ChangesRequest:
    """Ask for everything that this vector does not know."""

    sender: int
    vector: VersionVector


@dataclass(frozen=True)
class Changes:
    """The keys that changed between two vectors, as they are at the second: a delta interval (Almeida et al. 2015).

    Who knows `base` knows `end` afterwards. An empty base means that the sender's whole data is here; then `floor` are the
    deletions that it no longer lists. ValueError for a base that is not before the end, keys that are not in order, and dots that
    the end does not know.
    """

    sender: int
    base: VersionVector
    end: VersionVector
    entries: tuple[Entry, ...]
    floor: VersionVector = NOTHING

    def __post_init__(self) -> None:
        if not (self.base <= self.end and self.floor <= self.end) or (self.base and self.floor):
            raise ValueError(f"changes from {self.base} to {self.end} above {self.floor} go backwards, or are all data and a part")
        for one, other in pairwise(self.entries):
            if one.key >= other.key:
                raise ValueError(f"the key {other.key!r} comes after {one.key!r}; each key comes once, in order")
        for entry in self.entries:
            self._check_dots(entry)

    def _check_dots(self, entry: Entry) -> None:
        if not entry.dots or len(entry.dots) < len(entry.versions) + len(entry.base_dots):
            raise ValueError(f"{entry.key!r} has no version, or two with one dot")
        for version in entry.versions:
            if version.dot not in self.end or version.dot in self.base:
                raise ValueError(f"{entry.key!r} has {tuple(version.dot)}, which does not lie between {self.base} and {self.end}")
        for dot in entry.base_dots:
            if dot not in self.base:
                raise ValueError(f"{entry.key!r} leaves out the value of {tuple(dot)}, which the base {self.base} does not know")


Message = Heartbeat | ChangesRequest | Changes
