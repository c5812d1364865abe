"""How the next token is picked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from autoglm_lab.runtime.sampling import Sampling

SCORES = npst.arrays(np.float32, st.integers(2, 30), elements=st.floats(-20, 20, width=32))


def picked(scores, count=1, **rules):
    pick = Sampling(**rules).picker()
    return [pick(np.asarray(scores, np.float32)) for _ in range(count)]


@given(SCORES)
def test_the_likeliest_unless_a_lot_is_asked_for(scores):
    for rules in ({}, {"top_p": 0.0, "temperature": 1.0}, {"temperature": 0.0, "seed": 3}):
        assert picked(scores, **rules) == [int(scores.argmax())]


@given(SCORES, st.integers(0, 2**64), st.floats(0.1, 2), st.floats(0.1, 1))
def test_a_seed_draws_the_same_again_and_scores_stay_as_they_were(scores, seed, temperature, top_p):
    before, rules = scores.copy(), {"seed": seed, "temperature": temperature, "top_p": top_p, "frequency_penalty": 1.0}
    assert picked(scores, 8, **rules) == picked(scores, 8, **rules)
    np.testing.assert_array_equal(scores, before)


@given(SCORES, st.floats(0.05, 0.99), st.integers(0, 99))
def test_only_the_likeliest_that_have_the_share_are_drawn(scores, top_p, seed):
    shares = np.exp(scores.astype(np.float64) - scores.max())
    shares /= shares.sum()
    for token in picked(scores, 10, temperature=1.0, top_p=top_p, seed=seed):
        assert shares[shares > shares[token]].sum() < top_p + 1e-9


def test_tokens_are_drawn_as_often_as_they_are_likely():
    scores = np.log(np.array([0.5, 0.3, 0.15, 0.05]))
    drawn = np.bincount(picked(scores, 4000, temperature=1.0, seed=1), minlength=4) / 4000
    np.testing.assert_allclose(drawn, [0.5, 0.3, 0.15, 0.05], atol=0.03)
    flat = np.bincount(picked(scores, 4000, temperature=2.0, seed=1), minlength=4) / 4000
    assert flat[0] < drawn[0] - 0.05 and flat[3] > drawn[3] + 0.05
    cut = np.bincount(picked(scores, 2000, temperature=1.0, top_p=0.6, seed=1), minlength=4) / 2000
    np.testing.assert_allclose(cut, [0.625, 0.375, 0, 0], atol=0.04)


def test_what_was_written_is_less_likely():
    assert picked([1.0, 0.7, 0.0], 4, frequency_penalty=0.4) == [0, 1, 0, 1]
    assert picked([1.0, 0.9], 3, frequency_penalty=-2.0) == [0, 0, 0]


def test_answers_do_not_remember_each_other():
    rules = Sampling(frequency_penalty=2.0)
    assert [rules.picker()(np.array([1.0, 0.9], np.float32)) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(
    "rules", [{"temperature": -1}, {"temperature": 2.1}, {"top_p": 1.1}, {"frequency_penalty": 3}, {"temperature": float("nan")}]
)
def test_what_is_out_of_range_is_named(rules):
    with pytest.raises(ValueError, match=next(iter(rules))):
        Sampling(**rules)
