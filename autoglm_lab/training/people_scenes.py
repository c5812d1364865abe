"""Training scenes for goals of every kind: the way here, screens of other worlds, things that this phone does not have.

Like those of `scenes`, but the text of a sample is a goal (`phone.goals`), for an agent that understands a command once and then
works by what it understood; and each sample knows the agent's last actions and whether they changed the screen. What people say is
learned apart (`training.wish_set`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.catalog import APPS, HOME_SCREEN, app
from autoglm_lab.phone.foreign import foreign_screen
from autoglm_lab.phone.goals import REFUSED, goal
from autoglm_lab.phone.icons import practice_families
from autoglm_lab.phone.oracle import MEMORY, Done, Step, next_on_unknown_screen, next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.starts import SIZES, compatible
from autoglm_lab.phone.state import Look, State
from autoglm_lab.phone.tasks import QUESTIONS, Task
from autoglm_lab.phone.wishes import FIRST_KINDS, SECOND_KINDS, sample_wish
from autoglm_lab.runtime.prompt import write_memory
from autoglm_lab.training.scenes import (
    UNREADABLE_SHARE,
    SceneSpec,
    degrade,
    looks,
    picture_and_facts,
)

FOREIGN_SHARE = 0.11  # of all scenes
FOREIGN_QUESTION_SHARE = 0.6  # of the wishes there: the answer is neither what is there nor that nothing can be seen
PRACTICE_SHARE = 0.55  # of the phones: their icons are of a family that only training draws
TO_TYPE_SHARE = 0.3  # of the scenes: the first wish has come to where something is typed, for copying takes most practice
IN_APP_SHARE = 0.3  # of the scenes: an app was open when the first wish was said, so that the way to most begins with Home
STUMBLE_SHARE = 0.12  # of the ways here: one more action that changed nothing
SAME_WAY_SHARE = 0.5  # of the further wishes on a screen: the agent has come there by the same actions
LEFT_SHARE = 0.3  # of the scenes: somebody wished to leave, and the agent has done so
NOT_HERE_SHARE = 0.05  # of the wishes whose first step is only to leave this screen
_LONG = ("two", "two", "absent_app", "absent_contact", "delete_alarm", "delete_alarms", "close", "")  # kinds that depend on the way
_HERE = {
    "settings": ("toggle_on", "toggle_off", "is_on"),
    "wechat": ("send", "send", "absent_contact"),
    "clock": ("alarm", "alarm", "delete_alarm", "delete_alarms"),
}
_BY_THE_WAY = ("back", "home", "close", "two", "absent_app")  # their next step depends on how the agent came here
_ELSEWHERE = ("Camera", "Gallery", "Browser", "Bank", "Game", "Reader", HOME_SCREEN, HOME_SCREEN)


def make_people_scene(seed: int, spec: SceneSpec) -> tuple[np.ndarray, dict[str, Any]]:
    """One scene: a [224, 224, 3] uint8 picture, and its concepts and samples as plain data."""
    rng = np.random.default_rng([seed, 18, spec.seed])
    family = str(rng.choice(practice_families())) if rng.random() < PRACTICE_SHARE else None
    look = Look.random(seed, family=family)
    if rng.random() < FOREIGN_SHARE:
        return _foreign_scene(look, rng, spec)
    state = State.fresh(look)
    if rng.random() < 0.4:
        state.page = int(rng.integers(len(look.pages)))
    if rng.random() < IN_APP_SHARE:
        state = _in_app(state, str(rng.choice(look.installed)))
    kind = _LONG[int(rng.integers(len(_LONG)))] if rng.random() < 0.5 else ""
    first = _workable(state, rng, kind)
    steps = int(rng.integers(0, 8))
    if rng.random() < TO_TYPE_SHARE:
        steps = _steps_until_typing(state, first, steps)
    state, history = journey(state, first, steps, rng)
    readable = bool(rng.random() >= UNREADABLE_SHARE)
    wishes = [(first, history), *_part_of_two(first, state, history, rng)]
    if rng.random() < LEFT_SHARE:
        kind, way = ("close", "Home") if state.app is None else ("back", "Back")
        wishes.append((_workable(state, rng, kind), [(way, True)]))
    for _ in range(spec.typed - 1):
        task = _wish_here(state, rng)
        if _may_begin(task, state):
            wishes.append((task, _way_here(task, history, rng)))
    samples = [_record(task, state, way, readable) for task, way in wishes]
    return picture_and_facts(state, samples, readable, rng)


def _in_app(state: State, id: str) -> State:
    """The phone with an app open, as somebody left it."""
    phone = SimulatedPhone(look=state.look)
    phone.state = state
    phone.perform(Action("Launch", app=app(id).key("en")))
    return phone.state


def _workable(state: State, rng: np.random.Generator, kind: str = "") -> Task:
    """A wish that has a goal."""
    while (task := sample_wish(state, rng, kind=kind)).kind in REFUSED:
        pass
    return task


def _steps_until_typing(state: State, task: Task, otherwise: int) -> int:
    """The number of right steps after which something is to be typed; `otherwise` if nothing ever is."""
    phone = SimulatedPhone(look=state.look)
    phone.state = deepcopy(state)
    history: list[Done] = []
    while (action := next_step(task, phone.state, history=history).action).name not in ("finish", "Type"):
        history.append((action.name, phone.perform(action)))
    return len(history) if action.name == "Type" else otherwise


def journey(state: State, task: Task, steps: int, rng: np.random.Generator | None = None) -> tuple[State, list[Done]]:
    """The phone after up to `steps` right steps of a task (never past its end), and the actions. With `rng` some led nowhere."""
    phone = SimulatedPhone(look=state.look)
    phone.state = state
    history: list[Done] = []
    for _ in range(steps):
        action = next_step(task, phone.state, history=history).action
        if action.name == "finish":
            break
        history.append((action.name, phone.perform(action)))
    if rng is not None and rng.random() < STUMBLE_SHARE:
        history.append((("Swipe", "Tap")[int(rng.integers(2))], False))
        phone.state.notice = ""
    return phone.state, history


def _foreign_scene(look: Look, rng: np.random.Generator, spec: SceneSpec) -> tuple[np.ndarray, dict[str, Any]]:
    """A screen of another world, and what people wish in front of it."""
    name = _ELSEWHERE[int(rng.integers(len(_ELSEWHERE)))]
    if rng.random() < 0.3:
        name = APPS[int(rng.integers(len(APPS)))].key(look.lang)
    pixels, noise = degrade(foreign_screen(rng, SIZES[int(rng.integers(len(SIZES)))]), rng, True)
    samples = []
    for _ in range(spec.typed):
        task = _workable(State.fresh(look), rng, str(rng.choice(QUESTIONS)) if rng.random() < FOREIGN_QUESTION_SHARE else "")
        part = task.parts[0] if task.parts else task
        history: list[Done] = []
        if part.app is not None and rng.random() < 0.3:
            history = [("Launch", False)]
        elif task.kind == "back" and rng.random() < 0.4:
            history = [("Back", True)]
        elif rng.random() < 0.2:
            history = [("Tap", bool(rng.random() < 0.5))]
        step = next_on_unknown_screen(task, history=history)
        samples.append(_sample(task, step, step, history, []))
    return pixels, {"concepts": [], "switches": [], "samples": samples, "app": name, "noise": round(noise, 3)}


def _wish_here(state: State, rng: np.random.Generator) -> Task:
    """A wish for this screen, mostly of the open app; those whose first step is only to leave it are drawn rarely."""
    here: Sequence[str] = ()
    if state.view is not None:
        here = _HERE.get(state.view.app, ("search",) if app(state.view.app).searchable else ())
    for _ in range(8):
        kind = here[int(rng.integers(len(here)))] if here and rng.random() < 0.55 else ""
        copy = deepcopy(state)  # a wish to delete an alarm puts it there
        task = _workable(copy, rng, kind)
        if copy.alarms != state.alarms:
            continue
        leaves = next_step(task, state).action.name in ("Home", "Back")
        if not leaves or task.kind in ("back", "home", "close") or rng.random() < NOT_HERE_SHARE:
            break
    return task


def _may_begin(task: Task, state: State) -> bool:
    """True if a wish may begin on this screen: its outcome is not half there already."""
    if task.kind == "delete_alarm" and task.slot("time") in state.alarms[5:]:
        return False
    if task.kind in ("delete_alarm", "delete_alarms") and state.notice:
        return False
    return all(compatible(part, state) for part in task.parts or (task,))


def _part_of_two(first: Task, state: State, history: list[Done], rng: np.random.Generator) -> list[tuple[Task, list[Done]]]:
    """The same way, gone for two wishes of which this is the one or the other, each with the actions that led here.

    Up to the end of the first wish the way to both is its own; and where it is the second, the agent has gone home from the other.
    """
    wishes = []
    if first.kind in FIRST_KINDS and (second := _companion(first, SECOND_KINDS, state, rng)) is not None:
        wishes.append((Task("two", first.lang, (), "", (first, second)), history))
    if first.kind in SECOND_KINDS and history and (other := _companion(first, FIRST_KINDS, state, rng)) is not None:
        before = [("Tap", True)] if history[0][0] == "Home" else [("Tap", True), ("Home", True)]
        wishes.append((Task("two", first.lang, (), "", (other, first)), before + history))
    return wishes


def _companion(task: Task, kinds: Sequence[str], state: State, rng: np.random.Generator) -> Task | None:
    """A wish of one of these kinds, for another app, that may begin here; None if four drawn are none."""
    for _ in range(4):
        other = sample_wish(deepcopy(state), rng, kind=kinds[int(rng.integers(len(kinds)))])
        if other.app != task.app and other.lang == task.lang and compatible(other, state):
            return other
    return None


def _way_here(task: Task, history: list[Done], rng: np.random.Generator) -> list[Done]:
    """The actions that may have led to this screen while somebody wished this, or none if the wish begins here.

    Nobody types for one wish what another asks for: who remembers that may trust it.
    """
    if rng.random() >= SAME_WAY_SHARE:
        return []
    if task.kind in _BY_THE_WAY or (task.kind in QUESTIONS and task.kind != "is_on"):
        return []
    return [] if any(name == "Type" for name, _ in history[-MEMORY:]) else history


def _record(task: Task, state: State, history: list[Done], readable: bool) -> dict[str, Any]:
    step = next_step(task, state, history=history, sees=readable)
    blind = next_step(task, state, history=history, sees=False)
    part = next((part for part in task.parts if part.app == state.app), task)
    places = looks(part, state, step.action) if readable else []
    return _sample(task, step, blind, history, places)


def _sample(task: Task, step: Step, blind: Step, history: list[Done], places: list[tuple[str, tuple[int, int]]]) -> dict[str, Any]:
    return {
        "kind": task.kind,
        "lang": task.lang,
        "last": write_memory(history, MEMORY),
        "text": goal(task),
        "thinking": step.thinking,
        "action": format_action(step.action),
        "looks": places,
        "blind": [blind.thinking, format_action(blind.action)],
    }
