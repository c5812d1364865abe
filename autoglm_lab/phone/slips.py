"""Variations of typed sentences: letter case, punctuation or none, slips of the finger, full-width figures."""

from __future__ import annotations

import re

import numpy as np

from autoglm_lab.phone.catalog import Lang

KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SLIP_SHARE, CASE_SHARE, MARK_SHARE, WIDE_SHARE = 0.08, 0.25, 0.25, 0.05
_WIDE = {code: code + 0xFEE0 for code in map(ord, "0123456789:")}


def retype(text: str, lang: Lang, rng: np.random.Generator) -> str:
    """A sentence as somebody types it. Private-use letters, which stand for what is copied, stay as they are."""
    if rng.random() < MARK_SHARE:
        text = _remark(text, lang, rng)
    if rng.random() < SLIP_SHARE:
        text = slip(text, rng)
    if lang == "zh" and rng.random() < WIDE_SHARE:
        text = text.translate(_WIDE)
    if lang == "en":
        text = _recase(text, rng)
    return text


def _recase(text: str, rng: np.random.Generator) -> str:
    """Change the letter case: all lower, all upper, or a capital at the start; three times in four it stays as it is."""
    draw = rng.random() / CASE_SHARE
    if draw < 0.5:
        return text.lower()
    if draw < 0.75:
        return text.upper()
    return text[:1].upper() + text[1:] if draw < 2.2 else text


def _remark(text: str, lang: Lang, rng: np.random.Generator) -> str:
    """A sentence without punctuation, or with a mark at its end."""
    if rng.random() < 0.6:
        return re.sub(r" +", " ", re.sub(r"[,.?!;](?=\s|$)|[，。？！、；]", "", text)).strip()
    if re.search(r"[\w\ue000-\uf8ff]$", text) and not re.search(r"[\ue000-\uf8ff]$", text):
        marks = (".", "!", "..", " :)") if lang == "en" else ("。", "！", "～", "。。")
        return text + marks[int(rng.integers(len(marks)))]
    return text


def slip(text: str, rng: np.random.Generator) -> str:
    """One letter of a longer word left out, doubled, exchanged with the next or with its neighbour on the keyboard."""
    words = [match.span() for match in re.finditer(r"[A-Za-z]{5,}", text)]
    if not words:
        return text
    start, end = words[int(rng.integers(len(words)))]
    at = int(rng.integers(start + 1, end - 1))
    kind, letter = rng.integers(4), text[at]
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + letter + text[at:]
    if kind == 2:
        return text[:at] + text[at + 1] + letter + text[at + 2 :]
    row = next(keys for keys in KEYS if letter.lower() in keys)
    place = row.index(letter.lower())
    near = row[place - 1 if place else 1]
    return text[:at] + near + text[at + 1 :]
