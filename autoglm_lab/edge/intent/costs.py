"""Measures the saving and the cost of a preparation on a real engine, in milliseconds to the first token, measured in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, sleep

import numpy as np

from autoglm_lab.edge.intent.foresight import Request, foresee
from autoglm_lab.edge.intent.precompute import Precomputer
from autoglm_lab.edge.race import Interval
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import sample
from autoglm_lab.runtime.engine import Stream
from autoglm_lab.runtime.onnx_engine import OnnxEngine


@dataclass(frozen=True)
class Costs:
    """Milliseconds to the first token of a request, means over requests with their 95 % intervals.

    `plain` without preparation, `hit` after the right one, `picture` where only the screen was foreseen, `busy` at some moment of a
    wrong one, `work` the time of a preparation. `saving` is plain - hit and `delay` is busy - plain, request by request.
    """

    requests: int
    plain: Interval
    hit: Interval
    picture: Interval
    busy: Interval
    work: Interval
    saving: Interval
    picture_saving: Interval
    delay: Interval


def reading_requests(count: int, seed: int = 0, memory: int = 1) -> list[Request]:
    """Requests that follow reading steps of sampled tasks, each on a phone of its own, as they are foreseen."""
    requests: list[Request] = []
    while len(requests) < count:
        phone = SimulatedPhone(seed)
        task = sample(phone.state, np.random.default_rng([seed, 37]))
        action = next_step(task, phone.state).action
        request = foresee(task.text, phone, action, (), memory)
        requests += [] if request is None else [request]
        seed += 1
    return requests


def measure(engine: OnnxEngine, count: int = 24, runs: int = 3, clock: Callable[[], float] = perf_counter) -> Costs:
    """Measure over `count` requests; of several runs the median counts. ValueError for fewer than two requests, or no run."""
    if count < 2 or runs < 1:
        raise ValueError(f"count is {count} and runs {runs}; two requests or more are needed, and a run")
    requests = reading_requests(count, memory=engine.memory)
    with Precomputer(engine, clock=clock) as precomputer:
        for request in requests[:2]:  # not counted: whatever is done once is done now
            _turn(engine, precomputer, request, requests[-1], 0.5, clock)
        rows = []
        for number, request in enumerate(requests):
            other, share = requests[number - 1], (number + 0.5) / count
            rows.append(np.median([_turn(engine, precomputer, request, other, share, clock) for _ in range(runs)], axis=0))
    plain, hit, picture, busy, work = np.array(rows).T
    each = (plain, hit, picture, busy, work, plain - hit, plain - picture, busy - plain)
    return Costs(count, *(Interval.of(values) for values in each))


def _turn(
    engine: OnnxEngine, precomputer: Precomputer, request: Request, other: Request, share: float, clock: Callable[[], float]
) -> tuple[float, ...]:
    """The five times of one request, one after the other; it comes when a share of the wrong preparation is done."""
    plain = _first_token_ms(lambda: precomputer.answer(request), clock)
    began = clock()
    precomputer.expect([request])
    precomputer.wait()
    work = 1000 * (clock() - began)
    hit = _first_token_ms(lambda: precomputer.answer(request), clock)
    prompt = engine.prepare(request.task, request.picture, current_app=request.current_app, last=request.last)
    picture = _first_token_ms(lambda: engine.write(prompt), clock)
    precomputer.expect([other])
    sleep(share * work / 1000)
    busy = _first_token_ms(lambda: precomputer.answer(request), clock)
    precomputer.wait()
    return plain, hit, picture, busy, work


def _first_token_ms(answer: Callable[[], Stream], clock: Callable[[], float]) -> float:
    began = clock()
    first = next(iter(answer()), None)
    took = 1000 * (clock() - began)
    if first is None:
        raise ValueError("the engine answered without a token; nothing can be timed")
    return took
