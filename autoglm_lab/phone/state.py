"""The frozen look of a simulated phone, and its mutable state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from autoglm_lab.phone.catalog import APPS, CONTACTS, SETTINGS, Lang
from autoglm_lab.phone.icons import families

IconShape = Literal["circle", "squircle", "square", "bare"]
IconColour = Literal["brand", "mono", "free"]


@dataclass(frozen=True)
class Look:
    """The properties of a phone that never change while it is used. Drawn from a seed by `Look.random`."""

    seed: int
    lang: Lang
    family: str  # icon family, see data/icons
    pages: tuple[tuple[str, ...], ...]  # app ids on each home page
    columns: int
    icon_size: float  # icon width as a fraction of its column
    icon_shape: IconShape
    icon_colour: IconColour
    labels: bool
    big_clock: bool  # a clock above the icons
    hue: int  # wallpaper and accents, in degrees
    settings_order: tuple[str, ...]
    contacts_order: tuple[str, ...]
    add_button: Literal["corner", "header"]
    clock: str  # the time in the status bar

    @classmethod
    def random(cls, seed: int, *, lang: Lang | None = None, family: str | None = None, labels: bool | None = None) -> Look:
        """A phone drawn from `seed`; `lang`, `family` and `labels` fix what they name. No held-out icon family comes by chance."""
        rng = np.random.default_rng([seed, 1])
        needed = ("settings", "clock", "wechat")  # every phone can be set, woken and talked to
        others = [a.id for a in APPS if a.id not in needed]
        some = [others[i] for i in rng.permutation(len(others))[: rng.integers(13, len(others) + 1)]]
        installed = [str(id) for id in rng.permutation([*needed, *some])]
        first = int(rng.integers(len(installed) // 2 - 1, len(installed) // 2 + 2))
        # all three are always drawn, so that fixing one of them leaves the rest of the phone as it was
        drawn_lang: Lang = "zh" if rng.random() < 0.5 else "en"
        drawn_family = str(rng.choice(families(held_out=False)))
        drawn_labels = bool(rng.random() < 0.85)
        return cls(
            seed=seed,
            lang=lang or drawn_lang,
            family=family or drawn_family,
            pages=(tuple(installed[:first]), tuple(installed[first:])),
            columns=int(rng.integers(3, 5)),
            icon_size=float(rng.uniform(0.62, 0.84)),
            icon_shape=str(rng.choice(["circle", "squircle", "square", "bare"])),  # type: ignore[arg-type]
            icon_colour=str(rng.choice(["brand", "mono", "free"], p=[0.4, 0.2, 0.4])),  # type: ignore[arg-type]
            labels=drawn_labels if labels is None else labels,
            big_clock=bool(rng.random() < 0.4),
            hue=int(rng.integers(360)),
            settings_order=tuple(SETTINGS[i].id for i in rng.permutation(len(SETTINGS))),
            contacts_order=tuple(CONTACTS[i].id for i in rng.permutation(len(CONTACTS))),
            add_button="corner" if rng.random() < 0.5 else "header",
            clock=f"{rng.integers(24):02d}:{rng.integers(60):02d}",
        )

    @property
    def installed(self) -> tuple[str, ...]:
        """Ids of all apps on the phone."""
        return tuple(id for page in self.pages for id in page)

    def page_of(self, app_id: str) -> int:
        """The home page that shows `app_id`; ValueError if it is not installed."""
        for number, page in enumerate(self.pages):
            if app_id in page:
                return number
        raise ValueError(f"{app_id!r} is not installed on this phone; installed are {', '.join(self.installed)}")


@dataclass(frozen=True)
class View:
    """One screen of an app: `name` is main, chat, search, results, editor or alarm; `arg` is a contact, a query or a time."""

    app: str
    name: str = "main"
    arg: str = ""


@dataclass
class State:
    """The current screen of the phone, and everything that it remembers."""

    look: Look
    dark: bool = False
    page: int = 0
    route: list[View] = field(default_factory=list)  # empty on the home screen; the last view is on top
    scroll: int = 0  # 0 at the top, 1 further down
    typed: str = ""
    toggles: dict[str, bool] = field(default_factory=dict)
    chats: dict[str, list[tuple[bool, str]]] = field(default_factory=dict)  # contact -> (sent by me, text)
    alarms: list[str] = field(default_factory=list)  # HH:MM, sorted
    notice: str = ""  # the bar that appears after something was done

    @classmethod
    def fresh(cls, look: Look) -> State:
        """The initial state of a phone: home screen, random toggles, a few alarms and messages."""
        rng = np.random.default_rng([look.seed, 2])
        toggles = {s.id: bool(rng.random() < 0.5) for s in SETTINGS}
        # alarms at odd minutes, so that none is already what somebody asks for
        alarms = sorted(f"{rng.integers(24):02d}:{rng.choice([3, 17, 29, 41, 58]):02d}" for _ in range(rng.integers(0, 3)))
        hello = {"zh": ("在吗？", "你好"), "en": ("are you there?", "hello")}[look.lang]
        chats = {c.id: [(bool(rng.random() < 0.3), hello[1]), (False, hello[0])] for c in CONTACTS}
        return cls(look, dark=toggles["dark"], toggles=toggles, alarms=alarms, chats=chats)

    @property
    def view(self) -> View | None:
        """The view on top, or None on the home screen."""
        return self.route[-1] if self.route else None

    @property
    def app(self) -> str | None:
        """Id of the app in front, or None on the home screen."""
        return self.route[-1].app if self.route else None
