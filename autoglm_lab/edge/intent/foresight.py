"""Requests as an answer depends on them, and the request that will follow an action: found on a copy, so that nothing is done."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.catalog import HOME_SCREEN
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import kept
from autoglm_lab.runtime.prompt import write_memory


@dataclass(frozen=True)
class Request:
    """All that an answer depends on: the words, and the pixels of the screen."""

    task: str
    picture: UInt8[np.ndarray, "height width colours"]
    current_app: str = HOME_SCREEN
    last: str = ""

    @classmethod
    def of(cls, task: str, phone: SimulatedPhone, history: Sequence[tuple[str, bool]] = (), memory: int = 1) -> Request:
        """The request about what a phone shows now, after some actions."""
        last = write_memory(history, memory) if history else ""
        return cls(task, np.array(phone.screenshot()), phone.current_app(), last)

    def equals(self, other: Request) -> bool:
        """True if both have the same words and the same pixels; the words are compared first, as they are shorter."""
        mine, theirs = ((each.task, each.current_app, each.last) for each in (self, other))
        return mine == theirs and np.array_equal(self.picture, other.picture)


def foresee(
    task: str, phone: SimulatedPhone, action: Action, history: Sequence[tuple[str, bool]] = (), memory: int = 1
) -> Request | None:
    """The request that will follow an action, found on a copy of the phone.

    None for an action that ends the task, hands over, or changes something that lasts: such a screen is never foreseen.
    """
    if action.name in ("finish", "Take_over"):
        return None
    ahead = deepcopy(phone)
    changed = ahead.perform(action)
    return None if kept(ahead.state) != kept(phone.state) else Request.of(task, ahead, [*history, (action.name, changed)], memory)
