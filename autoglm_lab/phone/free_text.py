"""Text of any kind, to be copied: words of chance in both scripts, names, figures, signs and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from autoglm_lab.phone.catalog import APPS, CONTACTS, FREE_WORDS, MESSAGES, QUERIES, SETTINGS, Lang, Named
from autoglm_lab.phone.wording import phrasebook, subjects

LONGEST = 16  # words
SENTENCE_SHARE = 0.4  # of `message_or_query`
_CLUSTERS = ["bl", "br", "ch", "cl", "dr", "fl", "gr", "pl", "pr", "qu", "sh", "sl", "sp", "st", "th", "tr"]
_ONSETS = ("", *"bcdfghjklmnprstvwyz", *_CLUSTERS)
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ee", "oo", "ou"]
_CODAS = ["", "", "", "n", "r", "s", "t", "l", "m", "ck", "nd", "st", "ng", "x"]
_ALL = range(0x4E00, 0x9FA6)  # Chinese characters
EMOJI = "😀😂😊😍👍🙏🎉❤🔥🌹🍎☕🚗✈🏠🎂😴😢🤔💪"
_THINGS: dict[str, Sequence[Named]] = {"app": APPS, "setting": SETTINGS, "contact": CONTACTS}
_MARKS: dict[Lang, str] = {"en": ", . ! ? - ... : & '", "zh": "， 。 ！ ？ 、 ～ …… ："}


@cache
def _plain_words(lang: Lang) -> tuple[str, ...]:
    """Every word (in Chinese: run of one to three characters) of the templates, of both parts, and of the phrases."""
    text = " ".join(template.sentence for template in phrasebook(lang).templates if not template.held_out)
    text = re.sub(r"[{<][^}>]*[}>]", " ", text)
    if lang == "en":
        return tuple(sorted(set(re.findall(r"[A-Za-z][A-Za-z']*", text)) | {*FREE_WORDS["en"]}))
    runs = re.findall(r"[一-鿿]+", text)
    return tuple(sorted({run[i : i + 2] for run in runs for i in range(0, len(run), 2)} | {*FREE_WORDS["zh"]}))


@cache
def common_characters() -> str:
    """The 3,755 characters of the first level of GB 2312, the most usual ones."""
    cells = ((row, cell) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFA if row == 0xD7 else 0xFF))
    return b"".join(map(bytes, cells)).decode("gb2312")


def _pseudo_word(rng: np.random.Generator) -> str:
    """A word that nobody knows, one to three syllables long."""
    return "".join(f"{rng.choice(_ONSETS)}{rng.choice(_VOWELS)}{rng.choice(_CODAS)}" for _ in range(int(rng.integers(1, 4))))


def _word(lang: Lang, rng: np.random.Generator) -> str:
    kind = rng.choice(5, p=[0.55, 0.25, 0.08, 0.06, 0.06])
    if kind == 0:
        words = _plain_words(lang)
        return words[int(rng.integers(len(words)))]
    if kind == 1:
        if lang == "zh":
            letters = common_characters() if rng.random() < 0.9 else "".join(map(chr, _ALL))
            return "".join(letters[int(i)] for i in rng.integers(len(letters), size=int(rng.integers(1, 4))))
        return _pseudo_word(rng) if rng.random() < 0.7 else _pseudo_word(rng).capitalize()
    if kind == 2:
        return str(int(rng.choice([rng.integers(10), rng.integers(100), rng.integers(3000), rng.integers(10**8)])))
    if kind == 3:
        return str(rng.choice([*EMOJI]))
    return _word("en" if lang == "zh" else "zh", rng)


def free_text(lang: Lang, rng: np.random.Generator, longest: int = LONGEST) -> str:
    """A phrase of one to `longest` words, short ones more often; one line, no blanks at its ends, no quotation marks."""
    if rng.random() < 0.15:
        return str(rng.choice((*MESSAGES[lang], *QUERIES[lang])))
    count = int(min(longest, 1 + rng.geometric(0.28)))
    if rng.random() < 0.08:  # letters and figures of chance, as in a code
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789-_/@.#"
        return "".join(rng.choice([*letters], int(rng.integers(3, 13))))
    words = [_word(lang, rng) for _ in range(count)]
    marks = _MARKS[lang].split()
    text = ""
    for number, word in enumerate(words):
        latin = bool(re.match(r"[A-Za-z0-9]", word)) and bool(re.search(r"[A-Za-z0-9]$", text))
        text += (" " if number and (lang == "en" or latin) else "") + word
        if number < len(words) - 1 and rng.random() < 0.08:
            text += marks[int(rng.integers(len(marks)))]
    if rng.random() < 0.12:
        text += marks[int(rng.integers(1, 4))]
    return text.strip()


def sentence(lang: Lang, rng: np.random.Generator, slots: Mapping[str, str], *, held_out: bool = False) -> str:
    """A sentence of a subject beyond the agent, as people put them into messages: a question, a wish, half a story.

    `slots` name an app, a setting, a contact and a time, by their ids. With `held_out` the subject is one that training never sees.
    """
    known = [subject for subject in subjects() if subject.held_out == held_out]
    templates = known[int(rng.integers(len(known)))].sentences[lang]
    return phrasebook(lang).say(templates[int(rng.integers(len(templates)))], slots, rng)


def message_or_query(lang: Lang, rng: np.random.Generator) -> str:
    """A text for practice in copying: `free_text`, or a whole `sentence`.

    Words of chance alone leave an agent that takes every question for a wish, and a contact's name for the end of a message.
    """
    if rng.random() >= SENTENCE_SHARE:
        return free_text(lang, rng)
    slots = {slot: things[int(rng.integers(len(things)))].id for slot, things in _THINGS.items()}
    return sentence(lang, rng, slots | {"time": f"{int(rng.integers(1, 13))}:{int(rng.integers(60)):02d}"})
