"""The least energy that any governor could need: a schedule that knows all jobs in advance (Yao, Demers and Shenker, 1995)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from autoglm_lab.edge.power import Job, PowerTable, checked


def yds(jobs: Iterable[Job]) -> list[tuple[float, float]]:
    """The optimal schedule that knows every job beforehand: (seconds, speed) of each stretch, fastest first (Yao and others, 1995).

    Again and again the interval with the most work for its length is found; it runs at just that speed, and is cut out of time.
    """
    left = [(job.arrival, job.arrival + job.deadline, job.work) for job in checked(jobs)]
    stretches = []
    while left:
        arrivals, dues, works = (np.array(column) for column in zip(*left, strict=True))
        order = np.argsort(dues, kind="stable")
        best = (-1.0, 0.0, 0.0)
        for begin in np.unique(arrivals):
            within = order[arrivals[order] >= begin]
            density = np.cumsum(works[within]) / (dues[within] - begin)
            place = int(np.argmax(density))
            if density[place] > best[0]:
                best = (float(density[place]), float(begin), float(dues[within[place]]))
        speed, begin, end = best
        stretches.append((end - begin, speed))
        rest = [(arrival, due, work) for arrival, due, work in left if arrival < begin - 1e-12 or due > end + 1e-12]
        left = [(_cut(arrival, begin, end), _cut(due, begin, end), work) for arrival, due, work in rest]
    return stretches


def _cut(moment: float, begin: float, end: float) -> float:
    """A moment after the interval has been taken out of time."""
    return moment if moment <= begin else max(begin, moment - (end - begin))


def least_energy(jobs: Iterable[Job], table: PowerTable, seconds: float) -> float:
    """The energy of the optimal schedule on a table's operating points, over so many seconds of which the rest is idle.

    ValueError when the jobs cannot all be done in time, however fast: then there is no such schedule.
    """
    stretches = yds(jobs)
    if (fastest := max(speed for _, speed in stretches)) > 1 + 1e-9:
        raise ValueError(f"no schedule does all jobs in time: some stretch would need {fastest:.2f} times the fastest clock")
    busy = sum(length for length, _ in stretches)
    lengths, speeds = (np.array(column) for column in zip(*stretches, strict=True))
    return float((lengths * table.least_power(np.minimum(speeds, 1.0))).sum() + max(0.0, seconds - busy) * table.idle)
