"""Verdicts on what the articles claim of a phone's budget, each computed from `data/reports/edge`, with its reason.

A verdict is one of `VERDICTS`. What was simulated says so, with its table; a claim that nothing here could settle says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
        verdict = NONE if claimed is None else _compare(claimed, spread)
        return Judgement(verdict, reason, "saved, %", spread, reports["power"]["seeds"], "power")

    return judge


def _dvfs(reports: Reports) -> Judgement:
    rules = [each for each in reports["power"]["rates"][RATE]["fast"] if each["rule"] != "the optimum"]
    savings = [saving(each)[0] for each in rules if each["miss_rate"]["mean"] <= 0.01]
    least, most = min(savings), max(savings)
    spread = saving(standing(reports, "by deadline"))
    reason = (
        f"no governor is named on either side: rules that miss at most 1% save between {least:.0f}% and {most:.0f}% of what the "
        f"fastest clock takes, so any figure between can be had"
    )
    return Judgement(UNKNOWABLE, reason, "saved by deadline, %", spread, reports["power"]["seeds"], "power")


def _migration(reports: Reports) -> Judgement:
    fast, both = (standing(reports, "by deadline", table) for table in ("fast", "both"))
    more = 100 * (1 - both["energy"]["mean"] / fast["energy"]["mean"])
    sooner = both["p95_s"] < 0.98 * fast["p95_s"]
    reason = (
        f"with a slow core as well the best rule takes {more:.0f}% less than on the fast core alone; 95% of its answers are there "
        f"within {both['p95_s']:.2f} s, before {fast['p95_s']:.2f} s: {'sooner' if sooner else 'a slow core makes nothing quicker'}"
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
    Verdict("K34", "E5", "mean power -27 % by this rule", _load_steps("load steps 80/50", 27)),
    Verdict("K35", "E5", "clock alone: 15 % saved", _dvfs),
    Verdict("K36", "E5", "migration and clock: 27 % saved, 8 -> 6 ms", _migration),
    Verdict("K47", "E5", "load above 80 % fastest, below 30 % slow", _load_steps("load steps 80/30")),
    Verdict("K65", "E5", "above 90 % of a budget x 0.8, below 70 % x 1.1", _budget),
    Verdict("K66", "E4", "a memory pool", _pool),
)
