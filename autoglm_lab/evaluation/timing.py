"""Times that can be compared: everything is run in turns, so that a busy moment of the machine meets all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from autoglm_lab.progress import track


@dataclass(frozen=True)
class Spread:
    """Median, and 5th and 95th percentile, of something that was measured several times."""

    median: float
    lo: float
    hi: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise several runs.

        >>> print(Spread.of([2.0, 4.0, 3.0]))
        3 (2.1 to 3.9, 3 runs)
        """
        median, lo, hi = (float(np.percentile(values, share)) for share in (50, 5, 95))
        return cls(median, lo, hi, len(values))

    def __str__(self) -> str:
        return f"{self.median:.4g} ({self.lo:.4g} to {self.hi:.4g}, {self.runs} runs)"


@dataclass(frozen=True)
class Timing:
    """Median, and 5th and 95th percentile, of several runs in milliseconds."""

    median_ms: float
    low_ms: float
    high_ms: float

    @classmethod
    def of(cls, taken_ms: Sequence[float]) -> Timing:
        """Summarise several runs."""
        spread = Spread.of(taken_ms)
        return cls(spread.median, spread.lo, spread.hi)

    def __str__(self) -> str:
        """Format as notebooks print it.

        >>> print(Timing(12.34, 11.9, 15.0))
        12.3 ms (11.9 to 15.0)
        """
        return f"{self.median_ms:.1f} ms ({self.low_ms:.1f} to {self.high_ms:.1f})"


def paired(
    calls: Mapping[str, Callable[[], object]], runs: int = 15, warm_up: int = 2, *, clock: Callable[[], float] = perf_counter
) -> dict[str, Timing]:
    """Time several calls in turns, after some that are not counted; `clock` gives seconds. ValueError without calls or runs.

    A bar moves between the calls, never during one.
    """
    if not calls or runs < 1:
        raise ValueError(f"there are {len(calls)} calls and {runs} runs; at least one of each is needed")
    times_ms: dict[str, list[float]] = {name: [] for name in calls}
    with track(None, "timing", "call", total=(warm_up + runs) * len(calls)) as bar:
        for run in range(-warm_up, runs):
            for name, call in calls.items():
                began = clock()
                call()
                took_ms = 1000 * (clock() - began)
                if run >= 0:
                    times_ms[name].append(took_ms)
                bar.update()
    return {name: Timing.of(ms) for name, ms in times_ms.items()}
