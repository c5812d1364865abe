"""Wishes in people's own words: tasks that make sense on a phone, or ask for what it does not have, said by the phrasebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from autoglm_lab.phone.catalog import APPS, CONTACTS, LANGS, SETTINGS, Lang, app
from autoglm_lab.phone.clock import clock_forms
from autoglm_lab.phone.free_text import free_text
from autoglm_lab.phone.phrasing import PHRASINGS
from autoglm_lab.phone.screens import ROWS_VISIBLE
from autoglm_lab.phone.slips import retype
from autoglm_lab.phone.spoken import say_wish, spoken_wishes
from autoglm_lab.phone.state import Look, State
from autoglm_lab.phone.tasks import Task, wording
from autoglm_lab.phone.wording import asides, phrasebook, strangers, subjects

# kind -> how often it is wished for
WISHES: dict[str, int] = {
    "open_app": 18,
    "toggle_on": 9,
    "toggle_off": 9,
    "search": 13,
    "send": 13,
    "alarm": 9,
    "delete_alarm": 4,
    "delete_alarms": 2,
    "back": 3,
    "home": 3,
    "close": 2,
    "describe": 5,
    "is_on": 5,
    "has_app": 3,
    "who": 1,
    "two": 6,
    "absent_app": 2,
    "strange_app": 1,
    "absent_contact": 2,
    "beyond": 10,
}
OLD_PHRASING_SHARE = 0.12  # of the kinds that have fixed phrasings, too
SAID_AS = {"absent_app": "open_app", "strange_app": "open_app", "absent_contact": "send"}
DAY_SHARE = 0.15
THING_SHARE = 0.4  # of the wishes in words of training: said as one says it of this thing alone
ASIDE_SHARE = 0.3  # of them: something else is said, too, mostly before
_JOINTS: dict[Lang, tuple[tuple[str, ...], np.ndarray]] = {
    "en": ((", ", ". ", " ... ", " - ", "; "), np.array([0.6, 0.2, 0.1, 0.05, 0.05])),
    "zh": (("，", "。", " ", "！"), np.array([0.7, 0.15, 0.1, 0.05])),
}
_WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAYS: dict[Lang, tuple[str, ...]] = {
    "en": ("today", "tomorrow", *_WEEK, *(f"on {day}" for day in _WEEK), *(f"this {day}" for day in _WEEK)),
    "zh": ("今天", "明天", "后天", *(f"{week}{day}" for week in ("周", "星期", "下周") for day in "一二三四五六日")),
}
_FREE = "\ue000"  # stands for the words to be copied while a sentence is retyped


def sample_wish(
    state: State,
    rng: np.random.Generator,
    *,
    kind: str = "",
    lang: Lang | None = None,
    held_out: bool = False,
    spoken: bool = False,
) -> Task:
    """A wish for this phone, in words of people. An alarm that is to be deleted is mostly put there first.

    `held_out` takes wordings, names and subjects that training never sees; `spoken` takes what a voice can say.
    """
    kinds = _possible(state, spoken)
    kind = kind or str(rng.choice(list(kinds), p=np.array([*kinds.values()]) / sum(kinds.values())))
    lang = lang or (state.look.lang if rng.random() < 0.75 else LANGS[int(rng.integers(2))])
    if kind == "two":
        return _two(state, rng, lang, held_out)
    slots = _spoken_slots(kind, state, lang, rng) if spoken else _slots(kind, state, lang, rng, held_out)
    if kind == "delete_alarm" and rng.random() < 0.85:
        state.alarms = sorted({*state.alarms, slots["time"]})
    task = Task(kind, lang, tuple(slots.items()))
    if spoken:
        return Task(kind, lang, task.slots, say_wish(kind, lang, task.slots, rng, held_out=held_out))
    return say(task, rng, held_out=held_out)


def _possible(state: State, spoken: bool) -> dict[str, int]:
    never = {"back"} if not state.route else {"has_app"}
    if spoken:
        never |= {"two", "absent_app", "strange_app", "absent_contact", "beyond"}
    return {kind: weight for kind, weight in WISHES.items() if kind not in never}


def say(task: Task, rng: np.random.Generator, *, held_out: bool = False) -> Task:
    """The same wish in a sentence of the phrasebook, as somebody types it; what is to be copied is copied as it is typed."""
    slots = dict(task.slots)
    if not held_out and task.kind in PHRASINGS and rng.random() < OLD_PHRASING_SHARE:
        phrasings = PHRASINGS[task.kind][task.lang]
        return Task(task.kind, task.lang, task.slots, wording(phrasings[int(rng.integers(len(phrasings)))], task.lang, slots, rng))
    free = next((name for name in ("query", "message") if name in slots), "")
    words = slots | ({free: _FREE} if free else {})
    if "name" in slots:
        words |= {"app" if task.kind == "strange_app" else "contact": slots["name"]}
    if "time" in slots:
        forms = clock_forms(int(slots["time"][:2]), int(slots["time"][3:]), task.lang)
        words["time"] = _with_day(forms[int(rng.integers(len(forms)))], task.lang, rng)
    text = _draw(task, words, rng, held_out)
    text = retype(text if held_out else _with_aside(text, task.lang, rng, ends_in_words=bool(free)), task.lang, rng)
    if free:
        letters = text.replace(_FREE, "")
        change = str.upper if letters.isupper() else str
        slots[free] = change(slots[free])
        text = text.replace(_FREE, slots[free])
    return Task(task.kind, task.lang, tuple(slots.items()), text)


def _with_day(time: str, lang: Lang, rng: np.random.Generator) -> str:
    """A clock time, sometimes with the day: the agent's alarms know none, and ring next."""
    if rng.random() > DAY_SHARE or "tomorrow" in time or "明" in time:
        return time
    day = DAYS[lang][int(rng.integers(len(DAYS[lang])))]
    return f"{day}{time}" if lang == "zh" else f"{time} {day}" if rng.random() < 0.7 else f"{day} at {time}"


