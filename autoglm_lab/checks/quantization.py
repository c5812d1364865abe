"""Checks of chapter 05."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.checks.exercise import Exercise

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


def to_codes(x: Array, bits: int) -> Codes:
    """Symmetric codes of a tensor: from -(2 ** (bits - 1) - 1) to 2 ** (bits - 1) - 1, the largest magnitude at the end."""
    top = 2 ** (bits - 1) - 1
    return np.asarray(np.round(x / (np.abs(x).max() / top)), np.int64)


def _truncated(x: Array, bits: int) -> Codes:
    top = 2 ** (bits - 1) - 1
    return np.asarray(np.trunc(x / (np.abs(x).max() / top)), np.int64)


def _floor(x: Array, bits: int) -> Codes:
    top = 2 ** (bits - 1) - 1
    return np.asarray(np.floor(x / (np.abs(x).max() / top)), np.int64)


def _up(x: Array, bits: int) -> Codes:
    top = 2 ** (bits - 1) - 1
    return np.asarray(np.ceil(x / (np.abs(x).max() / top)), np.int64)


def _each_row(x: Array, bits: int) -> Codes:
    return np.stack([to_codes(row, bits) for row in x]) if x.ndim > 1 else to_codes(x, bits)


def _signed_maximum(x: Array, bits: int) -> Codes:
    top = 2 ** (bits - 1) - 1
    return np.asarray(np.round(x / (x.max() / top)), np.int64)


def _levels(x: Array, bits: int) -> Codes:
    return np.asarray(np.round(x / (np.abs(x).max() / (2**bits - 1))), np.int64)


def _one_more(x: Array, bits: int) -> Codes:
    return np.asarray(np.round(x / (np.abs(x).max() / 2 ** (bits - 1))), np.int64)


def _values(x: Array, bits: int) -> Array:
    top = 2 ** (bits - 1) - 1
    return np.asarray(to_codes(x, bits) * (np.abs(x).max() / top))


def pack4(codes: Codes) -> NDArray[np.uint8]:
    """Codes 0 .. 15 [N] two by two in bytes, the first of each pair in the low half; an odd one at the end is joined by a zero."""
    even = np.append(codes, [0] * (len(codes) % 2)).astype(np.int64)
    return np.asarray(even[0::2] + 16 * even[1::2], np.uint8)


def _high_first(codes: Codes) -> NDArray[np.uint8]:
    even = np.append(codes, [0] * (len(codes) % 2)).astype(np.int64)
    return np.asarray(16 * even[0::2] + even[1::2], np.uint8)


def _halves(codes: Codes) -> NDArray[np.uint8]:
    even = np.append(codes, [0] * (len(codes) % 2)).astype(np.int64)
    middle = len(even) // 2
    return np.asarray(even[:middle] + 16 * even[middle:], np.uint8)


def _drops_the_last(codes: Codes) -> NDArray[np.uint8]:
    even = codes[: len(codes) // 2 * 2].astype(np.int64)
    return np.asarray(even[0::2] + 16 * even[1::2], np.uint8)


def _ten(codes: Codes) -> NDArray[np.uint8]:
    even = np.append(codes, [0] * (len(codes) % 2)).astype(np.int64)
    return np.asarray(even[0::2] + 10 * even[1::2], np.uint8)


def _wide(codes: Codes) -> Codes:
    return pack4(codes).astype(np.int64)


def _unpacked(codes: Codes) -> NDArray[np.uint8]:
    return codes.astype(np.uint8)


_rng = np.random.default_rng(5)
EXERCISES = (
    Exercise(
        "05.to_codes",
        to_codes,
        (
            (_truncated, "round to the nearest code; cutting off the fraction makes every error point the same way."),
            (_floor, "round to the nearest code; `floor` makes every value smaller, the negative ones larger in size."),
            (_up, "round to the nearest code, not always up."),
            (_each_row, "one scale serves the whole array: the largest magnitude of all decides."),
            (_signed_maximum, "the largest magnitude decides, whether it is above zero or below."),
            (_levels, "that many codes lie on both sides together: one side has 2 ** (bits - 1) - 1 of them."),
            (_one_more, "2 ** (bits - 1) does not fit: the largest code is one less, and the smallest is its mirror image."),
            (_values, "those are the values that the codes stand for; the codes themselves are whole numbers."),
        ),
        ((_rng.normal(size=(3, 7)) - 0.4, 4), (_rng.normal(size=20) - 1.0, 8), (_rng.normal(size=(2, 5)), 3)),
        "a scale and a rounding: the rest of quantisation is about choosing the scale.",
    ),
    Exercise(
        "05.pack4",
        pack4,
        (
            (_high_first, "the first code of each pair lies in the low half of the byte."),
            (_halves, "neighbours share a byte: the first with the second, the third with the fourth."),
            (_drops_the_last, "an odd code at the end is lost; it gets a byte of its own."),
            (_ten, "half a byte has sixteen values: shift by four bits, that is times 16."),
            (_wide, "the numbers are right, but each still takes more than a byte: make the array one of uint8."),
            (_unpacked, "every code still has a byte of its own."),
        ),
        ((np.array([1, 15, 2, 0, 9, 4]),), (np.array([3, 7, 12]),), (np.array([15, 15, 0, 1, 8]),)),
        "two weights in every byte: that is all that 4 bits are on a disk.",
        edges=((np.array([7]),), (np.arange(16)[::-1].copy(),)),
        dtype="uint8",
    ),
)
