"""An answer on its way to a client: cut where it ends, however it comes in pieces."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import Action, format_action, parse
from autoglm_lab.runtime.prompt import END, END_THINK, THINK
from autoglm_lab.runtime.spelling import Speller
from autoglm_lab.serve.queue import Done, Job
from autoglm_lab.serve.reading import GenerationRequest
from autoglm_lab.serve.stream_parser import ActionEndDetector, StreamParser

TOKENIZER = Tokenizer.from_file(str(Path(data_dir()) / "model" / "tokenizer.json"))
SPELLER = Speller(TOKENIZER)
PARTS = st.sampled_from(
    [
        "do(action=",
        '"Tap"',
        ", element=[1,2])",
        "finish(message=",
        '"done"',
        ")",
        "(",
        "\\",
        '"',
        THINK,
        END_THINK,
        END,
        "</th",
        "<",
        "ink>",
        "好",
        "\n",
        "stop",
        "st",
        "op",
        "a",
        " ",
        'do(action="Type", text="a)b\\"c)")',
        "🙂",
    ]
)
TEXTS = st.lists(PARTS, max_size=12).map("".join)
STOPS = st.lists(st.sampled_from(["stop", "op", "\n", ")", '")', END_THINK, "top)", "aa", "好", "sto"]), max_size=3).map(tuple)


def heard(pieces, *, think=False, stop=()):
    """What a client reads of an answer in these pieces: the thought, the content, and whether it ended before they did."""
    parser, told = StreamParser(think=think, stop=stop), []
    for piece in pieces:
        told += parser.feed_bytes(piece) if isinstance(piece, bytes) else parser.feed(piece)
    ended = parser.ended
    if not ended:
        told += parser.finish()
    return *("".join(p.text for p in told if p.channel == channel) for channel in ("reasoning", "content")), ended


def cut(text, places):
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


@given(TEXTS, st.lists(st.integers(0, 400), max_size=12), st.booleans(), STOPS)
@example("stop", [2], False, ("stop",))
@example(f"a{END_THINK}do(action=", [3, 6], True, ())
def test_how_an_answer_is_cut_changes_nothing(text, places, think, stop):
    whole = heard([text], think=think, stop=stop)
    assert heard(cut(text, places), think=think, stop=stop) == whole
    assert heard(list(text), think=think, stop=stop) == whole


@given(TEXTS, st.booleans(), STOPS)
def test_neither_a_stop_nor_a_mark_of_the_template_is_shown(text, think, stop):
    thought, content, ended = heard(list(text), think=think, stop=stop)
    assert not any(mark in content for mark in (*stop, END))
    assert not any(mark in thought for mark in (*stop, END, END_THINK))
    assert ended or all(mark not in text for mark in (END, *stop))


ACTIONS = [
    Action("Back"),
    Action("Tap", element=(5, 999)),
    Action("Type", text='a)b("c\\ d)'),
    Action("Type", text="你好)（世界"),
    Action("finish", message="done :)"),
    Action("Swipe", start=(1, 2), end=(3, 4)),
]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.name)
@given(rest=TEXTS, think=st.booleans())
def test_nothing_follows_the_closing_bracket(action, rest, think):
    said = format_action(action)
    text = (f"a thought{END_THINK}" if think else "") + said + rest
    thought, content, ended = heard(list(text), think=think)
    assert (content, ended) == (said, True) and parse(content) == action
    assert thought == ("a thought" if think else "")


def test_a_thought_without_its_tags_stands_before_the_action():
    assert heard(['I (too) think) so. do(action="Back")', " and more"])[1] == 'I (too) think) so. do(action="Back")'


def test_a_stop_may_lie_in_the_thought_and_what_might_be_one_is_not_lost():
    assert heard(["because ST", "OP it is"], think=True, stop=("STOP",)) == ("because ", "", True)
    assert heard(["so ST", "ay"], stop=("STOP",)) == ("", "so STay", False)
    assert heard(["so ST"], stop=("STOP",)) == ("", "so ST", False)
    assert heard(["ab", "cd"], stop=("bc", "abcd")) == ("", "a", True), "the one that is complete first"


WORDS = [
    "打开微信，给妈妈发消息",
    "naïve café — 🙂🇨🇳",
    'do(action="Type", text="你好")',
    "\x00\x7f\t\r\n",
    "e\u0301 한국어 العربية",
]


@given(st.one_of(st.sampled_from(WORDS), st.text(max_size=40)))
def test_tokens_are_spelled_as_the_tokenizer_decodes_them(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    spelled = b"".join(SPELLER.bytes(number) for number in ids)
    assert spelled.decode("utf-8", "replace") == TOKENIZER.decode(ids, skip_special_tokens=False)


def test_every_token_has_bytes():
    assert all(SPELLER.bytes(number) for number in range(TOKENIZER.get_vocab_size()))
    for number in (TOKENIZER.get_vocab_size(), 10**6):  # a model may have more places
        assert SPELLER.bytes(number).decode() == TOKENIZER.decode([number]) == ""


@given(st.text(alphabet="a好é🙂한\n", max_size=30), st.data())
def test_half_a_character_is_never_shown(text, data):
    content = text.encode()
    places = data.draw(st.lists(st.integers(0, 200), max_size=20))
    parser, shown = StreamParser(think=False), ""
    for piece in cut(content, places):
        for part in parser.feed_bytes(piece):
            assert "\ufffd" not in part.text
            shown += part.text
    assert shown == text
    parser = StreamParser(think=False)
    assert "".join(p.text for p in [*parser.feed_bytes("好".encode()[:2]), *parser.finish()]) == ""


@pytest.mark.parametrize("count", [20_000, 2_000_000])
@pytest.mark.parametrize("letters", [")", "do(action=", 'do(action=")', "<", "</think", "\\", "st", "好"])
def test_long_hostile_answers_are_read_once(letters, count):
    text = (letters * (count // len(letters) + 1))[:count]
    for think in (False, True):
        began = time.thread_time()
        heard([text], think=think, stop=("stop", "s" * 50))
        heard([text[:10], text[10:], *list(text[:500])], think=think, stop=("stop",))
        assert time.thread_time() - began < 1


def test_a_bracket_in_a_text_closes_nothing():
    bracket = ActionEndDetector()
    assert bracket.end("x do(act") is None and bracket.end('ion="Type", text="a)\\') is None
    assert bracket.end('")"') is None
    assert bracket.end(" ) rest") == 2


class Box(list):
    put_nowait = list.append


def test_tokens_of_a_thought_are_counted_even_where_a_letter_takes_three():
    job = Job(GenerationRequest("x", think=True, max_new_tokens=99), Box())
    for piece in (
        "好".encode()[:1],
        "好".encode()[1:2],
        "好".encode()[2:],
        b" so",
        END_THINK.encode(),
        b"do(action=",
        b'"Back',
        b'")',
    ):
        events = job.feed_bytes(piece)
    assert events[-1] == Done("stop", prompt_tokens=0, tokens=8, thought_tokens=4)


def test_an_answer_ends_for_want_of_room_with_what_was_held_back():
    job = Job(GenerationRequest("x", max_new_tokens=2, stop=("stop",)), Box())
    assert [event.text for event in job.feed("a st")] == ["a "]
    *pieces, done = job.feed("o")
    assert "".join(piece.text for piece in pieces) == "sto" and done.reason == "length" and done.tokens == 2
