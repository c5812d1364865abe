"""Checks of chapter 04."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.checks.exercise import Exercise

Array = NDArray[np.float64]


def soften(scores: Array, temperature: float) -> Array:
    """Probabilities of each row of scores at a temperature."""
    cooled = scores / temperature
    odds = np.exp(cooled - cooled.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True))


def _times(scores: Array, temperature: float) -> Array:
    return soften(scores, 1 / temperature)


def _cold(scores: Array, temperature: float) -> Array:
    return soften(scores, 1.0)


def _after(scores: Array, temperature: float) -> Array:
    return soften(scores, 1.0) / temperature


def _wrong_axis(scores: Array, temperature: float) -> Array:
    return soften(scores.T, temperature).T


def _squared(scores: Array, temperature: float) -> Array:
    return soften(scores, temperature**2)


def rank_for_energy(singular_values: Array, share: float) -> int:
    """The smallest rank that keeps this share of the squared singular values."""
    energy = np.cumsum(singular_values**2) / np.sum(singular_values**2)
    return int(np.argmax(energy >= share - 1e-12)) + 1


def _not_squared(singular_values: Array, share: float) -> int:
    cumulative = np.cumsum(singular_values) / np.sum(singular_values)
    return int(np.argmax(cumulative >= share - 1e-12)) + 1


def _index(singular_values: Array, share: float) -> int:
    return rank_for_energy(singular_values, share) - 1


def _one_more(singular_values: Array, share: float) -> int:
    return rank_for_energy(singular_values, share) + 1


def _share_of_ranks(singular_values: Array, share: float) -> int:
    return int(np.ceil(share * len(singular_values)))


def _each_alone(singular_values: Array, share: float) -> int:
    return int((singular_values**2 / np.sum(singular_values**2) >= share).sum())


def _each_beside_the_first(singular_values: Array, share: float) -> int:
    return int((singular_values**2 >= share * singular_values[0] ** 2).sum())


def _each_in_what_is_lost(singular_values: Array, share: float) -> int:
    return int((singular_values**2 / np.sum(singular_values**2) >= 1 - share).sum())


def _first_alone(singular_values: Array, share: float) -> int:
    return int(np.argmax(singular_values**2 / np.sum(singular_values**2) >= share)) + 1


def _smallest_first(singular_values: Array, share: float) -> int:
    return rank_for_energy(singular_values[::-1], share)


def _more_than(singular_values: Array, share: float) -> int:
    energy = np.cumsum(singular_values**2) / np.sum(singular_values**2)
    return int(np.argmax(energy > share + 1e-12)) + 1


def _one_minus(singular_values: Array, share: float) -> int:
    return rank_for_energy(singular_values, 1 - share)


_rng = np.random.default_rng(4)
_ADD_UP = "you look at each value alone; add them up, the largest first, until together they keep the share."
_SPECTRUM = np.sort(_rng.exponential(size=12))[::-1].copy()
EXERCISES = (
    Exercise(
        "04.soften",
        soften,
        (
            (_times, "a high temperature makes the odds more equal: divide the scores by it."),
            (_cold, "the temperature is not used yet."),
            (_after, "the temperature belongs inside the exponential; afterwards the row no longer sums to one."),
            (_wrong_axis, "the probabilities of each row sum to one: the softmax runs along the last axis."),
            (_squared, "the scores are divided once; the square belongs to the loss, where it keeps the gradient's size."),
        ),
        ((_rng.normal(size=(3, 5)) * 3, 3.0), (_rng.normal(size=(2, 7)) * 4, 5.0)),
        "what the teacher holds for second best is most of what it has to tell.",
    ),
    Exercise(
        "04.rank",
        rank_for_energy,
        (
            *((alone, _ADD_UP) for alone in (_each_alone, _each_beside_the_first, _each_in_what_is_lost, _first_alone)),
            (_smallest_first, "begin with the largest values: the smallest rank keeps the most with the fewest."),
            (_more_than, "at least this share: where it is kept exactly, that is enough (>=, not >)."),
            (_not_squared, "energy is the sum of squares."),
            (_index, "that is a place, counted from zero; a rank is a number of singular values."),
            (_one_more, "one fewer is enough already."),
            (_share_of_ranks, "that is a share of the number of singular values, not of their energy."),
            (_one_minus, "`share` is what is kept, not what may be lost."),
        ),
        (
            (_SPECTRUM, 0.9),
            (np.array([3.0, 2.0, 1.0]), 0.6),
            (np.array([5.0, 1.0, 1.0, 1.0]), 0.97),
            (np.array([1.0, 1.0, 1.0, 1.0]), 0.5),
            (np.array([4.0, 3.0, 2.0, 1.0]), 0.2),
            (_SPECTRUM, 0.45),
        ),
        "a matrix whose energy sits in few directions is nearly a thin one.",
    ),
)
