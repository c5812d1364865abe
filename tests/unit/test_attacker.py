"""The attacker's desk without a browser: what a choice does to names and use, and what the page may ask."""

import base64
import html
import io
import re
import time
from dataclasses import asdict

import pytest
from PIL import Image

from autoglm_lab import widgets
from autoglm_lab.edge.privacy.personas import traces
from autoglm_lab.edge.privacy.release import Release
from autoglm_lab.widgets import attacker_view as view


@pytest.fixture(scope="module")
def people():
    return traces(0)


@pytest.fixture
def desk(people):
    return widgets.attacker(people)


def says(widget, **content):
    widget._handle_custom_msg({"id": "7", **content}, [])
    assert widget.answered == "7"
    return widget.message


def choose(widget, name, value):
    return says(widget, kind="set", name=name, value=value)


def use(widget):
    return dict(widget.desk["utility"])


def test_plain_hashes_name_everybody_whatever_is_published(desk):
    assert desk.top_1 == 1 and set(desk.desk["certainty"]) == {1}
    assert choose(desk, "place", False) == choose(desk, "apps", False) == choose(desk, "padding", True) == ""
    assert desk.top_1 == 1 and desk.desk["home"] == "not published"
    assert choose(desk, "identity", "new key each day") == ""
    assert desk.top_1 < 0.06 and max(desk.desk["certainty"]) < 0.2 and desk.desk["bytes"] > 150


def test_names_and_use_fall_together(desk):
    desk.set(identity="new key each day", apps=False, padding=True)
    top_1, shop = [], []
    for letters in (8, 6, 5, 4):
        assert choose(desk, "precision", letters) == ""
        top_1.append(desk.top_1)
        shop.append(use(desk)["the nearest shop"])
    assert top_1 == sorted(top_1, reverse=True) and shop == sorted(shop, reverse=True) and top_1[-1] < 0.06
    before = use(desk)["the next app, of three"]
    desk.set(apps=True, identity="one key")
    assert desk.top_1 == 1 and use(desk)["the next app, of three"] > before + 0.1


def test_noise_moves_homes_out_of_sight_only_when_it_is_drawn_once(desk):
    desk.set(identity="one key", precision=8)
    metres = {}
    for noise in ("none", "each report", "once per place"):
        assert choose(desk, "noise", noise) == ""
        metres[noise] = int(re.sub(r"\D", "", desk.desk["home"]))
    assert metres["none"] < 20 and 40 < metres["each report"] < 250 < metres["once per place"]
    desk.set(noise_m=1000)
    assert int(re.sub(r"\D", "", desk.desk["home"])) > 2 * metres["once per place"]


def test_a_choice_is_answered_while_the_hand_rests(people):
    release = Release(noise="once per place")
    view.desk(people, release)
    begin = time.process_time()
    view.desk(people, release)
    assert time.process_time() - begin < 1.0, "0.3 s on a quiet machine"


def test_the_still_picture_and_the_words_say_the_same(desk):
    desk.set(identity="key per purpose", precision=5, padding=True)
    (_, _), (still, _) = desk.outputs()
    alt, source = re.search(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">', still["text/html"]).groups()
    assert html.unescape(alt) == desk.summary == still["text/plain"]
    assert desk.summary.startswith("Published: places of 5 letters and apps; names: key per purpose; requests padded to 64 bytes.")
    assert f"{desk.top_1:.1%} of first guesses are right (by chance 2.5%)" in desk.summary
    before = Image.open(io.BytesIO(base64.b64decode(source)))
    assert before.width > 300
    desk.set(identity="new key each day", apps=False)
    assert desk.picture().tobytes() != before.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"kind": "sing"}, "asked for 'sing'"),
        ({"kind": "set", "name": "salt", "value": 1}, "'salt' is no choice; there are place, apps"),
        ({"kind": "set", "name": "identity", "value": "none"}, "identity is 'none'"),
        ({"kind": "set", "name": "precision", "value": 9}, "precision is 9; the slider goes from 3 to 8"),
        ({"kind": "set", "name": "noise_m", "value": 5}, "noise_m is 5"),
    ],
)
def test_what_the_page_may_not_ask_shows_on_it_and_changes_nothing(desk, content, reason):
    before = desk.release
    assert reason in says(desk, **content)
    assert desk.release == before == asdict(Release(identity="plain hash"))


def test_the_page_can_draw_what_it_gets(desk):
    assert desk.choices == {name: list(values) for name, values in view.CHOICES.items()}
    assert set(desk.limits) == {"precision", "noise_m"}
    assert set(desk.release) == {"place", "apps", "precision", "noise", "noise_m", "identity", "padding"}
    assert len(desk.desk["certainty"]) == len(desk.desk["right"]) == 40 and desk.desk["chance"] == 1 / 40
    for name in ("precision", "noise_m"):
        assert desk.limits[name][0] <= desk.release[name] <= desk.limits[name][1]
