"""A write under its dot, and what a key holds: one version, or several side by side when nobody who wrote knew of the others."""

from __future__ import annotations

from dataclasses import dataclass

from autoglm_lab.edge.sync.version_vector import Dot

MOST_KEY_BYTES, MOST_VALUE_BYTES = 255, 1 << 20


@dataclass(frozen=True)
class Version:
    """A value under the dot of the write that made it; None is a deletion, a tombstone. ValueError above 1 MiB."""

    dot: Dot
    value: bytes | None

    def __post_init__(self) -> None:
        if self.value is not None and len(self.value) > MOST_VALUE_BYTES:
            raise ValueError(f"the value has {len(self.value):,} bytes, {MOST_VALUE_BYTES:,} are the most; put it into a file")


@dataclass(frozen=True)
class Entry:
    """All versions that a sender has under one key. Of those that the receiver knows already only the dots are there."""

    key: str
    versions: tuple[Version, ...]
    base_dots: tuple[Dot, ...] = ()

    @property
    def dots(self) -> frozenset[Dot]:
        """The dots of all of them."""
        return frozenset((*self.base_dots, *(version.dot for version in self.versions)))


@dataclass(frozen=True)
class Reading:
    """The versions that a reader saw under a key; a write over them replaces these and no others.

    A deletion does not stand beside values: who wrote without knowing of it wins.
    """

    key: str
    versions: tuple[Version, ...]

    @property
    def values(self) -> tuple[bytes, ...]:
        """The different values, in the order of their dots; empty for a key that is not there."""
        return tuple(dict.fromkeys(version.value for version in self.versions if version.value is not None))

    @property
    def is_conflict(self) -> bool:
        """True when the user has to choose."""
        return len(self.values) > 1

    @property
    def value(self) -> bytes | None:
        """The value, None for a key that is not there. ValueError for a conflict: there is no value, there are several."""
        if self.is_conflict:
            raise ValueError(f"{self.key!r} has {len(self.values)} values side by side; show `values` and `resolve` by a choice")
        return self.values[0] if self.values else None


def check_key(key: str) -> str:
    """Give back a key that can be sent. ValueError for an empty one, or one above 255 bytes in UTF-8."""
    if not 1 <= len(key.encode()) <= MOST_KEY_BYTES:
        raise ValueError(f"the key {key[:20]!r} has {len(key.encode())} bytes; 1 to {MOST_KEY_BYTES} are possible")
    return key