def _with_aside(text: str, lang: Lang, rng: np.random.Generator, *, ends_in_words: bool) -> str:
    """A sentence, sometimes with another that is no wish before it or after it; nothing follows words that are to be copied."""
    if rng.random() >= ASIDE_SHARE:
        return text
    before, after = asides(lang)
    joints, odds = _JOINTS[lang]
    joint = joints[int(rng.choice(len(joints), p=odds))]
    if ends_in_words or rng.random() < 0.7:
        return f"{_pick(rng, before)}{joint}{text}"
    return f"{text.rstrip('.!。！')}{' ' if text.endswith(('?', '？')) else joint}{_pick(rng, after)}"


def _draw(task: Task, words: dict[str, str], rng: np.random.Generator, held_out: bool) -> str:
    book = phrasebook(task.lang)
    if task.kind == "beyond":
        templates = next(each for each in subjects() if each.id == words["subject"]).sentences[task.lang]
        things = {
            "app": str(rng.choice([each.id for each in APPS])),
            "setting": str(rng.choice([each.id for each in SETTINGS])),
            "contact": str(rng.choice([each.id for each in CONTACTS])),
            "time": str(rng.choice(clock_forms(int(rng.integers(24)), int(rng.integers(60)), task.lang))),
        }
        return book.say(templates[int(rng.integers(len(templates)))], things, rng)
    kind = SAID_AS.get(task.kind, task.kind)
    of_thing = book.draw_of_thing(kind, words, rng) if not held_out and rng.random() < THING_SHARE else ""
    return of_thing or book.draw(kind, words, rng, held_out=held_out)


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return str(names[int(rng.integers(len(names)))])


