"""Two phones as beads: what stands side by side until somebody chooses, what clocks make vanish, what the page may ask."""

import base64
import html
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autoglm_lab import widgets
from autoglm_lab.widgets.two_phones_view import MOST_EVENTS, STORY, Choice, Edit, Line, picture, play

JOINED = (*STORY, Line(True))


def bundle(widget):
    """The static picture and the sentence of a widget."""
    _, (still, _) = widget.outputs()
    [(alt, source)] = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">', still["text/html"])
    assert html.unescape(alt) == still["text/plain"]
    return Image.open(io.BytesIO(base64.b64decode(source))), still["text/plain"]


def says(widget, **content):
    """The error that arrives when the page sends a message, if any."""
    widget._handle_custom_msg({"id": "7", **content}, [])
    assert widget.answered == "7"
    return widget.message


def states(now, phone):
    return dict(now.phones[phone].thread)


def texts(now, phone):
    return [now.beads[bead].text for bead in now.phones[phone].values]


def test_cut_off_phones_show_their_own_and_know_their_own():
    now = play(STORY)
    assert (texts(now, 0), texts(now, 1)) == (["milk, eggs"], ["milk, bread"]) and not now.is_up and now.travels == ()
    assert [phone.label for phone in now.phones] == ["knows A:2", "knows A:1, B:1"]
    assert states(now, 0) == {0: "replaced", 1: "current"} and states(now, 1) == {0: "replaced", 2: "current"}
    assert now.sentence() == (
        "The line is cut. Phone A (knows A:2) shows 'milk, eggs'. Phone B (knows A:1, B:1) shows 'milk, bread'."
    )


def test_connected_both_values_stand_side_by_side_until_one_is_chosen():
    now = play(JOINED)
    assert set(now.travels) == {(1, 1), (2, 0)} and 0 < now.message_bytes < 100 and now.losses == ()
    for phone in (0, 1):
        assert set(texts(now, phone)) == {"milk, eggs", "milk, bread"} and now.phones[phone].is_conflict
        assert states(now, phone) == {0: "replaced", 1: "beside", 2: "beside"} and now.phones[phone].label == "knows A:2, B:1"
    assert "shows 'milk, eggs' beside 'milk, bread'; choose one" in now.sentence()
    chosen = play((*JOINED, Choice(1, 2)))
    for phone in (0, 1):
        assert texts(chosen, phone) == ["milk, bread"] and not chosen.phones[phone].is_conflict
        assert states(chosen, phone) == {0: "replaced", 1: "replaced", 2: "replaced", 3: "current"}
    assert chosen.travels == ((3, 0),) and (chosen.beads[3].name, chosen.beads[3].label) == ("B2", "B2")
    anew = play((*JOINED, Edit(0, "milk, eggs, bread")))
    assert texts(anew, 1) == ["milk, eggs, bread"], "a new text replaces all that is shown"


def test_clocks_make_one_vanish_and_a_slow_one_the_later():
    right, slow = play(JOINED, 0.0), play(JOINED, 60.0)
    assert texts(right, 0) == texts(right, 1) == ["milk, bread"] and right.losses == (1,)
    assert texts(slow, 0) == texts(slow, 1) == ["milk, eggs"] and slow.losses == (2,)
    assert states(slow, 1) == {0: "replaced", 1: "current", 2: "gone"}
    assert (slow.beads[2].name, slow.beads[2].label) == ("B at +0 s", "B1")
    assert slow.sentence().endswith("Gone by clocks, though nobody chose that: 'milk, bread'.")
    assert [phone.label for phone in slow.phones] == ["clock right", "clock 60 s behind"]
    online = play((Edit(0, "milk"), Edit(1, "bread")), 60.0)
    assert texts(online, 1) == ["milk"] and online.losses == (1,), "even over a line that is up, and with the other text in view"


events = st.lists(
    st.one_of(
        st.builds(Edit, st.integers(0, 1), st.sampled_from(["milk", "bread", "eggs"])),
        st.builds(Line, st.booleans()),
        st.builds(Choice, st.integers(0, 1), st.just(0)),
    ),
    max_size=15,
).map(lambda some: [Edit(0, "first"), *some])


