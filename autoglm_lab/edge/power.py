"""A simulated processor: operating points with their power, jobs with deadlines, heat, and what a governor makes of them.

A governor picks a speed (a share of the fastest clock) every 10 ms. The processor runs one job after the other; work is seconds at
full speed. Energy is in the units of the table. The governors are in `governors`, the best that is possible in `optimum`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

TICK_S = 0.01
LOOK_BACK_S = 0.1  # over which a governor's load and power are means


@dataclass(frozen=True)
class PowerTable:
    """The operating points of a processor: speeds as shares of the fastest, and what it takes busy at each and idle.

    ValueError unless there are five points or more, speeds rise to 1, and power rises with them from above the idle power.
    """

    name: str
    speeds: tuple[float, ...]
    busy: tuple[float, ...]
    idle: float
    unit: str = "W"

    def __post_init__(self) -> None:
        if len(self.speeds) != len(self.busy) or len(self.speeds) < 5:
            raise ValueError(f"{self.name}: {len(self.speeds)} speeds and {len(self.busy)} powers; five or more of each are needed")
        if not (self.speeds[0] > 0 and self.speeds[-1] == 1 and _rises(self.speeds)):
            raise ValueError(f"{self.name}: speeds have to rise from above 0 to 1, not {self.speeds}")
        if not (0 <= self.idle < self.busy[0] and _rises(self.busy)):
            raise ValueError(f"{self.name}: power has to rise from above {self.idle:g} (idle) with the speed, not {self.busy}")

    def step(self, speed: float) -> int:
        """The slowest operating point that is at least as fast as `speed`; the fastest one if none is."""
        return min(int(np.searchsorted(self.speeds, speed - 1e-12)), len(self.speeds) - 1)

    def least_power(self, speed: Float[np.ndarray, " *n"]) -> Float[np.ndarray, " *n"]:
        """The least mean power at which a mean speed can be kept, by switching between operating points and idling."""
        hull = _lower_hull([(0.0, self.idle), *zip(self.speeds, self.busy, strict=True)])
        speeds, powers = zip(*hull, strict=True)
        return np.asarray(np.interp(speed, np.array(speeds), np.array(powers)))

    @property
    def critical_speed(self) -> float:
        """The operating point with the least energy for a piece of work; slower ones take longer and more."""
        cost = [(power - self.idle) / speed for speed, power in zip(self.speeds, self.busy, strict=True)]
        return self.speeds[int(np.argmin(cost))]


def _rises(values: Sequence[float]) -> bool:
    return all(low < high for low, high in pairwise(values))


def _lower_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (x - hull[-2][0]) >= (y - hull[-2][1]) * (hull[-1][0] - hull[-2][0]):
            hull.pop()
        hull.append((x, y))
    return hull


# One busy core with its cluster's share, from the energy model in an Android kernel for that chip (the energy-aware branch of a
# phone's maker, arch/arm/boot/dts/qcom/msm8998.dtsi, nodes core-cost0, core-cost1, cluster-cost0, cluster-cost1), in units of that
# model; every second or third point, for a governor needs no more. Idle is the deepest state, in which a cluster has no power;
# asleep but ready the fast one takes 60 units.
UNITS = "units of the kernel's table"
_SLOW = ((65, 28), (96, 43), (130, 54), (164, 59), (194, 74), (228, 92), (258, 106), (292, 126), (326, 146), (368, 182))
_FAST = (
    (129, 80),
    (182, 117),
    (247, 148),
    (312, 185),
    (391, 219),
    (453, 257),
    (509, 294),
    (581, 370),
    (650, 455),
    (712, 569),
    (776, 709),
    (834, 896),
    (914, 1189),
    (975, 1553),
    (1024, 1886),
)


def _table(name: str, points: Iterable[tuple[int, int]]) -> PowerTable:
    capacities, powers = zip(*points, strict=True)
    return PowerTable(name, tuple(capacity / 1024 for capacity in capacities), tuple(map(float, powers)), 0.0, UNITS)


SNAPDRAGON_835 = _table("Snapdragon 835, one fast core", _FAST)
# A job that may move between the clusters has the points of both. From 391 on the slow core would take more than the fast one.
SNAPDRAGON_835_BOTH = _table("Snapdragon 835, a slow or a fast core", (*_SLOW, *(point for point in _FAST if point[0] >= 391)))


def read_table(path: Path) -> PowerTable:
    """Read a power table from a JSON file: name, speeds, busy, idle, and unit if it is not W.

    ValueError, with the file's name, for what is no JSON, other names, missing ones, and a table that cannot be.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}")
        speeds, busy = (tuple(float(value) for value in values.pop(name)) for name in ("speeds", "busy"))
        return PowerTable(speeds=speeds, busy=busy, **values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path.name} is no power table ({error}); write name, speeds, busy, idle and unit as JSON") from None


