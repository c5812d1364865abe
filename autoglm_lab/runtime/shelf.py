"""Modules that are built when they are first needed and dropped when they lay idle or others need their room; a pool of buffers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clock = Callable[[], float]


@dataclass
class _Place:
    """One module of a shelf. `value` is there while `built`; `building` lets one thread build and the others wait."""

    build: Callable[[], Any]
    bytes: int
    building: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    built: bool = False
    leases: int = 0
    left_at: float = 0.0  # the end of the last use


class Shelf:
    """Lazy modules: each is built once however many ask at once, leased while it is used, and never dropped during a lease.

    With `room_bytes` those used longest ago make room for what is asked for; with `idle_s` those not used for so long, counted from
    the end of their last use, are dropped by `sweep`, which each lease calls as well. ValueError unless both are above zero.
    """

    def __init__(self, room_bytes: int | None = None, idle_s: float | None = None, clock: Clock = time.monotonic) -> None:
        if room_bytes is not None and room_bytes <= 0:
            raise ValueError(f"room_bytes is {room_bytes}; a shelf has room for one byte or more")
        if idle_s is not None and not idle_s > 0:
            raise ValueError(f"idle_s is {idle_s}; what is dropped at once could never be used again: give more than zero, or None")
        self.room_bytes, self.idle_s, self._clock = room_bytes, idle_s, clock
        self._places: dict[str, _Place] = {}
        self._lock = threading.RLock()  # of all that is counted; never held while something is built

    def offer(self, name: str, build: Callable[[], Any], nbytes: int = 0) -> None:
        """Name a module, how it is built and how many bytes it takes. ValueError if the name is taken, or it never has room."""
        if self.room_bytes is not None and nbytes > self.room_bytes:
            raise ValueError(f"{name} takes {nbytes:,} bytes, the shelf has room for {self.room_bytes:,}")
        with self._lock:
            if name in self._places:
                raise ValueError(f"{name} is on the shelf already")
            self._places[name] = _Place(build, nbytes)

    @contextmanager
    def lease(self, name: str) -> Iterator[Any]:
        """Use a module, built first when it is not there. What the builder raises comes out here; the next lease tries again.

        KeyError for a name that was not offered, ValueError when what is in use leaves no room for it.
        """
        with self._lock:
            if name not in self._places:
                raise KeyError(f"{name!r} is not on the shelf; there are {', '.join(sorted(self._places)) or 'none'}")
            place = self._places[name]
            place.leases += 1  # from here on nobody drops it
        try:
            with place.building:
                if not place.built:
                    with self._lock:
                        self._make_room(place.bytes, name)
                        place.built = True  # its bytes count from now on
                    try:
                        place.value = place.build()
                    except BaseException:
                        place.built = False
                        raise
            yield place.value
        finally:
            with self._lock:
                place.leases -= 1
                place.left_at = self._clock()
                self.sweep()

    def sweep(self) -> list[str]:
        """Drop every module that was idle for `idle_s`; return their names."""
        if self.idle_s is None:
            return []
        with self._lock:
            now = self._clock()
            idle = [name for name, place in self._places.items() if _free(place) and now - place.left_at >= self.idle_s]
            for name in idle:
                self._drop(name)
            return idle

    @property
    def built(self) -> dict[str, int]:
        """The bytes of each module that is there now."""
        with self._lock:
            return {name: place.bytes for name, place in self._places.items() if place.built}

    def _make_room(self, nbytes: int, module: str) -> None:
        if self.room_bytes is None:
            return
        while sum(self.built.values()) + nbytes > self.room_bytes:
            free = [name for name, place in self._places.items() if _free(place)]
            if not free:
                names = ", ".join(sorted(name for name, place in self._places.items() if place.built))
                raise ValueError(f"there is no room for {module} ({nbytes:,} bytes): {names} are in use; wait until one is done")
            self._drop(min(free, key=lambda name: self._places[name].left_at))

    def _drop(self, name: str) -> None:
        place = self._places[name]
        place.value, place.built = None, False


def _free(place: _Place) -> bool:
    return place.built and place.leases == 0


class Pool:
    """Buffers made once and lent again and again, in classes of so many places: a key/value cache that need not be made anew.

    `classes` says how many buffers there are of each size, `make` makes one of so many places. What a buffer held before is not
    cleared. ValueError unless sizes and counts are positive.
    """

    def __init__(self, classes: Mapping[int, int], make: Callable[[int], NDArray[Any]]) -> None:
        if not classes or any(places < 1 or count < 1 for places, count in classes.items()):
            raise ValueError(f"classes is {dict(classes)}; a pool has one buffer or more, of one place or more")
        self._free = {places: deque(make(places) for _ in range(count)) for places, count in sorted(classes.items())}
        self._lock = threading.Lock()

    @contextmanager
    def lease(self, places: int) -> Iterator[NDArray[Any]]:
        """A buffer [size] of the smallest class that has as many places and one left. ValueError when there is none."""
        with self._lock:
            size = next((size for size, buffers in self._free.items() if size >= places and buffers), None)
            if size is None:
                counts = ", ".join(f"{len(buffers)} of {size}" for size, buffers in self._free.items())
                raise ValueError(f"no buffer of {places} places is left; there are {counts}: wait for one, or make the pool larger")
            buffer = self._free[size].popleft()
        try:
            yield buffer
        finally:
            with self._lock:
                self._free[size].appendleft(buffer)  # the one that is warm in the processor's cache goes out first

    @property
    def left(self) -> dict[int, int]:
        """Number of free buffers of each size."""
        with self._lock:
            return {size: len(buffers) for size, buffers in self._free.items()}


def caches(heads: int, width: int, layers: int, classes: Mapping[int, int], dtype: type[np.floating[Any]] = np.float32) -> Pool:
    """A pool of key/value caches [layers, 2, heads, places, width]."""
    return Pool(classes, lambda places: np.zeros((layers, 2, heads, places, width), dtype))
