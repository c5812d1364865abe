"""The action grammar: everything written is read back, nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.phone.actions import SIGNATURES, Action, format_action, parse, parse_answer

POINTS = st.tuples(st.integers(0, 999), st.integers(0, 999))
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=40)


@st.composite
def actions(draw):
    name = draw(st.sampled_from(sorted(SIGNATURES)))
    needed, allowed = SIGNATURES[name]
    fields = [*needed, *[field for field in allowed if draw(st.booleans())]]
    return Action(name, **{f: draw(POINTS if f in ("element", "start", "end") else WORDS) for f in fields})


@given(actions())
def test_every_action_survives_writing_and_reading(action):
    assert parse(format_action(action)) == action


@given(actions(), st.sampled_from(["</answer>", ")", " ", "\n", '\ndo(action="Home")', ";", "<|endoftext|>"]))
def test_nothing_may_follow_an_action(action, tail):
    with pytest.raises(ValueError):
        parse(format_action(action) + tail)


@given(actions())
def test_a_cut_action_is_refused(action):
    text = format_action(action)
    for end in {len(text) - 1, len(text) // 2, 3}:
        with pytest.raises(ValueError):
            parse(text[:end])


@given(WORDS)
def test_text_is_not_an_action(text):
    with pytest.raises(ValueError):
        parse("x" + text)


@pytest.mark.parametrize(
    "text",
    [
        'do(action="Fly")',
        'do(action="finish", message="x")',
        'do(action="Tap")',
        'do(action="Tap", element=[1000,5])',
        'do(action="Tap", element=[-1,5])',
        'do(action="Tap", element=[1.5,5])',
        'do(action="Tap", element=[01,5])',
        'do(action="Tap", element=[1, 5])',
        'do(action="Tap", element=[1,5,6])',
        'do(action="Tap", element="1,5")',
        'do(action="Tap", element=[1,5], element=[1,5])',
        'do(action="Tap", element=[1,5], _metadata="finish")',
        'do(action="Back", text="x")',
        'do(action="Type", text=5)',
        'do(action="Type", text="a"b")',
        'do(action="Type", text="a\nb")',
        'do(action="Type",text="a")',
        'do(action="Type", text="a", )',
        'do(element=[1,5], text="Tap")',
        "do()",
        "finish()",
        'finish(message="a", message="b")',
        'finish(text="a")',
        "",
    ],
)
def test_junk_is_refused_with_a_reason(text):
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


def test_the_thought_stands_before_the_action():
    answer = parse_answer('<think>tap it</think>do(action="Tap", element=[3,4])')
    assert (answer.thinking, answer.action.element) == ("tap it", (3, 4))


@pytest.mark.parametrize(
    "text", ["thinking only", 'do(action="Back")\ndo(action="Home")', 'go do(action="Tap") then finish(message="x")']
)
def test_an_answer_has_exactly_one_action(text):
    with pytest.raises(ValueError):
        parse_answer(text)


def test_errors_say_what_would_be_right():
    with pytest.raises(ValueError, match="from 0 to 999"):
        Action("Tap", element=(5, 1000))
    with pytest.raises(ValueError, match="needs 'text'"):
        Action("Type")
