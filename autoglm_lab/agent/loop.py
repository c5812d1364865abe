"""The agent loop: screen -> engine -> action -> phone, until the engine says it is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.circles import Circles
from autoglm_lab.phone.goals import question, split_goal
from autoglm_lab.phone.simulator import Phone
from autoglm_lab.runtime.engine import (
    CHANGED,
    NO_APP,
    NOT_DONE,
    TAKEN_OVER,
    UNCHANGED,
    Answer,
    Engine,
    Request,
    Turn,
    ask,
    is_unchanged,
    memory_length,
)
from autoglm_lab.runtime.prompt import write_memory

MAX_STEPS = 14  # two wishes in one command take up to twelve, and each an answer that says so
MAX_IDLE = MAX_HANDOVERS = 3  # in a row
PHONE_ERRORS = (RuntimeError, OSError)  # the phone failed; a ValueError is an action that it cannot do


@dataclass(frozen=True)
class Step:
    """One turn of the loop.

    `error` says why nothing was done, or why the agent stopped; `end` why the run ended with this step, and is empty where it goes
    on. `screenshot` is None when the phone gave none. `irregularities` are what was overlooked to read the answer. `goal`
    is what the command was understood as, by an engine that works by goals; `question` asks the person whether that is what they
    meant, where nobody was there to be asked or the answer was no.
    """

    index: int
    screenshot: Image.Image | None
    thinking: str = ""
    action: Action | None = None
    answer_text: str = ""
    ms: dict[str, float] = field(default_factory=dict)
    changed: bool = False  # True if the phone changed
    error: str | None = None
    irregularities: tuple[str, ...] = ()
    goal: str = ""
    question: str = ""
    end: str = ""


Confirm = Callable[[Action, Image.Image], bool]
TakeOver = Callable[[str], bool]


def steps(
    task: str,
    phone: Phone,
    engine: Engine,
    *,
    audio: Any = None,
    max_steps: int = MAX_STEPS,
    think: bool = False,
    confirm: Confirm | None = None,
    take_over: TakeOver | None = None,
    goal: str = "",
) -> Iterator[Step]:
    """Work on a task (typed, or spoken as a 16 kHz waveform), yielding each step as it is done; the last one has an `end`.

    A command that an engine understands as two wishes is worked on one wish after the other: the engine is asked for the first
    until it says that it is done, then, with nothing remembered, for the second.

    Ends after `finish`, after `max_steps`, when three actions in a row change nothing, when the agent goes in circles, and when the
    phone fails. An engine is told the names of its last `memory` actions, and which of them changed nothing. An answer that is no
    action, or one that the phone cannot do, ends the run of an engine that knows no more than that; an engine with `reads_history`
    is told of all turns and what came of each, so it is told of that as well, and the run ends when the next answer is no better.
    An action that the model marks as sensitive (it has a `message`) is done only if `confirm(action, screenshot)` says so; without
    it nothing of the kind is done. Nor does an agent that is unsure of its goal begin before `confirm` says that the goal is meant
    (the action is then `Action("Goal", text=goal)`): the run ends with a `question`. Whoever says yes to that one later gives its
    `goal`, which is not understood anew. When the model hands over, `take_over(message)` lets a person act, and says whether to go
    on.

    An engine that fails raises in the first step; later its error is that of the last step. ValueError for `max_steps` below 1 and
    for a `goal` that is none.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}; an agent needs at least 1")
    run = _Run(task, phone, engine, audio, think, confirm, take_over, goals=split_goal(goal))
    if goal and not run.goals:
        raise ValueError(f"{goal!r} is no goal; give that of a step which asks whether it is meant")
    for index in range(max_steps):
        step = run.step(index)
        if not step.end and index == max_steps - 1:
            step = _end(step, f"gave up after {max_steps} steps")
        yield step
        if step.end:
            return


def run(task: str, phone: Phone, engine: Engine, **options: Any) -> list[Step]:
    """Work on a task to its end and return all steps; see `steps`."""
    return list(steps(task, phone, engine, **options))


