"""Checks of chapter 08."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.checks.exercise import Exercise

Array = NDArray[np.float64]
Shapes = Sequence[tuple[int, ...]]


def fold(weight: Array, mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array]:
    """Weight and bias of one convolution that does the work of a convolution and the batch norm after it."""
    scale = gamma / np.sqrt(variance + eps)
    return weight * scale[:, None, None, None], beta - scale * mean


def _inputs(weight: Array, mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array]:
    scale = gamma / np.sqrt(variance + eps)
    return weight * scale[None, :, None, None], beta - scale * mean


def _variance(weight: Array, mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array]:
    scale = gamma / (variance + eps)
    return weight * scale[:, None, None, None], beta - scale * mean


def _no_mean(weight: Array, mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array]:
    return fold(weight, mean, variance, gamma, beta, eps)[0], beta


def _plain_mean(weight: Array, mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array]:
    return fold(weight, mean, variance, gamma, beta, eps)[0], beta - mean


def _no_gamma(weight: Array, mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array]:
    return fold(weight, mean, variance, np.ones_like(gamma), beta, eps)


def _no_eps(weight: Array, mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array]:
    return fold(weight, mean, variance, gamma, beta, 0.0)


def _plus_mean(weight: Array, mean: Array, variance: Array, gamma: Array, beta: Array, eps: float) -> tuple[Array, Array]:
    return fold(weight, -mean, variance, gamma, beta, eps)


def changing(shapes: Shapes) -> list[int]:
    """The axes whose length is not the same in all shapes."""
    return [axis for axis, lengths in enumerate(zip(*shapes, strict=True)) if len(set(lengths)) > 1]


def _fixed(shapes: Shapes) -> list[int]:
    return [axis for axis in range(len(shapes[0])) if axis not in changing(shapes)]


def _first_two(shapes: Shapes) -> list[int]:
    return changing(shapes[:2])


def _first_and_last(shapes: Shapes) -> list[int]:
    return changing([shapes[0], shapes[-1]])


def _lengths(shapes: Shapes) -> list[int]:
    return [shapes[0][axis] for axis in changing(shapes)]


def _from_one(shapes: Shapes) -> list[int]:
    return [axis + 1 for axis in changing(shapes)]


_rng = np.random.default_rng(8)


def _case(outputs: int, inputs: int) -> tuple[Array, Array, Array, Array, Array, float]:
    mean, gamma, beta = (_rng.normal(size=outputs) for _ in range(3))
    return _rng.normal(size=(outputs, inputs, 3, 3)), mean, _rng.uniform(0.5, 2, outputs), gamma, beta, 1e-3


EXERCISES = (
    Exercise(
        "08.fold",
        fold,
        (
            (_inputs, "a batch norm scales what comes out: the scale belongs to the first axis of the weight, its outputs."),
            (_variance, "divide by the standard deviation: the square root of variance + eps."),
            (_no_mean, "the mean is subtracted before the scale: the bias has to carry it."),
            (_plain_mean, "the mean is scaled as well, when it goes into the bias."),
            (_no_eps, "eps is missing: it belongs under the root, beside the variance."),
            (_plus_mean, "the mean is taken away: beta - scale * mean."),
            (_no_gamma, "gamma is part of the scale."),
        ),
        (_case(4, 4), _case(3, 3)),
        "two operators became one, and nobody can tell.",
    ),
    Exercise(
        "08.changing",
        changing,
        (
            (_fixed, "those never change; named are the others."),
            (_first_two, "look at all shapes: an axis may change only later."),
            (_first_and_last, "look at all shapes, not only at the first and the last: an axis may change in between."),
            (_lengths, "those are lengths; give the numbers of the axes."),
            (_from_one, "axes are counted from zero."),
        ),
        (
            ([(1, 3, 224, 224), (1, 3, 224, 224), (4, 3, 224, 224)],),
            ([(2, 7, 512), (2, 9, 512), (3, 9, 512)],),
            ([(1, 5), (1, 5)],),
            ([(1, 5, 8), (2, 5, 8), (2, 6, 8), (1, 5, 8)],),
        ),
        "named axes may have any length, all others are part of the file.",
    ),
)
