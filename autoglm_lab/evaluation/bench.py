"""Time the answers of engines: the same requests, in turns, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from autoglm_lab.evaluation.timing import Timing
from autoglm_lab.phone.catalog import LANGS
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.speech import SpeechBank
from autoglm_lab.phone.tasks import Task, sample
from autoglm_lab.runtime.engine import Answer, Engine

FIRST_PHONE = 2**33  # any phones will do: only time is measured


def bench(engines: Mapping[str, Engine], *, requests: int = 24, rounds: int = 3, seed: int = 0) -> dict[str, dict[str, Timing]]:
    """The time of each stage of an answer, for each engine; every second request is spoken.

    Besides the stages: `first_token` (all before the second token) and `per_token` (each one after it), which compare engines
    whose answers differ in length. The first round warms up and does not count. ValueError without engines or requests.
    """
    if not engines or requests < 1 or rounds < 1:
        raise ValueError(f"there are {len(engines)} engines, {requests} requests and {rounds} rounds; one of each is needed")
    workload = questions(requests, seed)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    for turn in tqdm(range(rounds + 1), desc="answering", unit="round", leave=False):
        for name, engine in engines.items():  # all requests in a row: on a phone no other agent drives the weights out of the cache
            for request in workload:
                answer = engine.answer(**request).answer
                if turn:
                    times[name].append(_stages(answer))
    return {
        name: {stage: Timing.of([row[stage] for row in rows if stage in row]) for stage in _names(rows)}
        for name, rows in times.items()
    }


def questions(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Sample requests to an engine; every second one is spoken. ValueError for none."""
    if count < 1:
        raise ValueError(f"{count} requests are asked for; at least one is needed")
    return [_request(FIRST_PHONE + seed * 4096 + number, spoken=number % 2 == 1) for number in range(count)]


def _request(number: int, spoken: bool) -> dict[str, Any]:
    phone, rng = SimulatedPhone(seed=number), np.random.default_rng(number)
    task: Task = sample(phone.state, rng, kind="open_app", lang=LANGS[number // 2 % 2], spoken=spoken)
    request: dict[str, Any] = {"image": phone.screenshot(), "current_app": phone.current_app()}
    if not spoken:
        return request | {"task": task.text}
    bank = SpeechBank.load()
    return request | {"audio": bank.waveform(bank.find(task.text, task.lang, rng))}


def _stages(answer: Answer) -> dict[str, float]:
    before = sum(answer.ms.get(stage, 0.0) for stage in ("features", "image", "audio", "prefill"))
    stages = answer.ms | {"first_token": before}
    return stages | (
        {"per_token": answer.ms["decode"] / (answer.tokens - 1)} if answer.tokens > 1 and "decode" in answer.ms else {}
    )


def _names(rows: list[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(stage for row in rows for stage in row))
