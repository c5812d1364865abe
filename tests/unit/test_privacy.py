"""Minimising: fields with a purpose, pseudonyms that nobody links, coarse places, covered pictures, and what is left of use."""

import inspect
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.edge.privacy.minimise import AGENT, SESSIONS, Minimise
from autoglm_lab.edge.privacy.personas import CITY, N_TRAINING, PEOPLE, USES, request_lengths, traces
from autoglm_lab.edge.privacy.personas import SESSIONS as COUNT
from autoglm_lab.edge.privacy.place import Place, PlaceNoise, cell, coarse, distance_m, geohash, shift
from autoglm_lab.edge.privacy.pseudonym import Pseudonyms, keyed_hash, plain_hash, purpose_key
from autoglm_lab.edge.privacy.redaction import COVER, is_private, redact
from autoglm_lab.edge.privacy.release import IDENTITIES, Release, publish
from autoglm_lab.edge.privacy.sealer import OVERHEAD
from autoglm_lab.edge.privacy.utility import REDUCTIONS, nearest_shop, next_app, requests, still_right, wilson
from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.catalog import CONTACTS
from autoglm_lab.phone.screens import elements, find
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.engine import Answer, Engine, Stream
from autoglm_lab.serve.client import RemoteEngine

MASTER = bytes(range(32))


# Fields


def test_each_purpose_keeps_its_fields_and_no_others():
    record = {"user": "u", "place": (1, 2), "apps": ["maps"]}
    assert SESSIONS(record, "nearby") == {"user": "u", "place": (1, 2)}
    assert SESSIONS(record, "next app") == {"user": "u", "apps": ["maps"]}
    assert SESSIONS({}, "nearby") == {}


def test_a_field_or_a_purpose_that_nobody_named_is_refused():
    with pytest.raises(ValueError, match="no purpose needs imei, mood"):
        SESSIONS({"user": "u", "mood": 1, "imei": 2}, "nearby")
    with pytest.raises(ValueError, match="'adverts' is no purpose; there are nearby, next app"):
        SESSIONS({"user": "u"}, "adverts")
    for fields in ({}, {"nearby": ()}):
        with pytest.raises(ValueError, match="one or more are needed"):
            Minimise(fields)


@pytest.mark.parametrize("engine", [Engine, RemoteEngine])
def test_every_field_that_an_agent_sends_has_a_purpose(engine):
    names = set(inspect.signature(engine.answer).parameters) - {"self"}
    assert {"task", "image", "current_app"} <= names
    assert names - AGENT.known == set(), "name the purpose of a new field in minimise.AGENT"
    assert AGENT(dict.fromkeys(names), "answer").keys() == names & AGENT.fields["answer"]


# Pseudonyms


def test_a_pseudonym_is_stable_within_a_purpose_and_an_epoch_only():
    names = Pseudonyms(MASTER)
    assert names("nearby", "138") == Pseudonyms(MASTER)("nearby", "138") and len(names("nearby", "138")) == 32
    others = {
        names("nearby", "139"),
        names("next app", "138"),
        names.next_epoch()("nearby", "138"),
        Pseudonyms(MASTER[::-1])("nearby", "138"),
        plain_hash("138"),
    }
    assert len(others) == 5 and names("nearby", "138") not in others


def test_keys_of_purposes_are_those_of_hkdf():
    """RFC 5869 by hand: extract with a zero salt, then expand once."""
    import hashlib
    import hmac

    info = b"autoglm-lab pseudonym" + (7).to_bytes(8, "big") + b"nearby"
    extracted = hmac.digest(bytes(32), MASTER, "sha256")
    assert purpose_key(MASTER, "nearby", 7) == hmac.digest(extracted, info + b"\1", "sha256")
    assert keyed_hash(MASTER, "138") == hmac.new(MASTER, b"138", hashlib.sha256).hexdigest()[:32]
    for master, epoch in ((b"short", 0), (MASTER, -1)):
        with pytest.raises(ValueError, match="16 bytes or more"):
            purpose_key(master, "nearby", epoch)


# Places

places = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))


