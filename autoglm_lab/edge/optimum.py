"""The least energy that any governor could need: a schedule that knows all jobs in advance (Yao, Demers and Shenker, 1995)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np

from autoglm_lab.edge.power import TICK_S, Governor, Job, Observation, PowerTable, checked

Intervals = list[tuple[float, float]]


def schedule(jobs: Iterable[Job]) -> list[tuple[float, float, float]]:
    """The optimal schedule, which knows every job beforehand: (begin, end, speed) in the order of time."""
    return sorted((begin, end, speed) for speed, intervals in _rounds(jobs) for begin, end in intervals)


def yds(jobs: Iterable[Job]) -> list[tuple[float, float]]:
    """The stretches of the optimal schedule: (seconds, speed) of each, fastest first."""
    return [(sum(end - begin for begin, end in intervals), speed) for speed, intervals in _rounds(jobs)]


def _rounds(jobs: Iterable[Job]) -> Iterator[tuple[float, Intervals]]:
    """Take again and again the interval with the most work for its length: it runs at just that speed, and is cut out of time."""
    pending = [(job.arrival, job.arrival + job.deadline, job.work) for job in checked(jobs)]
    free = [(0.0, max((due for _, due, _ in pending), default=0.0))]  # what has not been cut out, in real time
    while pending:
        arrivals, dues, works = (np.array(column) for column in zip(*pending, strict=True))
        order = np.argsort(dues, kind="stable")
        best = (-1.0, 0.0, 0.0)
        for begin in np.unique(arrivals):
            within = order[arrivals[order] >= begin]
            density = np.cumsum(works[within]) / (dues[within] - begin)
            place = int(np.argmax(density))
            if density[place] > best[0]:
                best = (float(density[place]), float(begin), float(dues[within[place]]))
        speed, begin, end = best
        interval, free = _split(free, begin, end)
        yield speed, interval
        rest = [(arrival, due, work) for arrival, due, work in pending if arrival < begin - 1e-12 or due > end + 1e-12]
        pending = [(_cut(arrival, begin, end), _cut(due, begin, end), work) for arrival, due, work in rest]


def _split(free: Intervals, begin: float, end: float) -> tuple[Intervals, Intervals]:
    """Split free intervals: what lies between two moments of the time that they make up together, and the rest."""
    interval, rest, passed = [], [], 0.0
    for start, stop in free:
        first, last = (min(max(start + moment - passed, start), stop) for moment in (begin, end))
        passed += stop - start
        rest += [part for part in ((start, first), (last, stop)) if part[1] > part[0]]
        interval += [(first, last)] if last > first else []
    return interval, rest


def as_planned(planned: Iterable[tuple[float, float, float]]) -> Governor:
    """The governor that follows a schedule: between two operating points it takes turns, below the critical speed it idles."""
    begins, ends, speeds = (list(column) for column in zip(*planned, strict=True))
    owed = 0.0  # work by which it is behind the schedule

    def govern(phone: Observation) -> float:
        nonlocal owed
        at = bisect_right(begins, phone.now + TICK_S / 2) - 1
        if not phone.waiting or at < 0 or phone.now > ends[at] + TICK_S:
            return phone.table.critical_speed
        wish = max(speeds[at], phone.table.critical_speed)
        above = phone.table.step(wish)
        speed = phone.table.speeds[above if owed >= 0 else max(0, above - 1)]
        owed += wish - speed
        return speed

    return govern


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
