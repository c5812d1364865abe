"""A simulated phone as a deck of pictures: which screen follows which action. A page can play it without Python."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.catalog import HOME_SCREEN, app
from autoglm_lab.phone.draw import draw
from autoglm_lab.phone.screens import elements
from autoglm_lab.phone.simulator import SimulatedPhone, perform
from autoglm_lab.phone.state import State

SCREENS = 96
SWIPES = {
    "left": ((800, 500), (200, 500)),
    "right": ((200, 500), (800, 500)),
    "up": ((500, 800), (500, 200)),
    "down": ((500, 200), (500, 800)),
}
Way = tuple[dict[str, Any], Action]


def deck(phone: SimulatedPhone, most: int = SCREENS) -> tuple[dict[str, Any], list[bytes]]:
    """The screens that are fewest actions away, and their pictures (lossless WebP).

    Each screen is `{"app", "ways"}`. A way is what is done and the number of the screen that follows: `{"tap": box, "to"}` (of
    those that cover a point the last counts), `{"launch": name, "to"}`, `{"swipe": direction, "to"}`, `{"back": true, "to"}`,
    `{"home": true, "to"}`. `to` is None where the deck ends. Text cannot be typed: it would need a picture for each.
    """
    if most < 1:
        raise ValueError(f"most is {most}; a deck has one screen at least")
    states, numbers, screens = [deepcopy(phone.state)], {repr(phone.state): 0}, []
    waiting = deque(states)
    while waiting:
        here = waiting.popleft()
        ways = []
        for way, action in _ways(here):
            after = deepcopy(here)
            after.notice = ""
            perform(after, action)
            key = repr(after)
            if key not in numbers and len(states) < most:
                numbers[key] = len(states)
                states.append(after)
                waiting.append(after)
            ways.append({**way, "to": numbers.get(key)})
        screens.append({"app": HOME_SCREEN if here.app is None else _name(here, here.app), "ways": ways})
    return {"size": list(phone.size), "screens": screens}, [_picture(state, phone.size) for state in states]


def _ways(state: State) -> Iterator[Way]:
    for item in elements(state):
        if item.effect:
            yield {"tap": list(item.box)}, Action("Tap", element=item.centre)
    for app_id in state.look.installed:
        yield {"launch": _name(state, app_id)}, Action("Launch", app=_name(state, app_id))
    for direction, (start, end) in SWIPES.items():
        yield {"swipe": direction}, Action("Swipe", start=start, end=end)
    yield {"back": True}, Action("Back")
    yield {"home": True}, Action("Home")


def _name(state: State, app_id: str) -> str:
    return app(app_id).key(state.look.lang)


def _picture(state: State, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    draw(state, size).save(file, "WEBP", lossless=True, quality=60)
    return file.getvalue()