@given(places, st.integers(1, 12))
def test_geohash_is_that_of_the_library(place, length):
    library = pytest.importorskip("pygeohash")
    inside = Place(min(place.latitude, 89.999999), min(place.longitude, 179.999999))
    code = geohash(inside, length)
    assert code == library.encode(*inside, precision=length)
    latitude, longitude, half_latitude, half_longitude = library.decode_exactly(code)
    assert np.allclose([*cell(code).centre, *cell(code)[1:]], [latitude, longitude, half_latitude, half_longitude], atol=1e-9)


@given(places, st.integers(1, 12))
def test_a_cell_holds_its_place_and_its_centre_has_its_name(place, length):
    code = geohash(place, length)
    centre, half_latitude, half_longitude = cell(code)
    assert abs(place.latitude - centre.latitude) <= half_latitude and abs(place.longitude - centre.longitude) <= half_longitude
    assert geohash(centre, length) == code and geohash(place, 12).startswith(code) and coarse(place, length) == centre


def test_cells_have_the_sizes_that_are_known_of_geohash():
    kilometres = {length: np.array(cell(geohash(Place(0, 0), length)).metres) / 1000 for length in (4, 5, 6)}
    assert np.allclose(kilometres[4], [19.6, 39.1], rtol=0.01)
    assert np.allclose(kilometres[5], [4.89, 4.89], rtol=0.01)
    assert np.allclose(kilometres[6], [0.61, 1.22], rtol=0.01)


@pytest.mark.parametrize(("place", "length"), [(Place(91, 0), 5), (Place(0, float("nan")), 5), (Place(0, 0), 0), (Place(0, 0), 13)])
def test_places_that_are_none_are_refused(place, length):
    with pytest.raises(ValueError, match="latitude lies in"):
        geohash(place, length)
    for code in ("", "abc", "U4"):
        with pytest.raises(ValueError, match="no geohash"):
            cell(code)
    with pytest.raises(ValueError, match="above 0 m"):
        PlaceNoise(0, MASTER)


@given(st.floats(-20_000, 20_000), st.floats(-20_000, 20_000))
def test_a_move_is_as_far_as_it_says(north, east):
    assert distance_m(CITY, shift(CITY, north, east)) == pytest.approx(np.hypot(north, east), rel=0.005, abs=0.01)


def test_noise_has_its_scale_and_is_drawn_once_for_a_cell_and_a_key():
    noise, rng = PlaceNoise(300, MASTER), np.random.default_rng(0)
    far = [distance_m(CITY, noise.fresh(CITY, rng)) for _ in range(4000)]
    assert np.mean(far) == pytest.approx(600, rel=0.05) and np.std(far) == pytest.approx(300 * 2**0.5, rel=0.07)
    here = cell(geohash(CITY, 7)).centre
    beside = shift(here, 20, -20)
    assert geohash(here, 7) == geohash(beside, 7)
    assert noise.once(here) == noise.once(beside) == PlaceNoise(300, MASTER).once(here)
    assert noise.once(here) != PlaceNoise(300, MASTER[::-1]).once(here)
    elsewhere = shift(here, 2000, 0)
    assert distance_m(noise.once(elsewhere), shift(noise.once(here), 2000, 0)) > 50, "another place, another move"


# Pictures


def a_chat(*bubbles, typed="x"):
    phone = SimulatedPhone(11, lang="en", size=(270, 600))
    phone.perform(Action("Launch", app="WeChat"))
    phone.state.chats["mum"] = [(False, text) for text in bubbles]
    phone.perform(Action("Tap", element=find(phone.state, concept="mum").centre))
    phone.state.typed = typed
    return phone


def covered(phone):
    return redact(phone.screenshot(), elements(phone.state))


def test_what_was_written_cannot_be_told_from_a_covered_picture():
    one, other = a_chat("see you at nine", "bring the money"), a_chat("ok", "W" * 300, typed="我马上来" * 30)
    assert one.screenshot().tobytes() != other.screenshot().tobytes()
    assert covered(one).tobytes() == covered(other).tobytes()
    one.perform(Action("Back"))
    other.perform(Action("Back"))
    assert covered(one).tobytes() == covered(other).tobytes(), "the list shows last messages"


def test_who_is_written_to_cannot_be_told_from_a_covered_picture():
    phones = []
    for contact in CONTACTS:
        phone = a_chat("hello")
        phone.state.route[-1] = replace(phone.state.route[-1], arg=contact.id)
        phone.state.chats[contact.id] = phone.state.chats["mum"]
        phones.append(phone)
    assert len({phone.screenshot().tobytes() for phone in phones}) == len(CONTACTS)
    assert len({covered(phone).tobytes() for phone in phones}) == 1


