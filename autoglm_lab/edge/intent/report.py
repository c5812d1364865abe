"""The report of chapter 12 on intent: hits, calibration and value of each predictor, and the articles' figures beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from autoglm_lab.edge.intent.calibration import reliability
from autoglm_lab.edge.intent.costs import Costs
from autoglm_lab.edge.intent.events import KINDS, N_READING
from autoglm_lab.edge.intent.judging import Forecasts, Score, over_users, share, totals
from autoglm_lab.edge.intent.personas import PersonaConfig
from autoglm_lab.edge.intent.study import CALIBRATION, Blocks, Fit, StudyConfig, calibrate, study
from autoglm_lab.edge.intent.value import RAW_GATE, Gain, Price, gains, hit_and_miss_ms, policies
from autoglm_lab.edge.race import Interval

SEEDS = 20
RATIOS = (0.25, 1.0, 4.0)  # cost of a miss by saving of a hit
SAVING_MS = 100.0  # where nothing was measured: values are then per cent of a saving
GATES = tuple(number / 20 for number in range(20))
BLOCKS = ("known", "new", "drift")
OWN, BEST = "Markov-3, own", "Markov-3, mixed"
VALUED = ("Markov-1, all", OWN, BEST, "GRU, all", "GRU and Markov-3, mixed")
# The articles' rows: share of hits and mean milliseconds, without prediction, warmed by rules, driven by intent (C4.3).
ARTICLE = {"none": (0.61, 320.0), "rules": (0.73, 210.0), "intent": (0.89, 98.0)}
Progress = Callable[[Iterable[int]], Iterable[int]]


def report(
    fit: Fit | None = None,
    costs: Costs | None = None,
    *,
    seeds: int = SEEDS,
    config: StudyConfig | None = None,
    progress: Progress = iter,
) -> dict[str, Any]:
    """Everything that the chapter shows, as plain JSON values: the same for the same seeds, but for `costs`, which were measured.

    `fit` trains the network that takes part, if any. Values are milliseconds per event with the measured saving, else with 100 ms.
    """
    config = config or StudyConfig()
    results = [study(seed, config, fit) for seed in progress(range(seeds))]
    studies, names = [each.blocks for each in results], list(results[0].blocks)
    saving_ms = costs.saving.mean if costs is not None else SAVING_MS
    figures: dict[str, Any] = {
        "kinds": len(KINDS),
        "reading_kinds": N_READING,
        "seeds": seeds,
        "people": {"train": config.n_train, "calibration": config.n_calibration, "test": config.n_test, "tasks": config.tasks},
        "scores": {name: {block: scores([each[name][block] for each in studies]) for block in BLOCKS} for name in names},
        "value": {
            name: {block: value([each[name] for each in studies], block, saving_ms, costs) for block in ("new", "drift")}
            for name in VALUED
            if name in names
        },
        "costs": None if costs is None else asdict(costs) | {"gates": gates(costs)},
        "curves": {name: curves([each[name] for each in studies]) for name in (OWN, BEST)},
        "words": {name: words([each.words[name] for each in results]) for name in names},
        "control": control(range(min(seeds, 5)), config, fit),
        "sensitivity": [sensitivity(range(min(seeds, 3)), config, concentration) for concentration in (0.1, 1.0)],
        "article": article(),
    }
    return figures | {"verdicts": verdicts(figures)}


def scores(parts: Sequence[Forecasts]) -> dict[str, Any]:
    """Hits, coverage, precision and calibration error: of all events, of first steps, and of the steps that a task forces."""
    forecasts = Forecasts.join(parts)
    spans = {"all": forecasts, "first": forecasts.where(forecasts.first), "inside": forecasts.where(~forecasts.first)}
    return {span: asdict(Score.of(each)) for span, each in spans.items()}


def value(studies: Sequence[Blocks], block: str, saving_ms: float, costs: Costs | None = None) -> list[dict[str, Any]]:
    """Milliseconds per event of each policy, and of the calibrated gate against the raw one, for each ratio of costs.

    With `costs` the last row has the measured ratio: the work of a preparation by its saving.
    """
    forecasts = Forecasts.join(each[block] for each in studies)
    by_place, plain = (
        np.concatenate([calibrate(each[CALIBRATION], each[block], by_place=place) for each in studies]) for place in (True, False)
    )
    rows = []
    for ratio in (*RATIOS, *([] if costs is None else [costs.work.mean / saving_ms])):
        price = Price(saving_ms, ratio * saving_ms)
        each = policies(forecasts, by_place, price)
        each["calibrated p*, without place"] = policies(forecasts, plain, price)["calibrated p*"]
        each |= {f"calibrated - {other}": each["calibrated p*"] - each[other] for other in ("raw 0.8", "raw p*")}
        spans = {"all": np.ones(len(forecasts), bool), "first": forecasts.first}
        rows.append(
            {"ratio": ratio, "gate": price.gate, "saving_ms": price.saving_ms, "cost_ms": price.cost_ms}
            | {span: {name: asdict(_mean(forecasts, gain, mask)) for name, gain in each.items()} for span, mask in spans.items()}
        )
    return rows


def curves(studies: Sequence[Blocks]) -> dict[str, Any]:
    """The value of each gate on the raw confidence, per saving of one, and confidence against hits in ten bins; of new people."""
    forecasts = Forecasts.join(each["new"] for each in studies)
    spans = {"first": forecasts.where(forecasts.first), "inside": forecasts.where(~forecasts.first)}
    by_gate = {
        str(ratio): [float(gains(forecasts, forecasts.confidence > gate, Price(1.0, ratio)).mean()) for gate in GATES]
        for ratio in RATIOS
    }
    bins = {span: reliability(each.confidence, each.right).tolist() for span, each in spans.items()}
    return {"gates": list(GATES), "value": by_gate, "bins": bins}


def _mean(forecasts: Forecasts, gain: Gain, mask: Bool[np.ndarray, " events"]) -> Interval:
    return over_users(totals(forecasts.user[mask], gain[mask], np.ones(mask.sum())), share)


def gates(costs: Costs) -> dict[str, float]:
    """The gate p* that follows from what was measured: where the wasted work counts in full, and where only the delay counts."""
    saving = costs.saving.mean
    return {
        "work": Price(saving, costs.work.mean).gate,
        "delay": Price(saving, max(costs.delay.mean, 1e-3)).gate,
    }


def words(counts: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Hits among first steps of tasks, and those of them whose words were known as well: see `study.repeated_words`."""
    hits, same_words = np.sum(list(counts), axis=0).tolist()
    return {"hits": hits, "same_words": same_words}


