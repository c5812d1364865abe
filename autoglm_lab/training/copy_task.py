"""Practice in copying: requests to type random words, which cannot be memorised, only copied one after the other.

Without it the decoder learns the words of free phrases as a set and types one of them. With it the pair of attention heads
that copies in order (an induction head; Olsson et al. 2022) is there after a few hundred steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.catalog import APPS, CONTACTS, CONTROLS, FREE_WORDS, LANGS, MESSAGES, QUERIES, SETTINGS, Lang, Named
from autoglm_lab.phone.phrasing import PHRASINGS, fill
from autoglm_lab.runtime.prompt import write_answer, write_prompt

TYPED = ("search", "send")  # kinds of task that type a phrase of the user's
LONGEST = 5  # words
TEXT = '", text="'  # the fragment after which an answer is copied


@dataclass
class Copying:
    """Requests without picture or sound, and their answers."""

    ids: torch.Tensor  # [R, T]
    attention_mask: torch.Tensor  # [R, T]
    copied: torch.Tensor  # [R, T] true from the phrase to the end of the answer


@cache
def words(lang: Lang) -> tuple[str, ...]:
    """Every word of a name or a phrase (in Chinese the whole phrase), in a fixed order."""
    names = {thing.name(lang) for thing in (*APPS, *SETTINGS, *CONTACTS, *CONTROLS)}
    phrases = names | {*MESSAGES[lang], *QUERIES[lang], *FREE_WORDS[lang]}
    return tuple(sorted(phrases if lang == "zh" else {word for phrase in phrases for word in phrase.split()}))


def chance_phrase(lang: Lang, rng: np.random.Generator) -> str:
    """One to five random words, which mean nothing together."""
    return ("" if lang == "zh" else " ").join(rng.choice(words(lang), rng.integers(1, LONGEST + 1)))


Phrases = Callable[[Lang, np.random.Generator], str]  # draws a phrase that is to be copied


def with_chance_phrase(sample: dict[str, str], rng: np.random.Generator, phrases: Phrases = chance_phrase) -> dict[str, str]:
    """A sample whose answer types a phrase of the request, with another phrase in its place; any other sample as it is."""
    opener, closer = 'do(action="Type", text="', '")'
    phrase = sample["action"].removeprefix(opener).removesuffix(closer)
    if sample["kind"] not in (*TYPED, "two") or not sample["action"].startswith(opener) or sample["text"].count(phrase) != 1:
        return sample
    lang: Lang = "zh" if sample["lang"] == "zh" else "en"
    new = phrases(lang, rng)
    if '"' in new or "\\" in new:  # would be written with a backslash in the answer
        return sample
    return sample | {name: sample[name].replace(phrase, new) for name in ("text", "thinking", "action")}


def copying_rows(
    tokenizer: PreTrainedTokenizerFast, rows: int, rng: np.random.Generator, phrases: Phrases = chance_phrase
) -> Copying:
    """`rows` typed requests, in both languages, at the step in which the phrase is typed."""
    pairs = []
    for _ in range(rows):
        lang, kind = LANGS[int(rng.integers(2))], TYPED[int(rng.integers(2))]
        app, phrase = APPS[int(rng.integers(len(APPS)))], phrases(lang, rng)
        slots: dict[str, Named | str] = {"app": app, "query": phrase}
        if kind == "send":
            slots = {"contact": CONTACTS[int(rng.integers(len(CONTACTS)))], "message": phrase}
        text = fill(str(rng.choice(PHRASINGS[kind][lang])), lang, **slots)
        prompt = write_prompt(text, app.key(lang) if kind == "search" else "WeChat", "Tap")
        answer = write_answer("", format_action(Action("Type", text=phrase)))
        pairs.append((tokenizer.encode(prompt), tokenizer.encode(answer)))
    longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids, mask = torch.zeros(rows, longest, dtype=torch.long), torch.zeros(rows, longest, dtype=torch.long)
    copied = torch.zeros(rows, longest, dtype=torch.bool)
    opener = tokenizer.convert_tokens_to_ids(TEXT)
    for row, (prompt, answer) in enumerate(pairs):
        tokens = prompt + answer
        ids[row, : len(tokens)], mask[row, : len(tokens)] = torch.tensor(tokens), 1
        copied[row, len(prompt) + answer.index(opener) + 1 : len(tokens)] = True
    return Copying(ids, mask, copied)
