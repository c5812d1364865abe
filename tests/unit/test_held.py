"""What a goal quotes is held to the command: the right answer always comes through, and nothing else than whole words of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.goals import plain, read_goal
from autoglm_lab.runtime.held import CLOSED, GOAL, Quotes, chooser
from autoglm_lab.runtime.prompt import read_tokenizer
from autoglm_lab.runtime.spelling import Speller, spelling
from autoglm_lab.training.wish_set import draw_wish

TOKENIZER = read_tokenizer(data_dir() / "model" / "tokenizer.json")
SPELLING, SPELLER = spelling(TOKENIZER), Speller(TOKENIZER)


def tokens(text: str) -> list[int]:
    ids: list[int] = TOKENIZER.encode(text, add_special_tokens=False).ids
    return ids


def may_come(command: str, written: str) -> list[str] | None:
    allowed = Quotes(command, SPELLING).allowed(tokens(written))
    return None if allowed is None else [SPELLER.bytes(token).decode(errors="replace") for token in allowed]


def test_every_right_answer_comes_through() -> None:
    held = 0
    for seed in range(700):
        wish = draw_wish(seed)
        quotes, ids = Quotes(wish.text, SPELLING), tokens(wish.answer)
        for count, token in enumerate(ids):
            allowed = quotes.allowed(ids[:count])
            held += allowed is not None
            assert allowed is None or token in allowed, (wish, TOKENIZER.decode(ids[:count]))
    assert held > 1000


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("command", "begun"),
    [
        ("tell Mum I'm on my way, then open Chrome", "text Mum:"),
        ("在淘宝搜一下红色的手机壳👍", "在淘宝搜索"),
        ('text Anna: say "hi" \\o/', "text anna:"),
        ("查７点的火车 in Maps", "search Maps for"),
    ],
)
def test_a_model_that_knows_nothing_still_quotes_whole_words(command: str, begun: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    written = tokens(GOAL + begun)
    pick = chooser(Quotes(command, SPELLING), lambda scores: int(scores.argmax()), written)
    while len(written) < 80:
        scores = rng.normal(size=TOKENIZER.get_vocab_size()).astype(np.float32)
        scores[[tokens(",")[0], tokens("，")[0]]] = -9  # another wish would be free
        token = pick(scores)
        written.append(token)
        if token == tokens(CLOSED)[0]:
            break
    said = json.loads(b'"' + b"".join(map(SPELLER.bytes, written)).removeprefix(GOAL.encode()).removesuffix(CLOSED.encode()) + b'"')
    quoted = said.removeprefix(begun).strip()
    assert quoted and quoted in plain(command)


def test_a_quote_begins_with_a_word_and_may_end_with_one() -> None:
    command = "tell mum on my way"
    first = may_come(command, f"{GOAL}text Mum:")
    assert first is not None and " on" in first and " way" in first and not {" n", " y", " Mum", CLOSED} & {*first}
    assert CLOSED in (may_come(command, f"{GOAL}text Mum: on") or [])
    assert CLOSED not in (may_come("tell mum onward", f"{GOAL}text Mum: on") or [CLOSED])


def test_another_wish_may_follow_a_quote() -> None:
    command = "tell mum hi, then open clock"
    assert "," in (may_come(command, f"{GOAL}text Mum: hi") or [])
    assert {" t", " the", " then"} & {*(may_come(command, f"{GOAL}text Mum: hi,") or [])}
    assert may_come(command, f"{GOAL}text Mum: hi, then") is not None, "a comma and these words stand in the command, too"
    assert may_come("tell mum hi and open clock", f"{GOAL}text Mum: hi, then") is None


@pytest.mark.parametrize("written", ["", GOAL, f"{GOAL}open Clock", f"{GOAL}set an alarm for", 'finish(message="I'])
def test_what_quotes_nothing_is_free(written: str) -> None:
    assert may_come("tell mum on my way", written) is None


def test_a_command_without_words_holds_nothing() -> None:
    assert may_come("", f"{GOAL}text Mum:") is None
    assert read_goal("text Mum: ") == ()
