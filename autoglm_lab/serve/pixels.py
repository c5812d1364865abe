"""Memory for pictures: a bound on what is unpacked at once, for all requests together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from autoglm_lab.memory import trim_heap

TRIM_EVERY = 12_000_000  # pixels that were freed: then their memory goes back to the system, which takes milliseconds

Take = Callable[[int], None]  # asks for so many pixels, and waits for them


class PixelBudget:
    """A weighted semaphore: at most `most` pixels are unpacked at once, or one picture alone that has more.

    Whoever waits is served in turn, so that small pictures do not keep a large one waiting for ever.
    """

    def __init__(self, most: int) -> None:
        self.most, self.taken, self._freed = most, 0, 0
        self._turn, self._changed = Lock(), Condition()

    @contextmanager
    def lease(self) -> Iterator[Take]:
        """Lease pixels inside the block; at its end they are free again, and freed memory goes back to the system."""
        count = 0

        def take(pixels: int) -> None:
            nonlocal count
            if count:
                raise RuntimeError("one lease is for one picture; two that wait for each other would wait for ever")
            with self._turn, self._changed:
                self._changed.wait_for(lambda: not self.taken or self.taken + pixels <= self.most)
                self.taken += pixels
            count = pixels

        try:
            yield take
        finally:
            with self._changed:
                self.taken -= count
                self._freed += count
                if enough := self._freed >= TRIM_EVERY:
                    self._freed = 0
                self._changed.notify_all()
            if enough:
                trim_heap()
