"""Pages of a mapped file that a process has in memory, and those that it has written: read from Linux, page by page."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
ABSENT, CLEAN, WRITTEN = 0, 1, 2
PRESENT, OF_FILE = 1 << 63, 1 << 61  # bits of an entry in pagemap
PAGEOUT = 21  # advice of madvise: take these pages away if nobody needs them
NOT_TOLD = "this system does not tell which pages are in memory; Linux does"


@dataclass(frozen=True)
class FileMapping:
    """A part of this process's memory that a file stands behind."""

    path: str
    begin: int
    end: int
    offset: int = 0  # of its first byte in the file

    @property
    def pages(self) -> int:
        """Number of its pages."""
        return (self.end - self.begin) // PAGE

    def states(self) -> NDArray[np.uint8]:
        """State of each page [pages]: absent, clean (as the file has it) or written (this process's own copy).

        ValueError if unknown.
        """
        try:
            with open("/proc/self/pagemap", "rb") as file:
                file.seek(8 * (self.begin // PAGE))
                entries = np.frombuffer(file.read(8 * self.pages), np.uint64)
        except OSError:
            raise ValueError(NOT_TOLD) from None
        if len(entries) != self.pages:
            raise ValueError(NOT_TOLD)
        present, of_file = (entries & np.uint64(bit) != 0 for bit in (PRESENT, OF_FILE))
        return np.where(present, np.where(of_file, CLEAN, WRITTEN), ABSENT).astype(np.uint8)

    def press(self, share: float = 1.0) -> None:
        """Ask the system to take away this share of the pages, from the front: clean ones go, written ones have nowhere to go.

        ValueError for a share outside 0 to 1, or where the system cannot.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"the share is {share}; it lies between 0 and 1")
        length = round(share * self.pages) * PAGE
        advise = getattr(ctypes.CDLL(None, use_errno=True), "madvise", None)
        if advise is None or (length and advise(ctypes.c_void_p(self.begin), ctypes.c_size_t(length), PAGEOUT)):
            raise ValueError("this system does not take pages away when it is asked; Linux 5.4 and newer does")


def press(parts: Iterable[FileMapping], share: float = 1.0) -> None:
    """Press several parts. What was just written to their files goes to the disk first: until then no page of them is clean.

    ValueError as `FileMapping.press`.
    """
    ordered = list(parts)
    for path in sorted({part.path for part in ordered if part.path}):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    for part in ordered:
        part.press(share)


def mappings(name: str) -> list[FileMapping]:
    """Parts of this process's memory behind which a file of this name stands, as they lie in their files. ValueError if unknown."""
    return sorted((each for each in _mapped() if Path(each.path).name == name), key=lambda each: (each.path, each.offset))


def _mapped() -> Iterator[FileMapping]:
    try:
        text = Path("/proc/self/maps").read_text()
    except OSError:
        raise ValueError(NOT_TOLD) from None
    for line in text.splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ [1-9]\d* +(/.*)$", line):
            begin, end, offset = (int(number, 16) for number in match.groups()[:3])
            yield FileMapping(match[4], begin, end, offset)


def in_squares(states: NDArray[np.uint8], bytes_each: int = 64 * 1024) -> NDArray[np.float64]:
    """Shares [squares, 3] of absent, clean and written pages in each square of so many bytes."""
    each = max(1, bytes_each // PAGE)
    padded = np.concatenate([states, np.full(-len(states) % each, 255, np.uint8)]).reshape(-1, each)
    counts = np.stack([(padded == state).sum(axis=1) for state in (ABSENT, CLEAN, WRITTEN)], axis=1)
    return np.asarray(counts / np.maximum(1, counts.sum(axis=1, keepdims=True)))
