"""Measure an exchange of the model under load: lost answers, mixed ones, the slowest, and memory.

Eight clients ask without a pause while two bundles whose answers differ are exchanged for each other again and again, in both
modes of `Reloadable`, each in a process of its own. `python -m autoglm_lab.benchmarks.exchanging BUNDLE OTHER` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np

from autoglm_lab.evaluation.machine import fast_maths
from autoglm_lab.evaluation.memory_now import memory_now
from autoglm_lab.memory import trim_heap
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.runtime.reload import Mode, Reloadable

CLIENTS, SWAPS, CALM_S = 8, 20, 10.0
TASKS = ("open Settings", "turn on Wi-Fi", "go back", "describe the screen")
SEEDS = range(8)


def different(bundles: tuple[Path, Path]) -> tuple[str, Any, dict[Path, str]]:
    """Find a request that two bundles answer differently; task, screen, and the answer of each. ValueError when there is none."""
    engines = {bundle: OnnxEngine(bundle, threads=1) for bundle in bundles}
    for seed in SEEDS:
        screen = SimulatedPhone(seed).screenshot()
        for task in TASKS:
            texts = {bundle: engine.answer(task, screen).answer.text for bundle, engine in engines.items()}
            if len(set(texts.values())) == 2:
                return task, screen, texts
    raise ValueError(f"{bundles[0].name} and {bundles[1].name} answer alike; an exchange between them could not be seen")


def exchanges(bundles: tuple[Path, Path], mode: Mode, clients: int = CLIENTS, swaps: int = SWAPS) -> dict[str, Any]:
    """Exchange two bundles under load; counts, milliseconds and megabytes by name.

    `lost` are requests that failed, `mixed` answers that are not the one of their generation's bundle.
    """
    task, screen, texts = different(bundles)
    trim_heap()
    model = Reloadable(lambda bundle: OnnxEngine(bundle, threads=1), bundles[0], free=lambda _: trim_heap(), mode=mode)
    answers: list[tuple[float, float, bool]] = []  # began, took, is that of its generation
    failures: list[Exception] = []
    end, alone = threading.Event(), memory_now()

    def client() -> None:
        while not end.is_set():
            began = time.perf_counter()
            try:
                with model.lease() as mine:
                    right = mine.value.answer(task, screen).answer.text == texts[mine.source]
            except Exception as error:
                failures.append(error)
            else:
                answers.append((began, time.perf_counter() - began, right))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(CALM_S)
    calm_until, peak = time.perf_counter(), memory_now().resident
    for number in range(swaps):
        model.reload(bundles[(number + 1) % 2])
        peak = max(peak, memory_now().resident)
    end.set()
    for thread in threads:
        thread.join()
    calm, busy = ([1000 * took for began, took, _ in answers if (began < calm_until) == early] for early in (True, False))
    return {
        "answers": len(answers),
        "lost": len(failures),
        "mixed": sum(not right for _, _, right in answers),
        "generations": model.generation,
        "calm_p50_ms": float(np.percentile(calm, 50)),
        "calm_p99_ms": float(np.percentile(calm, 99)),
        "p50_ms": float(np.percentile(busy, 50)),
        "p99_ms": float(np.percentile(busy, 99)),
        "alone_mb": alone.resident / 1e6,
        "peak_mb": peak / 1e6,
    }


def main() -> None:
    """Measure an exchange in both modes and print it."""
    parser = argparse.ArgumentParser(prog="python -m autoglm_lab.benchmarks.exchanging", description=main.__doc__)
    parser.add_argument("bundles", type=Path, nargs=2, metavar="BUNDLE")
    parser.add_argument("--mode", choices=get_args(Mode), help="in this process, one mode alone")
    options = parser.parse_args()
    if options.mode is not None:
        print(json.dumps(exchanges(tuple(options.bundles), options.mode)))
        return
    report = {}
    for mode in get_args(Mode):
        command = [sys.executable, "-m", "autoglm_lab.benchmarks.exchanging", *map(str, options.bundles), "--mode", mode]
        report[mode] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    print(json.dumps({"modes": report, "clients": CLIENTS, "swaps": SWAPS, "cpu_flags": fast_maths()}))


if __name__ == "__main__":
    main()
