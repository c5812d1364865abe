"""The training set of commands: what is said, what is meant, and that nothing of the exam is in it."""

from __future__ import annotations

import numpy as np
import pytest

from autoglm_lab.phone.actions import parse
from autoglm_lab.phone.goals import plain, read_goal, typed_words
from autoglm_lab.phone.refusal import is_refusal
from autoglm_lab.phone.tasks import REPEAT
from autoglm_lab.phone.wishes import WISHES
from autoglm_lab.phone.wording import phrasebook, strangers, subjects
from autoglm_lab.training.wish_set import Wish, answer_to_speech, draw_wish, load_wishes, make_wishes

WISHED = [draw_wish(seed) for seed in range(900)]


def test_every_kind_is_there_and_every_answer_is_a_goal_or_declines() -> None:
    assert {wish.kind for wish in WISHED} == {*WISHES}
    for wish in WISHED:
        action = parse(wish.answer)
        if wish.kind in ("beyond", "strange_app"):
            assert action.name == "finish" and is_refusal(action.message or "", wish.lang)
        else:
            assert action.name == "Goal" and read_goal(action.text or "")


def test_commands_and_copied_words_are_in_plain_letters() -> None:
    for wish in WISHED:
        assert wish.text == plain(wish.text)
        for words in wish.free:
            assert words in wish.text and words == plain(words)


def test_other_words_take_the_place_of_those_to_be_copied() -> None:
    rng, changed = np.random.default_rng(0), 0
    for wish in WISHED:
        other = wish.with_other_words(rng)
        if other != wish:
            changed += 1
            assert all(words in other.text for words in other.free)
            assert {*typed_words(parse(other.answer).text or "")} >= {*other.free}
    assert changed > 100


def test_nothing_of_the_exam_is_learned() -> None:
    sentences = {plain(template.sentence) for lang in ("zh", "en") for template in phrasebook(lang).templates if template.held_out}
    exam = {each.id for each in subjects() if each.held_out}
    names = {plain(name) for lang in ("zh", "en") for part in ("apps", "people") for name in strangers(part, lang, held_out=True)}
    assert sentences and exam and names
    assert not sentences & {wish.text for wish in WISHED}
    assert not any(f"text {name}:" in wish.answer for wish in WISHED for name in names)


def test_speech_is_answered_by_its_key() -> None:
    assert parse(answer_to_speech("en|alarm|time=06:30")).text == "set an alarm for 06:30"
    assert parse(answer_to_speech("")).message == REPEAT
    with pytest.raises(ValueError, match="not the key of a wish"):
        answer_to_speech("fr|alarm")


def test_wishes_are_kept_and_drawn_once(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "wishes.json"
    make_wishes(path, 30, processes=1)
    first = load_wishes(path)
    assert first == WISHED[:30] and all(isinstance(wish, Wish) for wish in first)
    before = path.stat().st_mtime_ns
    make_wishes(path, 60, processes=1)
    assert path.stat().st_mtime_ns == before


def test_practice_in_copying_says_a_wish_as_its_goal() -> None:
    for wish in WISHED:
        said = wish.as_goal()
        if wish.free:
            assert said.answer == wish.answer and said.text == plain(parse(wish.answer).text or "")
            assert all(words in said.text for words in wish.free)
        elif wish.kind in ("beyond", "strange_app"):
            assert said == wish
