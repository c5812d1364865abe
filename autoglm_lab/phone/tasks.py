"""Tasks: wishes for the phone, in words, and the check that one was fulfilled."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from autoglm_lab.phone.catalog import APPS, CONTACTS, FREE_WORDS, MESSAGES, QUERIES, SETTINGS, Lang, app, named
from autoglm_lab.phone.phrasing import PHRASINGS, SPOKEN, Utterance, fill, say_time
from autoglm_lab.phone.refusal import is_refusal
from autoglm_lab.phone.screens import elements
from autoglm_lab.phone.state import State

QUESTIONS = ("describe", "is_on", "has_app", "who")
WHO: dict[Lang, str] = {
    "zh": "我是PhoneGLM，一个会看屏幕、听指令的小小手机助手。",
    "en": "I am PhoneGLM, a tiny phone agent that sees the screen and hears commands.",
}
REPEAT = "没听清，请再说一遍。 Sorry, please say that again."
CANNOT_SEE: dict[Lang, str] = {"zh": "屏幕看不清。", "en": "I cannot read the screen."}


_APP_OF = {
    "toggle_on": "settings",
    "toggle_off": "settings",
    "is_on": "settings",
    "send": "wechat",
    "absent_contact": "wechat",
    "alarm": "clock",
    "delete_alarm": "clock",
    "delete_alarms": "clock",
}


@dataclass(frozen=True)
class Task:
    """One wish: its kind (of PHRASINGS, or of `wishes.WISHES`), language, slots (ids of things, or literal text) and wording."""

    kind: str
    lang: Lang
    slots: tuple[tuple[str, str], ...] = ()
    text: str = ""
    parts: tuple[Task, ...] = ()  # of kind "two": both wishes, in order

    def slot(self, name: str) -> str:
        """The id or text in a slot; KeyError if the kind has no such slot."""
        return dict(self.slots)[name]

    @property
    def app(self) -> str | None:
        """Id of the app in which this task is done, or None where any screen will do."""
        if self.kind in ("open_app", "search"):
            return self.slot("app")
        return _APP_OF.get(self.kind)

    @property
    def missing(self) -> str:
        """The name of the app or contact that a task asks for and this phone does not have."""
        return named(self.slot("app")).name(self.lang) if self.kind == "absent_app" else self.slot("name")

    @classmethod
    def of(cls, spoken: Utterance) -> Task:
        """The task that a spoken sentence asks for."""
        return cls(spoken.kind, spoken.lang, spoken.slots, spoken.text)

    def done(self, start: State, now: State, message: str) -> bool:
        """True if the phone, once `start`, now is as wished and the closing message answers the question (if it is one)."""
        if self.kind in QUESTIONS:
            state = now if self.kind == "is_on" else start
            return message == answer(self, state) and now.toggles == start.toggles
        if self.kind in STRICT:
            return kept(now) == kept(outcome(self, start)) and self._closed(start, now, message)
        wished = deepcopy(start.toggles)
        if self.kind in ("toggle_on", "toggle_off"):
            wished[self.slot("setting")] = self.kind == "toggle_on"
        return now.toggles == wished and self._reached(start, now)

    def _closed(self, start: State, now: State, message: str) -> bool:
        """True if a task of a strict kind ends where it should, with a true sentence."""
        match self.kind:
            case "two":
                last = self.parts[1]
                return last.kind not in ("open_app", "search") or last._reached(start, now)
            case "close":
                return now.route == [] and (message == NOTHING_OPEN[self.lang]) is (start.route == [])
            case "delete_alarms":
                return (message == NO_ALARMS[self.lang]) is (start.alarms == [])
            case "beyond":
                return is_refusal(message, self.lang)
            case "absent_app" | "absent_contact" | "strange_app":
                return self.missing.casefold() in message.casefold() and any(no in message for no in ("不", "没", "not"))
            case "delete_alarm":
                return (message == MISSING_ALARM[self.lang]) is (self.slot("time") not in start.alarms)
        return True

    def _reached(self, start: State, now: State) -> bool:
        view = now.view
        match self.kind:
            case "open_app":
                return now.app == self.slot("app")
            case "search":
                return view is not None and (view.app, view.name, view.arg) == (
                    self.slot("app"),
                    "results",
                    self.slot("query"),
                )
            case "send":
                return now.chats[self.slot("contact")] == [
                    *start.chats[self.slot("contact")],
                    (True, self.slot("message")),
                ]
            case "alarm":
                return now.alarms == sorted({*start.alarms, self.slot("time")})
            case "back":
                return now.route == start.route[:-1]
            case "home":
                return now.route == []
        return True


# kinds of which everything that lasts is compared with what was wished
STRICT = frozenset(("delete_alarm", "delete_alarms", "close", "two", "beyond", "absent_app", "strange_app", "absent_contact"))
NOTHING_OPEN: dict[Lang, str] = {"zh": "没有打开的应用。", "en": "No app is open."}
NO_ALARMS: dict[Lang, str] = {"zh": "没有闹钟。", "en": "There are no alarms."}
MISSING_ALARM: dict[Lang, str] = {"zh": "没有这个闹钟。", "en": "There is no such alarm."}


def kept(state: State) -> tuple[dict[str, bool], dict[str, list[tuple[bool, str]]], list[str]]:
    """Return the part of a state that lasts: switches, chats and alarms."""
    return state.toggles, state.chats, state.alarms


def outcome(task: Task, start: State) -> State:
    """The phone with all that lasts as a task wishes it; its screens are those of `start`."""
    state = deepcopy(start)
    for part in task.parts or (task,):
        match part.kind:
            case "toggle_on" | "toggle_off":
                state.toggles[part.slot("setting")] = part.kind == "toggle_on"
            case "send":
                state.chats[part.slot("contact")].append((True, part.slot("message")))
            case "alarm":
                state.alarms = sorted({*state.alarms, part.slot("time")})
            case "delete_alarm":
                state.alarms = [time for time in state.alarms if time != part.slot("time")]
            case "delete_alarms":
                state.alarms = []
    return state


def answer(task: Task, state: State) -> str:
    """The right answer to a question about what `state` shows, in the task's language."""
    zh = task.lang == "zh"
    if task.kind == "who":
        return WHO[task.lang]
    if task.kind == "describe":
        return describe(state, task.lang)
    if task.kind == "is_on":
        name, on = named(task.slot("setting")).name(task.lang), state.toggles[task.slot("setting")]
        return f"{name}{'开着' if on else '关着'}。" if zh else f"{'Yes' if on else 'No'}, {name} is {'on' if on else 'off'}."
    name = named(task.slot("app")).name(task.lang)
    here = any(item.kind == "icon" and item.concept == task.slot("app") for item in elements(state))
    return f"{'有' if here else '没有'}{name}。" if zh else f"{'Yes' if here else 'No'}, {name} is {'' if here else 'not '}here."


