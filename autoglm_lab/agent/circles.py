"""Notices an agent that goes in circles: the same two or three actions on the same screens, for the third time."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.adb import differ

LENGTHS = (2, 3)  # one action that changes nothing is noticed without its screens


@dataclass
class Circles:
    """The last actions, and the screens on which each was chosen."""

    turns: list[tuple[Action, Image.Image]] = field(default_factory=list)

    def check(self, action: Action, screenshot: Image.Image) -> str:
        """Note an action that is about to be done; describe the circle that it would begin for the third time, or "".

        Screens are compared below the status bar. Of a list that scrolls, or a number that grows, no screen comes again.
        """
        self.turns = [*self.turns[-2 * max(LENGTHS) :], (action, screenshot)]
        for length in LENGTHS:
            recent = self.turns[-2 * length - 1 :]
            if len(recent) > 2 * length and all(_same(*pair) for pair in zip(recent, recent[length:], strict=False)):
                return f"going in circles: {', '.join(format_action(turn[0]) for turn in recent[:length])}, and again"
        return ""


def _same(one: tuple[Action, Image.Image], other: tuple[Action, Image.Image]) -> bool:
    return one[0] == other[0] and not differ(one[1], other[1])
