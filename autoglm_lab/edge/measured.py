"""The measured figures that feed every simulation, read from the reports of this repository; a missing one is an error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import sample

# A simulation scales measured times by one of these, and every chart that does so prints the factor.
PHONE_FACTOR = 12.0  # a model of nine billion weights on a phone's processor, against this agent on the machine of the reports
CLOUD_FACTOR = 1.0  # the same agent behind a network
MOST_STEPS = 20  # of a task


@dataclass(frozen=True)
class Variant:
    """One way to run the agent, as measured: milliseconds of a whole answer and to its first token, share of right steps.

    `of_whole` is the time of an answer as a share of the whole agent's, measured in turns on the same machine: reports of
    different days compare by it.
    """

    name: str
    answer_ms: float
    first_token_ms: float
    success: float
    n: int
    bytes: int
    of_whole: float = 1.0


@cache
def steps_of_tasks(count: int = 200) -> tuple[int, ...]:
    """Number of answers that each of some sampled tasks takes on simulated phones, the closing one included, as the oracle acts."""
    return tuple(_steps(seed) for seed in range(count))


def _steps(seed: int) -> int:
    phone = SimulatedPhone(seed)
    task, history = sample(phone.state, np.random.default_rng([seed, 11])), list[tuple[str, bool]]()
    while (action := next_step(task, phone.state, history=history).action).name != "finish":
        if len(history) == MOST_STEPS:
            raise ValueError(f"the oracle does not end {task.text!r} within {MOST_STEPS} actions")
        history.append((action.name, phone.perform(action)))
    return len(history) + 1


def variant(name: str, folder: Path | None = None) -> Variant:
    """Read one variant from `data/reports/onnx`. ValueError when its report is missing or lacks a figure."""
    path = (folder or data_dir() / "reports" / "onnx") / f"{name}.json"
    try:
        report = json.loads(path.read_text("utf-8"))
        answer, first, success, whole = (float(report[key]) for key in ("answer_ms", "first_token_ms", "success", "whole_ms"))
        figures = Variant(name, answer, first, success, int(report["n"]), int(report["bytes"]), answer / whole)
    except FileNotFoundError:
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none"
        raise ValueError(f"there is no report of {name!r} in {path.parent.name}; there are: {names}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} lacks a figure that the simulation needs: {error}") from None
    if not 0 < figures.first_token_ms <= figures.answer_ms:
        raise ValueError(f"{path.name}: an answer of {answer} ms whose first token takes {first} cannot be")
    return figures
