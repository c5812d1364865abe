"""The agent loop: screen -> engine -> action -> phone, until the engine says it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.simulator import Phone
from autoglm_lab.runtime.engine import Engine

MAX_STEPS = 10


@dataclass(frozen=True)
class Step:
    """One turn of the loop. `error` is set when the answer held no valid action or the agent stopped for another reason."""

    index: int
    screenshot: Image.Image
    thinking: str
    action: Action | None
    answer_text: str
    ms: dict[str, float]
    changed: bool = False  # whether the phone changed
    error: str | None = None


def steps(
    task: str, phone: Phone, engine: Engine, *, audio: Any = None, max_steps: int = MAX_STEPS, think: bool = False
) -> Iterator[Step]:
    """Work on a task (typed, or spoken as a 16 kHz waveform), giving each step as it is done.

    Ends after `finish`, after an answer that is no action, after `max_steps`, or when the same action changes nothing twice.
    """
    last, idle = "", 0
    for index in range(max_steps):
        screenshot = phone.screenshot()
        stream = engine.answer(task, screenshot, audio, current_app=phone.current_app(), last=last, think=think)
        answer = stream.answer
        action = answer.action
        changed = action is not None and action.name != "finish" and phone.perform(action)
        idle = 0 if changed else idle + 1
        error = answer.error
        if error is None and index == max_steps - 1 and action is not None and action.name != "finish":
            error = f"gave up after {max_steps} steps"
        if error is None and idle >= 3 and action is not None and action.name != "finish":
            error = "three actions in a row changed nothing"
        yield Step(index, screenshot, answer.thinking, action, answer.text, answer.ms, changed, error)
        if error is not None or action is None or action.name in ("finish", "Take_over"):
            return
        last = action.name


def run(task: str, phone: Phone, engine: Engine, **options: Any) -> list[Step]:
    """All steps of a task at once; see `steps`."""
    return list(steps(task, phone, engine, **options))
