"""Freed memory of this process, returned to the operating system."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def trim_heap() -> None:
    """Return freed heap pages to the operating system (glibc `malloc_trim`). Does nothing where there is no glibc."""
    with suppress(OSError, AttributeError, TypeError):  # no such library, no such function, no such system
        ctypes.CDLL(None).malloc_trim(0)
