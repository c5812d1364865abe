"""Goals: one plain sentence for each wish, read back to the same wish, with the words of the command as they were said."""

from __future__ import annotations

import numpy as np
import pytest

from autoglm_lab.phone.goals import GOALS, REFUSED, as_said, goal, plain, read_goal, restore, typed_words
from autoglm_lab.phone.state import Look, State
from autoglm_lab.phone.tasks import Task
from autoglm_lab.phone.wishes import WISHES, sample_wish


@pytest.mark.parametrize("kind", [kind for kind in WISHES if kind not in REFUSED])
def test_a_goal_is_read_back_to_the_wish_that_it_was_written_for(kind: str) -> None:
    for seed in range(40):
        task = sample_wish(State.fresh(Look.random(seed)), np.random.default_rng(seed), kind=kind)
        parts = read_goal(goal(task))
        if kind == "two":
            assert [dict(part.slots) for part in task.parts] == [part.slots for part in parts]
            continue
        [part] = parts
        assert (part.kind, part.lang, part.slots) == ({"absent_app": "open_app"}.get(kind, kind), task.lang, dict(task.slots))


def test_every_kind_that_can_be_fulfilled_has_a_goal_in_both_languages() -> None:
    absent = {"absent_app", "absent_contact", "two"}
    assert {*GOALS} == {*WISHES} - {*REFUSED} - absent
    assert all(set(forms) == {"zh", "en"} for forms in GOALS.values())


def test_what_is_refused_at_once_has_no_goal() -> None:
    with pytest.raises(ValueError, match="has no goal"):
        goal(Task("beyond", "en", (("subject", "weather"),)))


@pytest.mark.parametrize("text", ["", "hello", "turn on Gravity", "set an alarm for 7", "打开", "text : hi", "search Clock"])
def test_what_is_no_goal_is_none(text: str) -> None:
    assert read_goal(text) == ()


def test_two_wishes_are_told_apart_even_where_a_message_speaks_of_then() -> None:
    first, second = read_goal("text Mum: eat, then sleep, then turn on Wi-Fi")
    assert first.slots["message"] == "eat, then sleep"
    assert second.kind == "toggle_on"


def test_a_command_is_read_in_lower_case_and_usual_figures() -> None:
    assert plain("OPEN Wi-Fi，ＡＢ７：３０") == "open wi-fi,ab7:30"


@pytest.mark.parametrize(
    ("words", "command", "said"),
    [
        ("on my way", "TEXT MUM: ON MY WAY", "ON MY WAY"),
        ("o'hara & söhne 😀", "search O'Hara & Söhne 😀 in the browser", "O'Hara & Söhne 😀"),
        ("7:30见", "告诉小红７：３０见", "７：３０见"),
        ("see you tomorow", "tell Anna See you tomorrow, ok", "See you tomorrow"),  # a slip of the model's
        ("hot pt", "search Hot Pot in Maps", "Hot Pot"),
        ("nothing alike", "open Clock", "nothing alike"),
        ("", "open Clock", ""),
    ],
)
def test_copied_words_stand_as_they_were_said(words: str, command: str, said: str) -> None:
    assert as_said(words, command) == said


def test_a_goal_gets_the_letters_of_the_command_back() -> None:
    said = "Tell Zoë: MEET me at NASA, then search maps for Hot Pot"
    assert restore("text zoë: meet me at nasa, then search Maps for hot pot", said) == (
        "text Zoë: MEET me at NASA, then search Maps for Hot Pot"
    )


def test_what_may_be_typed_is_in_the_goal() -> None:
    assert typed_words("set an alarm for 07:30, then text Mum: up soon") == ["07:30", "up soon"]
    assert typed_words("turn on Wi-Fi") == typed_words("no goal") == []