def control(seeds: Iterable[int], config: StudyConfig, fit: Fit | None = None) -> dict[str, Any]:
    """The scores where tasks are independent: whatever is above them in a study is what its personas put there."""
    studies = [study(seed, replace(config, independent=True), fit).blocks for seed in seeds]
    return {name: scores([each[name]["new"] for each in studies]) for name in studies[0]}


def sensitivity(seeds: Iterable[int], config: StudyConfig, concentration: float) -> dict[str, Any]:
    """The scores of people who are more regular (a small concentration) or less."""
    persona: PersonaConfig = replace(config.persona, concentration=concentration)
    studies = [study(seed, replace(config, persona=persona)).blocks for seed in seeds]
    return {"concentration": concentration} | {name: scores([each[name]["new"] for each in studies]) for name in (OWN, BEST)}


def article() -> dict[str, float]:
    """Derive from two of the articles' rows the time of a hit and of a miss, and from these the third row."""
    (before, _), (rules, claimed), (after, _) = ARTICLE.values()
    hit, miss = hit_and_miss_ms([ARTICLE["none"], ARTICLE["intent"]])
    return {
        "hit_ms": hit,
        "miss_ms": miss,
        "rules_ms": rules * hit + (1 - rules) * miss,
        "rules_claimed_ms": claimed,
        "misses_to_foresee": (after - before) / (1 - before),
    }


def verdicts(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures that decide on K50 to K53, taken from the report."""
    rows, best = figures["value"][BEST]["new"], figures["scores"][BEST]["new"]
    behind = [row["ratio"] for row in rows if row["all"]["calibrated - raw 0.8"]["low"] > 0]
    arithmetic = figures["article"]
    return {
        "K50": {
            "claimed_gate": RAW_GATE,
            "ratio_it_fits": RAW_GATE / (1 - RAW_GATE),
            "ratios": [row["ratio"] for row in rows],
            "ratios_where_it_loses": behind,
            "coverage": best["all"]["coverage"],
            "precision": best["all"]["precision"],
            "precision_first_steps": best["first"]["precision"],
        },
        "K51": {"claimed_ms": ARTICLE["none"][1], "hit_ms": arithmetic["hit_ms"], "miss_ms": arithmetic["miss_ms"]},
        "K52": {"claimed_ms": arithmetic["rules_claimed_ms"], "follows_ms": arithmetic["rules_ms"]},
        "K53": {
            "claimed_hits": ARTICLE["intent"][0],
            "misses_to_foresee": arithmetic["misses_to_foresee"],
            "top1": best["all"]["top1"],
            "top1_first_steps": best["first"]["top1"],
            "top1_control_first_steps": figures["control"][BEST]["first"]["top1"],
        },
    }
