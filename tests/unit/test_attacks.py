"""The attack bench: each attack works where it should, fails where it is stopped, and gives the same figures for the same seeds."""

import itertools
import json
import secrets
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.edge.privacy import report as bench
from autoglm_lab.edge.privacy.averaging import home_distance, home_errors
from autoglm_lab.edge.privacy.enumeration import enumerate_hashes, hashes_per_second, numbers
from autoglm_lab.edge.privacy.keystream import cribs, recover, recovery, reuse_after_restore, xor
from autoglm_lab.edge.privacy.lengths import Exchange, exchanges, guess_by_length
from autoglm_lab.edge.privacy.linking import name_people, place_scores, symbol_scores
from autoglm_lab.edge.privacy.personas import NUMBERS, PEOPLE, traces
from autoglm_lab.edge.privacy.pseudonym import Pseudonyms, plain_hash
from autoglm_lab.edge.privacy.release import Publication, Release, publish
from autoglm_lab.edge.privacy.sealer import GCM, GCM_SIV, TAG_BYTES, encrypt

KEY = bytes(range(32))
DAILY = Release(identity="new key each day", padding=True)
CHANCE = 1 / PEOPLE


# (a) hashes of phone numbers


def test_plain_hashes_come_back_and_keyed_ones_only_with_the_key():
    phones = ["13800138659", "13800130000", "13800139999"]
    assert enumerate_hashes(map(plain_hash, phones), "1380013", 4) == {plain_hash(phone): phone for phone in phones}
    names, wrong = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
    keyed = [names("nearby", phone) for phone in phones]
    assert enumerate_hashes(keyed, "1380013", 3 + 1) == {}
    assert enumerate_hashes(keyed, "138001386", 2, lambda number: wrong("nearby", number)) == {}
    assert enumerate_hashes(keyed, "138001386", 2, lambda number: names("next app", number)) == {}
    inside = enumerate_hashes(keyed, "138001386", 2, lambda number: names("nearby", number))
    assert list(inside.values()) == ["13800138659"], "who has the key names everybody: a pseudonym is still personal data"


def test_all_numbers_are_tried_once_and_the_rate_is_that_of_the_clock():
    assert list(numbers("13", 1)) == [f"13{digit}" for digit in range(10)] and len(set(numbers("", 3))) == 1000
    for digits in (0, 11):
        with pytest.raises(ValueError, match="1 to 10 digits"):
            numbers("138", digits)
    ticks = itertools.count(step=4)
    assert hashes_per_second(lambda: next(ticks), 100) == 25
    with pytest.raises(ValueError, match="1 hash or more"):
        hashes_per_second(lambda: 0.0, 0)


# (b) linking


@pytest.fixture(scope="module")
def people():
    return traces(3)


def top_1(people, release):
    return float(name_people(publish(people, release, 3), release).right.mean())


