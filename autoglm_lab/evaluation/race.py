"""A bundle against the other ways to the same answer: ratios of times that were measured in turns, and what it needs besides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from autoglm_lab.evaluation.bench import questions
from autoglm_lab.evaluation.timing import Spread
from autoglm_lab.runtime.bundle import ONE_CALL
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.runtime.pipeline import answers

PROMPT, WRITTEN = 64, 128  # tokens read at once, and written one by one
READ_BYTES = 2**28  # more than any cache holds

# script of a fresh process: import, open, answer; it prints its peak of memory in MB
COLD = """
import resource, sys
import numpy as np
from autoglm_lab.runtime.onnx_engine import OnnxEngine
OnnxEngine(sys.argv[1]).answer("open Settings", np.load(sys.argv[2])).answer
if sys.platform == "linux":  # where the peak of resource counts the parent's pages as well
    print(next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


Way = Callable[[Any], object]  # answers a request


def race(
    folder: Path, *, against: Mapping[str, Way] | None = None, threads: int | None = None, count: int = 6, rounds: int = 3
) -> dict[str, Any]:
    """Race a bundle against the other ways to the same answer, in one run on this machine.

    In `ratios`: `cache_vs_recompute` (writing 128 tokens), `drafts_vs_token_by_token` and `grammar_vs_free` (a whole answer; the
    latter has drafts in both), `pipeline_vs_one_by_one` (all requests, seeing and hearing one ahead and a thread for each stage,
    against one after the other with all threads); for each other way to the same answer in `against`, `answer_vs_NAME` and
    `answer_by_grammar_vs_NAME`; where the bundle has an answer in one call, `one_call_vs_token_by_token` and
    `answer_in_one_call_vs_NAME` as well. Beside them `cold_start_s` and `peak_rss_mb` of a fresh
    process up to its first answer, `prefill_tokens_per_s`, `decode_tokens_per_s`, and `bandwidth_share`: the bytes of weights
    that decoding reads in a second as a share of what this machine reads at most. ValueError without requests or rounds.
    """
    free = OnnxEngine(folder, threads=threads)
    constrained, plain = free.writing(grammar=True), free.writing(speculate=False)  # on the same graphs: one bundle in memory
    whole = OnnxEngine(folder, threads=threads, one_call=True) if ONE_CALL in free.bundle.files else None
    requests = questions(count)

    def cache(cached: bool) -> Way:
        return lambda _: _write(free, cached)

    def answer(engine: OnnxEngine) -> Way:
        return lambda request: engine.answer(**request).answer

    ways: dict[str, tuple[Sequence[Any], Way, Way]] = {
        "cache_vs_recompute": ([None], cache(False), cache(True)),
        "drafts_vs_token_by_token": (requests, answer(plain), answer(free)),
        "grammar_vs_free": (requests, answer(free), answer(constrained)),
    }
    single = OnnxEngine(folder, threads=1)  # two stages at once, a thread for each
    ways["pipeline_vs_one_by_one"] = (
        [None],
        lambda _: [free.answer(**request).answer for request in requests],
        lambda _: list(answers(single, requests)),
    )
    if whole is not None:
        ways["one_call_vs_token_by_token"] = (requests, answer(plain), answer(whole))
    for name, other in (against or {}).items():
        ways[f"answer_vs_{name}"] = (requests, other, answer(free))
        ways[f"answer_by_grammar_vs_{name}"] = (requests, other, answer(constrained))
        if whole is not None:
            ways[f"answer_in_one_call_vs_{name}"] = (requests, other, answer(whole))
    ratios = {name: _ratios(slow, fast, inputs, rounds) for name, (inputs, slow, fast) in ways.items()}
    prefill, decode = _tokens_per_s(free, 5 * rounds)
    weights = free.bundle.path("step").stat().st_size
    shares = [weights * speed / reach for speed, reach in zip(decode, read_bytes_per_s(threads, 5 * rounds), strict=True)]
    cold = [_cold_start(folder) for _ in range(rounds + 1)][1:]
    return {
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
        "cold_start_s": asdict(Spread.of([seconds for seconds, _ in cold])),
        "peak_rss_mb": asdict(Spread.of([megabytes for _, megabytes in cold])),
        "prefill_tokens_per_s": asdict(Spread.of(prefill)),
        "decode_tokens_per_s": asdict(Spread.of(decode)),
        "bandwidth_share": asdict(Spread.of(shares)),
    }


def _seconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def _ratios(slow: Way, fast: Way, inputs: Sequence[Any], rounds: int) -> Spread:
    """Ratios of the time of `slow` to that of `fast`, request by request, after a round that does not count.

    Each agent gets all of them in a row: on a phone no other drives its weights out of the cache.
    """
    bar = tqdm(range(rounds + 1), desc="racing", unit="round", leave=False)
    times = [[[_seconds(lambda way=way, r=request: way(r)) for request in inputs] for way in (slow, fast)] for _ in bar]  # type: ignore[misc]
    return Spread.of([a / b for turn in times[1:] for a, b in zip(*turn, strict=True)])


def _write(engine: OnnxEngine, cached: bool, count: int = WRITTEN) -> None:
    """Write tokens after a short prompt, reading each once, or all of them again for each."""
    states = {**engine.nothing, "present": np.zeros(2, np.float32)}
    ids, unread = [10] * 16, [10] * 16
    step = engine.new_step(states, len(ids) + count)
    for _ in range(count):
        if not cached:
            step, unread = engine.new_step(states, len(ids) + count), ids
        unread = [int(step.scores(unread).argmax())]
        ids = [*ids, *unread]


def _tokens_per_s(engine: OnnxEngine, runs: int) -> tuple[list[float], list[float]]:
    """Tokens per second of a prompt that is read at once, and of tokens that are written one by one.

    Something is seen and heard, a single place each, so that every weight is read.
    """
    states = {**engine.nothing, "present": np.ones(2, np.float32)}
    prefill, decode = [], []
    for _ in range(runs + 1):
        step = engine.new_step(states, PROMPT + 16)
        prefill.append(PROMPT / _seconds(lambda step=step: step.scores([10] * PROMPT)))  # type: ignore[misc]
        decode.append(16 / _seconds(lambda step=step: [step.scores([10]) for _ in range(16)]))  # type: ignore[misc]
    return prefill[1:], decode[1:]


def read_bytes_per_s(threads: int | None, runs: int) -> list[float]:
    """Bytes of memory that this machine reads per second with so many threads: sums over an array that no cache holds."""
    count = threads or os.cpu_count() or 1
    parts = np.array_split(np.ones(READ_BYTES // 4, np.float32), count)
    with ThreadPoolExecutor(count) as pool:
        times = [_seconds(lambda: list(pool.map(np.sum, parts))) for _ in range(runs + 1)]
    return [READ_BYTES / seconds for seconds in times[1:]]


def _cold_start(folder: Path) -> tuple[float, float]:
    """Seconds from nothing to the first answer in a process of its own, and its peak of memory in MB. RuntimeError if it fails."""
    with tempfile.TemporaryDirectory() as place:
        screen = Path(place) / "screen.npy"
        np.save(screen, np.full((224, 224, 3), 127, np.uint8))
        began = perf_counter()
        ran = subprocess.run([sys.executable, "-c", COLD, str(folder), str(screen)], capture_output=True, text=True, check=False)
        seconds = perf_counter() - began
    if ran.returncode:
        raise RuntimeError(f"a fresh process did not answer: {ran.stderr.strip().splitlines()[-1:]}")
    return seconds, float(json.loads(ran.stdout))
