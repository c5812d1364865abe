"""The tolerant reader: what it forgives and says, what it refuses by name, and that garbage stays garbage."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoglm_lab.phone.actions import SIGNATURES, Action, format_action, parse_answer
from autoglm_lab.phone.tolerant import LONGEST, WHICH, read_tolerantly
from tests.unit.test_actions import WORDS, actions

HOME, TAP = Action("Home"), Action("Tap", element=(500, 120))
FORGIVEN = {
    'do(action="Home")</answer>': (HOME, "", {"a tag"}),
    '<answer>do(action="Home")</answer>': (HOME, "", {"a tag"}),
    '<think>t</think>\n<answer>\ndo(action="Home")\n</answer><|user|>': (HOME, "t", {"a tag", "a token"}),
    '<|begin_of_box|>do(action="Home")<|end_of_box|>': (HOME, "", {"a box"}),
    't <answer><|begin_of_box|>do(action="Home")<|end_of_box|></answer>': (HOME, "t", {"a tag", "a box"}),
    'do(action="Tap", element=[500, 120])': (TAP, "", {"blanks in a point"}),
    'do(action="Tap", element=[ 500 ,120 ])': (TAP, "", {"blanks in a point"}),
    'do(action="Tap",element=[500,120])': (TAP, "", {"blanks"}),
    "do(action='Tap', element=[500,120])": (TAP, "", {"single quotes"}),
    "do(action='Type', text='it's')": (Action("Type", text="it's"), "", {"single quotes", "unescaped quotes in a text"}),
    '```python\ndo(action="Home")\n```': (HOME, "", {"a code fence"}),
    'so:\n`do(action="Home")`.': (HOME, "so:", {"a code fence", "a full stop"}),
    'do(action="Home").': (HOME, "", {"a full stop"}),
    'do(action="Home")。': (HOME, "", {"a full stop"}),
    'do(action="Type", text="a "b", c")': (Action("Type", text='a "b", c'), "", {"unescaped quotes in a text"}),
    'do(action="Type", text="a\nb")': (Action("Type", text="a\nb"), "", {"raw line breaks in a text"}),
    'do(action="Type", text="C:\\dir")': (Action("Type", text="C:\\dir"), "", {"a backslash that escapes nothing"}),
    'do(action="Type", text="\\ud83d\\ude00" )': (Action("Type", text="😀"), "", {"blanks"}),
    'finish(message="He said "ok".")': (Action("finish", message='He said "ok".'), "", {"unescaped quotes in a text"}),
    'do(action="Type_Name", text="Bob")': (Action("Type", text="Bob"), "", {"Type_Name is done as Type"}),
    'do(action="Interact")': (Action("Take_over", message=WHICH), "", {"Interact is done as Take_over"}),
}


@pytest.mark.parametrize("text", FORGIVEN)
def test_what_other_models_write_is_read_and_said(text):
    action, thinking, forgiven = FORGIVEN[text]
    with pytest.raises(ValueError, match=r"\w"):
        parse_answer(text)
    answer = read_tolerantly(text)
    assert (answer.action, answer.thinking, set(answer.irregularities)) == (action, thinking, forgiven)


@pytest.mark.parametrize(
    "thought",
    [
        '<think>I could do(action="Back")</think>',
        '<think>no do(action="Type", text="x").\n</think>\n',
        'Going back, do(action="Back"), is wrong.\n',
        'Not finish(message="x") yet.\n',
    ],
)
@pytest.mark.parametrize("answer", ['do(action="Home")', '<answer>do(action="Home")</answer>', '```\ndo(action="Home")\n```'])
def test_the_action_is_taken_from_the_answer(thought, answer):
    read = read_tolerantly(thought + answer)
    assert read.action == HOME and "an action that the thought speaks of" in read.irregularities
    assert "(" in read.thinking


REFUSED = {
    'do(action="Note", message="True")': "Note is not something that this phone can do; it can Tap",
    'do(action="Call_API", instruction="sum up")': "Call_API is not something that this phone can do",
    'I could do(action="Fly").\ndo(action="Note", message="True")': "Note is not something",
    'I could do(action="Back").\ndo(action="Tap", element=[1000, 5])': "from 0 to 999",
    'do(action="Tap", element=[ 05,5])': "no point",
    "finish(action='Home', message='x')": "names no action",
    'do(action="Back")\ndo(action="Home")': "more than one action",
    'go do(action="Back") then finish(message="x")': "more than one action",
    '1. do(action="Back")\n2. do(action="Home").': "more than one action",
    '<answer>do(action="Back")</answer><answer>do(action="Home")</answer>': "more than one action",
    '<think>I will do(action="Back").': "the thought has no end",
    '<think>I will do(action="Back")': "the thought has no end",
    '<think>maybe finish(message="x")': "the thought has no end",
    '<think>a</think><think>b do(action="Back")': "the thought has no end",
    '<think>do(action="Type", text="</think>")': "the thought has no end",
    'do(action="Type", text="a") or do(action="Type", text="b")': "more than one action",
    'do(action="Type", text="say do(action="Back")")': "action within a text",
    'do(action="Tap", element=[1000, 5])': "from 0 to 999",
    'do(action="Tap", element=[-1, 5])': "no point",
    'do(action="Tap", element=[1.5, 5])': "no point",
    'do(action="Tap", element=[1, 5, 6])': "no point",
    'do(action="Tap", element=[1, 5], element=[1, 6])': "each once",
    'do(action="Tap", element=[5, 5]': "unexpected",
    'do(action="Back", text="x").': "takes no 'text'",
    'do(action="Home") because it is better': "nothing but a bracket",
    'do(action="Fly").': "'Fly' is unknown",
    'do(action="Type", text="a\ud83d")': "half a character",
    'do(action="Type", text="\\ud83d").': "half a character",
    "do(action='finish', message='x')": "names no action",
    "undo(action='Back')": "no action",
    "do()": "names no action",
    "x" * (LONGEST + 1): "at most 20,000",
    "": "no action",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_done_is_refused_by_name(text):
    with pytest.raises(ValueError, match=REFUSED[text]) as refusal:
        read_tolerantly(text)
    str(refusal.value).encode()


@pytest.mark.parametrize("thought", ["t", "<think>t</think>", "<think>t <think>u</think>", "<think>t\n<answer>"])
def test_a_tag_in_the_text_of_an_action_begins_no_thought(thought):
    action = Action("Type", text="<think>")
    assert read_tolerantly(thought + format_action(action)) == (*parse_answer(thought + format_action(action)), ())


@given(WORDS, actions(), st.booleans())
def test_what_the_strict_reader_accepts_is_the_same_with_nothing_forgiven(words, action, tags):
    assume(tags or "<think>" not in words)
    text = (f"<think>{words}</think>" if tags else words) + format_action(action)
    try:
        strict = parse_answer(text)
    except ValueError:
        return
    assert read_tolerantly(text) == (*strict, ())


PIECES = st.sampled_from(
    [
        "do(",
        "finish(",
        'action="',
        "action='",
        *SIGNATURES,
        "Note",
        "Interact",
        "Call_API",
        "Type_Name",
        '"',
        "'",
        ", ",
        ",",
        " ",
        "\n",
        "element=[",
        "start=[",
        "end=[",
        "text=",
        "message=",
        "app=",
        "duration=",
        "instruction=",
        "1",
        "999",
        "1000",
        "-",
        "]",
        ")",
        ".",
        "\\",
        "\\u",
        "\ud83d",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "```",
        "`",
        "<|begin_of_box|>",
        "<|end_of_box|>",
        "=",
    ]
)


@st.composite
def broken(draw):
    """Actions with pieces put in, taken out and put around them."""
    text = "".join(draw(st.lists(st.one_of(PIECES, st.builds(format_action, actions()), st.text(max_size=5)), max_size=6)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(PIECES) + text[place + draw(st.integers(0, 3)) :]
    return text


@settings(max_examples=500, deadline=None)
@given(broken())
def test_garbage_is_a_value_error_and_an_action_stands_in_the_text(text):
    try:
        _, action, forgiven = read_tolerantly(text)
    except ValueError:
        return
    assert all(forgiven) and (not forgiven or _strictly_refused(text))
    assert "do" in text or "finish" in text
    for field, value in action.arguments.items():
        if isinstance(value, tuple):
            assert all(str(number) in text for number in value), "no number is made up"
        elif value != WHICH:
            plain = value.translate(str.maketrans("", "", "\n\r\t\b\f\"'/\\"))
            assert "\\u" in text or all(letter in text for letter in plain), f"{field} is made up"
    named = {"Type": ("Type", "Type_Name"), "Take_over": ("Take_over", "Interact")}.get(action.name, (action.name,))
    assert any(name in text for name in named)


@given(st.text())
def test_text_without_an_action_is_refused(text):
    if "do" not in text and "finish" not in text:
        with pytest.raises(ValueError, match="action"):
            read_tolerantly(text)


def _strictly_refused(text):
    try:
        parse_answer(text)
    except ValueError:
        return True
    return False