def test_coarser_places_name_fewer_people_down_to_chance(people):
    shares = [top_1(people, replace(DAILY, apps=False, precision=letters)) for letters in (8, 7, 6, 5, 4, 3)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.6 and shares[3] > 5 * CHANCE and shares[-1] < 2 * CHANCE


def test_apps_name_people_lengths_a_few_and_padded_lengths_nobody(people):
    apps, bare, padded = (
        top_1(people, replace(DAILY, place=False, **fields)) for fields in ({}, {"apps": False, "padding": False}, {"apps": False})
    )
    assert apps > 0.4 and bare > 1.5 * CHANCE and padded == pytest.approx(CHANCE, abs=CHANCE)


def test_a_name_that_stays_gives_everybody_away_and_rotation_breaks_the_link(people):
    release = replace(DAILY, precision=5)
    names = ("new key each day", "key per purpose", "one key")
    daily, purpose, one = (top_1(people, replace(release, identity=name)) for name in names)
    assert one == purpose == 1.0 > daily + 0.2


def test_a_key_per_purpose_keeps_the_purposes_apart(people):
    """Of one session place and apps tell more together than each by itself."""
    one = replace(people, positions=people.positions[:, :21], apps=people.apps[:, :21], lengths=people.lengths[:, :21])
    joined, apart = (top_1(one, Release(precision=6, identity=name)) for name in ("one key", "key per purpose"))
    assert joined > apart + 0.1


def test_noise_for_each_report_hides_the_session_and_noise_of_ones_own_is_a_fingerprint(people):
    places = replace(DAILY, apps=False, precision=6)
    plain, each, once = (top_1(people, replace(places, noise=noise)) for noise in ("none", "each report", "once per place"))
    assert each < plain - 0.05 < plain < once, "noise that is drawn once stays the same: it names whose place it is"


def test_people_who_are_alike_are_named_by_chance():
    rng = np.random.default_rng(0)
    alike = Publication(rng.normal(0, 3000, (PEOPLE, 30, 2)), rng.integers(0, 20, (PEOPLE, 30, 5)), 0.0)
    for identity in ("one key", "new key each day"):
        named = name_people(alike, Release(identity=identity, precision=4))
        assert named.right.mean() < 4 * CHANCE and named.certainty.mean() < 4 * CHANCE
    assert (name_people(alike, Release()).certainty <= 1).all()


def test_scores_are_probabilities_and_prefer_where_somebody_was_before():
    positions = np.zeros((2, 3, 2))
    positions[1] = 5000
    scores = place_scores(positions, 2, 100)
    assert scores.shape == (2, 1, 2) and (scores[:, 0].argmax(axis=1) == [0, 1]).all()
    grid = np.linspace(-10_000, 10_000, 201)
    where = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(1, -1, 2)
    density = np.exp(place_scores(np.concatenate([np.zeros((1, 1, 2)), where], axis=1), 1, 500))
    assert density.sum() * 100**2 == pytest.approx(1, abs=0.02), "a density over the city"


def test_sequences_of_symbols_are_probabilities_too():
    rng = np.random.default_rng(1)
    seen = rng.integers(0, 3, (2, 6, 2))
    every = np.array(list(itertools.product(range(3), repeat=2)))
    symbols = np.concatenate([seen, np.stack([every, every])], axis=1)
    assert np.exp(symbol_scores(symbols, 6)).sum(axis=1) == pytest.approx(1)
    renamed = symbol_scores(symbols * 7 + 100, 6)
    assert np.allclose(renamed, symbol_scores(symbols, 6)), "what counts is which are alike, not how they are called"


def test_nothing_is_named_without_sessions_to_learn_from_or_to_name(people):
    for n_training in (0, 30):
        with pytest.raises(ValueError, match="some left to be named"):
            name_people(publish(people, Release(), 3), Release(), n_training)


# (c) averaging


def test_noise_for_each_report_is_averaged_away_and_noise_once_per_place_is_not(people):
    few = replace(people, homes=people.homes[:15])
    each, once = ([np.median(home_errors(few, reports, 300, way, 0)) for reports in (1, 64)] for way in (False, True))
    assert each[0] > 300 and each[1] < each[0] / 4, "the error falls with the root of the reports"
    assert once[0] > 300 and once[1] > once[0] / 2
    assert home_errors(few, 3, 300, True, 5) == home_errors(few, 3, 300, True, 5) != home_errors(few, 3, 300, True, 6)
    with pytest.raises(ValueError, match="1 report or more"):
        home_errors(few, 0, 300, True, 0)


def test_published_places_lead_home_when_they_are_averaged(people):
    def distance(links_sessions=True, **choices):
        return home_distance(people, publish(people, Release(**choices), 3), links_sessions)

    assert distance(precision=8) < 20 < distance(precision=6) < distance(precision=5)
    each, once = (distance(precision=8, noise=noise) for noise in ("each report", "once per place"))
    assert each < 200 < once and distance(links_sessions=False, precision=8, noise="each report") > 400
    with pytest.raises(ValueError, match="no place was published"):
        distance(place=False)


# (d) a nonce that is used twice


@given(st.binary(min_size=1, max_size=80), st.binary(min_size=1, max_size=80))
def test_under_one_nonce_ciphertexts_differ_as_the_texts_do(one, other):
    sealed = [encrypt(GCM, KEY, bytes(12), text, b"")[:-TAG_BYTES] for text in (one, other)]
    assert xor(*sealed) == xor(one, other)
    assert recover(*sealed, [one]) == other[: len(one)]
    immune = [encrypt(GCM_SIV, KEY, bytes(12), text, b"")[:-TAG_BYTES] for text in (one, other)]
    assert (xor(*immune) == xor(one, other)) == (one == other) or min(len(one), len(other)) < 4


def test_a_crib_of_another_length_reads_nothing():
    assert recover(b"abc", b"abd", [b"ab", b"abcd"]) == b""
    assert len(set(cribs())) == len(cribs()) > 100


def test_cribs_read_most_messages_under_one_nonce_and_none_otherwise():
    assert recovery(0, 20) > 0.7
    assert recovery(0, 20, reuse=False) == 0 == recovery(0, 20, cipher=GCM_SIV)


def test_a_stored_counter_repeats_itself_after_a_restore_and_a_random_start_does_not(tmp_path):
    assert reuse_after_restore(bytes, tmp_path / "stored") > 0.8
    assert reuse_after_restore(secrets.token_bytes, tmp_path / "random") == 0


# (e) lengths


def test_lengths_tell_the_command_and_padding_takes_that_away():
    rows = exchanges(0, 600)
    assert rows == exchanges(0, 600) and {row.kind for row in rows} > {"open_app", "send", "alarm"}
    bare, coarse = (guess_by_length(rows, "kind", step) for step in (0, 256))
    assert bare.right > coarse.right + 0.1 and coarse.right == coarse.chance, "one length for all leaves the commonest kind"
    steps = [guess_by_length(rows, "kind", step).bytes for step in (0, 16, 64, 256)]
    assert steps == sorted(steps) and steps[0] < 200 < steps[2] < 300
    with pytest.raises(ValueError, match="count is 1"):
        exchanges(0, 1)


def test_an_attacker_by_length_learns_from_the_first_half_only():
    short, long = Exchange("a", "x", 10, 10), Exchange("b", "y", 40, 10)
    assert guess_by_length([short, long] * 10, "kind").right == 1.0
    assert guess_by_length([short, long] * 5 + [short._replace(kind="b"), long._replace(kind="a")] * 5, "app").right == 1.0
    fooled = guess_by_length([short, long] * 5 + [short._replace(kind="b"), long._replace(kind="a")] * 5, "kind")
    assert fooled.right == 0.0 and fooled.chance == 0.5
    assert guess_by_length([short, long] * 10, "kind", 64).right == 0.5


# The report


def test_the_report_is_json_and_the_same_for_the_same_seeds(monkeypatch):
    monkeypatch.setattr(bench, "REPORTS", (1, 4))
    monkeypatch.setattr(bench, "traces", lambda seed, sessions=26, skew=1.0: traces(seed, 12, sessions, skew))
    ticks = itertools.count()
    first, second = (bench.report(2, lambda: next(ticks)) for _ in range(2))
    assert json.loads(json.dumps(first)) == second
    assert first["sealing"]["changes_refused"] == first["sealing"]["changes"] == 8 * first["sealing"]["bytes"]["envelope"]
    assert first["sealing"]["swap_refused"] and not first["sealing"]["swap_refused_without_associated_data"]
    assert first["enumeration"]["plain_hash"]["mean"] == 1 and first["enumeration"]["keyed_hash"]["mean"] == 0
    assert first["enumeration"]["minutes_for_all_numbers"] == pytest.approx(10**8 / 100_000 / 60)
    assert set(first["linking"]) == set(bench.RELEASES) and "commands" not in first
    for row in first["linking"].values():
        assert 0 <= row["top_1"]["low"] <= row["top_1"]["mean"] <= row["top_1"]["high"] <= 1
    assert first["nonces"]["used_again_after_restore"] == {"stored counter": 0.875 + 2**-13, "random start": 0.0}
    assert first["chance"] == CHANCE and NUMBERS == "1380013"
    with pytest.raises(ValueError, match="two or more"):
        bench.report(1)
