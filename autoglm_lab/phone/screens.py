"""The elements of each screen and their boxes: one list serves drawing, hit testing and labels.

Boxes are (left, top, right, bottom) in thousandths of the screen, the unit of the agent's coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from autoglm_lab.phone.catalog import app, named
from autoglm_lab.phone.state import State, View

Box = tuple[float, float, float, float]
ROWS_VISIBLE = 7  # settings rows on the screen at a time


@dataclass(frozen=True)
class Element:
    """One thing on the screen. `effect` says what a tap does ("" nothing), `concept` which named thing it depicts."""

    kind: str
    box: Box
    concept: str = ""
    effect: str = ""
    text: str = ""
    glyph: str = ""
    on: bool = False

    @property
    def centre(self) -> tuple[int, int]:
        """The middle of the box as agent coordinates, 0..999."""
        left, top, right, bottom = self.box
        return min(999, int((left + right) / 2)), min(999, int((top + bottom) / 2))

    def covers(self, x: float, y: float) -> bool:
        """True if the point (thousandths) lies in the box."""
        left, top, right, bottom = self.box
        return left <= x < right and top <= y < bottom


def elements(state: State) -> list[Element]:
    """List the elements of the screen, back to front. The last element that covers a point gets the tap."""
    view = state.view
    items = list(
        _home(state)
        if view is None
        else _VIEWS[(view.app, view.name)](state, view)
        if (view.app, view.name) in _VIEWS
        else _SEARCH[view.name](state, view)
        if app(view.app).searchable
        else _generic(state, view)
    )
    items.append(Element("status", (0, 0, 1000, 34), text=state.look.clock))
    if state.notice:
        items.append(Element("notice", (60, 880, 940, 940), text=state.notice))
    return items


def find(state: State, *, concept: str = "", effect: str = "") -> Element | None:
    """The first element on the screen with this concept and effect (whichever is given), or None."""
    for item in elements(state):
        if item.effect and (not concept or item.concept == concept) and (not effect or item.effect == effect):
            return item
    return None


def _home(state: State) -> Iterator[Element]:
    look = state.look
    yield Element("wallpaper", (0, 0, 1000, 1000))
    top = 200.0 if look.big_clock else 70.0
    if look.big_clock:
        yield Element("big_clock", (100, 70, 900, 180), text=look.clock)
    rows = -(-max(len(page) for page in look.pages) // look.columns)
    width, height = 960 / look.columns, min(240.0, (910 - top) / rows)
    for slot, app_id in enumerate(look.pages[state.page]):
        row, column = divmod(slot, look.columns)
        left, y = 20 + column * width, top + row * height
        yield Element("icon", (left, y, left + width, y + height), app_id, f"open:{app_id}", named(app_id).name(look.lang))
    for number in range(len(look.pages)):
        x = 500 + 40 * (number - (len(look.pages) - 1) / 2)
        yield Element("dot", (x - 10, 945, x + 10, 955), on=number == state.page)


def _header(state: State, concept: str, *, back: bool, glyph: str = "", title: str = "") -> Iterator[Element]:
    """A bar that names an app or a contact (`concept`), or else has a `title` of its own."""
    yield Element("background", (0, 0, 1000, 1000))
    yield Element("header", (0, 34, 1000, 110), concept, text=title or named(concept).name(state.look.lang), glyph=glyph, on=back)
    if back:
        yield Element("button", (10, 40, 120, 104), "back", "back", glyph="arrow_left")


def _settings(state: State, view: View) -> Iterator[Element]:
    look = state.look
    yield from _header(state, "settings", back=False)
    # the bigger title exists only at the top of the list: it tells a reader where the list stands
    top, height = (210.0, 108.0) if state.scroll == 0 else (130.0, 118.0)
    if state.scroll == 0:
        yield Element("title", (40, 115, 960, 205), text=named("settings").name(look.lang))
    order = look.settings_order
    first = 0 if state.scroll == 0 else len(order) - ROWS_VISIBLE
    for place, setting_id in enumerate(order[first : first + ROWS_VISIBLE]):
        y = top + place * height
        setting = named(setting_id)
        yield Element(
            "toggle",
            (0, y, 1000, y + height),
            setting_id,
            f"toggle:{setting_id}",
            setting.name(look.lang),
            setting.glyph,
            state.toggles[setting_id],
        )
    yield Element("scrollbar", (975, 120 + 500 * state.scroll, 990, 480 + 500 * state.scroll))


def _chats(state: State, view: View) -> Iterator[Element]:
    yield from _header(state, "wechat", back=False)
    for place, contact_id in enumerate(state.look.contacts_order):
        y = 120 + place * 118
        contact = named(contact_id)
        yield Element(
            "contact",
            (0, y, 1000, y + 118),
            contact_id,
            f"chat:{contact_id}",
            contact.name(state.look.lang),
            glyph=state.chats[contact_id][-1][1],
        )


def _chat(state: State, view: View) -> Iterator[Element]:
    yield from _header(state, view.arg, back=True)
    bubbles = state.chats[view.arg][-4:]
    for place, (mine, text) in enumerate(bubbles):
        y = 130 + place * 95
        box = (380.0, y, 960.0, y + 75) if mine else (40.0, y, 620.0, y + 75)
        yield Element("bubble", box, text=text, on=mine)
    yield Element("field", (30, 535, 770, 605), "message_field", "focus", state.typed)
    yield Element(
        "pill",
        (790, 535, 970, 605),
        "send",
        "send" if state.typed else "",
        named("send").name(state.look.lang),
        on=bool(state.typed),
    )
    yield Element("keyboard", (0, 625, 1000, 1000))


def _alarms(state: State, view: View) -> Iterator[Element]:
    corner = state.look.add_button == "corner"
    yield from _header(state, "clock", back=False)
    for place, time in enumerate(state.alarms[:5]):
        yield Element("alarm", (40, 130 + place * 130, 960, 245 + place * 130), effect=f"alarm:{time}", text=time)
    box = (760.0, 740.0, 960.0, 840.0) if corner else (840.0, 38.0, 990.0, 106.0)
    yield Element("round", box, "add_alarm", "add", glyph="plus")


def _editor(state: State, view: View) -> Iterator[Element]:
    yield from _header(state, "", back=True, title={"zh": "新闹钟", "en": "New alarm"}[state.look.lang])
    yield Element("big_field", (200, 200, 800, 330), "time_field", "focus", state.typed or "--:--")
    yield Element(
        "pill",
        (300, 430, 700, 510),
        "save",
        "save" if _is_time(state.typed) else "",
        named("save").name(state.look.lang),
        on=bool(state.typed),
    )
    yield Element("keyboard", (0, 625, 1000, 1000))


def _alarm_page(state: State, view: View) -> Iterator[Element]:
    yield from _header(state, "", back=True, title={"zh": "闹钟", "en": "Alarm"}[state.look.lang])
    yield Element("big_field", (200, 200, 800, 330), text=view.arg)
    yield Element("pill", (300, 430, 700, 510), "delete", "delete", named("delete").name(state.look.lang), on=True)


def _is_time(text: str) -> bool:
    hour, colon, minute = text.partition(":")
    digits = text.isascii() and hour.isdigit() and minute.isdigit() and len(hour) <= 2 and len(minute) == 2  # "²" is a digit, too
    return colon == ":" and digits and int(hour) < 24 and int(minute) < 60


def _search_main(state: State, view: View) -> Iterator[Element]:
    yield from _header(state, view.app, back=False)
    yield Element("field", (40, 125, 960, 195), "search_field", "focus", glyph="search")
    yield from _cards(state, view, top=220)


def _search_edit(state: State, view: View) -> Iterator[Element]:
    yield from _header(state, view.app, back=True)
    yield Element("field", (40, 125, 780, 195), "search_field", "focus", state.typed, glyph="search", on=True)
    yield Element("round", (810, 120, 970, 200), "search_button", "submit" if state.typed else "", glyph="search")
    yield Element("keyboard", (0, 625, 1000, 1000))


def _results(state: State, view: View) -> Iterator[Element]:
    yield from _header(state, view.app, back=True)
    yield Element("field", (40, 125, 960, 195), "search_field", "focus", view.arg, glyph="search")
    for place in range(5):
        y = 220 + place * 135
        yield Element("result", (40, y, 960, y + 120), text=f"{view.arg} {place + 1}")


def _generic(state: State, view: View) -> Iterator[Element]:
    yield from _header(state, view.app, back=False, glyph=named(view.app).glyph)
    yield from _cards(state, view, top=130 - 60 * state.scroll)


def _cards(state: State, view: View, top: float) -> Iterator[Element]:
    rng = np.random.default_rng([state.look.seed, sum(map(ord, view.app)), state.scroll])
    two = bool(rng.random() < 0.5)
    height = float(rng.uniform(110, 210))
    y = top
    while y + height < 960:
        for left, right in ((40, 490), (510, 960)) if two else ((40, 960),):
            card = Element("card", (left, y, right, y + height), on=bool(rng.random() < 0.5))
            yield card if y > 108 else replace(card, box=(left, 112, right, y + height))
        y += height + 20


_VIEWS = {
    ("settings", "main"): _settings,
    ("wechat", "main"): _chats,
    ("wechat", "chat"): _chat,
    ("clock", "main"): _alarms,
    ("clock", "editor"): _editor,
    ("clock", "alarm"): _alarm_page,
}
_SEARCH = {"main": _search_main, "search": _search_edit, "results": _results}
