"""The network that predicts the next step: it learns a chain, reads no future, and is the same for the same seed."""

import numpy as np
import pytest
import torch

from autoglm_lab.training.intent_gru import GRUConfig, fit

CHAIN = [0, 1, 2, 3, 0, 2, 1, 3]
QUICK = GRUConfig(width=16, epochs=60, window=16, learning_rate=0.02)


@pytest.fixture(scope="module")
def forecast():
    people = [np.array(CHAIN * 6)[start : start + 30] for start in range(8)]
    return fit(people, 4, 0, QUICK)


def test_it_learns_what_follows_what(forecast):
    events = np.array(CHAIN * 4)
    table = forecast(events)
    assert table.shape == (32, 4) and np.allclose(table.sum(axis=1), 1)
    assert (table.argmax(axis=1) == events)[8:].mean() > 0.9


def test_an_event_is_forecast_from_those_before_it_alone(forecast):
    events = np.array(CHAIN * 2)
    for moment in (0, 1, 5, 15):
        other = events.copy()
        other[moment:] = 3 - other[moment:]
        assert np.allclose(forecast(other)[: moment + 1], forecast(events)[: moment + 1], atol=1e-6)
    assert not np.allclose(forecast(other[::-1].copy()), forecast(events))


def test_the_same_seed_gives_the_same_network_and_the_global_one_is_left_alone():
    people, events = [np.array(CHAIN), np.array(CHAIN[:3])], np.array(CHAIN)
    quick = GRUConfig(width=8, epochs=2)
    torch.manual_seed(5)
    one = fit(people, 4, 1, quick)(events)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    assert np.array_equal(fit(people, 4, 1, quick)(events), one)
    assert not np.array_equal(fit(people, 4, 2, quick)(events), one)


def test_shorter_sequences_are_not_judged_where_they_have_ended():
    """Padding behind the end of one person changes nothing for what is learnt of it."""
    quick = GRUConfig(width=8, epochs=20, window=4)
    with_end = fit([np.array(CHAIN * 3), np.array([1])], 4, 0, quick)(np.array(CHAIN))
    assert with_end[:, 3].min() >= 0 and (with_end[3:].argmax(axis=1) == CHAIN[3:]).mean() > 0.3
    assert not np.allclose(with_end, with_end[0])


@pytest.mark.parametrize(
    ("people", "reason"), [([], "no sequence"), ([[]], "no sequence"), ([[0, 4]], "from 0 to 3"), ([[-1]], "from 0 to 3")]
)
def test_sequences_that_cannot_be_are_refused(people, reason):
    with pytest.raises(ValueError, match=reason):
        fit([np.array(each, int) for each in people], 4, 0, QUICK)


def test_numbers_that_are_no_kind_are_refused(forecast):
    with pytest.raises(ValueError, match="from 0 to 3"):
        forecast(np.array([0, 4]))
    with pytest.raises(ValueError, match="above 0"):
        GRUConfig(epochs=0)
