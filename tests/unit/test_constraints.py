"""Quotations of a goal from the command: the right answer always comes through, and nothing else than whole words of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.goals import plain, read_goal
from autoglm_lab.runtime.constraints import CLOSED, GOAL, Quotes, chooser
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
    held, slips = 0, 0
    for seed in range(700):
        wish = draw_wish(seed)
        quotes, ids = Quotes(wish.text, SPELLING), tokens(wish.answer)
        for count, token in enumerate(ids):
            allowed = quotes.allowed(ids[:count])
            held += allowed is not None
            if allowed is not None and token not in allowed:
                assert (":" in wish.answer and " for" in wish.answer) or "的闹钟" in wish.answer, (
                    wish,
                    TOKENIZER.decode(ids[:count]),
                )
                slips += 1
                break
    assert held > 1000 and slips <= 3, "a slip of the finger in a clock time makes it another one"


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


def test_a_quote_may_end_where_the_command_goes_on_with_the_words_that_join_two_goals() -> None:
    tokens_that_come = may_come("message to mum: wait, then 2nd, torch off", f"{GOAL}text Mum: wait, then")
    assert tokens_that_come is not None and " turn" in tokens_that_come and " on" not in tokens_that_come


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


def written(command: str, begun: str, wished: str) -> str:
    """The text that comes out where a model wants to write something."""
    ids, said = tokens(f"{GOAL}{begun}{wished}{CLOSED}"), tokens(GOAL + begun)
    pick = chooser(Quotes(command, SPELLING), lambda scores: int(scores.argmax()), said)
    while len(said) < 40 and said[-1] != tokens(CLOSED)[0]:
        scores = np.zeros(TOKENIZER.get_vocab_size(), np.float32)
        scores[ids[len(said)] if len(said) < len(ids) else tokens(CLOSED)[0]] = 1
        said.append(pick(scores))
    return b"".join(map(SPELLER.bytes, said)).decode().removeprefix(GOAL).removesuffix(CLOSED)


@pytest.mark.parametrize(
    ("command", "begun", "wished", "goal"),
    [
        ("wake me at nineteen to ten at night", "set an alarm for", " 09:41", "set an alarm for 21:41"),
        ("no alarm at 6:30 pm any more", "delete the alarm for", " 06:30", "delete the alarm for 18:30"),
        ("明天下午3点20分叫我", "定一个", "15:30的闹钟", "定一个15:20"),
        ("不要下午三点的闹钟", "删除", "03:00的闹钟", "删除15:00"),
        ("下午三点，所有闹钟都删掉", "删除", "所有闹钟", "删除所有闹钟"),
        ("wake me some time", "set an alarm for", " 09:41", "set an alarm for 09:41"),
    ],
)
def test_a_time_is_one_that_the_command_names(command: str, begun: str, wished: str, goal: str) -> None:
    assert written(command, begun, wished).startswith(goal)