def test_alarms_and_queries_are_covered_and_apps_are_not():
    def searched(query, alarm):
        phone = SimulatedPhone(3, lang="en", size=(270, 600))
        phone.state.alarms = [alarm]
        phone.perform(Action("Launch", app="Clock"))
        pictures = [covered(phone).tobytes()]
        phone.perform(Action("Launch", app="Chrome"))
        phone.perform(Action("Tap", element=find(phone.state, concept="search_field").centre))
        phone.perform(Action("Type", text=query))
        phone.perform(Action("Tap", element=find(phone.state, concept="search_button").centre))
        assert phone.state.view.name == "results"
        return [*pictures, covered(phone).tobytes()]

    assert searched("knee pain", "05:10") == searched("birthday cake", "23:59")
    home = SimulatedPhone(3, lang="en", size=(270, 600))
    assert covered(home).tobytes() == home.screenshot().tobytes()


@pytest.mark.parametrize("size", [(64, 64), (97, 211), (540, 1200)])
def test_covers_reach_over_the_whole_box_at_any_size(size):
    phone = a_chat("hello")
    phone.size = size
    picture = covered(phone)
    for item in elements(phone.state):
        if is_private(item):
            left, top, right, bottom = item.box
            corners = [(left, top), (right - 1e-6, bottom - 1e-6)]
            assert {picture.getpixel((int(x * size[0] / 1000), int(y * size[1] / 1000))) for x, y in corners} == {COVER}


# What leaves the phone


@pytest.fixture(scope="module")
def people():
    return traces(0)


def test_people_are_drawn_from_their_seed(people):
    again, other = traces(0), traces(1)
    assert np.array_equal(people.positions, again.positions) and np.array_equal(people.apps, again.apps)
    assert not np.array_equal(people.apps, other.apps) and people.numbers != other.numbers
    assert people.positions.shape == (PEOPLE, COUNT, 2) and people.apps.shape == (PEOPLE, COUNT, USES) == people.lengths.shape
    assert len(set(people.numbers)) == PEOPLE and set(people.lengths.ravel()) <= set(request_lengths().ravel())
    at_home = (np.hypot(*np.moveaxis(people.positions - people.homes[:, None], -1, 0)) < 100).mean()
    assert 0.4 < at_home < 0.6
    for options in ({"people": 1}, {"sessions": 0}, {"skew": 0}):
        with pytest.raises(ValueError, match="2 to 10,000"):
            traces(0, **options)


def test_tastes_differ_more_with_more_skew():
    def apart(skew):
        apps = traces(0, skew=skew).apps.reshape(PEOPLE, -1)
        own = np.stack([np.bincount(each, minlength=20) / len(each) for each in apps])
        return np.abs(own - own.mean(axis=0)).sum(axis=1).mean()

    assert apart(0.25) < apart(1.0) < apart(4.0)


def test_a_release_holds_what_it_says_and_nothing_finer(people):
    shown = publish(people, Release(precision=5), 0)
    assert np.array_equal(shown.symbols, people.apps)
    names = {geohash(shift(CITY, *where), 5) for where in shown.positions.reshape(-1, 2)}
    assert len(np.unique(shown.positions.round(3).reshape(-1, 2), axis=0)) == len(names) < 40
    hidden = publish(people, Release(place=False, apps=False), 0)
    assert hidden.positions is None and np.array_equal(hidden.symbols, people.lengths + OVERHEAD)
    padded = publish(people, Release(place=False, apps=False, padding=True), 0)
    assert {length % 64 for length in padded.symbols.ravel()} == {OVERHEAD} and padded.bytes > hidden.bytes > OVERHEAD


def test_noise_of_a_release_is_what_it_says(people):
    noises = ("none", "once per place", "each report")
    plain, once, each = (publish(people, Release(precision=8, noise=noise), 4).positions for noise in noises)
    assert np.abs(plain - people.positions).max() < 25
    kinds = [len(np.unique(shown[0].round(3), axis=0)) for shown in (once, each)]
    assert kinds[0] <= 16 < 25 < kinds[1], "a few places against one for each session"
    for shown in (once, each):
        assert np.hypot(*np.moveaxis(shown - people.positions, -1, 0)).mean() == pytest.approx(600, rel=0.25)


