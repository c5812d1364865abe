"""Replica numbers: small ones, handed out by one device of the owner when it is paired with another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

LONG_ID_BYTES = 16


def new_long_id(random: Callable[[int], bytes] = os.urandom) -> bytes:
    """A random id of an installation; no two are the same, and it says nothing of its user."""
    return random(LONG_ID_BYTES)


class Registry:
    """The numbers 0, 1, 2, ... of long ids, in the order in which they came; no number is ever used for another.

    Only one device of an owner keeps it: two that hand out numbers would hand out the same one. It belongs where the high-water
    mark lies, outside of backups: an old copy would give a number twice. `long_ids` are those of before.
    """

    def __init__(self, long_ids: Iterable[bytes] = ()) -> None:
        self._numbers: dict[bytes, int] = {}
        for long_id in long_ids:
            self.number(long_id)

    def number(self, long_id: bytes) -> int:
        """The number of an installation, the same each time. ValueError for what is no long id."""
        if len(long_id) != LONG_ID_BYTES:
            raise ValueError(f"a long id has {LONG_ID_BYTES} random bytes, not {len(long_id)}; a user's name is none")
        return self._numbers.setdefault(long_id, len(self._numbers))

    @property
    def long_ids(self) -> tuple[bytes, ...]:
        """The long ids, in the order of their numbers."""
        return tuple(self._numbers)
