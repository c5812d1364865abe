"""Checks of chapter 02."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.checks.exercise import Exercise

Array = NDArray[np.float64]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def attend(query: Array, key: Array, value: Array) -> Array:
    """Scaled dot-product attention: [T, E], [S, E], [S, E] -> [T, E]."""
    return _softmax(query @ key.T / np.sqrt(query.shape[-1])) @ value


def _unscaled(query: Array, key: Array, value: Array) -> Array:
    return _softmax(query @ key.T) @ value


def _wrong_axis(query: Array, key: Array, value: Array) -> Array:
    return _softmax(query @ key.T / np.sqrt(query.shape[-1]), axis=0) @ value


def _scaled_by_places(query: Array, key: Array, value: Array) -> Array:
    return _softmax(query @ key.T / np.sqrt(key.shape[0])) @ value


def _scaled_by_width(query: Array, key: Array, value: Array) -> Array:
    return _softmax(query @ key.T / query.shape[-1]) @ value


def _times_root(query: Array, key: Array, value: Array) -> Array:
    return _softmax(query @ key.T * np.sqrt(query.shape[-1])) @ value


def _no_softmax(query: Array, key: Array, value: Array) -> Array:
    return np.asarray((query @ key.T / np.sqrt(query.shape[-1])) @ value)


def _keys_for_values(query: Array, key: Array, value: Array) -> Array:
    return _softmax(query @ key.T / np.sqrt(query.shape[-1])) @ key


def gate(query: Array, attended: Array, weight: Array, bias: float) -> Array:
    """G * attended + (1 - g) * query with g = sigmoid([query, attended] @ weight + bias): [T, D] -> [T, D]."""
    g = _sigmoid(np.concatenate((query, attended), -1) @ weight + bias)[:, None]
    return g * attended + (1 - g) * query


def _swapped(query: Array, attended: Array, weight: Array, bias: float) -> Array:
    g = _sigmoid(np.concatenate((query, attended), -1) @ weight + bias)[:, None]
    return g * query + (1 - g) * attended


def _linear_gate(query: Array, attended: Array, weight: Array, bias: float) -> Array:
    g = (np.concatenate((query, attended), -1) @ weight + bias)[:, None]
    return np.asarray(g * attended + (1 - g) * query)


def _tanh_gate(query: Array, attended: Array, weight: Array, bias: float) -> Array:
    g = np.tanh(np.concatenate((query, attended), -1) @ weight + bias)[:, None]
    return np.asarray(g * attended + (1 - g) * query)


def _residual(query: Array, attended: Array, weight: Array, bias: float) -> Array:
    g = _sigmoid(np.concatenate((query, attended), -1) @ weight + bias)[:, None]
    return query + g * attended


def _order(query: Array, attended: Array, weight: Array, bias: float) -> Array:
    g = _sigmoid(np.concatenate((attended, query), -1) @ weight + bias)[:, None]
    return g * attended + (1 - g) * query


def _no_bias(query: Array, attended: Array, weight: Array, bias: float) -> Array:
    return gate(query, attended, weight, 0.0)


_rng = np.random.default_rng(2)
_EXERCISE_INPUTS = tuple((_rng.normal(size=(4, 6)), _rng.normal(size=(s, 6)), _rng.normal(size=(s, 6))) for s in (4, 9))
_GATE_INPUTS = tuple(
    (_rng.normal(size=(t, 5)), _rng.normal(size=(t, 5)), _rng.normal(size=10), float(b)) for t, b in ((3, 0.7), (2, -1.3))
)

EXERCISES = (
    Exercise(
        "02.attend",
        attend,
        (
            (_unscaled, "divide the scores by the square root of the key width, or the softmax saturates."),
            (_wrong_axis, "the softmax runs over the queries; each query shares its attention out over the places (last axis)."),
            (_scaled_by_places, "you scaled by the number of places; it is the width of a key whose square root counts."),
            (_scaled_by_width, "you divided by the width; it is its square root."),
            (_times_root, "divide by the root, do not multiply: wide keys give large scores, which would saturate the softmax."),
            (_no_softmax, "the scores are not weights yet: a softmax over the places is missing."),
            (_keys_for_values, "keys say where to look, values say what is found there: multiply the weights with the values."),
        ),
        _EXERCISE_INPUTS,
        "this is the attention of every transformer, in two lines.",
    ),
    Exercise(
        "02.gate",
        gate,
        (
            (_swapped, "g belongs to what was attended: with g = 0 the query has to come out unchanged (is it exp(-x)?)."),
            (_linear_gate, "a gate lies between 0 and 1: the sigmoid is missing."),
            (_tanh_gate, "tanh runs from -1 to 1; a gate that mixes two things needs the sigmoid."),
            (_residual, "that adds to the query; the formula replaces part of it: (1 - g) * query."),
            (_order, "the weight was made for [query, attended], in this order."),
            (_no_bias, "the bias is missing: it decides how open the gate is before it has learned anything."),
        ),
        _GATE_INPUTS,
        "with g = 0 the query passes untouched, with g = 1 it is replaced.",
    ),
)
