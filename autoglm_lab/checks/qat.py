"""Checks of chapter 06."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.checks.exercise import Exercise

Array = NDArray[np.float64]


def fake_quantize(x: Array, scale: float, bits: int) -> Array:
    """The nearest value on a symmetric grid, as floats; what lies outside goes to the last grid point."""
    top = 2 ** (bits - 1) - 1
    return np.asarray(scale * np.clip(np.round(x / scale), -top, top))


def _codes(x: Array, scale: float, bits: int) -> Array:
    return np.asarray(fake_quantize(x, scale, bits) / scale)


def _no_clip(x: Array, scale: float, bits: int) -> Array:
    return np.asarray(scale * np.round(x / scale))


def _clip_first(x: Array, scale: float, bits: int) -> Array:
    top = 2 ** (bits - 1) - 1
    return np.asarray(scale * np.round(np.clip(x, -top, top) / scale))


def _all_levels(x: Array, scale: float, bits: int) -> Array:
    return np.asarray(scale * np.clip(np.round(x / scale), -(2**bits - 1), 2**bits - 1))


def _floor(x: Array, scale: float, bits: int) -> Array:
    top = 2 ** (bits - 1) - 1
    return np.asarray(scale * np.clip(np.floor(x / scale), -top, top))


def _up(x: Array, scale: float, bits: int) -> Array:
    top = 2 ** (bits - 1) - 1
    return np.asarray(scale * np.clip(np.ceil(x / scale), -top, top))


def _cut_off(x: Array, scale: float, bits: int) -> Array:
    top = 2 ** (bits - 1) - 1
    return np.asarray(scale * np.clip(np.trunc(x / scale), -top, top))


def _one_more_below(x: Array, scale: float, bits: int) -> Array:
    return np.asarray(scale * np.clip(np.round(x / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1))


def straight_through(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    """The gradient for `x`, given that of its rounded value: as if nothing was rounded, and none where it was clipped."""
    top = 2 ** (bits - 1) - 1
    return np.asarray(gradient * (np.abs(np.round(x / scale)) <= top))


def _zero(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    return np.zeros_like(gradient)


def _everywhere(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    return gradient.copy()


def _inverted(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    return np.asarray(gradient - straight_through(gradient, x, scale, bits))


def _divided(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    return np.asarray(straight_through(gradient, x, scale, bits) / scale)


def _unscaled(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    return np.asarray(gradient * (np.abs(x) <= 2 ** (bits - 1) - 1))


def _strict(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    return np.asarray(gradient * (np.abs(np.round(x / scale)) < 2 ** (bits - 1) - 1))


def _before_rounding(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    return np.asarray(gradient * (np.abs(x / scale) <= 2 ** (bits - 1) - 1))


def _one_more(gradient: Array, x: Array, scale: float, bits: int) -> Array:
    codes = np.round(x / scale)
    return np.asarray(gradient * ((codes >= -(2 ** (bits - 1))) & (codes <= 2 ** (bits - 1) - 1)))


_rng = np.random.default_rng(6)
_X = _rng.normal(size=(3, 6)) * 1.3
EXERCISES = (
    Exercise(
        "06.fake_quantize",
        fake_quantize,
        (
            (_codes, "those are the codes; multiply by the scale, so that the network goes on with floats."),
            (_no_clip, "the grid has an end: codes beyond the largest one are clipped to it."),
            (_clip_first, "clip the codes, not the values: divide by the scale and round first."),
            (_all_levels, "2 ** bits - 1 codes lie on both sides together: one side has 2 ** (bits - 1) - 1."),
            *((off, "the nearest grid point may lie on the other side: round to the nearest.") for off in (_up, _cut_off)),
            (_one_more_below, "the grid is symmetric: it ends at -(2 ** (bits - 1) - 1), one point before -(2 ** (bits - 1))."),
            (_floor, "the nearest grid point may lie above: round, do not cut off."),
        ),
        ((_X, 0.3, 3), (_X, 0.21, 4), (np.array([0.1, -0.9, 2.6]), 0.5, 2), (np.array([-1.3, -0.99, 0.77, 1.3]), 0.3, 3)),
        "the network trains with the very values that it will have on the phone.",
    ),
    Exercise(
        "06.straight_through",
        straight_through,
        (
            (_zero, "that is the true gradient of a staircase, and nobody learns from it: pass it on as if nothing was rounded."),
            (_everywhere, "where a value was clipped it may move without any effect: no gradient there."),
            (_inverted, "the other way round: the gradient passes where nothing was clipped."),
            (_divided, "the rounded value is as large as x itself: the scale has cancelled out."),
            (_strict, "the last grid point still belongs to the grid: <=, not <."),
            (_before_rounding, "what is rounded onto the last grid point is not clipped: round before you compare."),
            (_one_more, "the grid is symmetric: -(2 ** (bits - 1)) is clipped already."),
            (_unscaled, "whether it is clipped is decided by the code: divide x by the scale first."),
        ),
        (
            (_rng.normal(size=(3, 6)), _X, 0.3, 3),
            (_rng.normal(size=4), np.array([0.2, -1.9, 0.6, 3.0]), 0.5, 2),
            (_rng.normal(size=6), np.array([0.99, -1.02, 0.88, -1.2, -1.1, 0.1]), 0.3, 3),
        ),
        "a lie that works: backwards the staircase is a ramp.",
    ),
)