@pytest.mark.parametrize("change", [{"precision": 2}, {"precision": 9}, {"noise": "some"}, {"identity": "none"}, {"noise_m": 0}])
def test_a_release_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match="is "):
        Release(**change)


def test_identities_link_and_join_as_their_names_say():
    flags = {name: (Release(identity=name).links_sessions, Release(identity=name).joins_purposes) for name in IDENTITIES}
    assert flags == {
        "plain hash": (True, True),
        "one key": (True, True),
        "key per purpose": (True, False),
        "new key each day": (False, False),
    }


# Use


def test_use_falls_with_what_is_withheld(people):
    releases = Release(precision=8), Release(precision=4), Release(place=False)
    exact, city, none = (publish(people, release, 0) for release in releases)
    assert nearest_shop(people, exact) > 0.97 > 0.3 > nearest_shop(people, city)
    assert nearest_shop(people, none) < 0.3
    links_sessions, daily, nothing = (
        next_app(people, release) for release in (Release(), Release(identity="new key each day"), Release(apps=False))
    )
    assert links_sessions > daily + 0.1 and daily > nothing > 3 / 20


def test_use_is_measured_on_sessions_that_come_later(people):
    changed = replace(people, apps=people.apps.copy())
    changed.apps[:, N_TRAINING:, -1] = (changed.apps[:, N_TRAINING:, -1] + 10) % 20
    assert next_app(changed, Release()) < next_app(people, Release()) - 0.3


class Oracle:
    """An engine that knows the right answer to each of some requests, and notes what it was asked."""

    def __init__(self, asked: Sequence):
        self._asked, self.seen = list(asked), []

    def answer(self, task="", image=None, audio=None, *, current_app="", last="", **_):
        request = self._asked[len(self.seen)]
        self.seen.append((task, image, current_app, last))
        right = (np.asarray(image) == COVER).all(axis=-1).sum() < 2000
        text = format_action(request.action if right else Action("Wait", duration="1 seconds"))
        return Stream(iter([Answer.read(text, 1, {})]))


def test_commands_are_judged_by_what_the_oracle_would_do():
    rows = requests(0, 30)
    assert len({row.task.kind for row in rows}) > 4 and len({row.phone.current_app() for row in rows}) > 3
    engine = Oracle(rows)
    assert still_right(engine, rows, REDUCTIONS["nothing"]) == [True] * 30
    assert [(task, app) for task, _, app, _ in engine.seen] == [(row.task.text, row.phone.current_app()) for row in rows]
    blind = Oracle(rows)
    assert still_right(blind, rows, REDUCTIONS["current_app"]) == [True] * 30 and {app for _, _, app, _ in blind.seen} == {""}
    misled = still_right(Oracle(rows), rows, REDUCTIONS["all that is private"])
    private = [any(is_private(item) for item in elements(row.phone.state)) for row in rows]
    assert 0 < sum(misled) < 30 and all(right or hidden for right, hidden in zip(misled, private, strict=True))


def test_the_interval_of_a_share_is_honest_at_its_ends():
    all_right, half = wilson([True] * 150), wilson([True, False] * 50)
    assert (all_right.mean, all_right.high) == (1, pytest.approx(1)) and all_right.low == pytest.approx(0.975, abs=1e-3)
    assert (half.low, half.high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    with pytest.raises(ValueError, match="no answers"):
        wilson([])


def test_a_tap_beside_the_thing_or_another_text_is_not_right():
    rows = [row for row in requests(1, 60) if row.action.name in ("Tap", "finish")]
    tap = next(row for row in rows if row.action.name == "Tap")
    x, y = tap.action.element
    assert tap.is_right(Action("Tap", element=(x, y + 1))) and not tap.is_right(Action("Tap", element=(999, 0)))
    assert not tap.is_right(None) and not tap.is_right(Action("Home"))
    done = next(row for row in rows if row.action.name == "finish")
    assert done.is_right(done.action) and not done.is_right(Action("finish", message="?"))
    with pytest.raises(ValueError, match="count is 0"):
        requests(0, 0)
