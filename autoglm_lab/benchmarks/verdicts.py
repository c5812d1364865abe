"""Verdicts on what the articles claim of a phone's budget, each computed from `data/reports/edge`, with its reason.

A verdict is one of `VERDICTS`. What was simulated says so, with its table; a claim that nothing here could settle says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

HOLDS, IN_PART, NOT, UNKNOWABLE, NONE = (
    "holds",
    "holds in part",
    "does not hold",
    "cannot be judged",
    "is not a claim",
)
VERDICTS = (HOLDS, IN_PART, NOT, UNKNOWABLE, NONE)
Reports = Mapping[str, Any]  # by name (`REPORTS`), as their commands print them
MEASURED = ("memory", "exchange")  # the other reports of the edge are simulations
RATE = "0.8"  # requests a second
STEPS_CLAIM, DVFS_CLAIM, MIGRATION_CLAIM = 27.0, 15.0, 27.0  # per cent saved, as the articles say
MOST_MISSED = 0.01  # of its deadlines, for a rule that is in time
COMMANDS = {
    "memory": "python -m autoglm_lab.benchmarks.loading bundle",
    "exchange": "python -m autoglm_lab.benchmarks.exchanging bundle other",
    "power": "python -m tests.figures.measure power",
    "offload": "python -m tests.figures.measure offload",
    "intent": "python -m tests.figures.measure intent bundle",
    "sync": "python -m tests.figures.measure sync",
    "privacy": "python -m tests.figures.measure privacy bundle",
}


@dataclass(frozen=True)
class Judgement:
    """A verdict, its reason, and the figure behind it: mean or median, its interval, and how many runs or seeds."""

    verdict: str
    reason: str
    figure: str = ""
    measured: tuple[float, float, float] | None = None
    runs: int = 0
    report: str = ""
    how: str = ""  # measured, simulated or arithmetic; by the report where it is not said
    command: str = ""


@dataclass(frozen=True)
class Verdict:
    """One claim by its number in the list of all, and how it is judged."""

    key: str
    part: str
    claimed: str
    judge: Callable[[Reports], Judgement]

    def row(self, reports: Reports) -> dict[str, str]:
        """The row of the table. KeyError when a report lacks a figure."""
        judgement = self.judge(reports)
        low, middle, high = (
            ("", "", "") if judgement.measured is None else (f"{value:.3g}" for value in _sorted_spread(judgement.measured))
        )
        by_report = "measured" if judgement.report in MEASURED else "simulated" if judgement.report else ""
        return {
            "key": self.key,
            "part": self.part,
            "report": judgement.report,
            "claimed": self.claimed,
            "figure": judgement.figure,
            "measured": middle,
            "measured_low": low,
            "measured_high": high,
            "runs": f"{judgement.runs or ''}",
            "verdict": judgement.verdict,
            "reason": judgement.reason,
            "how": judgement.how or by_report,
            "command": judgement.command or COMMANDS.get(judgement.report, ""),
        }


def _sorted_spread(spread: tuple[float, float, float]) -> tuple[float, float, float]:
    middle, low, high = spread
    return min(low, middle), middle, max(high, middle)


def standing(reports: Reports, rule: str, table: str = "fast") -> dict[str, Any]:
    """Figures of a rule in the race. KeyError for one that did not run."""
    standings: dict[str, Any] = {each["rule"]: each for each in reports["power"]["rates"][RATE][table]}[rule]
    return standings


def mode(reports: Reports, name: str) -> dict[str, Any]:
    """Figures of a smaller model. KeyError for one that did not run."""
    standings: dict[str, Any] = {each["name"]: each for each in reports["power"]["modes"]}[name]
    return standings


def saving(each: Mapping[str, Any]) -> tuple[float, float, float]:
    """Per cent of energy that is saved against always running at the fastest clock: mean, low, high."""
    energy = each["energy"]
    return 100 * (1 - energy["mean"]), 100 * (1 - energy["high"]), 100 * (1 - energy["low"])


def rules(reports: Reports, most_missed: float = 1.0) -> dict[str, dict[str, Any]]:
    """Figures of each rule on the fast core that misses no more than this share; without the optimum, which is no rule."""
    standings = reports["power"]["rates"][RATE]["fast"]
    return {each["rule"]: each for each in standings if each["rule"] != "the optimum" and each["miss_rate"]["mean"] <= most_missed}


def needed_baseline(reports: Reports, claimed: float, energy: float) -> str:
    """Name the baseline against which this energy, a share of the fastest clock's, saves the claimed per cent."""
    needed, every = energy / (1 - claimed / 100), rules(reports)
    most = max(each["energy"]["mean"] for each in every.values())
    demand = f"to save {claimed:.0f}% needs a baseline that takes {needed:.0%} of the fastest clock's energy"
    if needed > 1.005 * most:
        return f"{demand}, and no rule takes more than {most:.0%}"
    name, near = min(every.items(), key=lambda item: abs(item[1]["energy"]["mean"] - needed))
    return f"{demand}; the nearest, {name!r}, takes {near['energy']['mean']:.0%} and misses {near['miss_rate']['mean']:.0%}"


