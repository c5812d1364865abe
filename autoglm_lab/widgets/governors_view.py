"""A race of governors as lanes: who is where at each moment, what each has taken, in words and as a picture. No browser."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from autoglm_lab.edge import governors
from autoglm_lab.edge.optimum import as_planned, schedule
from autoglm_lab.edge.power import TICK_S, Governor, Job, PowerTable, checked, simulate
from autoglm_lab.widgets.charts import COLOURS, canvas, drawn

EVERY_S = 0.1  # between two looks at a lane
GHOST = "the optimum"
RULES: dict[str, Callable[[], Governor]] = {
    "performance": lambda: governors.performance,
    "load steps": governors.load_steps,
    "budget": lambda: governors.budget(500),
    "half the clock": lambda: governors.fixed(0.49),
    "by deadline": lambda: governors.by_deadline(0.0),
    "powersave": lambda: governors.powersave,
}
MOST_MISSED = 0.01  # of its jobs, for a rule that can win


@dataclass(frozen=True)
class Lane:
    """One rule: at each look its speed, the energy so far and how much of each waiting job is done; and what came out."""

    name: str
    speeds: tuple[float, ...]
    energy: tuple[float, ...]
    cars: tuple[tuple[tuple[int, float], ...], ...]  # (number of the job, share that is done)
    late: tuple[int, ...]  # numbers of the jobs that were not done in time
    total: float


@dataclass(frozen=True)
class Race:
    """All lanes over the same jobs; the first is the baseline, the last the optimum. `awake` is what the table was raised by."""

    jobs: tuple[Job, ...]
    lanes: tuple[Lane, ...]
    awake: float

    @property
    def seconds(self) -> float:
        """Until the last deadline."""
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
                "ghost": lane.name == GHOST,
                "late": list(lane.late),
                "total": round(lane.total / full, 4),
                "speeds": [round(speed, 3) for speed in lane.speeds],
                "energy": [round(energy / full, 4) for energy in lane.energy],
                "cars": [[[number, round(done, 3)] for number, done in cars] for cars in lane.cars],
            }
            for lane in self.lanes
        ]
        jobs = [[round(job.arrival, 2), round(job.arrival + job.deadline, 2)] for job in self.jobs]
        return {"seconds": math.ceil(10 * self.seconds) / 10, "every": EVERY_S, "jobs": jobs, "lanes": lanes, "winner": self.winner}

    def sentence(self) -> str:
        """Who wins, and how each rule stands."""
        told = [f"{lane.name} {self.share(lane):.0%}, {len(lane.late)} late" for lane in self.lanes]
        extra = f" With {self.awake:g} units more while it works:" if self.awake else ""
        first = f"{self.winner!r} takes least of those in time" if self.winner else "no rule is in time"
        return f"{extra} {first}. Energy against the fastest clock: {'; '.join(told)}.".strip()


def raised(table: PowerTable, awake: float) -> PowerTable:
    """A table on which the rest of the phone takes `awake` more while the processor works. ValueError for a negative number."""
    if not 0 <= awake < 1e9:
        raise ValueError(f"awake is {awake}; it is a power in the unit of the table, 0 or more")
    return replace(table, busy=tuple(power + awake for power in table.busy))


def race(jobs: Iterable[Job], table: PowerTable, awake: float = 0.0, rules: Mapping[str, Callable[[], Governor]] = RULES) -> Race:
    """Let every rule drive the same jobs, and the optimum after them. ValueError for jobs or a power that cannot be."""
    known = tuple(checked(jobs))
    if not known:
        raise ValueError("there are no jobs; nothing can be raced")
    on = raised(table, awake)
    earlier = [job._replace(deadline=max(job.deadline - 2 * TICK_S, TICK_S)) for job in known]  # it is played in steps
    made = {name: rule() for name, rule in rules.items()} | {GHOST: as_planned(schedule(earlier))}
    return Race(known, tuple(_lane(name, governor, known, on) for name, governor in made.items()), awake)


def _lane(name: str, governor: Governor, jobs: Sequence[Job], table: PowerTable) -> Lane:
    until = max(job.arrival + job.deadline for job in jobs)
    numbers = {job.arrival: number for number, job in enumerate(jobs)}
    looks: list[tuple[float, float, tuple[tuple[int, float], ...]]] = []
    waited: dict[int, float] = {}  # job -> the last moment at which it was not done

    def watch(now: float, speed: float, energy: float, waiting: Sequence[Sequence[float]]) -> None:
        for arrival, _, _ in waiting:
            waited[numbers[arrival]] = now
        if now <= until + EVERY_S and now >= EVERY_S * len(looks) - 1e-9:
            cars = tuple((numbers[arrival], 1 - left / jobs[numbers[arrival]].work) for arrival, left, _ in waiting)
            looks.append((speed, energy, cars))

    run = simulate(governor, jobs, table, watch=watch)
    late = tuple(n for n, job in enumerate(jobs) if waited.get(n, 0.0) >= job.arrival + job.deadline - 1e-9)
    speeds, energy, cars = zip(*looks, strict=True)
    return Lane(name, speeds, energy, cars, late, run.energy)


def picture(shown: Race) -> Image.Image:
    """A bar for the energy of each lane, and how many came late."""
    drawing, axes = canvas("Energy against the fastest clock", "%", height=0.5 * len(shown.lanes) + 0.8)
    names = [lane.name for lane in shown.lanes]
    for place, lane in enumerate(shown.lanes):
        share = 100 * shown.share(lane)
        colour = COLOURS[1] if len(lane.late) > MOST_MISSED * len(shown.jobs) and lane.name != GHOST else COLOURS[0]
        axes.barh(place, share, color=colour, alpha=0.5 if lane.name == GHOST else 1.0)
        axes.text(share + 1, place, f"{share:.0f} %, {len(lane.late)} of {len(shown.jobs)} late", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, 130)
    axes.invert_yaxis()
    return drawn(drawing)