class Job(NamedTuple):
    """Work in seconds at full speed; it comes at `arrival` and ought to be done `deadline` seconds later."""

    arrival: float
    work: float
    deadline: float


def checked(jobs: Iterable[Job]) -> list[Job]:
    """Jobs in order of arrival. ValueError for one without work, or with a deadline that is not after its arrival."""
    in_order = sorted(jobs)
    for number, job in enumerate(in_order):
        if not (job.arrival >= 0 and job.work > 0 and job.deadline > 0 and np.isfinite(job).all()):
            raise ValueError(f"job {number} is {job}; arrival is 0 or more, work and deadline are more than 0 seconds")
    return in_order


LOOKING_S = (0.5, 1.0)  # from one step of a task to the next: somebody sees what came of it


def bursts(
    rate: float, count: int, seed: int, work: Sequence[Sequence[float]], deadline: float = 1.0, people: int = 1
) -> list[Job]:
    """`count` jobs of people who give one task after the other: `work` holds the seconds of each step of a task, at full speed.

    `rate` is jobs a second, of all people together. ValueError when so few people cannot ask so often.
    """
    if rate <= 0 or count < 1 or people < 1:
        raise ValueError(f"rate is {rate}, count {count} and people {people}; all of them have to be positive")
    steps = float(np.mean([len(task) for task in work]))
    pause = people * steps / rate - (steps - 1) * float(np.mean(LOOKING_S))
    if pause <= 0:
        raise ValueError(f"{people} people cannot ask {rate} times a second, looking {LOOKING_S} s in between; take more people")
    jobs: list[Job] = []
    for person in range(people):
        rng, now = np.random.default_rng([seed, 19, person]), 0.0
        for _ in range(-(-count // people)):  # tasks, at least as many as there are jobs
            now += float(rng.exponential(pause))
            for number, seconds in enumerate(work[int(rng.integers(len(work)))]):
                now += float(rng.uniform(*LOOKING_S)) if number else 0.0
                jobs.append(Job(now, seconds, deadline))
    return checked(jobs)[:count]


@dataclass
class Observation:
    """Load, power and queue as a governor sees them: means over the last 0.1 s, and the speed that it asked for last."""

    now: float
    load: float
    power: float
    last_speed: float
    waiting: Sequence[tuple[float, float]]  # of each waiting job, the work left and the moment by which it ought to be done
    table: PowerTable
    celsius: float = 25.0


Governor = Callable[[Observation], float]


@dataclass
class Heat:
    """A phone's skin as one resistor and one capacitor; above `hot` the clock is capped until it is `band` degrees cooler."""

    ambient: float = 25.0
    kelvin_per_unit: float = 0.012
    seconds: float = 60.0  # until 63 % of a rise
    hot: float = 38.0
    band: float = 2.0
    cap: float = 0.6
    celsius: float = field(init=False)
    capped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.band < 0 or not 0 < self.cap <= 1:
            raise ValueError(f"seconds is {self.seconds}, band {self.band}, cap {self.cap}; above 0, 0 or more, and in (0, 1]")
        self.celsius = self.ambient

    def limit(self, power: float, seconds: float) -> float:
        """The fastest speed that is allowed now, after so many seconds at so much power."""
        end = self.ambient + self.kelvin_per_unit * power
        self.celsius += (end - self.celsius) * (1 - float(np.exp(-seconds / self.seconds)))
        self.capped = self.celsius > self.hot - self.band * self.capped
        return self.cap if self.capped else 1.0


@dataclass(frozen=True)
class Run:
    """Result of a governor on some jobs: energy, seconds from the arrival of each job to its end, switches of the clock."""

    energy: float
    seconds: float
    latencies: tuple[float, ...]
    missed: int
    switches: int
    trace: tuple[tuple[float, float], ...] = ()  # moment and speed, at each switch

    @property
    def missed_share(self) -> float:
        """The share of jobs that were not done in time."""
        return self.missed / len(self.latencies)

    @property
    def energy_per_job_in_time(self) -> float:
        """Energy for each job that was done in time; infinite when none was."""
        in_time = len(self.latencies) - self.missed
        return self.energy / in_time if in_time else float("inf")

    @property
    def p95_s(self) -> float:
        """The latency that 95 % of the jobs keep, in seconds."""
        return float(np.percentile(self.latencies, 95))


Watch = Callable[[float, float, float, Sequence[Sequence[float]]], None]


def _work_off(waiting: deque[list[float]], speed: float) -> tuple[float, list[tuple[float, float, float]]]:
    """Work for one tick; returns the busy seconds, and (seconds into the tick, arrival, due) of each job that ended."""
    busy_s = 0.0
    ended: list[tuple[float, float, float]] = []
    while waiting and busy_s < TICK_S:
        need = waiting[0][1] / speed
        if need > TICK_S - busy_s:
            waiting[0][1] -= (TICK_S - busy_s) * speed
            busy_s = TICK_S
        else:
            busy_s += need
            arrival, _, due = waiting.popleft()
            ended.append((busy_s, arrival, due))
    return busy_s, ended


def simulate(
    governor: Governor, jobs: Iterable[Job], table: PowerTable, *, heat: Heat | None = None, watch: Watch | None = None
) -> Run:
    """Play jobs through a processor under a governor, in steps of 10 ms, until all are done; late jobs are done as well.

    `watch` is told after each step: the moment, the speed, the energy so far, and [arrival, work left, due] of what waits.
    """
    coming = deque(checked(jobs))
    total, horizon = len(coming), max(job.arrival + job.deadline for job in coming) if coming else 0.0
    if not total:
        raise ValueError("there are no jobs; nothing can be compared")
    waiting: deque[list[float]] = deque()  # arrival, work left, due
    latencies: list[float] = []
    energy, now, wish, step, switches, late = 0.0, 0.0, table.speeds[0], 0, 0, 0
    recent: deque[tuple[float, float]] = deque(maxlen=round(LOOK_BACK_S / TICK_S))  # busy share and power of each tick
    loads = powers = 0.0  # sums over them
    trace = [(0.0, table.speeds[0])]
    while coming or waiting or now < horizon:
        while coming and coming[0].arrival <= now + 1e-9:
            job = coming.popleft()
            waiting.append([job.arrival, job.work, job.arrival + job.deadline])
        count = max(1, len(recent))
        phone = Observation(
            now,
            min(1.0, loads / count),
            powers / count,
            wish,
            [(work, due) for _, work, due in waiting],
            table,
            heat.celsius if heat else 25.0,
        )
        wish = governor(phone)
        if not wish >= 0:
            raise ValueError(f"a governor asked for speed {wish}; it is a share of the fastest clock, 0 or more")
        allowed = heat.limit(powers / count, TICK_S) if heat else 1.0
        last, step = step, table.step(min(wish, allowed))
        if step != last:
            switches += 1
            trace.append((now, table.speeds[step]))
        speed = table.speeds[step]
        busy_s, ended = _work_off(waiting, speed)
        latencies += [now + end - arrival for end, arrival, _ in ended]
        late += sum(now + end > due + 1e-9 for end, _, due in ended)
        busy = busy_s / TICK_S
        power = busy * table.busy[step] + (1 - busy) * table.idle
        if len(recent) == recent.maxlen:
            loads, powers = loads - recent[0][0], powers - recent[0][1]
        recent.append((busy, power))
        loads, powers = max(0.0, loads + busy), max(0.0, powers + power)
        energy += power * TICK_S
        now += TICK_S
        if watch is not None:
            watch(now, speed, energy, waiting)
    return Run(energy, now, tuple(latencies), late, switches, tuple(trace))
