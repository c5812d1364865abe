"""Success of a compressed agent, and its speed beside the whole one: the rest of its report."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from autoglm_lab.evaluation.bench import bench
from autoglm_lab.evaluation.machine import fast_maths
from autoglm_lab.evaluation.report import Report
from autoglm_lab.evaluation.success import Answers, OneByOne, Rate, Request, World, evaluate, spoken_requests, typed_requests
from autoglm_lab.evaluation.timing import Timing, paired
from autoglm_lab.model.batch import BatchEngine
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.runtime.onnx_engine import OnnxEngine

STEPS = ("typed_step", "spoken_step")
RUNTIME = "ONNX Runtime"
REQUESTS = 24  # that are timed, at most: packed weights are unpacked for each of their tokens
SAMPLE_SEED = 1_000_003  # far from the seeds that anybody evaluates with


def sample_requests(count: int = 32) -> list[Request]:
    """Typed and spoken steps, half and half, on which importances are measured and ranges calibrated: never evaluated."""
    world = World(SAMPLE_SEED)
    return typed_requests(world, count - count // 2) + spoken_requests(world, count // 2, held_out=False)


def measured(report: Report, small: TorchEngine, whole: TorchEngine, *, tasks: int = 500, seed: int = 0, rounds: int = 3) -> Report:
    """The report with success and time.

    Success is the share of right steps, `tasks` typed and as many spoken ones; `seed` as in `autoglm-lab evaluate`.
    """
    report = succeeded(report, BatchEngine(small.model, small.processor), tasks=tasks, seed=seed)
    return timed(report, small, whole, requests=min(REQUESTS, tasks), rounds=rounds)


def measured_in_runtime(
    report: Report, small: OnnxEngine, whole: OnnxEngine, *, tasks: int = 500, seed: int = 0, rounds: int = 3
) -> Report:
    """The report of a bundle: its size, its success and its time in ONNX Runtime, in turns with the bundle of the whole agent."""
    report = succeeded(replace(report, bytes=small.bundle.bytes, runtime=RUNTIME), OneByOne(small), tasks=tasks, seed=seed)
    return timed_in_runtime(report, small, whole, requests=min(REQUESTS, tasks), rounds=rounds)


def succeeded(report: Report, engine: Answers, *, tasks: int, seed: int) -> Report:
    """The report with the share of right steps."""
    rates = evaluate(engine, seed, tasks, STEPS)
    steps = Rate.of(sum(round(rate.rate * rate.n) for rate in rates.values()), sum(rate.n for rate in rates.values()))
    return replace(report, success=steps.rate, ci95=steps.ci95, n=steps.n)


def timed(report: Report, small: TorchEngine, whole: TorchEngine, *, requests: int = REQUESTS, rounds: int = 3) -> Report:
    """The report with times: medians of whole answers and of one forward pass, the two agents in turns."""
    agents = {"whole": whole, "small": small}
    answers, example = bench(agents, requests=requests, rounds=rounds), whole.example()
    with torch.inference_mode():
        passes = paired({name: partial(engine.model, **example) for name, engine in agents.items()}, runs=5 * rounds)
    return replace(
        _with_answers(report, answers),
        forward_ms=round(passes["small"].median_ms, 2),
        whole_forward_ms=round(passes["whole"].median_ms, 2),
    )


def timed_in_runtime(report: Report, small: OnnxEngine, whole: OnnxEngine, *, requests: int = REQUESTS, rounds: int = 3) -> Report:
    """The report with the times of whole answers of two bundles, in turns."""
    answers = bench({"whole": whole, "small": small}, requests=requests, rounds=rounds)
    return replace(_with_answers(report, answers), forward_ms=None, whole_forward_ms=None)


def _with_answers(report: Report, answers: dict[str, dict[str, Timing]]) -> Report:
    mine = answers["small"]["total"]
    return replace(
        report,
        answer_ms=round(mine.median_ms, 2),
        answer_ms_spread=(round(mine.low_ms, 2), round(mine.high_ms, 2)),
        whole_ms=round(answers["whole"]["total"].median_ms, 2),
        first_token_ms=round(answers["small"]["first_token"].median_ms, 2),
        whole_first_token_ms=round(answers["whole"]["first_token"].median_ms, 2),
        threads=torch.get_num_threads(),
        cpu_flags=fast_maths(),
    )
