"""Commands are understood once: a model reads one with nothing on the screen and writes its goal, or a sentence that declines it.

Every step after that works by the goal. So the many ways of saying a thing matter in one place, speech is heard once, and what is
typed is what was said.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.catalog import Lang
from autoglm_lab.phone.goals import as_said, restore, split_goal
from autoglm_lab.phone.refusal import STRANGE_APP, UNCLEAR, refuse
from autoglm_lab.runtime.engine import Answer, Stopwatch, Stream
from autoglm_lab.runtime.prompt import END_THINK

MAX_GOAL = 96  # tokens of what is understood
MOST = 256  # commands that an engine keeps understood


@dataclass(frozen=True)
class Understood:
    """The meaning of a command: a goal (`phone.goals`), or the closing sentence with which the agent declines.

    `confidence` is that of the model's text; `unsure` is true for a goal that a person should confirm before it is worked at.
    """

    goal: str = ""
    refusal: str = ""
    confidence: float = 1.0
    unsure: bool = False

    @classmethod
    def read(cls, text: str, command: str) -> Understood:
        """Read a model's text about a command ("" if it was spoken); copied words stand as in the command.

        A text that is neither a goal nor a closing sentence counts as not understood.
        """
        action = Answer.read(text, 0, {}).action
        text = action.text or "" if action is not None and action.name == "Goal" else ""
        if wishes := split_goal(text):
            goal = text if len(wishes) > 1 else wishes[0]  # what stands there twice is wished once
            return cls(goal=restore(goal, command) if command else goal)
        if action is not None and action.name == "finish":
            return cls(refusal=_restored(action.message or "", command))
        lang: Lang = "zh" if re.search("[一-鿿]", command) else "en"
        return cls(refusal=refuse(UNCLEAR[lang], lang))

    def declined(self, watch: Stopwatch, *, think: bool = False) -> Stream:
        """The answer of an agent that declines; with `think` its thought is empty."""
        text = END_THINK * think + format_action(Action("finish", message=self.refusal))
        return Stream(iter((text, Answer.read(text, 0, watch.total()))))


def _restored(message: str, command: str) -> str:
    """A sentence that names a strange app, with the name as it was said."""
    for form in STRANGE_APP.values():
        if match := re.fullmatch(re.escape(form).replace(r"\{name\}", "(.+)"), message):
            return form.format(name=as_said(match[1], command))
    return message


class Commands:
    """The commands that an engine understood last, at most `MOST`; threads may share it.

    Goals of which the model is less confident than `confirm_below` are unsure.
    """

    def __init__(self, confirm_below: float = 0.0) -> None:
        self.confirm_below = confirm_below
        self._meanings: OrderedDict[str, Understood] = OrderedDict()
        self._turn = threading.Lock()

    def get(self, task: str, audio: Any = None) -> Understood | None:
        """The meaning of a command, typed or (without text) spoken; None for one that is not known. It then stays longest."""
        key = command_key(task, audio)
        with self._turn:
            if key in self._meanings:
                self._meanings.move_to_end(key)
            return self._meanings.get(key)

    def keep(self, task: str, audio: Any, text: str, confidence: float = 1.0) -> Understood:
        """Note what a model's text says of a command, and how confident it was of it."""
        meaning = Understood.read(text, task)
        unsure = bool(meaning.goal) and confidence < self.confirm_below
        meaning = replace(meaning, confidence=confidence, unsure=unsure)
        with self._turn:
            self._meanings[command_key(task, audio)] = meaning
            while len(self._meanings) > MOST:
                self._meanings.popitem(last=False)
        return meaning

    def clear(self) -> None:
        """Forget them all, so that each is read again."""
        with self._turn:
            self._meanings.clear()

    def understand(self, task: str, audio: Any, ask: Callable[[], tuple[str, float]]) -> Understood:
        """Look a command up; `ask` gives the model's text for one that is new, and its confidence."""
        return self.get(task, audio) or self.keep(task, audio, *ask())


def command_key(task: str, audio: Any = None) -> str:
    """One string for a command: its words, or a hash of the sound."""
    return task.strip() or sha256(np.ascontiguousarray(audio).tobytes()).hexdigest()
