"""The ghost finger without a browser: where it points, what the purse holds, and what the page may ask."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from autoglm_lab import widgets
from autoglm_lab.edge.intent.events import KINDS
from autoglm_lab.edge.intent.value import Price
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.widgets import ghost_finger_view as view

SCREEN = Image.new("RGB", view.SCREEN, "white")


def moment(guess, came, probability, first=False):
    return view.Moment(SCREEN, guess, (500, 500), probability, came, None, first)


def says(widget, **content):
    widget._handle_custom_msg({"id": "7", **content}, [])
    assert widget.answered == "7"
    return widget.message


FOUR = (
    moment("tap:wechat", "tap:wechat", 0.9),
    moment("tap:wechat", "home", 0.6),
    moment("tap:send", "tap:send", 0.99),
    moment("home", "home", 0.4, first=True),
)


@pytest.fixture(scope="module")
def watched():
    return view.moments(steps=30, tasks=48, others=2)


@pytest.fixture
def widget(watched):
    return widgets.ghost_finger(watched, Price(40.0, 40.0))


def test_the_purse_gains_by_hits_and_loses_by_misses_and_sending_is_never_prepared():
    purse = view.Purse(FOUR, Price(10.0, 30.0), 0.5)
    assert purse.gains(0.5) == [10, -30, 0, 0] and purse.gains(0.0) == [10, -30, 0, 10] and purse.gains(0.9) == [0] * 4
    assert purse.totals[50] == -20 and purse.totals[70] == 10 == max(purse.totals) and len(purse.totals) == 101
    assert purse.best_gate == 0.75, "of all gates between 0.6 and 0.9 the one nearest to p*"
    assert view.Purse(FOUR, Price(10.0, 1.0), 0.5).best_gate == pytest.approx(0.09), "where misses are cheap all are worth it"


def test_where_the_finger_points(watched):
    state = SimulatedPhone(7).state
    here, there = state.look.pages
    assert view.point_of(f"tap:{here[0]}", state) is not None and view.point_of(f"tap:{there[0]}", state) is None
    assert view.point_of("swipe:left", state) == (850, 500) and view.point_of("home", state) is None
    for each in watched:
        if each.came.startswith("tap:"):
            assert each.came_at is not None, "what was tapped is on the screen"
        if each.right:
            assert each.guess_at == each.came_at
        assert 0 <= each.probability <= 1 and each.screen.size == view.SCREEN
    assert any(each.right for each in watched) and any(each.first for each in watched) and not all(each.right for each in watched)


def test_every_kind_has_words():
    labels = [view.label(kind) for kind in KINDS]
    assert all(re.fullmatch(r"[A-Za-z \-_]+", words) for words in labels) and len(set(labels)) > 60


def test_the_picture_and_the_sentence_say_the_same(widget):
    (_, _), (still, _) = widget.outputs()
    [source] = re.findall(r'src="data:image/png;base64,([^"]*)"', still["text/html"])
    assert Image.open(io.BytesIO(base64.b64decode(source))).width > 500
    words = still["text/plain"]
    assert words == widget.summary and words.startswith("Above a gate of 0.80 ") and "p* = cost / (cost + saving) is 0.50" in words
    assert f"the purse holds {sum(widget.purse['gains']):+.0f} ms" in words
    assert len(widget.events) == 30 == len(widget.purse["gains"])
    assert len(widget.screens) == len({each["screen"] for each in widget.events}) < 30, "a screen is sent once"


def test_gate_and_cost_move_the_purse_and_the_best_gate(widget):
    before = widget.purse
    assert says(widget, kind="gate", gate=0.0) == "" and widget.purse["gains"] != before["gains"]
    assert widget.purse["totals"] == before["totals"], "the curve is that of all gates"
    assert says(widget, kind="cost", cost=4) == "" and widget.purse["rule"] == pytest.approx(0.091) and widget.best_gate < 0.3
    cheap = widget.best_gate
    assert says(widget, kind="cost", cost=160) == "" and widget.purse["rule"] == 0.8 and widget.best_gate > cheap
    assert widget.purse["cost"] == 160 and widget.most_cost == 160
    assert max(widget.purse["totals"]) == pytest.approx(sum(widget._purse.gains(widget.best_gate)), abs=0.2)


def test_what_cannot_be_is_refused(widget):
    gate, cost = widget.purse["gate"], widget.purse["cost"]
    assert "0 to 1" in says(widget, kind="gate", gate=1.5) and "both are above 0" in says(widget, kind="cost", cost=0)
    assert "asked for 'sing'" in says(widget, kind="sing")
    assert (widget.purse["gate"], widget.purse["cost"]) == (gate, cost), "a refusal changes nothing"
    with pytest.raises(ValueError, match="no events"):
        widgets.ghost_finger([])
    with pytest.raises(ValueError, match="steps to show"):
        view.moments(steps=1000, tasks=8, others=1)


def test_the_default_is_one_person_and_the_gate_of_the_articles():
    widget = widgets.ghost_finger()
    assert widget.purse["gate"] == 0.8 and widget.purse["rule"] == 0.5 and len(widget.events) == 48
    assert np.isfinite(widget.purse["totals"]).all() and max(widget.purse["totals"]) > sum(widget.purse["gains"])
