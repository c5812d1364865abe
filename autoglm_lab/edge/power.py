"""Clock governors on a simulated phone: operating points, jobs with deadlines, ten governors, and the best that is possible.

A governor picks a speed (a share of the fastest clock) every 10 ms. The processor runs one job after the other; work is seconds at
full speed. Energy is in the units of the table. The bound is the schedule of Yao, Demers and Shenker (1995), which knows all jobs
in advance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
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


# One busy core of the fast cluster of a Snapdragon 835, with its share of the cluster: every second point of the energy model in
# Android's kernel for that chip (arch/arm/boot/dts/qcom/msm8998.dtsi, nodes core-cost1 and cluster-cost1), in units of that model.
# Idle is its deepest state, in which the cluster has no power; asleep but ready it takes 60 units.
SNAPDRAGON_835 = PowerTable(
    "Snapdragon 835, one fast core",
    tuple(capacity / 1024 for capacity in (132, 220, 289, 357, 435, 502, 561, 630, 698, 767, 833, 903, 938, 1024)),
    (80, 134, 168, 199, 236, 273, 330, 414, 509, 645, 787, 1009, 1154, 1341), idle=0, unit="units of the kernel's table",
)  # fmt: skip


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


def performance(phone: Observation) -> float:
    """Always the fastest."""
    return 1.0


def powersave(phone: Observation) -> float:
    """Always the slowest."""
    return phone.table.speeds[0]


def ondemand(phone: Observation) -> float:
    """As in Linux: the fastest above 80 % load, else in proportion to the load."""
    return 1.0 if phone.load > 0.8 else phone.load


def schedutil(phone: Observation) -> float:
    """As in Linux: a quarter above what the load would need, where load counts work and not time."""
    return 1.25 * phone.load * phone.table.speeds[phone.table.step(phone.last_speed)]


def load_steps(high: float = 0.8, middle: float = 0.5) -> Governor:
    """The articles' rule: fast above `high`, a middle step above `middle`, else slow."""

    def govern(phone: Observation) -> float:
        return 1.0 if phone.load > high else 0.6 if phone.load > middle else phone.table.speeds[0]

    return govern


def budget(watts: float, floor: float = 0.0) -> Governor:
    """The articles' rule: a fifth slower above 90 % of a power budget, a tenth faster below 70 % of it, never below `floor`."""

    def govern(phone: Observation) -> float:
        factor = 0.8 if phone.power > 0.9 * watts else 1.1 if phone.power < 0.7 * watts else 1.0
        return min(1.0, max(floor, phone.last_speed * factor))

    return govern


def fixed(speed: float) -> Governor:
    """One operating point for ever."""
    return lambda phone: speed


def by_deadline(slack: float = 0.05, error: float = 0.0, seed: int = 0) -> Governor:
    """The slowest speed that finishes every waiting job `slack` seconds before its deadline, if the estimates of work are right.

    `error` is the standard deviation of an estimate, as a share of it; each job's estimate is off by the same share throughout.
    """
    wrong: dict[float, float] = {}
    rng = np.random.default_rng(seed)

    def govern(phone: Observation) -> float:
        need, work = phone.table.critical_speed, 0.0
        for left, due in phone.waiting:
            if due not in wrong:
                wrong[due] = max(0.1, 1 + error * float(rng.standard_normal()))
            work += left * wrong[due]
            need = max(need, work / max(due - slack - phone.now, 1e-9))
        return min(1.0, need)

    return govern


def race_to_idle(phone: Observation) -> float:
    """The fastest while there is work, the slowest else: as `performance`, for a processor that cannot sleep at full clock."""
    return 1.0 if phone.waiting else phone.table.speeds[0]


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
    """What a governor made of some jobs: energy, seconds from the arrival of each job to its end, switches of the clock."""

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


def simulate(governor: Governor, jobs: Iterable[Job], table: PowerTable, *, heat: Heat | None = None) -> Run:
    """Play jobs through a processor under a governor, in steps of 10 ms, until all are done; late jobs are done as well."""
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
        phone = Observation(now, min(1.0, loads / count), powers / count, wish, [(left, due) for _, left, due in waiting], table,
                    heat.celsius if heat else 25.0)  # fmt: skip
        wish = governor(phone)
        if not wish >= 0:
            raise ValueError(f"a governor asked for speed {wish}; it is a share of the fastest clock, 0 or more")
        allowed = heat.limit(powers / count, TICK_S) if heat else 1.0
        last, step = step, table.step(min(wish, allowed))
        if step != last:
            switches += 1
            trace.append((now, table.speeds[step]))
        speed, used = table.speeds[step], 0.0
        while waiting and used < TICK_S:
            need = waiting[0][1] / speed
            if need > TICK_S - used:
                waiting[0][1] -= (TICK_S - used) * speed
                used = TICK_S
            else:
                used += need
                arrival, _, due = waiting.popleft()
                latencies.append(now + used - arrival)
                late += now + used > due + 1e-9
        busy = used / TICK_S
        power = busy * table.busy[step] + (1 - busy) * table.idle
        if len(recent) == recent.maxlen:
            loads, powers = loads - recent[0][0], powers - recent[0][1]
        recent.append((busy, power))
        loads, powers = max(0.0, loads + busy), max(0.0, powers + power)
        energy += power * TICK_S
        now += TICK_S
    return Run(energy, now, tuple(latencies), late, switches, tuple(trace))


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
