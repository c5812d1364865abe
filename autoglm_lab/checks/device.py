"""Checks of chapter 10."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.checks.exercise import Exercise

Codes = NDArray[np.int8]


def entropy(codes: Codes) -> float:
    """Bits that a code needs at least, if each is written by itself: the mean of -log2 of its share."""
    _, counts = np.unique(codes, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _natural(codes: Codes) -> float:
    return entropy(codes) * float(np.log(2))


def _unweighted(codes: Codes) -> float:
    _, counts = np.unique(codes, return_counts=True)
    return float(-np.log2(counts / counts.sum()).mean())


def _range(codes: Codes) -> float:
    return float(np.log2(len(np.unique(codes))))


def _sum(codes: Codes) -> float:
    return entropy(codes) * len(codes.ravel())


def _negative(codes: Codes) -> float:
    return -entropy(codes)


def memory(parameters: int, bits: float, tokens: int, layers: int, heads: int, width: int) -> float:
    """Bytes of the weights, and of a 16-bit cache for so many tokens."""
    return parameters * bits / 8 + 2 * 2 * layers * heads * width * tokens


def _keys_only(parameters: int, bits: float, tokens: int, layers: int, heads: int, width: int) -> float:
    return parameters * bits / 8 + 2 * layers * heads * width * tokens


def _one_layer(parameters: int, bits: float, tokens: int, layers: int, heads: int, width: int) -> float:
    return memory(parameters, bits, tokens, 1, heads, width)


def _in_bits(parameters: int, bits: float, tokens: int, layers: int, heads: int, width: int) -> float:
    return parameters * bits + 2 * 2 * layers * heads * width * tokens


def _cache_bits(parameters: int, bits: float, tokens: int, layers: int, heads: int, width: int) -> float:
    return parameters * bits / 8 + 2 * bits / 8 * layers * heads * width * tokens


def _one_token(parameters: int, bits: float, tokens: int, layers: int, heads: int, width: int) -> float:
    return memory(parameters, bits, 1, layers, heads, width)


_rng = np.random.default_rng(10)
EXERCISES = (
    Exercise(
        "10.entropy",
        entropy,
        (
            (_natural, "that is in nats: take the logarithm to the base 2."),
            (_unweighted, "weigh each value by its share: what is frequent counts more."),
            (_range, "that is what a code of fixed length needs; frequent values can have shorter ones."),
            (_sum, "that is for all codes together; divide by how many there are."),
            (_negative, "the logarithm of a share is negative: turn the sign."),
        ),
        (
            (np.clip(_rng.normal(0, 12, 400).round(), -63, 63).astype(np.int8),),
            (np.array([0, 0, 0, 0, 0, 0, 1, -1], np.int8),),
            (np.where(_rng.random((20, 30)) < 0.8, 0, _rng.integers(-9, 9, (20, 30))).astype(np.int8),),
        ),
        "no compressor that writes code by code needs less.",
    ),
    Exercise(
        "10.memory",
        memory,
        (
            (_keys_only, "a token leaves a key and a value, and each number has two bytes."),
            (_one_layer, "every layer has keys and values of its own."),
            (_in_bits, "that is in bits; a byte has eight."),
            (_cache_bits, "the weights have that many bits; the cache has 16."),
            (_one_token, "the cache keeps every token of the conversation."),
        ),
        ((9_000_000_000, 4.5, 25_480, 40, 2, 128), (1_000, 8, 10, 3, 2, 4)),
        "now you know before you buy the phone.",
    ),
)
