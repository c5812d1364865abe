"""Measure the ways to load a bundle: seconds, private memory, pages of files, and what two processes share.

Each load is a process of its own, for a peak never falls and an allocator keeps what it once had. Run five times, in turns;
medians and their range are given. `python -m autoglm_lab.benchmarks.loading BUNDLE` prints them as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from autoglm_lab.evaluation.machine import fast_maths
from autoglm_lab.evaluation.timing import Spread
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.runtime.shelf import Pool

# Options of an engine, and whether it gets a screen.
WAYS: dict[str, tuple[dict[str, bool], bool]] = {
    "read": ({}, True),
    "mapped": ({"mapped": True}, True),
    "lazy, typed only": ({"lazy": True}, False),
    "lazy, with a screen": ({"lazy": True}, True),
    "mapped and lazy, typed only": ({"mapped": True, "lazy": True}, False),
}
PAIRS = ("read", "mapped")  # of which two processes run at once
RUNS, TOKENS = 5, 40
# Loads, answers twice, steps token by token; then prints its memory, and again for each line on its standard input.
LOAD = """
import json, sys, time
from statistics import median
import numpy as np
from autoglm_lab.evaluation.memory_now import memory_now
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.onnx_engine import OnnxEngine

folder, options, sees, tokens = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
screen, before, began = SimulatedPhone(5).screenshot() if sees else None, memory_now(), time.perf_counter()
engine = OnnxEngine(folder, threads=1, **options)
load_s = time.perf_counter() - began
answers = []
for text in ("open Settings", "turn on Wi-Fi"):
    start = time.perf_counter()
    engine.answer(text, screen).answer
    answers.append(1000 * (time.perf_counter() - start))
states, steps = engine.prepare("open Settings", screen).states, []
step = engine.new_step(states, tokens + 1)
for _ in range(tokens):
    start = time.perf_counter()
    step.read([1])
    steps.append(1000 * (time.perf_counter() - start))
while True:
    now = memory_now()
    report = {"load_s": load_s, "first_answer_ms": answers[0], "second_answer_ms": answers[1], "step_ms": median(steps),
            "peak_mb": now.peak / 1e6, "resident_mb": now.resident / 1e6, "shared_out_mb": now.shared_out / 1e6,
            "private_mb": (now.private - before.private) / 1e6, "of_files_mb": (now.of_files - before.of_files) / 1e6}
    print(json.dumps(report), flush=True)
    if not sys.stdin.readline():
        break
"""


class LoadProcess:
    """A process in which a bundle is loaded in one of the `WAYS`; it goes away at the end of the `with` block."""

    def __init__(self, bundle: Path, way: str, tokens: int = TOKENS) -> None:
        options, sees = WAYS[way]
        command = [sys.executable, "-c", LOAD, str(bundle), json.dumps(options), json.dumps(sees), str(tokens)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._started = False

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def memory(self) -> dict[str, float]:
        """Read what it says of itself now; it may have to load first. RuntimeError with its messages when it failed."""
        assert self._process.stdin is not None and self._process.stdout is not None and self._process.stderr is not None
        if self._started:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        self._started = True
        line = self._process.stdout.readline()
        if not line:
            reason = self._process.stderr.read().strip().splitlines()
            raise RuntimeError(f"a bundle could not be loaded: {reason[-1] if reason else 'the process ended'}")
        report: dict[str, float] = json.loads(line)
        return report


def load_once(bundle: Path, way: str, tokens: int = TOKENS) -> dict[str, float]:
    """Load a bundle in a process of its own; seconds, milliseconds and megabytes by name. KeyError for an unknown way."""
    with LoadProcess(bundle, way, tokens) as process:
        return process.memory()


def load_twice(bundle: Path, way: str) -> dict[str, float]:
    """Load a bundle in two processes at once; megabytes that each then takes (PSS counts a page that both map as half)."""
    with ExitStack() as stack:
        both = [stack.enter_context(LoadProcess(bundle, way)) for _ in range(2)]
        for process in both:
            process.memory()
        return {"shared_out_of_two_mb": median(process.memory()["shared_out_mb"] for process in both)}


def loads(
    bundle: Path, runs: int = RUNS, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> dict[str, dict[str, Spread]]:
    """Measure every way to load a bundle, `runs` times in turns. A mapped form that is not there yet is written before."""
    for way in WAYS:
        load_once(bundle, way, tokens=1)
    runs_by_way: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in progress(range(runs)):
        for way, report in runs_by_way.items():
            report.append(load_once(bundle, way) | (load_twice(bundle, way) if way in PAIRS else {}))
    return {way: {name: Spread.of([each[name] for each in report]) for name in report[0]} for way, report in runs_by_way.items()}


def pool_times(bundle: Path, count: int = 2000, rounds: int = RUNS) -> dict[str, Spread]:
    """Compare a pool of key/value caches with caches made anew: microseconds and page faults for each, in turns.

    As large as an answer of this bundle needs with 256 tokens, and written once, as an answer does.
    """
    shape = (256, OnnxEngine(bundle, threads=1).cache_bytes_per_token // 4)
    pool = Pool({256: 1}, lambda _: np.zeros(shape, np.float32))
    report: dict[str, list[float]] = {name: [] for name in ("made_us", "made_faults", "pooled_us", "pooled_faults")}
    for _ in range(rounds):
        for name in ("made", "pooled"):
            faults, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
            for _ in range(count):
                if name == "made":
                    np.zeros(shape, np.float32).fill(1.0)
                else:
                    with pool.lease(256) as cache:
                        cache.fill(1.0)
            report[f"{name}_us"].append(1e6 * (time.perf_counter() - began) / count)
            report[f"{name}_faults"].append((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / count)
    return {name: Spread.of(values) for name, values in report.items()}


def report(bundle: Path, runs: int = RUNS, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> dict[str, Any]:
    """Measure every way to load a bundle, and a pool of caches, as plain JSON values; `data/reports/edge/memory.json` is one."""
    runs_by_way = loads(bundle, runs, progress)
    ways = {way: {name: asdict(spread) for name, spread in spreads.items()} for way, spreads in runs_by_way.items()}
    pool = {name: asdict(spread) for name, spread in pool_times(bundle, rounds=runs).items()}
    return {"ways": ways, "pool": pool, "runs": runs, "threads": 1, "cpu_flags": fast_maths()}


def main() -> None:
    """Print what the ways to load a bundle cost, and what a pool of buffers saves."""
    parser = argparse.ArgumentParser(prog="python -m autoglm_lab.benchmarks.loading", description=main.__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    print(json.dumps(report(options.bundle, options.runs)))


if __name__ == "__main__":
    main()
