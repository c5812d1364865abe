"""Nonces of 12 bytes for AES-GCM: drawn at random up to a bound, or counted behind a random start.

Two messages under one key and one nonce give away the XOR of their texts and the key of the tags (`keystream`). A counter that
lies in a file comes back with the file: who restores a backup counts the same numbers again.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from autoglm_lab import atomic

NONCE_BYTES = 12
START_BYTES = 8  # of a counted nonce; the other four count
BOUND = 2**32  # nonces of one key, NIST SP 800-38D, section 8.3
BLOCK = 1024  # counted nonces that are reserved at a time

Nonces = Callable[[], bytes]
Draw = Callable[[int], bytes]  # so many random bytes


class RandomNonces:
    """Nonces of 96 random bits. ValueError after `bound` of them: then two are alike with a chance of 2**-33, and a new key is due.

    `used` is how many were drawn for this key before.
    """

    def __init__(self, used: int = 0, bound: int = BOUND, draw: Draw = secrets.token_bytes) -> None:
        if not 0 <= used <= bound <= BOUND:
            raise ValueError(f"used is {used} and bound {bound}; one key has 0 to {BOUND:,} random nonces")
        self.used, self.bound, self._draw = used, bound, draw
        self._lock = threading.Lock()

    def __call__(self) -> bytes:
        """Draw a nonce. ValueError when the bound is reached."""
        with self._lock:
            if self.used >= self.bound:
                raise ValueError(f"{self.used:,} nonces were drawn for this key, which is its bound; rotate to a new key")
            self.used += 1
        return self._draw(NONCE_BYTES)


class CountedNonces:
    """Nonces of 8 bytes that are drawn anew at each opening, and 4 bytes that count; what they count is reserved in a file first.

    The file keeps the bound of a key across restarts, a block ahead, so that a crash wastes numbers and never repeats one. That
    nothing repeats after a backup was put back rests on the random start alone: with `draw=bytes`, which draws zeros, this is the
    stored counter of many programs, and `keystream` shows what becomes of it. ValueError for a file that holds no number.
    """

    def __init__(self, path: Path, bound: int = BOUND, draw: Draw = secrets.token_bytes) -> None:
        if not 0 < bound <= BOUND:
            raise ValueError(f"bound is {bound}; four bytes count 1 to {BOUND:,} nonces")
        self.path, self.bound, self._draw = path, bound, draw
        self._next = self._end = 0
        self._start, self._process = b"", -1
        self._lock = threading.Lock()
        self._read_count()

    def __call__(self) -> bytes:
        """Count one nonce. ValueError when the bound is reached or the file is damaged."""
        with self._lock:
            if self._process != os.getpid():  # a forked process must not count on from where its parent stands
                self._start, self._process, self._end = self._draw(START_BYTES), os.getpid(), self._next
            if self._next >= self._end:
                self._next, self._end = self._reserve()
            number, self._next = self._next, self._next + 1
            return self._start + number.to_bytes(NONCE_BYTES - START_BYTES, "big")

    def _reserve(self) -> tuple[int, int]:
        """Write down that a block is used, on the disk, before the first number of it is."""
        with atomic.lock(self.path):
            first = self._read_count()
            if first >= self.bound:
                raise ValueError(f"{first:,} nonces were counted for this key, which is its bound; rotate to a new key")
            end = min(first + BLOCK, self.bound)
            with atomic.file(self.path) as part:
                part.write_text(f"{end}\n", "ascii")
                _flush(part)
            _flush(self.path.absolute().parent)  # the new name, too, outlives a power cut
        return first, end

    def _read_count(self) -> int:
        try:
            count = int(self.path.read_text("ascii"))
        except FileNotFoundError:
            return 0
        except ValueError:
            count = -1
        if not 0 <= count <= BOUND:
            raise ValueError(f"{self.path.name} holds no count of nonces; rotate to a new key and begin a new file")
        return count


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
