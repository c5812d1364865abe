"""Governors on the same requests, seed by seed, against the best that is possible; and smaller models under the same governor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoglm_lab.edge import governors
from autoglm_lab.edge.measured import PHONE_FACTOR, Variant, steps_of_tasks
from autoglm_lab.edge.optimum import least_energy
from autoglm_lab.edge.power import Governor, Job, PowerTable, Run, bursts, simulate

BASELINE, OPTIMUM = "performance", "the optimum"
DRAWS = 2000  # of the seeds, for an interval
BUDGET_POWER = 500.0  # the articles' budget, in units of the table: a quarter of its full power
# Every rule is made anew for each world: one that estimates work remembers what it has seen.
RULES: dict[str, Callable[[], Governor]] = {
    "performance": lambda: governors.performance,
    "ondemand": lambda: governors.ondemand,
    "schedutil": lambda: governors.schedutil,
    "load steps 80/50": governors.load_steps,
    "load steps 80/30": lambda: governors.load_steps(0.8, 0.3),
    "budget": lambda: governors.budget(BUDGET_POWER),
    "budget with a floor": lambda: governors.budget(BUDGET_POWER, 0.6),
    "half the clock": lambda: governors.fixed(0.49),
    "race to idle": lambda: governors.race_to_idle,
    "by deadline": lambda: governors.by_deadline(0.0),
    "by deadline, 50 ms early": governors.by_deadline,
    "by deadline, 30 % off": lambda: governors.by_deadline(0.05, error=0.3),
    "powersave": lambda: governors.powersave,
}


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Interval:
        """The interval of some values, the same each time."""
        sample = np.array(list(values), float)
        means = np.random.default_rng(0).choice(sample, (DRAWS, len(sample))).mean(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        return cls(float(sample.mean()), float(low), float(high))

    def __str__(self) -> str:
        """As shares: 31.5 % (30.9 to 32.2)."""
        return f"{self.mean:.1%} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class Standing:
    """One rule over all worlds. `energy` is a share of the baseline's in the same world.

    `per_job` is the energy for each job in time, None where some world had none; the optimum has no latency of its own.
    """

    rule: str
    energy: Interval
    miss_rate: Interval
    per_job: float | None
    p95_s: float | None
    switches_per_s: float | None


def tasks(answer_ms: float, factor: float = PHONE_FACTOR) -> list[list[float]]:
    """The work of the steps of many tasks: seconds at full speed of an answer, times a factor for a phone with a large model."""
    return [[factor * answer_ms / 1000] * steps for steps in steps_of_tasks()]


def worlds(
    rate: float, seeds: int, work: Sequence[Sequence[float]], *, count: int = 90, deadline: float = 1.0, people: int = 1
) -> list[list[Job]]:
    """The requests of each seed: `count` jobs, `rate` a second. Errors as `bursts`."""
    return [bursts(rate, count, seed, work, deadline, people) for seed in range(seeds)]


def race(
    table: PowerTable,
    jobs: Sequence[Sequence[Job]],
    rules: Mapping[str, Callable[[], Governor]] = RULES,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> list[Standing]:
    """Every rule in every world, in the order of their energy; the optimum first, if there is a schedule in time for all worlds.

    KeyError when the baseline is not among the rules.
    """
    runs = {name: [simulate(rules[name](), world, table) for world in jobs] for name in progress(list(rules))}
    full = runs[BASELINE]
    standings = [_standing(name, played, full) for name, played in runs.items()]
    try:
        least = [least_energy(world, table, run.seconds) for world, run in zip(jobs, full, strict=True)]
    except ValueError:  # some world has more work than the fastest clock does in time
        best = []
    else:
        shares = [energy / run.energy for energy, run in zip(least, full, strict=True)]
        per_job = float(np.mean([energy / len(run.latencies) for energy, run in zip(least, full, strict=True)]))
        best = [Standing(OPTIMUM, Interval.of(shares), Interval(0.0, 0.0, 0.0), per_job, None, None)]
    return best + sorted(standings, key=lambda standing: standing.energy.mean)


def _standing(name: str, runs: Sequence[Run], full: Sequence[Run]) -> Standing:
    per_job = float(np.mean([run.energy_per_job_in_time for run in runs]))
    return Standing(
        name,
        Interval.of(run.energy / whole.energy for run, whole in zip(runs, full, strict=True)),
        Interval.of(run.missed_share for run in runs),
        per_job if np.isfinite(per_job) else None,
        float(np.mean([run.p95_s for run in runs])),
        float(np.mean([run.switches / run.seconds for run in runs])),
    )


def pareto_front(standings: Iterable[Standing]) -> list[str]:
    """Choose the rules that no other one beats in energy and misses at once, the cheapest first.

    Each misses less than all that are cheaper; of equal ones the first stays. The optimum is no rule.
    """
    front, least = list[str](), math.inf
    for each in sorted(standings, key=lambda standing: (standing.energy.mean, standing.miss_rate.mean)):
        if each.rule != OPTIMUM and each.miss_rate.mean < least:
            front.append(each.rule)
            least = each.miss_rate.mean
    return front


@dataclass(frozen=True)
class Mode:
    """A smaller model under one governor: `energy` is a share of the whole agent's under the same one, in the same world.

    `right` is the share of answers that are right and in time, `per_right` the energy for each of them as a share of the whole
    agent's.
    """

    name: str
    energy: Interval
    miss_rate: Interval
    right: float
    per_right: float


def modes(
    table: PowerTable, rate: float, seeds: int, variants: Sequence[Variant], rule: Callable[[], Governor] = governors.by_deadline
) -> list[Mode]:
    """Energy and right answers of each variant, as it was measured; the first one is the whole agent.

    ValueError for one without any right answer in time.
    """
    runs = {}
    for each in variants:
        work = tasks(variants[0].answer_ms * each.of_whole)
        runs[each.name] = [simulate(rule(), world, table) for world in worlds(rate, seeds, work)]
    miss_rate = {name: Interval.of(run.missed_share for run in played) for name, played in runs.items()}
    right = {each.name: each.success * (1 - miss_rate[each.name].mean) for each in variants}
    if hopeless := [name for name, share in right.items() if not share]:
        raise ValueError(f"{', '.join(hopeless)} gave no right answer in time; there is no energy for each of them")
    whole = variants[0].name
    energy = {
        name: Interval.of(run.energy / other.energy for run, other in zip(played, runs[whole], strict=True))
        for name, played in runs.items()
    }
    return [Mode(name, energy[name], miss_rate[name], right[name], energy[name].mean * right[whole] / right[name]) for name in runs]