@dataclass
class _Run:
    """State between two steps."""

    task: str
    phone: Phone
    engine: Engine
    audio: Any
    think: bool
    confirm: Confirm | None
    take_over: TakeOver | None
    steps: list[tuple[str, bool]] = field(default_factory=list)  # name of each action, and whether it changed the screen
    failures: int = 0  # answers in a row of which nothing was done
    idle: int = 0  # actions in a row that changed nothing
    handovers: int = 0  # turns in a row that a person took over
    history: list[Turn] = field(default_factory=list)
    circles: Circles = field(default_factory=Circles)
    goals: tuple[str, ...] = ()  # of a command with two wishes, those that are still to be done
    meant: str = ""  # the goal that a person has confirmed
    messages: list[str] = field(default_factory=list)  # closing sentences, one of each wish

    @property
    def reads_history(self) -> bool:
        return getattr(self.engine, "reads_history", False)

    def step(self, index: int) -> Step:
        try:
            screenshot, app = self.phone.screenshot(), self.phone.current_app()
        except (*PHONE_ERRORS, ValueError) as problem:
            return _end(Step(index, None), str(problem))
        try:
            answer = self._answer(screenshot, app)
        except (*PHONE_ERRORS, ValueError) as problem:
            if index == 0:
                raise
            return _end(Step(index, screenshot), str(problem))
        step = Step(
            index,
            screenshot,
            answer.thinking,
            answer.action,
            answer.text,
            answer.ms,
            error=answer.error,
            irregularities=answer.irregularities,
            goal=answer.goal,
        )
        if answer.unsure and not self._is_meant(answer.goal, screenshot):
            return _ask_back(step)
        if step.action is None:
            return self._fail(step, app, f"{NOT_DONE}{step.error}")
        if step.action.name == "finish":
            return self._finish(step, step.action.message or "")
        if step.action.name == "Take_over":
            return self._hand_over(step, app, step.action.message or "")
        return self._act(step, app, step.action, screenshot)

    def _is_meant(self, goal: str, screenshot: Image.Image) -> bool:
        """Ask a person whether a goal is meant, unless they have said so; False if nobody is there."""
        if self.meant != goal and self.confirm is not None and self.confirm(Action("Goal", text=goal), screenshot):
            self.meant = goal
        return self.meant == goal

    def _answer(self, screenshot: Image.Image, app: str) -> Answer:
        """Ask the engine; once it has understood two wishes, for the first of them."""
        answer = self._ask(screenshot, app)
        goals = split_goal(answer.goal)
        if self.goals or len(goals) < 2:
            return answer
        self.goals = goals
        again = self._ask(screenshot, app)
        ms = {stage: answer.ms.get(stage, 0.0) + again.ms.get(stage, 0.0) for stage in answer.ms | again.ms}
        return replace(again, goal=answer.goal, unsure=answer.unsure, ms=ms)

    def _ask(self, screenshot: Image.Image, app: str) -> Answer:
        last, history = write_memory(self.steps, memory_length(self.engine)), tuple(self.history)
        goal = self.goals[0] if self.goals else ""
        request = Request(self.task, screenshot, self.audio, app, last, self.think, history=history, goal=goal)
        return ask(self.engine, request).answer

    def _finish(self, step: Step, message: str) -> Step:
        """End the run, or go on with the command's second wish."""
        self.messages.append(message)
        self.goals = self.goals[1:]
        if not self.goals:
            return replace(step, end=f"finished: {' '.join(self.messages)}")
        self.steps, self.history, self.idle, self.circles = [], [], 0, Circles()
        return step

    def _act(self, step: Step, app: str, action: Action, screenshot: Image.Image) -> Step:
        self.handovers = 0
        if action.message is not None and (self.confirm is None or not self.confirm(action, screenshot)):
            answer = "nobody was asked" if self.confirm is None else "it was refused"
            return _end(step, f"{action.name} asks for confirmation ({action.message}); {answer}")
        if circle := self.circles.check(action, screenshot):
            return _end(step, circle)
        try:
            changed = self.phone.perform(action)
            result = CHANGED if changed else _unchanged(action, self.phone)
        except ValueError as problem:
            return self._fail(step, app, f"{action.name} was {NOT_DONE}{problem}", str(problem))
        except PHONE_ERRORS as problem:
            return _end(step, str(problem))
        self.failures, self.idle = 0, 0 if changed else self.idle + 1
        self._note(app, step, action.name, result)
        step = replace(step, changed=changed)
        if self.idle == MAX_IDLE:
            why = "three actions in a row changed nothing"
            return _end(step, why if result == UNCHANGED else f"{why}; the last one: {result}")
        return step

    def _hand_over(self, step: Step, app: str, message: str) -> Step:
        if self.handovers == MAX_HANDOVERS:
            return _end(step, f"the agent hands over to a person ({message}), for the fourth time in a row")
        if self.take_over is None or not self.take_over(message):
            return _end(step, f"the agent hands over to a person ({message}), and nobody takes over")
        self.handovers += 1
        self.failures = self.idle = 0
        self._note(app, step, "Take_over", TAKEN_OVER)
        return replace(step, changed=True)

    def _fail(self, step: Step, app: str, result: str, error: str | None = None) -> Step:
        """Record an answer of which nothing is done; an engine that can be told of it may answer once more."""
        step = replace(step, error=error or step.error)
        self.failures += 1
        if not self.reads_history or self.failures > 1:
            return _end(step, step.error or "")
        self._note(app, step, step.action.name if step.action else "", result)
        return step

    def _note(self, app: str, step: Step, name: str, result: str) -> None:
        self.steps.append((name, not is_unchanged(result)))
        self.history.append(Turn(app, step.answer_text, result))


def _ask_back(step: Step) -> Step:
    """The end of a run whose goal nobody has confirmed: the agent does nothing but ask."""
    action, asks = Action("Goal", text=step.goal), question(step.goal)
    return replace(step, action=action, answer_text=format_action(action), error=None, question=asks, end=asks)


def _end(step: Step, why: str) -> Step:
    return replace(step, error=why, end=why)


def _unchanged(action: Action, phone: Phone) -> str:
    """Describe an action that changed nothing; an app that the phone knows it does not have is named."""
    has_app = getattr(phone, "has_app", None)
    if action.name == "Launch" and has_app is not None and not has_app(action.app):
        return f"{NO_APP} {action.app!r} on this phone"
    return UNCHANGED