def describe(state: State, lang: Lang) -> str:
    """One sentence about the screen, in `lang`."""
    zh, view = lang == "zh", state.view
    if view is None:
        first, second = (named(id).name(lang) for id in state.look.pages[state.page][:2])
        if zh:
            return f"桌面第{state.page + 1}页，有{first}、{second}等应用。"
        return f"Home page {state.page + 1}, with {first}, {second} and more."
    name = named(view.app).name(lang)
    if view.name == "chat":
        who = named(view.arg).name(lang)
        return f"和{who}的聊天。" if zh else f"A chat with {who}."
    part = {
        "search": ("的搜索页", "search page"),
        "results": ("的搜索结果", "search results"),
        "editor": ("的新闹钟", "new alarm"),
        "alarm": ("的闹钟", "alarm"),
    }.get(view.name)
    if part:
        return f"{name}{part[0]}。" if zh else f"The {name} {part[1]}."
    return f"{name}应用。" if zh else f"The {name} app."


WEIGHTS = {
    "open_app": 26,
    "toggle_on": 8,
    "toggle_off": 8,
    "search": 13,
    "send": 12,
    "alarm": 9,
    "back": 3,
    "home": 4,
    "describe": 6,
    "is_on": 6,
    "has_app": 4,
    "who": 1,
}


def sample(state: State, rng: np.random.Generator, *, kind: str = "", lang: Lang | None = None, spoken: bool = False) -> Task:
    """A task that makes sense on this phone now. `spoken` draws only sentences that exist as speech."""
    kinds = list(WEIGHTS)
    share = np.array([0 if (k == "back" and not state.route) or (k == "has_app" and state.route) else WEIGHTS[k] for k in kinds])
    kind = kind or str(rng.choice(kinds, p=share / share.sum()))
    lang = lang or (state.look.lang if rng.random() < 0.75 else str(rng.choice(["zh", "en"])))  # type: ignore[assignment]
    assert lang is not None
    slots = _slots(kind, lang, state, rng, spoken)
    count = SPOKEN[kind] if spoken else len(PHRASINGS[kind][lang])
    phrasing = PHRASINGS[kind][lang][int(rng.integers(count))]
    return Task(kind, lang, tuple(slots.items()), wording(phrasing, lang, slots, rng, spoken))