def nearest_pair(reports: Reports, claimed: float) -> tuple[str, str, float]:
    """Choose the two rules in time of which one saves most nearly the claimed per cent against the other: both, and that saving.

    ValueError when fewer than two rules are in time.
    """
    energy = {name: each["energy"]["mean"] for name, each in rules(reports, MOST_MISSED).items()}
    pairs = [(rule, baseline, 100 * (1 - energy[rule] / energy[baseline])) for rule, baseline in permutations(energy, 2)]
    if not pairs:
        raise ValueError(f"{len(energy)} of the rules miss at most {MOST_MISSED:.0%}; a pair needs two")
    return min(pairs, key=lambda pair: abs(pair[2] - claimed))


def _nearest_pair(reports: Reports, claimed: float) -> str:
    rule, baseline, saved = nearest_pair(reports, claimed)
    return f"of two rules in time {rule!r} against {baseline!r} comes nearest to {claimed:.0f}%: {saved:.0f}%"


def _compare(claimed: float, spread: tuple[float, float, float]) -> str:
    """Say whether a claimed figure lies in a measured interval."""
    _, low, high = spread
    return HOLDS if low <= claimed <= high else NOT


def _load_steps(rule: str, claimed: float | None = None) -> Callable[[Reports], Judgement]:
    def judge(reports: Reports) -> Judgement:
        standings, ondemand, best = (standing(reports, name) for name in (rule, "ondemand", "the optimum"))
        spread, beside = saving(standings), 100 * (1 - standings["energy"]["mean"] / ondemand["energy"]["mean"])
        reason = (
            f"{'saved against which governor?' if claimed else 'a rule, no figure.'} Against the fastest clock it saves "
            f"{spread[0]:.0f}%, against ondemand {beside:.0f}%; {saving(best)[0]:.0f}% can be saved in time"
        )
        if claimed is not None:
            reason += f"; {needed_baseline(reports, claimed, standings['energy']['mean'])}; {_nearest_pair(reports, claimed)}"
        verdict = NONE if claimed is None else _compare(claimed, spread)
        return Judgement(verdict, reason, "saved, %", spread, reports["power"]["seeds"], "power")

    return judge


def _dvfs(reports: Reports) -> Judgement:
    savings = [saving(each)[0] for each in rules(reports, MOST_MISSED).values()]
    best = standing(reports, "by deadline")
    spread = saving(best)
    reason = (
        f"no governor is named on either side: rules that miss at most {MOST_MISSED:.0%} save between {min(savings):.0f}% and "
        f"{max(savings):.0f}% of what the fastest clock takes. With the best of them, 'by deadline', "
        f"{needed_baseline(reports, DVFS_CLAIM, best['energy']['mean'])}; {_nearest_pair(reports, DVFS_CLAIM)}"
    )
    return Judgement(UNKNOWABLE, reason, "saved by deadline, %", spread, reports["power"]["seeds"], "power")


def _migration(reports: Reports) -> Judgement:
    fast, both = (standing(reports, "by deadline", table) for table in ("fast", "both"))
    more = 100 * (1 - both["energy"]["mean"] / fast["energy"]["mean"])
    sooner = both["p95_s"] < 0.98 * fast["p95_s"]
    reason = (
        f"with a slow core as well the best rule takes {more:.0f}% less than on the fast core alone; 95% of its answers are there "
        f"within {both['p95_s']:.2f} s, before {fast['p95_s']:.2f} s: {'sooner' if sooner else 'a slow core makes nothing quicker'}"
        f". Saved against what? With both, {needed_baseline(reports, MIGRATION_CLAIM, both['energy']['mean'])}"
    )
    return Judgement(IN_PART if more > 0 else NOT, reason, "saved, %", saving(both), reports["power"]["seeds"], "power")


def _int8(reports: Reports) -> Judgement:
    int8 = mode(reports, "int8_static")
    energy = {name: 100 * value for name, value in int8["energy"].items()}
    spread = (energy["mean"], energy["low"], energy["high"])
    reason = (
        f"power or energy? At the clock that each answer needs to be in time the INT8 agent takes {spread[0]:.0f}% of the energy, "
        f"and {int8['right']:.1%} of its answers are right and in time: they are sooner done"
    )
    return Judgement(IN_PART if spread[0] <= 72 else NOT, reason, "energy, %", spread, reports["power"]["seeds"], "power")