def _slots(kind: str, state: State, lang: Lang, rng: np.random.Generator, held_out: bool) -> dict[str, str]:
    look, pick = state.look, partial(_pick, rng)
    match kind:
        case "open_app":
            return {"app": pick(look.installed)}
        case "absent_app":
            return {"app": pick([a.id for a in APPS if a.id not in look.installed] or ["news"])}
        case "has_app":
            here = look.pages[state.page]
            return {"app": pick(here) if rng.random() < 0.5 else pick([a.id for a in APPS if a.id not in here])}
        case "toggle_on" | "toggle_off" | "is_on":
            return {"setting": pick([setting.id for setting in SETTINGS])}
        case "strange_app":
            return {"name": pick(strangers("apps", lang, held_out=held_out))}
        case "alarm":
            return {"time": _clock(rng)}
        case "delete_alarm":
            return {"time": pick(state.alarms) if state.alarms and rng.random() < 0.5 else _clock(rng)}
        case "beyond":
            return {"subject": pick([each.id for each in subjects() if each.held_out == held_out])}
    return _slots_with_text(kind, look, lang, rng, held_out)


def _slots_with_text(kind: str, look: Look, lang: Lang, rng: np.random.Generator, held_out: bool) -> dict[str, str]:
    """The slots of a kind in which words are copied; none for any other."""
    pick = partial(_pick, rng)
    match kind:
        case "search":
            return {"app": pick([id for id in look.installed if app(id).searchable]), "query": free_text(lang, rng)}
        case "send":
            return {"contact": pick([contact.id for contact in CONTACTS]), "message": free_text(lang, rng)}
        case "absent_contact":
            return {"name": pick(strangers("people", lang, held_out=held_out)), "message": free_text(lang, rng)}
    return {}


def _spoken_slots(kind: str, state: State, lang: Lang, rng: np.random.Generator) -> dict[str, str]:
    """The slots of a wish that is spoken, for this phone."""
    wishes = [dict(slots) for slots in spoken_wishes(kind, lang)]
    fits = [slots for slots in wishes if kind == "has_app" or slots.get("app", "settings") in state.look.installed]
    return fits[int(rng.integers(len(fits)))]


def _clock(rng: np.random.Generator) -> str:
    return f"{rng.integers(24):02d}:{rng.integers(60) if rng.random() < 0.5 else 5 * rng.integers(12):02d}"


FIRST_KINDS = ("toggle_on", "toggle_off", "alarm", "send")
SECOND_KINDS = (*FIRST_KINDS, "open_app", "search")


def _two(state: State, rng: np.random.Generator, lang: Lang, held_out: bool) -> Task:
    """Two wishes in one sentence: the first leaves a trace, and both can be seen to be done."""
    while True:
        first, second = (_slotted(kinds, state, lang, rng) for kinds in (FIRST_KINDS, SECOND_KINDS))
        if first.app != second.app or (first.app == "settings" and _visible_together(state, first, second)):
            break
    parts = [_short(part, rng, held_out) for part in (first, second)]
    text = phrasebook(lang).draw("two", {"first": parts[0].text, "second": parts[1].text}, rng, held_out=held_out)
    text = text if held_out else _with_aside(text, lang, rng, ends_in_words=True)
    return Task("two", lang, (), text, tuple(parts))


def _slotted(kinds: Sequence[str], state: State, lang: Lang, rng: np.random.Generator) -> Task:
    kind = kinds[int(rng.integers(len(kinds)))]
    return Task(kind, lang, tuple(_slots(kind, state, lang, rng, False).items()))


def _visible_together(state: State, first: Task, second: Task) -> bool:
    """True if two different switches can be on the screen at the same time, so that one sees that both are as wished."""
    if not {first.kind, second.kind} <= {"toggle_on", "toggle_off"} or first.slot("setting") == second.slot("setting"):
        return False
    order = state.look.settings_order
    places = [order.index(task.slot("setting")) for task in (first, second)]
    return max(places) < ROWS_VISIBLE or min(places) >= len(order) - ROWS_VISIBLE


def _short(part: Task, rng: np.random.Generator, held_out: bool) -> Task:
    """The shortest of three sentences for a wish, without the mark at its end."""
    shortest = min((say(part, rng, held_out=held_out) for _ in range(3)), key=lambda task: len(task.text))
    ends_in_words = "message" in dict(shortest.slots) or "query" in dict(shortest.slots)
    return shortest if ends_in_words else replace(shortest, text=shortest.text.rstrip(" .!?。！？～:)"))
