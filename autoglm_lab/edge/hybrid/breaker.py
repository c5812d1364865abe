"""A circuit breaker: what failed several times in a row is left alone for a while (Nygard 2007)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Breaker:
    """Closed while things go well; open for `rest_s` after `most_failures` in a row; then one trial decides.

    ValueError for settings that are not above 0.
    """

    most_failures: int = 3
    rest_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    opened_at: float | None = None
    _trial: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if self.most_failures < 1 or not self.rest_s > 0:
            raise ValueError(f"most_failures is {self.most_failures} and rest_s {self.rest_s}; both have to be above 0")

    @property
    def state(self) -> str:
        """The state of the breaker: closed, open, or half-open, where one trial is let through."""
        if self.opened_at is None:
            return "closed"
        return "half-open" if self.clock() - self.opened_at >= self.rest_s else "open"

    def allows(self) -> bool:
        """Take permission for one request; True while closed, and for one trial at a time when half-open."""
        with self._lock:
            if self.opened_at is None:
                return True
            if self._trial or self.state == "open":
                return False
            self._trial = True
            return True

    def succeed(self) -> None:
        """Note a request that went well: the breaker closes."""
        with self._lock:
            self.failures, self.opened_at, self._trial = 0, None, False

    def fail(self) -> None:
        """Note a request that failed: after `most_failures` in a row, or a failed trial, the breaker opens."""
        with self._lock:
            self.failures += 1
            if self._trial or self.failures >= self.most_failures:
                self.opened_at, self._trial = self.clock(), False