@settings(deadline=None)
@given(events)
def test_by_dots_nothing_is_ever_gone_and_connected_phones_are_equal(history):
    now = play([*history, Line(True)])
    assert now.losses == () and now.phones[0] == now.phones[1]
    assert {bead for bead, _ in now.phones[0].thread} == set(range(len(now.beads)))
    assert now.phones[0].values, "a note that was written is there"


@settings(deadline=None)
@given(events, st.floats(0, 300))
def test_by_clocks_connected_phones_show_one_value(history, skew_s):
    now = play([*history, Line(True)], skew_s)
    assert now.phones[0].values == now.phones[1].values and len(now.phones[0].values) == 1
    assert play([*history, Line(True)], skew_s) == now


@pytest.mark.parametrize(
    ("some", "skew_s", "reason"),
    [
        ((Edit(2, "x"),), None, "phone 2 is none"),
        ((Edit(0, "  "),), None, "1 to 40 letters, not 0"),
        ((Edit(0, "x" * 41),), None, "not 41"),
        ((Choice(0, 0),), None, "bead 0 is none"),
        ((), -1.0, "between 0 and 300"),
        ((), float("nan"), "between 0 and 300"),
        ((Line(True),) * (MOST_EVENTS + 1), None, "begin again"),
    ],
)
def test_events_that_cannot_be_are_refused(some, skew_s, reason):
    with pytest.raises(ValueError, match=reason):
        play(some, skew_s)


def test_a_bead_that_stands_looks_unlike_one_that_is_gone():
    assert picture(play(JOINED)).tobytes() != picture(play(JOINED, 60.0)).tobytes()
    assert picture(play(())).width > 300


@pytest.fixture
def widget():
    return widgets.two_phones()


def test_the_page_cuts_connects_and_chooses(widget):
    assert widget.values == [["milk, eggs"], ["milk, bread"]]
    assert says(widget, kind="line", up=True) == ""
    assert sorted(widget.values[0]) == ["milk, bread", "milk, eggs"] and widget.state["phones"][0]["conflict"]
    assert says(widget, kind="clocks", on=True) == "" and widget.losses == ["milk, bread"] and widget.state["clocks"]
    assert says(widget, kind="skew", seconds=0) == "" and widget.losses == ["milk, eggs"]
    assert "is not to be chosen" in says(widget, kind="choose", phone=0, bead=1)
    assert says(widget, kind="clocks", on=False) == "" and widget.losses == []
    assert says(widget, kind="choose", phone=0, bead=1) == "" and widget.values == [["milk, eggs"], ["milk, eggs"]]
    assert says(widget, kind="line", up=False) == "" and says(widget, kind="write", phone=1, text=" tea ") == ""
    assert widget.values == [["milk, eggs"], ["tea"]] and widget.state["events"] == 8
    picture, words = bundle(widget)
    assert words == widget.summary and "shows 'tea'" in words and picture.height > 100
    assert says(widget, kind="restart") == "" and widget.values == [["milk, eggs"], ["milk, bread"]]


def test_from_python_as_from_the_page(widget):
    widget.connect()
    widget.use_clocks()
    assert widget.losses == ["milk, bread"]
    widget.use_clocks(False)
    widget.set_skew(10)
    widget.choose(1, 2)
    widget.cut()
    widget.write(0, "eggs")
    assert widget.values == [["eggs"], ["milk, bread"]] and widget.state["skew"] == 10
    widget.restart()
    assert widget.values == [["milk, eggs"], ["milk, bread"]]


def test_what_the_page_may_not_ask_shows_on_it_and_changes_nothing(widget):
    before = widget.state
    for content, reason in (
        ({"kind": "sing"}, "asked for 'sing'"),
        ({"kind": "write", "phone": 0, "text": ""}, "1 to 40 letters"),
        ({"kind": "write", "phone": 5, "text": "x"}, "phone 5 is none"),
        ({"kind": "choose", "phone": 0, "bead": 1}, "not to be chosen"),
        ({"kind": "skew", "seconds": 1000}, "between 0 and 300"),
    ):
        assert reason in says(widget, **content) and widget.state == before
    with pytest.raises(ValueError, match="between 0 and 300"):
        widgets.two_phones(skew_s=-1)
