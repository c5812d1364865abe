"""Goals: one plain sentence for each wish, which the agent writes when it has understood a command and then works by.

"could you kill the bluetooth pls" and "turn off Bluetooth" have the same goal. What a command says in words of its own (a message,
a query, a name that no phone here knows) stands in the goal as it was said.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import normalize

from autoglm_lab.phone.catalog import APPS, CONTACTS, LANGS, SETTINGS, Lang, Named, named
from autoglm_lab.phone.refusal import STRANGE_APP, UNCLEAR, refuse

if TYPE_CHECKING:
    from autoglm_lab.phone.tasks import Task

GOALS: dict[str, dict[Lang, str]] = {
    "open_app": {"zh": "打开{app}", "en": "open {app}"},
    "toggle_on": {"zh": "开启{setting}", "en": "turn on {setting}"},
    "toggle_off": {"zh": "关闭{setting}", "en": "turn off {setting}"},
    "search": {"zh": "在{app}搜索{query}", "en": "search {app} for {query}"},
    "send": {"zh": "发微信给{contact}：{message}", "en": "text {contact}: {message}"},
    "alarm": {"zh": "定一个{time}的闹钟", "en": "set an alarm for {time}"},
    "delete_alarm": {"zh": "删除{time}的闹钟", "en": "delete the alarm for {time}"},
    "delete_alarms": {"zh": "删除所有闹钟", "en": "delete all alarms"},
    "back": {"zh": "返回上一页", "en": "go back"},
    "home": {"zh": "回到桌面", "en": "go to the home screen"},
    "close": {"zh": "关掉当前应用", "en": "close this app"},
    "describe": {"zh": "屏幕上有什么？", "en": "what is on this screen?"},
    "is_on": {"zh": "{setting}开了吗？", "en": "is {setting} on?"},
    "has_app": {"zh": "屏幕上有{app}吗？", "en": "is {app} on this screen?"},
    "who": {"zh": "你是谁？", "en": "who are you?"},
}
THEN: dict[Lang, str] = {"zh": "，然后", "en": ", then "}
QUESTION: dict[Lang, str] = {"zh": "您的意思是：{goal}？", "en": "Did you mean: {goal}?"}
REFUSED = ("beyond", "strange_app")  # kinds that have no goal: the agent says so at once
FREE = ("query", "message", "name")  # slots whose words are those of the command
_SAME = {"absent_app": "open_app", "absent_contact": "send"}  # whether it is there is seen on the phone
_THINGS: dict[str, tuple[Named, ...]] = {"app": APPS, "setting": SETTINGS, "contact": CONTACTS}
NEAR = 0.6  # likeness from which a part of the command counts as what was to be copied


def goal(task: Task) -> str:
    """The goal of a task, in its language. ValueError for one that is refused at once."""
    if task.kind in REFUSED:
        raise ValueError(f"a task of kind {task.kind!r} has no goal; the agent says at once that it cannot be done")
    if task.parts:
        return THEN[task.lang].join(goal(part) for part in task.parts)
    words = {slot: named(value).name(task.lang) if slot in _THINGS else value for slot, value in task.slots}
    if task.kind == "absent_contact":
        words["contact"] = words["name"]
    return GOALS[_SAME.get(task.kind, task.kind)][task.lang].format(**words)


class Part(NamedTuple):
    """One wish of a goal: its kind, and its slots with ids of things or words."""

    kind: str
    lang: Lang
    slots: dict[str, str]


def read_goal(text: str) -> tuple[Part, ...]:
    """The one or two wishes that a goal consists of; none for a text that is no goal.

    A contact that nobody here has is kept as the slot "name".

    >>> read_goal("text Mum: on my way")
    (Part(kind='send', lang='en', slots={'contact': 'mum', 'message': 'on my way'}),)
    """
    parts = (_read(wish, lang) for wish in split_goal(text) for lang in LANGS)
    return tuple(part for part in parts if part is not None)


def question(text: str) -> str:
    """Ask a person whether a goal is what they meant, in its language.

    >>> question("turn off Wi-Fi")
    'Did you mean: turn off Wi-Fi?'
    """
    lang = next((part.lang for part in read_goal(text)), LANGS[-1])
    return QUESTION[lang].format(goal=text.rstrip("?？"))


def split_goal(text: str) -> tuple[str, ...]:
    """The one or two wishes of a goal, each as a goal of its own, the same one once; none for a text that is no goal.

    >>> split_goal("text Mum: on my way, then turn on Bluetooth")
    ('text Mum: on my way', 'turn on Bluetooth')
    """
    for lang in LANGS:
        for joint in re.finditer(re.escape(THEN[lang]), text):
            wishes = text[: joint.start()], text[joint.end() :]
            if all(_read(wish, lang) for wish in wishes):
                return tuple(dict.fromkeys(wishes))
        if _read(text, lang):
            return (text,)
    return ()


def _read(text: str, lang: Lang) -> Part | None:
    for kind, pattern in _patterns(lang):
        if match := re.fullmatch(pattern, text):
            slots = dict(match.groupdict())
            for slot, name in slots.items():
                if slot in _THINGS:
                    slots[slot] = next((thing.id for thing in _THINGS[slot] if thing.name(lang) == name), name)
            if kind == "send" and slots["contact"] not in {contact.id for contact in CONTACTS}:
                kind, slots = "absent_contact", {"name": slots["contact"], "message": slots["message"]}
            return Part(kind, lang, slots)
    return None


@cache
def _patterns(lang: Lang) -> tuple[tuple[str, str], ...]:
    """The regular expression of each kind of goal; a contact may have any name."""

    def group(slot: str) -> str:
        names = [re.escape(thing.name(lang)) for thing in _THINGS.get(slot, ())]
        if slot == "time":
            return r"(?P<time>\d\d:\d\d)"
        return f"(?P<{slot}>{'|'.join(names) if names and slot != 'contact' else '.+?' if slot == 'contact' else '.+'})"

    return tuple(
        (kind, re.sub(r"\\\{(\w+)\\\}", lambda slot: group(slot[1]), re.escape(forms[lang]))) for kind, forms in GOALS.items()
    )


def typed_words(text: str) -> list[str]:
    """Return the texts that may have to be typed to reach a goal: a message, a query, a clock time."""
    return [part.slots[slot] for part in read_goal(text) for slot in ("query", "message", "time") if slot in part.slots]


def plain(text: str) -> str:
    """A command as the agent reads it: lower case, full-width letters and figures as usual ones.

    >>> plain("Open WeChat，７点")
    'open wechat,7点'
    """
    return "".join(map(_plain, text))


@cache
def _plain(letter: str) -> str:
    return normalize("NFKC", letter).lower()


def as_said(words: str, command: str) -> str:
    """The part of a command that `words` were copied from, letter by letter as it was said; `words` if there is none like them.

    >>> as_said("on my way, anna", "Text Mum: On my WAY, Anna")
    'On my WAY, Anna'
    """
    places = [place for place, letter in enumerate(command) for _ in _plain(letter)]
    text, words_plain = plain(command), plain(words)
    at = text.rfind(words_plain)
    if at >= 0 and words_plain:
        return command[places[at] : places[at + len(words_plain) - 1] + 1]
    span = _nearest(words_plain, text)
    return command[places[span.start] : places[span.stop - 1] + 1] if span else words


def _nearest(target: str, text: str) -> range | None:
    """The run of whole words that takes the fewest edits to become `target`, of several the last; None where nothing is like it.

    One row of the table of edit distances for each letter of `target`, in which a run may begin at any word (Sellers 1980).
    """
    words = [match.span() for match in re.finditer(r"[a-z0-9']+|[^\sa-z0-9']", text)]
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    far = len(target) + len(text)
    row = [(0 if place in starts else far, place) for place in range(len(text) + 1)]  # edits, and where the run begins
    for count, letter in enumerate(target, start=1):
        above, row = row, [(far + count, 0)]
        for place, other in enumerate(text):
            diagonal, left, new = above[place], row[place], above[place + 1]
            row.append(min((diagonal[0] + (letter != other), diagonal[1]), (left[0] + 1, left[1]), (new[0] + 1, new[1])))
    edits, _, end = min((row[end][0], -end, end) for end in ends) if ends else (far, 0, 0)
    start = row[end][1]
    return range(start, end) if end > start and edits <= (1 - NEAR) * len(target) else None


def goal_openers(lang: Lang) -> list[str]:
    """Regular expressions of what stands in a goal before words that are taken from the command, without a blank at the end."""
    openers = []
    apps = "|".join(re.escape(thing.name(lang)) for thing in APPS)
    for kind, slot, before in (("search", "query", f"(?:{apps})"), ("send", "message", "(?:(?!：)[^:])+?")):
        form = GOALS[kind][lang].partition("{" + slot + "}")[0].rstrip()
        head, _, tail = re.sub(r"\{(app|contact)\}", "\0", form).partition("\0")
        openers.append(f"{re.escape(head)}{before}{re.escape(tail)}")
    return openers


def goal_beginnings() -> list[str]:
    """The words with which goals begin, up to their first slot."""
    return sorted({form.partition("{")[0] for forms in GOALS.values() for form in forms.values()} - {""})


def time_openers(lang: Lang) -> list[str]:
    """The beginnings of goals before a clock time, without a blank at the end."""
    return [GOALS[kind][lang].partition("{time}")[0].rstrip() for kind in ("alarm", "delete_alarm")]


def tails(opener: str) -> list[str]:
    """Return what follows `opener` in each goal that begins with it and has no slot."""
    forms = [form for forms in GOALS.values() for form in forms.values()]
    return [form.removeprefix(opener) for form in forms if form.startswith(opener) and "{" not in form]


def goal_tables() -> dict[str, Any]:
    """Tables with which a page reads goals: their patterns by language, what joins two, and names of contacts."""
    return {
        "patterns": {lang: [[kind, pattern.replace("?P<", "?<")] for kind, pattern in _patterns(lang)] for lang in LANGS},
        "then": THEN,
        "question": QUESTION,
        "beginnings": goal_beginnings(),
        "contacts": [contact.name(lang) for contact in CONTACTS for lang in LANGS],
        "near": NEAR,
        "strange": list(STRANGE_APP.values()),
        "unclear": {lang: refuse(UNCLEAR[lang], lang) for lang in LANGS},
    }


def restore(text: str, command: str) -> str:
    """A goal with the words that were copied from a typed command as they stand there."""
    copied = {part.slots[slot] for part in read_goal(text) for slot in FREE if slot in part.slots}
    for words in sorted(copied, key=len, reverse=True):
        text = text.replace(words, as_said(words, command))
    return text
