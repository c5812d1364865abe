"""The simulated phone: performs actions on a `State` and draws what then shows."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Protocol

from PIL import Image

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.catalog import HOME_SCREEN, Lang, app, named
from autoglm_lab.phone.draw import DEFAULT_SIZE, draw
from autoglm_lab.phone.packages import app_of, packages_to_try
from autoglm_lab.phone.screens import elements
from autoglm_lab.phone.state import Look, State, View


class Phone(Protocol):
    """The interface of a phone, simulated or real, that an agent uses."""

    def screenshot(self) -> Image.Image:
        """The screen as an RGB picture."""

    def current_app(self) -> str:
        """The name of the app in front."""

    def perform(self, action: Action) -> bool:
        """Do one action; True when anything on the phone changed."""


class SimulatedPhone:
    """A seeded phone that draws its own screens.

    >>> phone = SimulatedPhone(seed=7)
    >>> phone.current_app()
    'System Home'
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        size: tuple[int, int] = DEFAULT_SIZE,
        lang: Lang | None = None,
        family: str | None = None,
        look: Look | None = None,
    ) -> None:
        self.size = size
        self.state = State.fresh(look or Look.random(seed, lang=lang, family=family))

    def screenshot(self) -> Image.Image:
        """The screen as an RGB picture of `size` pixels."""
        return draw(self.state, self.size)

    def current_app(self) -> str:
        """The app in front, by the name the public agent knows, or "System Home"."""
        return HOME_SCREEN if self.state.app is None else app(self.state.app).key(self.state.look.lang)

    def has_app(self, name: str) -> bool:
        """True when `Launch` can start the app of this name or package."""
        return _find_app(self.state, name) is not None

    def perform(self, action: Action) -> bool:
        """Do one action. True when anything changed; an action that hits nothing changes nothing."""
        before = deepcopy(self.state)
        if action.name != "Wait":
            self.state.notice = ""
        perform(self.state, action)
        return self.state != before


def perform(state: State, action: Action) -> None:
    """Apply one action to `state`. `finish` and `Take_over` leave the phone as it is."""
    if action.name == "Tap":
        _tap(state, action.element)
    elif action.name == "Double Tap":
        _tap(state, action.element)
        _tap(state, action.element)
    elif action.name == "Long Press":
        _long_press(state, action.element)
    elif action.name == "Swipe":
        _swipe(state, action.start, action.end)
    elif action.name == "Type":
        if state.view is not None and state.view.name in ("chat", "editor", "search"):
            state.typed = action.text or ""
    elif action.name == "Back":
        _back(state)
    elif action.name == "Home":
        state.route, state.page, state.scroll, state.typed = [], 0, 0, ""
    elif action.name == "Launch":
        app_id = _find_app(state, action.app or "")
        if app_id is not None:
            _open(state, app_id)


def _find_app(state: State, name: str) -> str | None:
    """Return the id of the app that a name or a package means, when it is on the phone."""
    match = next(filter(None, map(app_of, packages_to_try(name))), None)
    return match.id if match is not None and match.id in state.look.installed else None


def effect_at(state: State, point: tuple[int, int] | None) -> str:
    """Effect of a touch: that of the topmost thing at a point in thousandths, "" for none."""
    x, y = point or (0, 0)
    hit = [item.effect for item in elements(state) if item.covers(x + 0.5, y + 0.5) and item.effect]
    return hit[-1] if hit else ""


def _tap(state: State, point: tuple[int, int] | None) -> None:
    effect, _, argument = effect_at(state, point).partition(":")
    if effect:
        _EFFECTS[effect](state, argument)


def _long_press(state: State, point: tuple[int, int] | None) -> None:
    effect, _, argument = effect_at(state, point).partition(":")
    if effect == "open":  # a launcher names the app under the finger
        state.notice = named(argument).name(state.look.lang)


def _swipe(state: State, start: tuple[int, int] | None, end: tuple[int, int] | None) -> None:
    (x0, y0), (x1, y1) = start or (0, 0), end or (0, 0)
    across, down = x1 - x0, y1 - y0
    if state.view is None and abs(across) >= 100 and abs(across) > abs(down):
        state.page = min(len(state.look.pages) - 1, max(0, state.page + (1 if across < 0 else -1)))
    elif state.view is not None and abs(down) >= 100 and abs(down) > abs(across) and _scrolls(state.view):
        state.scroll = 1 if down < 0 else 0


def _scrolls(view: View) -> bool:
    return view.name == "main" and view.app not in ("wechat", "clock") and not app(view.app).searchable


def _back(state: State) -> None:
    if state.route:
        state.route.pop()
        state.scroll, state.typed = 0, ""


def _open(state: State, app_id: str) -> None:
    state.route, state.scroll, state.typed = [View(app_id)], 0, ""


def _toggle(state: State, setting_id: str) -> None:
    state.toggles[setting_id] = not state.toggles[setting_id]
    state.dark = state.toggles["dark"]


def _chat(state: State, contact_id: str) -> None:
    state.route.append(View("wechat", "chat", contact_id))
    state.typed = ""


def _focus(state: State, _: str) -> None:
    view = state.route[-1]
    if view.name in ("main", "results"):
        state.route, state.typed = [View(view.app), View(view.app, "search")], ""


def _submit(state: State, _: str) -> None:
    here = state.route[-1].app
    state.route, state.typed = [View(here), View(here, "results", state.typed)], ""


def _add(state: State, _: str) -> None:
    state.route.append(View("clock", "editor"))
    state.typed = ""


def _save(state: State, _: str) -> None:
    hour, minute = state.typed.split(":")
    time = f"{int(hour):02d}:{minute}"
    state.alarms = sorted({*state.alarms, time})
    state.route.pop()
    state.typed, state.notice = "", {"zh": f"闹钟已设置 {time}", "en": f"Alarm set for {time}"}[state.look.lang]


def _alarm(state: State, time: str) -> None:
    state.route.append(View("clock", "alarm", time))


def _delete(state: State, _: str) -> None:
    time = state.route.pop().arg
    state.alarms = [alarm for alarm in state.alarms if alarm != time]
    state.notice = {"zh": f"闹钟已删除 {time}", "en": f"Alarm deleted {time}"}[state.look.lang]


def _send(state: State, _: str) -> None:
    state.chats[state.route[-1].arg].append((True, state.typed))
    state.typed = ""


_EFFECTS: dict[str, Callable[[State, str], None]] = {
    "open": _open,
    "toggle": _toggle,
    "chat": _chat,
    "focus": _focus,
    "submit": _submit,
    "add": _add,
    "save": _save,
    "send": _send,
    "alarm": _alarm,
    "delete": _delete,
    "back": lambda state, _: _back(state),
}
