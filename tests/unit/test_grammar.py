"""The action grammar over tokens: all that the agent may write comes through, and whatever comes through parses."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import SIGNATURES, Action, format_action, parse_answer
from autoglm_lab.runtime.grammar import Grammar
from autoglm_lab.runtime.prompt import END, END_THINK, write_answer

TOKENIZER = Tokenizer.from_file(str(data_dir() / "model" / "tokenizer.json"))
GRAMMAR = Grammar(TOKENIZER)
VOCABULARY = TOKENIZER.get_vocab_size()
TEXT = "告诉 Tom: at 14:25, 好的 [5,6] (maybe)"


def tokens(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids


def walk(ids, state=GRAMMAR.action):
    """Where the tokens lead, and how many of them were forced."""
    forced = 0
    for token in ids:
        forced += state.forced == token
        state = state.after(token)
    return state, forced


ACTIONS = [name for name in SIGNATURES if name != "Goal"]  # what a phone does; a goal is written where a command is understood


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_comes_through(name):
    points = {"element": (0, 999), "start": (915, 69), "end": (7, 70)}
    action = Action(name, **{part: points.get(part, TEXT) for part in SIGNATURES[name][0]})
    state, _ = walk(tokens(format_action(action) + END))
    assert state.last
    state, _ = walk(tokens(write_answer("看 the switch", format_action(action), think=True)), GRAMMAR.thinking)
    assert state.last


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('do(action="Tap", element=[915,69])', 4),
        ('do(action="Swipe", start=[1,2], end=[3,4])', 6),
        ('do(action="Back")', 2),
        ('do(action="Double Tap", element=[5,6])', 4),
        ('finish(message="Sent")', 3),
    ],
)
def test_what_is_forced_needs_no_question(text, asked):
    ids = tokens(text + END)
    assert len(ids) - walk(ids)[1] == asked


@pytest.mark.parametrize(
    ("begun", "drafted"),
    [
        ("", 'do(action="Tap", element=['),
        ('do(action="Swipe', '", start=['),
        ('do(action="Tap", element=[3', ","),
        ('do(action="Tap", element=[3,4', "])"),
        ('do(action="Back', '")'),
        ('finish(message="Hi', ""),
        ('do(action="Back")', ""),
    ],
)
def test_what_usually_comes_is_drafted_up_to_the_end(begun, drafted):
    state, _ = walk(tokens(begun))
    assert TOKENIZER.decode(state.draft(9), skip_special_tokens=False) == drafted
    assert state.draft(1) == tokens(drafted)[:1] and state.draft(0) == []


def table_walk(ids, drafts):
    """What is drafted before each of the tokens and after them, as a host reads it from the tables."""
    row, found = drafts["states"][0], []
    for token in ids:
        found.append(row["draft"])
        if str(token) in row["edges"]:
            to = row["edges"][str(token)]
        elif row["number"] is not None and token in drafts["numbers"]:
            to = row["number"]
        else:
            assert row["text"]
            continue
        row = drafts["states"][to]
    return [*found, row["draft"]]


@pytest.mark.parametrize("name", ACTIONS)
def test_tables_for_other_hosts_draft_the_same(name):
    points = {"element": (0, 999), "start": (915, 69), "end": (7, 70)}
    ids = tokens(format_action(Action(name, **{part: points.get(part, TEXT) for part in SIGNATURES[name][0]})) + END)
    drafts = json.loads(json.dumps(GRAMMAR.drafts(9)))
    assert table_walk(ids, drafts) == [walk(ids[:count])[0].draft(9) for count in range(len(ids) + 1)]


def test_of_a_thought_nothing_is_drafted():
    assert GRAMMAR.thinking.draft(9) == [] and GRAMMAR.action.leads(VOCABULARY - 1) is None
    assert GRAMMAR.thinking.leads(VOCABULARY + 200) is None, "a model may have more tokens than its tokenizer"
    assert len(repr(GRAMMAR.action)) < 200


@pytest.mark.parametrize(
    "text",
    [
        'do(action="Jump"',
        'do(action="Tap", element=[1,x',
        'do(action="Back")do',
        'finish(message="a"b',
        "open",
        'finish(message="a\\n',
        'finish(message="a\n',
        'finish(message="<think>',
        'do(action="Tap", element=[1,2], message="ok',
    ],
)
def test_other_texts_do_not(text):
    with pytest.raises(ValueError, match="may not come here"):
        walk(tokens(text))


def test_a_thought_cannot_be_taken_for_an_action():
    for text in (f"x{END}", "do(action=", 'a do(action="Back")'):
        with pytest.raises(ValueError, match="may not come here"):
            walk(tokens(text), GRAMMAR.thinking)


@given(st.integers(0, 2**32), st.booleans(), st.integers(17, 40), st.sampled_from([0.0, 3.0]))
@settings(max_examples=150, deadline=None)
def test_whatever_is_likely_the_answer_parses_and_ends_in_time(seed, think, most, talkative):
    rng, state, said = np.random.default_rng(seed), GRAMMAR.start(think=think), []
    liked = rng.normal(0, talkative, VOCABULARY)
    for left in range(most, 0, -1):
        token = state.forced
        if token is None:
            token = state.choose((rng.normal(size=VOCABULARY) + liked).astype(np.float32), left)
        state = state.after(token)
        said.append(token)
        if state.last:
            break
    assert state.last
    text = TOKENIZER.decode(said, skip_special_tokens=False)
    assert text.endswith(END) and (END_THINK in text) == think
    parse_answer(text.removesuffix(END))
