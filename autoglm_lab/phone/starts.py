"""Phones and screens on which a task begins: their sizes, the way to them, and which tasks they allow.

Training and evaluation draw from the same world; seeds of phones keep them apart.
"""

from __future__ import annotations

import numpy as np

from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import perform
from autoglm_lab.phone.state import State
from autoglm_lab.phone.tasks import Task, sample

EVALUATION_SEEDS = 2**31  # phones below are for training, from here on for evaluation
SIZES = ((540, 1200), (540, 1200), (540, 960), (480, 1040), (720, 1600), (540, 1080))
MINI_KINDS = ("open_app", "open_app", "open_app", "has_app", "describe")


def compatible(task: Task, state: State) -> bool:
    """True if a task may start on this screen: its outcome is not half there already (text typed by somebody else, say)."""
    view = state.view
    if view is None or task.app != view.app:
        return True
    if state.typed or state.notice:
        return False
    if view.name == "results":
        return task.kind != "search"
    if task.kind == "send" and view.name == "chat" and view.arg == task.slot("contact"):
        return not state.chats[view.arg][-1][0]
    return not (task.kind == "alarm" and task.slot("time") in state.alarms)


def walk(state: State, task: Task, steps: int) -> tuple[State, str]:
    """The phone after up to `steps` right steps of a task (never past its end), and the name of the last action."""
    last = ""
    for _ in range(steps):
        action = next_step(task, state, last=last).action
        if action.name == "finish":
            break
        state.notice = ""
        perform(state, action)
        last = action.name
    return state, last


def mini_task(state: State, rng: np.random.Generator, spoken: bool) -> Task:
    """A task that one step on this home page settles."""
    kind = str(rng.choice(MINI_KINDS))
    while True:
        task = sample(state, rng, kind=kind, spoken=spoken)
        if kind != "open_app" or task.slot("app") in state.look.pages[state.page]:
            return task
