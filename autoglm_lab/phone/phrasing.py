"""Phrasings of every kind of task in both languages, as people say them.

`spoken` marks the phrasings that exist as speech clips; the others are only ever typed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from autoglm_lab.phone.catalog import (
    APPS,
    CONTACTS,
    MESSAGES,
    QUERIES,
    SETTINGS,
    SPOKEN_TIMES,
    App,
    Lang,
    Named,
)

# kind -> language -> phrasings; the first `SPOKEN[kind]` of each are also spoken.
PHRASINGS: dict[str, dict[Lang, tuple[str, ...]]] = {
    "open_app": {
        "zh": ("打开{app}", "帮我打开{app}", "启动{app}", "我想用{app}", "进入{app}", "去{app}看看"),
        "en": ("open {app}", "please open {app}", "launch {app}", "start {app}", "I want to use {app}", "go to {app}"),
    },
    "toggle_on": {
        "zh": ("打开{setting}", "开启{setting}", "把{setting}打开", "请开启{setting}"),
        "en": ("turn on {setting}", "switch on {setting}", "enable {setting}", "please turn {setting} on"),
    },
    "toggle_off": {
        "zh": ("关闭{setting}", "关掉{setting}", "把{setting}关了", "请关闭{setting}"),
        "en": ("turn off {setting}", "switch off {setting}", "disable {setting}", "please turn {setting} off"),
    },
    "search": {
        "zh": ("在{app}搜索{query}", "用{app}搜{query}", "去{app}查一下{query}", "打开{app}搜索{query}"),
        "en": ("search {app} for {query}", "search for {query} in {app}", "find {query} on {app}", "look up {query} in {app}"),
    },
    "send": {
        "zh": ("给{contact}发消息说{message}", "告诉{contact}{message}", "发微信给{contact}：{message}", "跟{contact}说{message}"),
        "en": (
            "tell {contact} {message}",
            "message {contact} {message}",
            "send {contact} the message {message}",
            "text {contact}: {message}",
        ),
    },
    "alarm": {
        "zh": ("定一个{time}的闹钟", "{time}叫我起床", "设置{time}的闹钟", "帮我设{time}闹钟"),
        "en": ("set an alarm for {time}", "wake me up at {time}", "alarm at {time}", "please set the alarm to {time}"),
    },
    "back": {
        "zh": ("返回", "返回上一页", "后退", "退回上一页"),
        "en": ("go back", "back", "back to the previous page", "return to the last screen"),
    },
    "home": {
        "zh": ("回到桌面", "回主屏幕", "返回桌面", "回首页"),
        "en": ("go home", "go to the home screen", "show the home screen", "back to the home page"),
    },
    "describe": {
        "zh": ("屏幕上有什么？", "这张图里有什么？", "这是什么界面？", "描述一下屏幕"),
        "en": ("what is on this screen?", "what is in this picture?", "describe the screen", "which screen is this?"),
    },
    "is_on": {
        "zh": ("{setting}开了吗？", "{setting}打开了吗？", "{setting}是开着的吗？"),
        "en": ("is {setting} on?", "is {setting} turned on?", "is {setting} enabled?"),
    },
    "has_app": {
        "zh": ("屏幕上有{app}吗？", "这一页有{app}吗？", "能看到{app}吗？"),
        "en": ("is {app} on this screen?", "do you see {app}?", "is {app} on this page?"),
    },
    "who": {
        "zh": ("你是谁？", "你叫什么名字？", "介绍一下你自己"),
        "en": ("who are you?", "what is your name?", "introduce yourself"),
    },
}
SPOKEN: dict[str, int] = {
    "open_app": 3,
    "toggle_on": 2,
    "toggle_off": 2,
    "search": 1,
    "send": 1,
    "alarm": 2,
    "back": 2,
    "home": 2,
    "describe": 2,
    "is_on": 1,
    "has_app": 1,
    "who": 2,
}

_ZH_DIGITS = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一")
_EN_HOURS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")


@dataclass(frozen=True)
class Utterance:
    """One sentence that can be spoken: its task kind and slots, the language, and the words as a synthesiser reads them."""

    kind: str
    lang: Lang
    slots: tuple[tuple[str, str], ...]  # (slot, id or literal), as tasks use them
    text: str


def say_time(hour: int, minute: int, lang: Lang) -> str:
    """A clock time in words, as spoken: 07:30 is 'seven thirty' or '七点半'."""
    if lang == "zh":
        return f"{_ZH_DIGITS[hour]}点" + {0: "", 30: "半"}[minute]
    return f"{_EN_HOURS[hour]} " + {0: "o'clock", 30: "thirty"}[minute]


def fill(phrasing: str, lang: Lang, **slots: Named | str) -> str:
    """Put the names of things into a phrasing."""
    return phrasing.format(**{k: v.name(lang) if isinstance(v, Named) else v for k, v in slots.items()})


def utterances(lang: Lang) -> Iterator[Utterance]:
    """Every sentence that exists as speech in `lang`, in a fixed order."""

    def say(kind: str, **slots: App | Named | str) -> Iterator[Utterance]:
        ids = tuple((k, v.id if isinstance(v, Named) else v) for k, v in slots.items())
        for phrasing in PHRASINGS[kind][lang][: SPOKEN[kind]]:
            words: dict[str, Named | str] = dict(slots)
            if "time" in slots:
                hour, minute = str(slots["time"]).split(":")
                words["time"] = say_time(int(hour), int(minute), lang)
            yield Utterance(kind, lang, ids, fill(phrasing, lang, **words))

    for one in APPS:
        yield from say("open_app", app=one)
        yield from say("has_app", app=one)
        if one.searchable:
            for query in QUERIES[lang]:
                yield from say("search", app=one, query=query)
    for setting, kind in product(SETTINGS, ("toggle_on", "toggle_off", "is_on")):
        yield from say(kind, setting=setting)
    for contact, message in product(CONTACTS, MESSAGES[lang]):
        yield from say("send", contact=contact, message=message)
    for hour, minute in SPOKEN_TIMES:
        yield from say("alarm", time=f"{hour:02d}:{minute:02d}")
    for kind in ("back", "home", "describe", "who"):
        yield from say(kind)
