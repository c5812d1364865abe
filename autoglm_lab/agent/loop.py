"""The agent loop: screen -> engine -> action -> phone, until the engine says it is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from autoglm_lab.agent.circles import Circles
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.simulator import Phone
from autoglm_lab.runtime.engine import Answer, Engine, Turn

MAX_STEPS = 10
MAX_UNCHANGED = MAX_TAKEN_OVER = 3  # in a row
CHANGED, UNCHANGED, TAKEN_OVER = "the screen changed", "nothing changed", "a person took over"  # what a model is told of an action
PHONE_ERRORS = (RuntimeError, OSError)  # the phone failed; a ValueError is an action that it cannot do


@dataclass(frozen=True)
class Step:
    """One turn of the loop.

    `error` says why nothing was done, or why the agent stopped; `end` why the run ended with this step, and is empty where it goes
    on. `screenshot` is None when the phone gave none. `forgiven` is what was overlooked to read the answer.
    """

    index: int
    screenshot: Image.Image | None
    thinking: str = ""
    action: Action | None = None
    answer_text: str = ""
    ms: dict[str, float] = field(default_factory=dict)
    changed: bool = False  # whether the phone changed
    error: str | None = None
    forgiven: tuple[str, ...] = ()
    end: str = ""


Confirm = Callable[[Action, Image.Image], bool]
TakeOver = Callable[[str], bool]


def steps(
    task: str, phone: Phone, engine: Engine, *, audio: Any = None, max_steps: int = MAX_STEPS, think: bool = False,
    confirm: Confirm | None = None, take_over: TakeOver | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Work on a task (typed, or spoken as a 16 kHz waveform), giving each step as it is done; the last one has an `end`.

    Ends after `finish`, after `max_steps`, when three actions in a row change nothing, when the agent goes in circles, and when the
    phone fails. An answer that is no action, or one that the phone cannot do, ends the run of an engine that knows the name of the
    last action alone; an engine with `reads_history` is told of all turns and of what came of each, so it is told of that as well,
    and the run ends when the next answer is no better. An action that the model marks as sensitive (it has a `message`) is done
    only if `confirm(action, screenshot)` says so; without it nothing of the kind is done. When the model hands over,
    `take_over(message)` lets a person act, and says whether to go on.

    An engine that fails raises in the first step; later its error is that of the last step. ValueError for `max_steps` below 1.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}; an agent needs at least 1")
    run = _Run(task, phone, engine, audio, think, confirm, take_over)
    for index in range(max_steps):
        step = run.step(index)
        if not step.end and index == max_steps - 1:
            step = _ended(step, f"gave up after {max_steps} steps")
        yield step
        if step.end:
            return


def run(task: str, phone: Phone, engine: Engine, **options: Any) -> list[Step]:
    """All steps of a task at once; see `steps`."""
    return list(steps(task, phone, engine, **options))


@dataclass
class _Run:
    """What is known between two steps."""

    task: str
    phone: Phone
    engine: Engine
    audio: Any
    think: bool
    confirm: Confirm | None
    take_over: TakeOver | None
    last: str = ""  # name of the last action
    failures: int = 0  # answers in a row of which nothing was done
    unchanged: int = 0  # actions in a row that changed nothing
    taken_over: int = 0  # turns in a row that a person took over
    history: list[Turn] = field(default_factory=list)
    circles: Circles = field(default_factory=Circles)

    @property
    def reads_history(self) -> bool:
        return getattr(self.engine, "reads_history", False)

    def step(self, index: int) -> Step:
        try:
            screenshot, app = self.phone.screenshot(), self.phone.current_app()
        except (*PHONE_ERRORS, ValueError) as problem:
            return _ended(Step(index, None), str(problem))
        try:
            answer = self._answer(screenshot, app)
        except (*PHONE_ERRORS, ValueError) as problem:
            if index == 0:
                raise
            return _ended(Step(index, screenshot), str(problem))
        step = Step(
            index, screenshot, answer.thinking, answer.action, answer.text, answer.ms, error=answer.error, forgiven=answer.forgiven
        )
        if step.action is None:
            return self._failed(step, app, f"not done: {step.error}")
        if step.action.name == "finish":
            return replace(step, end=f"finished: {step.action.message}")
        if step.action.name == "Take_over":
            return self._handed_over(step, app, step.action.message or "")
        return self._acted(step, app, step.action, screenshot)

    def _answer(self, screenshot: Image.Image, app: str) -> Answer:
        known: dict[str, Any] = {"history": tuple(self.history)} if self.reads_history else {}
        return self.engine.answer(
            self.task, screenshot, self.audio, current_app=app, last=self.last, think=self.think, **known
        ).answer

    def _acted(self, step: Step, app: str, action: Action, screenshot: Image.Image) -> Step:
        self.taken_over = 0
        if action.message is not None and (self.confirm is None or not self.confirm(action, screenshot)):
            answer = "nobody was asked" if self.confirm is None else "it was refused"
            return _ended(step, f"{action.name} asks for confirmation ({action.message}); {answer}")
        if circle := self.circles.closed(action, screenshot):
            return _ended(step, circle)
        try:
            changed = self.phone.perform(action)
            result = CHANGED if changed else _unchanged(action, self.phone)
        except ValueError as problem:
            return self._failed(step, app, f"{action.name} was not done: {problem}", str(problem))
        except PHONE_ERRORS as problem:
            return _ended(step, str(problem))
        self.failures, self.unchanged = 0, 0 if changed else self.unchanged + 1
        self._note(app, step, action.name, result)
        step = replace(step, changed=changed)
        if self.unchanged == MAX_UNCHANGED:
            why = "three actions in a row changed nothing"
            return _ended(step, why if result == UNCHANGED else f"{why}; the last one: {result}")
        return step

    def _handed_over(self, step: Step, app: str, message: str) -> Step:
        if self.taken_over == MAX_TAKEN_OVER:
            return _ended(step, f"the agent hands over to a person ({message}), for the fourth time in a row")
        if self.take_over is None or not self.take_over(message):
            return _ended(step, f"the agent hands over to a person ({message}), and nobody takes over")
        self.taken_over += 1
        self.failures = self.unchanged = 0
        self._note(app, step, "Take_over", TAKEN_OVER)
        return replace(step, changed=True)

    def _failed(self, step: Step, app: str, result: str, error: str | None = None) -> Step:
        """An answer of which nothing is done. Who can be told of it may answer once more."""
        step = replace(step, error=error or step.error)
        self.failures += 1
        if not self.reads_history or self.failures > 1:
            return _ended(step, step.error or "")
        self._note(app, step, step.action.name if step.action else self.last, result)
        return step

    def _note(self, app: str, step: Step, name: str, result: str) -> None:
        self.last = name
        self.history.append(Turn(app, step.answer_text, result))


def _ended(step: Step, why: str) -> Step:
    return replace(step, error=why, end=why)


def _unchanged(action: Action, phone: Phone) -> str:
    """In words, that an action changed nothing; of an app that a phone knows it does not have, that it is not there."""
    has_app = getattr(phone, "has_app", None)
    if action.name == "Launch" and has_app is not None and not has_app(action.app):
        return f"there is no app {action.app!r} on this phone"
    return UNCHANGED
