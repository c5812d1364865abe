"""A race of governors as lanes: the progress and the energy of each at each moment, in words and as a picture. No browser."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from autoglm_lab.edge.optimum import as_planned, schedule
from autoglm_lab.edge.power import TICK_S, Governor, Job, Observation, PowerTable, checked, simulate
from autoglm_lab.edge.race import OPTIMUM, RULES
from autoglm_lab.widgets.charts import COLOURS, canvas, drawn

EVERY_S = 0.1  # between two samples of a lane
LANES = ("race to idle", "load steps 80/50", "budget", "half the clock", "by deadline", "powersave")
MOST_MISSED = 0.01  # of its jobs, for a rule that can win


@dataclass(frozen=True)
class Lane:
    """One rule: at each sample its speed, the energy so far and how much of each waiting job is done; and its results."""

    name: str
    speeds: tuple[float, ...]
    energy: tuple[float, ...]
    cars: tuple[tuple[tuple[int, float], ...], ...]  # (number of the job, share that is done)
    late: tuple[int, ...]  # numbers of the jobs that were not done in time
    total: float


@dataclass(frozen=True)
class Race:
    """All lanes over the same jobs; the first is the baseline, the last the optimum. `awake` is the power added to the table."""

    jobs: tuple[Job, ...]
    lanes: tuple[Lane, ...]
    awake: float

    @property
    def seconds(self) -> float:
        """Seconds until the last deadline."""
        return max(job.arrival + job.deadline for job in self.jobs)

    @property
    def winner(self) -> str:
        """The rule that takes least among those that are in time; no rule where none is."""
        fit = [lane for lane in self.lanes[:-1] if len(lane.late) <= MOST_MISSED * len(self.jobs)]
        return min(fit, key=lambda lane: lane.total).name if fit else ""

    def share(self, lane: Lane) -> float:
        """The energy of a lane as a share of the baseline's."""
        return lane.total / self.lanes[0].total

    def data(self) -> dict[str, Any]:
        """Jobs and lanes as plain JSON values; energy as shares of the baseline's."""
        full = self.lanes[0].total
        lanes = [
            {
                "name": lane.name,
                "ghost": lane.name == OPTIMUM,
                "late": list(lane.late),
                "total": round(lane.total / full, 4),
                "speeds": [round(speed, 3) for speed in lane.speeds],
                "energy": [round(energy / full, 4) for energy in lane.energy],
                "cars": [[[number, round(share, 3)] for number, share in cars] for cars in lane.cars],
            }
            for lane in self.lanes
        ]
        jobs = [[round(job.arrival, 2), round(job.arrival + job.deadline, 2)] for job in self.jobs]
        return {"seconds": math.ceil(10 * self.seconds) / 10, "every": EVERY_S, "jobs": jobs, "lanes": lanes, "winner": self.winner}

    def sentence(self) -> str:
        """Say who wins, and how each rule stands."""
        standings = [f"{lane.name} {self.share(lane):.0%}, {len(lane.late)} late" for lane in self.lanes]
        extra = f" With {self.awake:g} units more while it works:" if self.awake else ""
        first = f"{self.winner!r} takes least of those in time" if self.winner else "no rule is in time"
        return f"{extra} {first}. Energy against the fastest clock: {'; '.join(standings)}.".strip()


def _with_awake_power(table: PowerTable, awake: float) -> PowerTable:
    """A table on which the rest of the phone takes `awake` more while the processor works. ValueError for a negative number."""
    if not 0 <= awake < 1e9:
        raise ValueError(f"awake is {awake}; it is a power in the unit of the table, 0 or more")
    return replace(table, busy=tuple(power + awake for power in table.busy))


def race(
    jobs: Iterable[Job], table: PowerTable, awake: float = 0.0, rules: Mapping[str, Callable[[], Governor]] | None = None
) -> Race:
    """Let every rule drive the same jobs, and the optimum after them. ValueError for impossible jobs or a negative power.

    A rule reads the table of the processor alone, as a real governor does; only the optimum knows of `awake`.
    """
    ordered = tuple(checked(jobs))
    if not ordered:
        raise ValueError("there are no jobs; nothing can be raced")
    on = _with_awake_power(table, awake)
    earlier = [job._replace(deadline=max(job.deadline - 2 * TICK_S, TICK_S)) for job in ordered]  # it is played in steps
    factories = {name: RULES[name] for name in LANES} if rules is None else rules
    riders = {name: _with_table(rule(), table) for name, rule in factories.items()} | {OPTIMUM: as_planned(schedule(earlier))}
    return Race(ordered, tuple(_lane(name, governor, ordered, on) for name, governor in riders.items()), awake)


def _with_table(governor: Governor, table: PowerTable) -> Governor:
    """A governor that sees this table, whatever the phone takes."""

    def govern(phone: Observation) -> float:
        return governor(replace(phone, table=table))

    return govern


def _lane(name: str, governor: Governor, jobs: Sequence[Job], table: PowerTable) -> Lane:
    until = max(job.arrival + job.deadline for job in jobs)
    last = {job.arrival: number for number, job in enumerate(jobs)}  # of those that arrive together
    looks: list[tuple[float, float, tuple[tuple[int, float], ...]]] = []
    waited: dict[int, float] = {}  # job -> the last moment at which it was not done

    def watch(now: float, speed: float, energy: float, waiting: Sequence[Sequence[float]]) -> None:
        behind = Counter[float]()  # of jobs that arrive together the first is done first
        cars: list[tuple[int, float]] = []
        for arrival, remaining_work, _ in reversed(waiting):
            number = last[arrival] - behind[arrival]
            behind[arrival] += 1
            waited[number] = now
            cars.insert(0, (number, 1 - remaining_work / jobs[number].work))
        if now <= until + EVERY_S and now >= EVERY_S * len(looks) - 1e-9:
            looks.append((speed, energy, tuple(cars)))

    run = simulate(governor, jobs, table, watch=watch)
    late = tuple(n for n, job in enumerate(jobs) if waited.get(n, 0.0) >= job.arrival + job.deadline - 1e-9)
    speeds, energy, cars = zip(*looks, strict=True)
    return Lane(name, speeds, energy, cars, late, run.energy)


def picture(race_now: Race) -> Image.Image:
    """A bar for the energy of each lane, and how many came late."""
    drawing, axes = canvas("Energy against the fastest clock", "%", height=0.5 * len(race_now.lanes) + 0.8)
    names = [lane.name for lane in race_now.lanes]
    for place, lane in enumerate(race_now.lanes):
        share = 100 * race_now.share(lane)
        colour = COLOURS[1] if len(lane.late) > MOST_MISSED * len(race_now.jobs) and lane.name != OPTIMUM else COLOURS[0]
        axes.barh(place, share, color=colour, alpha=0.5 if lane.name == OPTIMUM else 1.0)
        axes.text(share + 1, place, f"{share:.0f} %, {len(lane.late)} of {len(race_now.jobs)} late", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 130)
    axes.invert_yaxis()
    return drawn(drawing)
