"""Load test of a server: clients that ask over HTTP, one question after the other, and wait for each answer."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from tqdm.auto import tqdm

from autoglm_lab.evaluation.bench import questions
from autoglm_lab.evaluation.timing import Spread
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.runtime.rows import Rows
from autoglm_lab.runtime.sessions import open_graph, quiet
from autoglm_lab.serve.client import conversation

# Ways to serve one bundle, as options of `autoglm-lab serve`. Without a number a machine's cores are shared out.
WAYS: dict[str, tuple[str, ...]] = {
    "one at a time": ("--rows", "1", "--workers", "1", "--no-drafts"),
    "with drafts": ("--rows", "1", "--workers", "1"),  # of what usually comes, as in all that follow
    "threads": ("--rows", "1"),
    "batches": (),
}
GRID = {
    f"{workers} x {threads}": ("--rows", "1", "--workers", str(workers), "--threads", str(threads))
    for workers in (1, 2, 4, 8)
    for threads in (1, 2)
}
CLIENTS = (1, 4, 16, 32)


@dataclass(frozen=True)
class Load:
    """Throughput and latency of a run with some clients: answers per second, and how long they waited for one."""

    clients: int
    answers_per_s: float
    tokens_per_s: float
    p50_ms: float
    p95_ms: float
    answers: int
    refused: int  # status 429: told to try again later
    failed: int  # 5xx, or no answer at all

    @classmethod
    def of(cls, clients: int, seconds: float, waits_s: Sequence[float], tokens: int, refused: int, failed: int) -> Load:
        """The figures of one run."""
        p50, p95 = (1000 * float(np.percentile(waits_s, share)) if waits_s else float("nan") for share in (50, 95))
        return cls(clients, len(waits_s) / seconds, tokens / seconds, p50, p95, len(waits_s), refused, failed)


def bodies(count: int = 24, **options: Any) -> list[bytes]:
    """Requests as phone agents send them, each with a screen of its own; every second is spoken. `options` are added to each."""
    return [json.dumps({"messages": conversation(**question), **options}).encode() for question in questions(count)]


async def ask(url: str, asked: Sequence[bytes], clients: int, answers: int, api_key: str = "EMPTY") -> Load:
    """Let `clients` ask at once until `answers` have come, after a round in which each asks once and nothing counts."""
    waits: list[float] = []
    counts = {"tokens": 0, "refused": 0, "failed": 0}
    numbers = iter(range(answers))
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    async with httpx2.AsyncClient(timeout=120, limits=limits, headers=headers) as http:

        async def one(number: int) -> None:
            began = time.perf_counter()
            try:
                reply = await http.post(f"{url}/chat/completions", content=asked[number % len(asked)])
            except httpx2.HTTPError:
                counts["failed"] += 1
                return
            if reply.status_code == 200:
                waits.append(time.perf_counter() - began)
                counts["tokens"] += reply.json()["usage"]["completion_tokens"]
            elif reply.status_code == 429:
                counts["refused"] += 1
                await asyncio.sleep(0.05)
            else:
                counts["failed"] += 1

        async def client() -> None:
            for number in numbers:
                await one(number)

        await asyncio.gather(*(one(number) for number in range(clients)))
        waits.clear()
        counts.update(tokens=0, refused=0, failed=0)
        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        seconds = time.perf_counter() - began
    return Load.of(clients, seconds, waits, **counts)


@contextmanager
def served(folder: Path, options: Sequence[str]) -> Iterator[str]:
    """A server in a process of its own; its address. RuntimeError when it does not start."""
    command = [sys.executable, "-m", "autoglm_lab.cli", "serve", "--bundle", str(folder), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        try:
            if not line.startswith("serving"):
                raise RuntimeError(f"the server did not start: {process.stderr.read().strip()}")
            yield line.split(" at ")[1].split()[0]
        finally:
            process.terminate()
            process.wait(timeout=30)


def loads(
    folder: Path,
    ways: Mapping[str, Sequence[str]] = WAYS,
    *,
    clients: Sequence[int] = CLIENTS,
    answers: int = 96,
    rounds: int = 3,
) -> dict[str, list[list[Load]]]:
    """Runs for each way to serve a bundle and each number of clients; the ways take turns. ValueError for less than one."""
    if min([answers, rounds, *clients]) < 1 or not ways:
        raise ValueError("clients, answers and rounds are numbers from 1, and at least one way is needed")
    requests = bodies()
    runs: dict[str, list[list[Load]]] = {name: [[] for _ in clients] for name in ways}
    bar = tqdm(total=rounds * len(ways) * len(clients), desc="loading", unit="run", leave=False)
    for _ in range(rounds):
        for name, options in ways.items():
            with served(folder, options) as url:
                for place, count in enumerate(clients):
                    runs[name][place].append(asyncio.run(ask(url, requests, count, max(answers, 3 * count))))
                    bar.update()
    bar.close()
    return runs


def shared_step(folder: Path, rows: int = 16, runs: int = 25, threads: int | None = None) -> Spread:
    """Ratio of the time of `rows` single steps to that of one step of `rows` answers, each with a screen; measured in turns."""
    engine = OnnxEngine(folder, threads=threads)
    request = engine.prepare(**next(one for one in questions(2) if "task" in one))
    assert request.states is not None
    single = engine.new_step(request.states, len(request.ids) + rows)
    single.scores(request.ids)
    batch = Rows(open_graph(engine.bundle.path("rows"), quiet(threads)), rows, engine.bundle.places)
    for _ in range(rows):
        batch.join(request.states, single.cache, single.total)
    ratios = []
    for _ in range(runs + 1):
        single.total = len(request.ids)  # what was written is written over
        began = time.perf_counter()
        for _ in range(rows):
            single.scores([10])
        between = time.perf_counter()
        batch.step([10] * rows)
        ratios.append((between - began) / (time.perf_counter() - between))
    return Spread.of(ratios[1:])


def summary(found: Mapping[str, Sequence[Sequence[Load]]]) -> dict[str, Any]:
    """The runs as spreads, and how many times more answers each way gives than the first, run by run."""
    slowest, first = next(iter(found.items()))
    report: dict[str, Any] = {"ways": {}, "ratios": {}}
    for name, by_clients in found.items():
        report["ways"][name] = [
            {"clients": runs[0].clients, "failed": sum(run.failed for run in runs), "refused": sum(run.refused for run in runs)}
            | {
                figure: asdict(Spread.of([getattr(run, figure) for run in runs]))
                for figure in ("answers_per_s", "tokens_per_s", "p50_ms", "p95_ms")
            }
            for runs in by_clients
        ]
        for runs, others in zip(by_clients, first if name != slowest else [], strict=name != slowest):
            ratio = [mine.answers_per_s / other.answers_per_s for mine, other in zip(runs, others, strict=True)]
            report["ratios"][f"{name} vs {slowest} {runs[0].clients}".replace(" ", "_")] = asdict(Spread.of(ratio))
    return report
