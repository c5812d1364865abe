"""The agent loop: screen -> engine -> action -> phone, until the engine says it is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.simulator import Phone
from autoglm_lab.runtime.engine import Engine, Turn

MAX_STEPS = 10
CHANGED, UNCHANGED, TAKEN_OVER = "the screen changed", "nothing changed", "a person took over"  # what a model is told of an action


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


Confirm = Callable[[Action, Image.Image], bool]
TakeOver = Callable[[str], bool]


def steps(
    task: str, phone: Phone, engine: Engine, *, audio: Any = None, max_steps: int = MAX_STEPS, think: bool = False,
    confirm: Confirm | None = None, take_over: TakeOver | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Work on a task (typed, or spoken as a 16 kHz waveform), giving each step as it is done.

    Ends after `finish`, after an answer that is no action, after `max_steps`, or when three actions in a row change nothing.
    An engine with `reads_history` is told of all turns and of what came of each, others know the name of the last action. An action
    that the model marks as sensitive (it has a `message`) is done only if `confirm(action, screenshot)` says so; without it nothing
    of the kind is done. When the model hands over, `take_over(message)` lets a person act, and says whether to go on.
    """
    last, idle = "", 0
    history: list[Turn] = []
    for index in range(max_steps):
        screenshot, app = phone.screenshot(), phone.current_app()
        known: dict[str, Any] = {"history": tuple(history)} if getattr(engine, "reads_history", False) else {}
        answer = engine.answer(task, screenshot, audio, current_app=app, last=last, think=think, **known).answer
        action, error = answer.action, answer.error
        if action is not None and action.name == "Take_over" and take_over is not None and take_over(action.message or ""):
            yield Step(index, screenshot, answer.thinking, action, answer.text, answer.ms, True)
            last, idle = action.name, 0
            history.append(Turn(app, answer.text, TAKEN_OVER))
            continue
        sensitive = action is not None and action.name != "finish" and action.name != "Take_over" and action.message is not None
        if action is not None and sensitive and (confirm is None or not confirm(action, screenshot)):
            told = "nobody was asked" if confirm is None else "it was refused"
            error = f"{action.name} asks for confirmation ({action.message}); {told}"
        changed = error is None and action is not None and action.name != "finish" and phone.perform(action)
        idle = 0 if changed else idle + 1
        if error is None and index == max_steps - 1 and action is not None and action.name != "finish":
            error = f"gave up after {max_steps} steps"
        if error is None and idle >= 3 and action is not None and action.name != "finish":
            error = "three actions in a row changed nothing"
        yield Step(index, screenshot, answer.thinking, action, answer.text, answer.ms, changed, error)
        if error is not None or action is None or action.name in ("finish", "Take_over"):
            return
        last = action.name
        history.append(Turn(app, answer.text, CHANGED if changed else UNCHANGED))


def run(task: str, phone: Phone, engine: Engine, **options: Any) -> list[Step]:
    """All steps of a task at once; see `steps`."""
    return list(steps(task, phone, engine, **options))
