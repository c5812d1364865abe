"""Checks of chapter 03."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.checks.exercise import Exercise

Array = NDArray[np.float64]


def keep_mask(weight: Array, share: float) -> NDArray[np.bool_]:
    """Mask [R, C] of the weights that stay when the `share` of least magnitude goes; the number that goes is rounded."""
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    keep = np.ones(weight.size, bool)
    keep[order[: round(share * weight.size)]] = False
    return keep.reshape(weight.shape)


def _signed(weight: Array, share: float) -> NDArray[np.bool_]:
    order = np.argsort(weight, axis=None, kind="stable")
    keep = np.ones(weight.size, bool)
    keep[order[: round(share * weight.size)]] = False
    return keep.reshape(weight.shape)


def _the_small_ones(weight: Array, share: float) -> NDArray[np.bool_]:
    return ~keep_mask(weight, share)


def _share_that_stays(weight: Array, share: float) -> NDArray[np.bool_]:
    return keep_mask(weight, 1 - share)


def _each_row(weight: Array, share: float) -> NDArray[np.bool_]:
    return np.stack([keep_mask(row, share) for row in weight])


def _share_of_the_largest(weight: Array, share: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(weight) >= share * np.abs(weight).max())


def _cut_off(weight: Array, share: float) -> NDArray[np.bool_]:
    return keep_mask(weight, int(share * weight.size) / weight.size)


def _rounded_up(weight: Array, share: float) -> NDArray[np.bool_]:
    return keep_mask(weight, int(np.ceil(share * weight.size)) / weight.size)


def query_rows(group: int, heads: int, groups: int, head_dim: int) -> list[int]:
    """Rows of the query projection that go when key/value group `group` goes."""
    each = heads // groups
    return list(range(group * each * head_dim, (group + 1) * each * head_dim))


def _one_head(group: int, heads: int, groups: int, head_dim: int) -> list[int]:
    return list(range(group * head_dim, (group + 1) * head_dim))


def _every_other_head(group: int, heads: int, groups: int, head_dim: int) -> list[int]:
    return [head * head_dim + i for head in range(group, heads, groups) for i in range(head_dim)]


def _heads_not_rows(group: int, heads: int, groups: int, head_dim: int) -> list[int]:
    each = heads // groups
    return list(range(group * each, (group + 1) * each))


def _groups_for_heads(group: int, heads: int, groups: int, head_dim: int) -> list[int]:
    return list(range(group * groups * head_dim, (group + 1) * groups * head_dim))


_rng = np.random.default_rng(3)
EXERCISES = (
    Exercise(
        "03.keep_mask",
        keep_mask,
        (
            (_signed, "a large negative weight counts as much as a large positive one: compare magnitudes."),
            (_the_small_ones, "your mask is true for what goes; it should be true for what stays."),
            (_share_that_stays, "`share` is what goes, not what stays."),
            (_each_row, "you take the share of each row; here one threshold serves the whole matrix."),
            (_cut_off, "the number that goes is rounded: `int` cuts off, `round` takes the nearest."),
            (_rounded_up, "the number that goes is rounded to the nearest, not always up."),
            (_share_of_the_largest, "that compares with the largest weight; the share is one of the number of weights."),
        ),
        (
            (_rng.normal(size=(5, 8)), 0.3),
            (_rng.normal(size=(4, 6)) - 0.5, 0.75),
            (_rng.normal(size=(3, 5)) - 0.2, 0.45),
            (_rng.normal(size=(3, 5)) - 0.2, 0.15),
        ),
        "one threshold, found by sorting: that is all of magnitude pruning.",
        edges=(
            (_rng.normal(size=9), 0.4),
            (_rng.normal(size=(2, 3, 4)), 0.5),
            (_rng.normal(size=(2, 4)), 0.0),
            (_rng.normal(size=(2, 4)), 1.0),
        ),
    ),
    Exercise(
        "03.query_rows",
        query_rows,
        (
            (_one_head, "a group serves several query heads: heads // groups of them."),
            (_every_other_head, "the heads of a group lie side by side, as repeat_interleave lays them."),
            (_heads_not_rows, "those are the heads; each has head_dim rows."),
            (_groups_for_heads, "heads // groups heads belong to a group, not `groups` of them."),
        ),
        ((1, 8, 2, 4), (0, 12, 4, 2), (3, 12, 4, 2)),
        "query heads go in the company of the keys and values they read.",
    ),
)
