"""The parts of the board that a reader's machine measures again in minutes, each in the shape of the shipped reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Bundles = Mapping[str, Path]  # name of a shipped report -> folder of its bundle
Progress = Callable[[Iterable[Any]], Iterable[Any]]
WHOLE = "whole"  # the bundle that all others are compared with
SEEDS, QUICK_SEEDS = 4, 2
REQUESTS, ROUNDS = 12, 3
# The rules that verdicts speak of.
RULES_BY_TABLE = {
    "fast": (
        "performance",
        "ondemand",
        "ondemand, 800 MHz at least",
        "load steps 80/50",
        "load steps 80/30",
        "budget",
        "budget with a floor",
        "by deadline",
    ),
    "both": ("performance", "by deadline"),
}


@dataclass(frozen=True)
class Part:
    """One step: its seconds on two cores, the packages and the bundle that it needs, and the function that measures."""

    name: str  # of its file
    title: str
    seconds: int
    measure: Callable[[Bundles, Progress], dict[str, Any]]
    modules: tuple[str, ...] = ()
    needs_bundle: bool = False


def plans(names: Iterable[str], *, deadlines: bool) -> dict[str, Any]:
    """Work out the offloading plans of some worlds exactly, without the learners."""
    from autoglm_lab.edge.offload import experiment as offload
    from autoglm_lab.edge.offload.networks import network_world
    from autoglm_lab.edge.offload.planning import shares_of_ends, worth

    worlds = {}
    for name in names:
        world = network_world(name)
        policies = offload.fixed_policies(world)
        policy_names = (offload.GREEDY, offload.LATENCY, offload.OPTIMUM)
        worlds[name] = {
            "fixed": {each: worth(world, policy) for each, policy in policies.items()},
            "ends": {each: shares_of_ends(world, policies[each]) for each in policy_names},
            "free_waiting": offload.free_waiting(world, policies[offload.OPTIMUM]),
        }
        if deadlines:
            worlds[name]["deadlines"] = {f"{s:g}": offload.by_deadline(name, s) for s in offload.DEADLINES_S}
    return {"offload": {"worlds": worlds}}


def _all_plans(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    return plans(progress(["kind", "worse"]), deadlines=True)


def _plans(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    return plans(["worse"], deadlines=False)


def _power(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    from autoglm_lab.benchmarks.scoreboard.governor_report import report

    return {"power": report(SEEDS, progress=progress)}


def _quick_power(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    from autoglm_lab.benchmarks.scoreboard.governor_report import report

    return {"power": report(QUICK_SEEDS, (0.8,), RULES_BY_TABLE, (WHOLE, "int8_static"), progress)}


def _sync(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    from autoglm_lab.edge.sync.experiment import report

    return {"sync": report(SEEDS, schedules=200)}


def _quick_sync(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    from autoglm_lab.edge.sync import experiment as sync
    from autoglm_lab.edge.sync.schedules import tally

    figures = {
        "formats": sync.table(),
        "traffic": sync.traffic(range(SEEDS)),
        "network": sync.network(range(QUICK_SEEDS)),
        "schedules": tally(range(50)).data(),
    }
    return {"sync": figures}


def _privacy(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    from autoglm_lab.edge.privacy.report import report

    return {"privacy": report(SEEDS, progress=progress)}


def _quick_privacy(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    from autoglm_lab.edge.privacy.report import nonces, sealing

    return {"privacy": {"sealing": sealing(), "nonces": nonces(QUICK_SEEDS)}}


def _memory(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    from autoglm_lab.benchmarks.loading import report

    return {"memory": report(bundles[WHOLE], runs=ROUNDS, progress=progress)}


def _answers(bundles: Bundles, progress: Progress) -> dict[str, Any]:
    """Time whole answers of every bundle in turns, and the whole agent's cache against none."""
    from autoglm_lab.evaluation.bench import bench
    from autoglm_lab.evaluation.race import race
    from autoglm_lab.runtime.onnx_engine import OnnxEngine

    engines = {name: OnnxEngine(folder, speculate=False) for name, folder in bundles.items()}
    times = {name: stages["total"] for name, stages in bench(engines, requests=REQUESTS, rounds=ROUNDS).items()}
    onnx = {
        name: {
            "bytes": engines[name].bundle.bytes,
            "answer_ms": time.median_ms,
            "answer_ms_spread": [time.low_ms, time.high_ms],
            "whole_ms": times[WHOLE].median_ms,
        }
        for name, time in times.items()
    }
    engines.clear()
    return {"onnx": onnx, "race": {WHOLE: race(bundles[WHOLE], count=2, rounds=ROUNDS)}}


SEALED, PACKED = ("cryptography",), ("cryptography", "cbor2")
QUICK = (
    Part("quick_offload", "offloading plans of the bad network, exactly", 5, _plans),
    Part("quick_power", "governors in two worlds (simulated)", 11, _quick_power),
    Part("quick_sync", "bytes of messages, and schedules", 5, _quick_sync, PACKED),
    Part("quick_privacy", "a sealer and its nonces", 2, _quick_privacy, SEALED),
)
FULL = (
    Part("offload", "offloading plans of both networks, exactly", 15, _all_plans),
    Part("power", f"all governors in {SEEDS} worlds (simulated)", 140, _power),
    Part("sync", "bytes of messages, networks, clocks and schedules", 12, _sync, PACKED),
    Part("privacy", "attacks on what is published", 30, _privacy, SEALED),
    Part(
        "memory",
        "memory of the whole agent, read and mapped (its mapped form is written beside the bundle)",
        70,
        _memory,
        needs_bundle=True,
    ),
    Part("answers", "answers of the bundles that are there", 110, _answers, needs_bundle=True),
)
