"""Notices an agent that goes in circles: the same two or three actions on the same screens, for the third time."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from autoglm_lab.phone.actions import POINTS, Action, format_action
from autoglm_lab.phone.adb.real import differ

LENGTHS = (2, 3)  # one action that changes nothing is noticed without its screens
NEAR = 20  # thousandths by which a place may be off and be the same: a model writes it a little differently each time


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
    return _alike(one[0], other[0]) and not differ(one[1], other[1])


def _alike(one: Action, other: Action) -> bool:
    """True if two actions differ at most in where exactly they touch the screen.

    >>> _alike(Action("Tap", element=(500, 650)), Action("Tap", element=(497, 656)))
    True
    >>> _alike(Action("Tap", element=(500, 650)), Action("Tap", element=(500, 720)))
    False
    """
    places = [(getattr(one, name), getattr(other, name)) for name in POINTS]
    if any((here is None) != (there is None) for here, there in places):
        return False
    apart = [abs(a - b) for here, there in places if here and there for a, b in zip(here, there, strict=True)]
    rest = ({name: value for name, value in vars(action).items() if name not in POINTS} for action in (one, other))
    return max(apart, default=0) <= NEAR and next(rest) == next(rest)