def wording(phrasing: str, lang: Lang, slots: dict[str, str], rng: np.random.Generator, spoken: bool = False) -> str:
    """A phrasing with its slots said as people say them; clock times come in figures or in words."""
    words: dict[str, str] = {}
    for slot, value in slots.items():
        words[slot] = named(value).name(lang) if slot in ("app", "setting", "contact") else value
        if slot == "time":
            hour, minute = int(value[:2]), int(value[3:])
            in_words = 5 <= hour < 12 and minute in (0, 30)
            styles = [value, f"{hour}:{value[3:]}"] + ([say_time(hour, minute, lang)] if in_words else [])
            words[slot] = styles[-1] if spoken else str(rng.choice(styles))
    text = fill(phrasing, lang, **words)
    if not spoken and lang == "en" and rng.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text


def _slots(kind: str, lang: Lang, state: State, rng: np.random.Generator, spoken: bool) -> dict[str, str]:
    look = state.look

    def pick(names: tuple[str, ...] | list[str]) -> str:
        return names[int(rng.integers(len(names)))]

    if kind == "open_app":
        return {"app": pick(look.installed)}
    if kind == "has_app":
        here = look.pages[state.page]
        return {"app": pick(here) if rng.random() < 0.5 else pick([a.id for a in APPS if a.id not in here])}
    if kind in ("toggle_on", "toggle_off", "is_on"):
        return {"setting": pick([s.id for s in SETTINGS])}
    if kind == "search":
        searchable = [id for id in look.installed if app(id).searchable]
        return {"app": pick(searchable), "query": _phrase(QUERIES[lang], lang, rng, spoken)}
    if kind == "send":
        return {"contact": pick([c.id for c in CONTACTS]), "message": _phrase(MESSAGES[lang], lang, rng, spoken)}
    if kind == "alarm":
        if spoken or rng.random() < 0.4:
            return {"time": f"{rng.integers(5, 12):02d}:{rng.choice([0, 30]):02d}"}
        return {"time": f"{rng.integers(24):02d}:{5 * rng.integers(12):02d}"}
    return {}


def _phrase(phrases: tuple[str, ...], lang: Lang, rng: np.random.Generator, spoken: bool) -> str:
    if spoken or rng.random() < 0.5:
        return phrases[int(rng.integers(len(phrases)))]
    words = [FREE_WORDS[lang][i] for i in rng.choice(len(FREE_WORDS[lang]), int(rng.integers(1, 4)), replace=False)]
    return ("" if lang == "zh" else " ").join(words)


def recognise(text: str) -> Task | None:
    """The task that a sentence in one of our phrasings asks for, or None. Lets a demo check its own success."""
    for kind, by_lang in PHRASINGS.items():
        for lang, phrasings in by_lang.items():
            for phrasing in phrasings:
                slots = _match(phrasing, text.strip(), lang)
                if slots is not None:
                    return Task(kind, lang, tuple(slots.items()), text)
    return None


_THINGS = {"app": APPS, "setting": SETTINGS, "contact": CONTACTS}


def _match(phrasing: str, text: str, lang: Lang) -> dict[str, str] | None:
    def group(slot: str) -> str:
        names = "|".join(re.escape(thing.name(lang)) for thing in _THINGS.get(slot, ()))
        return f"(?P<{slot}>{names or '.+'})"

    pattern = re.sub(r"\\\{(\w+)\\\}", lambda match: group(match[1]), re.escape(phrasing))
    match = re.fullmatch(pattern, text, flags=re.IGNORECASE)
    if not match:
        return None
    slots = {}
    for slot, words in match.groupdict().items():
        if slot in _THINGS:
            ids = [thing.id for thing in _THINGS[slot] if thing.name(lang).casefold() == words.casefold()]
        else:
            ids = _clock_time(words, lang) if slot == "time" else [words]
        if not ids:
            return None
        slots[slot] = ids[0]
    return slots


def _clock_time(words: str, lang: Lang) -> list[str]:
    figures = re.fullmatch(r"(\d{1,2}):(\d\d)", words)
    if figures:
        return [f"{int(figures[1]):02d}:{figures[2]}"]
    return [f"{h:02d}:{m:02d}" for h in range(5, 12) for m in (0, 30) if say_time(h, m, lang) == words]