def _floor(reports: Reports) -> Judgement:
    without, floor = (standing(reports, rule) for rule in ("ondemand", "ondemand, 800 MHz at least"))
    gain = saving(floor)[0] - saving(without)[0]
    reason = (
        f"ondemand saves {saving(without)[0]:.1f}% against the fastest clock, with this floor {saving(floor)[0]:.1f}%: "
        f"{'clocks so slow that work costs more are left out, and nothing else' if gain > 0 else 'a floor only adds energy'}. "
        "It needs root, and sets one core of eight"
    )
    return Judgement(IN_PART if gain > 0 else NOT, reason, "saved, %", saving(floor), reports["power"]["seeds"], "power")


def _budget(reports: Reports) -> Judgement:
    each, floor = (standing(reports, rule) for rule in ("budget", "budget with a floor"))
    misses = {name: 100 * value for name, value in each["miss_rate"].items()}
    times = floor["energy"]["mean"] / standing(reports, "by deadline")["energy"]["mean"]
    reason = (
        f"a budget knows no deadline: {misses['mean']:.0f}% are missed. With a lowest clock of 0.6 "
        f"{floor['miss_rate']['mean']:.1%} are, and it takes {times:.2f} times the energy of the rule that asks when an answer "
        "is due"
    )
    spread = (misses["mean"], misses["low"], misses["high"])
    return Judgement(NOT if misses["mean"] > 1 else HOLDS, reason, "missed, %", spread, reports["power"]["seeds"], "power")


def _chunks(reports: Reports) -> Judgement:
    ways = reports["memory"]["ways"]
    private = {way: ways[way]["private_mb"]["median"] for way in ("read", "mapped", "lazy, typed only")}
    reason = (
        "slices of the data set do not make the model smaller. What does: mapped weights take "
        f"{100 * (1 - private['mapped'] / private['read']):.0f}% off the private memory, encoders that are not opened "
        f"{100 * (1 - private['lazy, typed only'] / private['read']):.0f}%"
    )
    spread = ways["mapped"]["private_mb"]
    return Judgement(NOT, reason, "private, MB", (spread["median"], spread["lo"], spread["hi"]), spread["runs"], "memory")


def _pool(reports: Reports) -> Judgement:
    pool, answer = reports["memory"]["pool"], reports["memory"]["ways"]["read"]["second_answer_ms"]["median"]
    fresh, reused = pool["made_us"]["median"], pool["pooled_us"]
    reason = (
        f"no figure is claimed; a cache from a pool costs {reused['median']:.0f} us, one made anew {fresh:.0f} us, of an answer of "
        f"{answer:.0f} ms: nothing to gain here"
    )
    return Judgement(NONE, reason, "us for a cache", (reused["median"], reused["lo"], reused["hi"]), reused["runs"], "memory")


def _same_memory(reports: Reports) -> Judgement:
    spread = reports["memory"]["ways"]["read"]["peak_mb"]
    reason = "model, input and runs are not named; why the weaker phone takes more memory for the same model is not said"
    return Judgement(UNKNOWABLE, reason, "peak here, MB", (spread["median"], spread["lo"], spread["hi"]), spread["runs"], "memory")


def _without_figure(verdict: str, reason: str) -> Callable[[Reports], Judgement]:
    return lambda reports: Judgement(verdict, reason)


EDGE = (
    Verdict("K07", "C9", "flagship 180 ms, 420 MB; mid-range 310 ms, 450 MB", _same_memory),
    Verdict("K13", "E4", "chunks of 32 lower the peak", _chunks),
    Verdict(
        "K14",
        "E6",
        "camera starts in 380 ms (Qualcomm), 450 ms (MediaTek)",
        _without_figure(NONE, "of a camera, not of the model; phones and chips are not named"),
    ),
    Verdict(
        "K15",
        "E6",
        "H.264 encoder: supported, limited on some models",
        _without_figure(NONE, "not a number; decided by a driver and not by a maker: ask the device, as `doctor --adb` does"),
    ),
    Verdict("K16", "E5", "ondemand with at least 800 MHz saves", _floor),
    Verdict("K29", "E5", "power 100 % -> 72 % under INT8", _int8),
    Verdict("K32", "E5", "load above 80 % fast, above 50 % middle, else slow", _load_steps("load steps 80/50")),
    Verdict(
        "K33",
        "E5",
        "critical tasks answer within 10 ms",
        _without_figure(UNKNOWABLE, "of what task, from when? A governor that looks every 10 ms has not looked yet"),
    ),
    Verdict("K34", "E5", "mean power -27 % by this rule", _load_steps("load steps 80/50", STEPS_CLAIM)),
    Verdict("K35", "E5", "clock alone: 15 % saved", _dvfs),
    Verdict("K36", "E5", "migration and clock: 27 % saved, 8 -> 6 ms", _migration),
    Verdict("K47", "E5", "load above 80 % fastest, below 30 % slow", _load_steps("load steps 80/30")),
    Verdict("K65", "E5", "above 90 % of a budget x 0.8, below 70 % x 1.1", _budget),
    Verdict("K66", "E4", "a memory pool", _pool),
)
