"""Clock times as people give them: in figures or words, with or without the part of the day.

A time without a part of the day is what the figures say: "six" is 06:00, and 18:00 is "six in the evening" or "18:00".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from autoglm_lab.phone.catalog import LANGS, Lang

_ONES = [
    *["twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],  # the first is an hour, no minute
    *["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"],
]
_TENS = {2: "twenty", 3: "thirty", 4: "forty", 5: "fifty"}
_DIGITS = "零一二三四五六七八九"
# the part of the day, and the hours in which people name it
_PARTS: dict[Lang, dict[str, range]] = {
    "en": {
        "in the morning": range(12),
        "in the afternoon": range(12, 18),
        "in the evening": range(17, 22),
        "at night": range(21, 24),
        "tomorrow morning": range(4, 12),
    },
    "zh": {
        "凌晨": range(6),
        "半夜": range(4),
        "清晨": range(5, 8),
        "早上": range(5, 11),
        "上午": range(7, 12),
        "中午": range(12, 13),
        "下午": range(13, 19),
        "傍晚": range(17, 20),
        "晚上": range(18, 24),
        "明早": range(5, 11),
        "明天早上": range(5, 11),
        "明天下午": range(13, 19),
        "明晚": range(18, 24),
    },
}


def clock_forms(hour: int, minute: int, lang: Lang) -> tuple[str, ...]:
    """Return every known form of a clock time; no two times share a form. ValueError for a time that does not exist.

    >>> clock_forms(6, 30, "en")[:4]
    ('06:30', '6:30', '6.30', 'six thirty')
    >>> [form for form in clock_forms(15, 15, "zh") if "刻" in form]
    ['十五点一刻', '15点一刻', '下午三点一刻', '下午3点一刻', '明天下午三点一刻', '明天下午3点一刻']
    """
    if not (0 <= hour < 24 and 0 <= minute < 60):
        raise ValueError(f"{hour}:{minute:02d} is no time of the day")
    forms = _english(hour, minute) if lang == "en" else _chinese(hour, minute)
    return tuple(dict.fromkeys((f"{hour:02d}:{minute:02d}", f"{hour}:{minute:02d}", *forms)))


def _english(hour: int, minute: int) -> Iterator[str]:
    half, near = "am" if hour < 12 else "pm", hour % 12 or 12
    if 1 <= hour <= 12:
        yield f"{hour}.{minute:02d}"
        yield from _english_words(hour, minute)
    if minute == 0:
        yield from {0: ("midnight", "twelve midnight", "12 midnight"), 12: ("noon", "midday", "12 noon")}.get(hour, ())
    for figures in (f"{near}:{minute:02d}", *[f"{near}"] * (minute == 0)):
        yield from (f"{figures} {half}", f"{figures}{half}", f"{figures} {half[0]}.m.", f"{figures}{half.upper()}")
    for part in (part for part, hours in _PARTS["en"].items() if hour in hours):
        yield from (f"{words} {part}" for words in (*_english_words(near, minute), f"{near}:{minute:02d}"))


def _english_words(hour: int, minute: int) -> Iterator[str]:
    """The twelve-hour forms of a time, hours from 1 to 12. Those that count to the next hour name that one."""
    name, following = _ONES[hour % 12], _ONES[(hour + 1) % 12]
    if minute == 0:
        yield from (name, f"{name} o'clock", f"{hour}", f"{hour} o'clock")
        return
    yield f"{name} oh {_ONES[minute]}" if minute < 10 else f"{name} {_number(minute)}"
    if minute % 15 == 0:
        quarter = {15: f"quarter past {name}", 30: f"half past {name}", 45: f"quarter to {following}"}[minute]
        yield quarter
        yield from [f"a {quarter}"] * (minute != 30)
    elif minute < 30:
        yield f"{_number(minute)}{' minutes' * (minute % 5 != 0)} past {name}"
    else:
        yield f"{_number(60 - minute)}{' minutes' * (minute % 5 != 0)} to {following}"


def _number(count: int) -> str:
    """A number from 1 to 59 in words."""
    tens, ones = divmod(count, 10)
    if count < 20:
        return _ONES[count]
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def _chinese(hour: int, minute: int) -> Iterator[str]:
    yield from _chinese_words(hour, minute)
    for part in (part for part, hours in _PARTS["zh"].items() if hour in hours):
        near = hour if hour <= 12 else hour - 12
        yield from (f"{part}{words}" for words in (*_chinese_words(near, minute), f"{near}:{minute:02d}"))


def _chinese_words(hour: int, minute: int) -> Iterator[str]:
    for name in (_chinese_number(hour) if hour != 2 else "两", str(hour)):
        if minute == 0:
            yield from (f"{name}点", f"{name}点钟", f"{name}点整")
            continue
        figures = f"{minute}" if name.isdigit() else ("零" * (minute < 10) + _chinese_number(minute))
        yield from (f"{name}点{figures}分", *[f"{name}点{figures}"] * (minute >= 10 or not name.isdigit()))
        yield from {15: (f"{name}点一刻",), 30: (f"{name}点半",), 45: (f"{name}点三刻",)}.get(minute, ())


def _chinese_number(count: int) -> str:
    """A number from 0 to 59 in words."""
    tens, ones = divmod(count, 10)
    if not tens:
        return _DIGITS[ones]
    return (_DIGITS[tens] if tens > 1 else "") + "十" + (_DIGITS[ones] if ones else "")


# parts of the day that people name besides those above
_ALSO: dict[Lang, dict[str, range]] = {
    "en": {
        "this morning": range(12),
        "this afternoon": range(12, 18),
        "this evening": range(17, 22),
        "tonight": range(18, 24),
        "tomorrow afternoon": range(12, 18),
        "tomorrow evening": range(17, 22),
        "tomorrow night": range(18, 24),
    },
    "zh": {
        "今早": range(5, 11),
        "今天早上": range(5, 11),
        "今天下午": range(13, 19),
        "今晚": range(18, 24),
        "今天晚上": range(18, 24),
        "夜里": range(20, 24),
        "明天晚上": range(18, 24),
        "明天上午": range(7, 12),
        "明天中午": range(12, 13),
    },
}


def _also(hour: int, minute: int, lang: Lang) -> Iterator[str]:
    """Yield more forms of a time, which are understood and never said."""
    near = hour % 12 or 12
    whole = tuple(_english_words(near, minute))
    short = tuple(form.replace(" minutes", "") for form in whole if " minutes" in form)
    words = (*whole, *short, f"{near}:{minute:02d}", f"{near} {minute:02d}", f"{near}.{minute:02d}")
    if lang == "en":
        half = "am" if hour < 12 else "pm"
        yield from (f"{form} {mark}" for form in words for mark in (half, f"{half[0]}.m.", f"{half[0]}.m", f"{half[0]} m"))
        parts = {**_PARTS["en"], **_ALSO["en"]}
        yield from (f"{form} {part}" for part, hours in parts.items() if hour in hours for form in words)
        yield from (f"{near}:{minute:02d}{half[0]}.m.", f"{near}:{minute:02d}{half[0]}.m")
        yield from short if 1 <= hour <= 12 else ()
        return
    for part in (part for part, hours in _ALSO["zh"].items() if hour in hours):
        after = hour if hour <= 12 else hour - 12
        yield from (f"{part}{form}" for form in (*_chinese_words(after, minute), f"{after}:{minute:02d}"))


@cache
def known_times() -> dict[str, str]:
    """The time "HH:MM" of every form that is understood in both languages, in lower case: no form is that of two times."""
    times: dict[str, str] = {}
    for lang in LANGS:
        for hour in range(24):
            for minute in range(60):
                time = f"{hour:02d}:{minute:02d}"
                forms = [*clock_forms(hour, minute, lang), *_also(hour, minute, lang)]
                for form in (form.lower() for form in forms):
                    if times.setdefault(form, time) != time:
                        raise ValueError(f"{form!r} is {times[form]} and {time}")
                    times.setdefault(form.removesuffix("."), time)
    return times


def times_in(text: str) -> list[str]:
    """The clock times "HH:MM" that a text in lower case may name, in order: of forms that lie in one another the longest counts.

    >>> times_in("up at half past six, no, 6:45 pm")
    ['06:30', '18:45']
    """
    forms, times, covered = known_times(), list[str](), 0
    longest = max(map(len, forms))
    for start in range(len(text)):
        if start < covered or _is_inside(text, start):
            continue
        for end in range(min(len(text), start + longest), start, -1):
            if text[start:end] in forms and not _is_inside(text, end):
                times.append(forms[text[start:end]])
                covered = end
                break
    return list(dict.fromkeys(times))


def _is_inside(text: str, place: int) -> bool:
    """True between two letters or two figures, where no word begins or ends."""
    return bool(re.fullmatch("[a-z]{2}|[0-9]{2}", text[place - 1 : place + 1])) if 0 < place < len(text) else False
