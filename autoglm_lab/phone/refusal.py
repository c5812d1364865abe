"""Refusals of the agent: what it cannot do, what it did not understand, what is not there; and what it can do instead."""

from __future__ import annotations

import re

from autoglm_lab.phone.catalog import LANGS, Lang

ABLE: dict[Lang, str] = {
    "zh": "我能打开应用、开关设置、搜索、发消息和设闹钟。",
    "en": "I can open apps, switch settings, search, send messages and set alarms.",
}
CANNOT: dict[Lang, str] = {"zh": "这个我做不到", "en": "I cannot do that"}
UNCLEAR: dict[Lang, str] = {"zh": "我没听懂", "en": "I did not understand that"}
UNKNOWN_SCREEN: dict[Lang, str] = {"zh": "我不认识这个界面", "en": "I do not know this screen"}
STRANGE_APP: dict[Lang, str] = {"zh": "我不能打开{name}，不认识它。", "en": "I cannot open {name}, I do not know it."}
# Subjects whose clause is said as it stands; of all others the agent says that it cannot do that, for a wrong reason is worse.
NAMED_SUBJECTS = frozenset(
    (
        "phone_calls",
        "send_email",
        "payments",
        "install_apps",
        "uninstall_apps",
        "brightness",
        "volume",
        "timer",
        "reminders",
        "time_now",
        "weather",
        "navigation",
        "order_food",
        "shopping",
        "play_song",
        "camera",
        "smart_home",
        "sums",
        "translation",
        "news",
        "jokes",
        "greetings",
        "small_talk",
        "health",
    )
)
NOT_UNDERSTOOD = frozenset(
    (
        "gibberish_letters",
        "single_words",
        "half_sentences",
        "torn_sentences",
        "number_strings",
        "european_languages",
        "asian_languages",
    )
)

# how a sentence says that something cannot be done, or was not understood; half a yes is none
_NO: dict[Lang, str] = {
    "zh": r"不能|不会|不可以|无法|没法|没办法|做不到|不支持|没听懂|听不懂|没看懂|看不懂|没明白|不明白|不懂",
    "en": r"\b(cannot|can't|can not|unable to|not able to|am not made to|(did|do) not understand|(didn't|don't) understand)\b",
}
_YES: dict[Lang, str] = {"zh": r"^(好|可以|是|行|没问题|已)", "en": r"^(yes|ok|okay|sure|done|of course)\b"}


def refuse(reason: str, lang: Lang) -> str:
    """The closing sentence for a wish that is not fulfilled: the reason, and what the agent can do.

    >>> refuse("I cannot make phone calls", "en")
    'I cannot make phone calls. I can open apps, switch settings, search, send messages and set alarms.'
    """
    return f"{reason}。{ABLE[lang]}" if lang == "zh" else f"{reason}. {ABLE[lang]}"


def is_refusal(message: str, lang: Lang) -> bool:
    """True if a message says, in a language, that something cannot be done or was not understood.

    >>> [is_refusal(said + "I cannot do that.", "en") for said in ("Yes, ", "")]
    [False, True]
    """
    return bool(re.search(_NO[lang], message, re.IGNORECASE)) and not re.search(_YES[lang], message, re.IGNORECASE)


def declined(message: str) -> bool:
    """True if a closing sentence, in either language, says that the wish was not fulfilled.

    >>> [declined(said) for said in ("I cannot do that.", "我不认识这个界面。", "Sent to Dad.")]
    [True, True, False]
    """
    return any(is_refusal(message, lang) or UNKNOWN_SCREEN[lang] in message for lang in LANGS)


def refusal_patterns() -> dict[str, list[str]]:
    """The regular expressions of `is_refusal` and the sentences for an unknown screen, one for each language: for a page."""
    return {name: [each[lang] for lang in LANGS] for name, each in (("no", _NO), ("yes", _YES), ("unknown", UNKNOWN_SCREEN))}
