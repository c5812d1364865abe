"""Sentences as they are spoken: wordings of people, with everything in words that a voice can read, and nothing spelt.

What a spoken sentence asks for is its wish: kind and slots. Of each wish there are as many sentences as the templates give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from autoglm_lab.phone.catalog import APPS, CONTACTS, LANGS, MESSAGES, QUERIES, SETTINGS, Lang
from autoglm_lab.phone.clock import clock_forms
from autoglm_lab.phone.wording import phrasebook, subjects

# kind -> how often it is said; "beyond" is speech that is not for the agent
SPOKEN_KINDS: dict[str, int] = {
    "open_app": 18,
    "toggle_on": 9,
    "toggle_off": 9,
    "search": 12,
    "send": 12,
    "alarm": 12,
    "delete_alarm": 4,
    "delete_alarms": 2,
    "back": 2,
    "home": 3,
    "close": 2,
    "describe": 3,
    "is_on": 5,
    "has_app": 4,
    "who": 2,
    "beyond": 5,
}
MINUTE_STEP = 5  # of the clock times that are spoken
_UNREADABLE: dict[Lang, str] = {"en": r"[^A-Za-z ,.?!'’\-]", "zh": r"[^一-鿿，。？！、：]"}
_SHORTHAND = r"(?i)\b(u|r|ur|y|k|plz|pls|thx|txt|msg|del|lol|btw|abt|tmrw|tmr|b4|pic|asap)\b"  # written, not said
_TRIES = 200
_SPELT = ("european_languages",)  # subjects in letters that the voices of a language do not read


class Wish(Protocol):
    """A task or a sentence: either asks for something."""

    @property
    def lang(self) -> Lang:
        """The language it is said in."""

    @property
    def kind(self) -> str:
        """The kind of task, or "beyond"."""

    @property
    def slots(self) -> tuple[tuple[str, str], ...]:
        """Slots and what is in them: ids, or words."""


def wish_key(wish: Wish) -> str:
    """One string for a language, a kind and its slots: the same for all wordings of a wish.

    >>> from autoglm_lab.phone.phrasing import Utterance
    >>> wish_key(Utterance("alarm", "en", (("time", "06:30"),), "wake me up at six thirty"))
    'en|alarm|time=06:30'
    """
    parts = [wish.lang, wish.kind, *(f"{slot}={value}" for slot, value in wish.slots)]
    if any("|" in part for part in parts):
        raise ValueError(f"{wish.slots} cannot be part of a key, for a bar in it would part it")
    return "|".join(parts)


def parse_wish_key(key: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """Language, kind and slots of a wish. ValueError for a string that is no key.

    >>> parse_wish_key("en|alarm|time=06:30")
    ('en', 'alarm', (('time', '06:30'),))
    """
    lang, bar, rest = key.partition("|")
    kind, *slots = rest.split("|")
    if lang not in LANGS or not bar or not kind or not all("=" in slot for slot in slots):
        raise ValueError(f"{key!r} is not the key of a wish; one is 'en|alarm|time=06:30'")
    return lang, kind, tuple((slot.partition("=")[0], slot.partition("=")[2]) for slot in slots)


def spoken_wishes(kind: str, lang: Lang) -> Iterator[tuple[tuple[str, str], ...]]:
    """The slots of every wish of a kind that is spoken, in a fixed order."""
    if kind in ("open_app", "has_app"):
        yield from ((("app", app.id),) for app in APPS)
    elif kind in ("toggle_on", "toggle_off", "is_on"):
        yield from ((("setting", setting.id),) for setting in SETTINGS)
    elif kind == "search":
        yield from ((("app", app.id), ("query", query)) for app in APPS if app.searchable for query in QUERIES[lang])
    elif kind == "send":
        yield from ((("contact", contact.id), ("message", text)) for contact in CONTACTS for text in MESSAGES[lang])
    elif kind in ("alarm", "delete_alarm"):
        yield from ((("time", f"{h:02d}:{m:02d}"),) for h in range(24) for m in range(0, 60, MINUTE_STEP))
    elif kind == "beyond":
        spoken = (subject for subject in subjects() if not subject.held_out and subject.id not in _SPELT)
        yield from ((("subject", subject.id),) for subject in spoken)
    else:
        yield ()


def say_wish(kind: str, lang: Lang, slots: tuple[tuple[str, str], ...], rng: np.random.Generator, *, held_out: bool = False) -> str:
    """A sentence for a wish in which everything is in words. ValueError if none of two hundred drawn is such a sentence."""
    for _ in range(_TRIES):
        text = _draw(kind, lang, dict(slots), rng, held_out)
        if not re.search(_UNREADABLE[lang], text) and not re.search(_SHORTHAND, text):
            return text
    raise ValueError(f"no sentence of kind {kind!r} with {dict(slots)} can be spoken in {lang!r}")


def _draw(kind: str, lang: Lang, slots: dict[str, str], rng: np.random.Generator, held_out: bool) -> str:
    if kind == "beyond":
        subject = next(each for each in subjects() if each.id == slots["subject"])
        templates = subject.sentences[lang]
        contact = str(rng.choice([each.id for each in CONTACTS]))
        things = {"app": "notes", "setting": "wifi", "contact": contact, "time": _time("07:30", lang, rng)}
        return phrasebook(lang).say(templates[int(rng.integers(len(templates)))], things, rng)
    if "time" in slots:
        slots["time"] = _time(slots["time"], lang, rng)
    return phrasebook(lang).draw(kind, slots, rng, held_out=held_out)


def _time(time: str, lang: Lang, rng: np.random.Generator) -> str:
    """A clock time in words."""
    forms = [form for form in clock_forms(int(time[:2]), int(time[3:]), lang) if not re.search(_UNREADABLE[lang], form)]
    return str(rng.choice([form.replace("a.m.", "a m").replace("p.m.", "p m") for form in forms]))
