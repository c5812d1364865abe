"""Comparison of a learner's value with the right one: equal as a learner would mean it, or the first place that differs."""

from __future__ import annotations

import html
import re
import reprlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

RELATIVE = 3e-6  # single precision passes, an answer rounded to a few decimals does not
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


def same(mine: Any, right: Any) -> bool:
    """Equal as a learner would mean it: whole numbers, text and structure exactly, other numbers to single precision."""
    return difference(mine, right) is None


def difference(mine: Any, right: Any, dtype: str | None = None) -> str | None:
    """Name the first place where `mine` is not `right`, and both values; None where they are equal.

    A list, a tuple, an array and a tensor of the same numbers are equal; with `dtype` (such as "uint8") only an array of that type.
    """
    if right is None or isinstance(right, Set):
        same_kind = isinstance(mine, Set) if right is not None else True
        return None if same_kind and mine == right else f"it gives {brief(mine)}, but {brief(right)} is right"
    if isinstance(right, Mapping):
        return _in_mapping(mine, right)
    if isinstance(right, str):
        return None if isinstance(mine, str) and str(mine) == right else _texts(mine, right)
    if isinstance(right, list | tuple) and not all(map(_is_number, right)):
        return _in_sequence(mine, right)
    got, expected = _numbers(mine), np.asarray(right)
    if got is None:
        return f"it gives {brief(mine)}{_advice(mine)}, but {brief(right)} is right"
    if got.shape != expected.shape:
        return f"it gives {_kind(got)}, but {_kind(expected)} is right"
    apart = _first_apart(got, expected)
    if apart is not None:
        return f"{_at(apart)}it gives {_two(got[apart], expected[apart])} is right"
    if dtype is not None and getattr(mine, "dtype", None) != dtype:
        return f"the numbers are right, but they are {_type(mine)}, not an array of {dtype}"
    return None


def brief(value: Any) -> str:
    """A value in at most some 80 letters: large arrays by their shape, everything else by its beginning."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple) and any(isinstance(v, np.ndarray | np.generic) for v in value):
        return "(" + ", ".join(map(brief, value)) + ")"
    if isinstance(value, np.ndarray):
        small = value.size <= 6 and value.dtype.kind in "biuf"
        return np.array2string(value, precision=3, separator=", ") if small else f"an array {list(value.shape)}"
    return " ".join(_REPR.repr(value).split()).replace(" object at 0x", " at 0x")


def as_html(message: str) -> str:
    """A message as HTML: nothing in it is a tag, what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(message))


def _is_number(value: Any) -> bool:
    return bool(np.isscalar(value)) and not isinstance(value, str | bytes)


def _numbers(value: Any) -> NDArray[Any] | None:
    """`value` as an array of real numbers, None if it is none."""
    if isinstance(value, str | bytes | Set | Mapping):
        return None
    try:
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
        return array if array.dtype.kind in "biuf" else array.astype(float) if array.dtype.kind == "O" else None
    except Exception:  # ragged lists, objects of the learner's own: whatever they raise, they are no numbers
        return None


def _first_apart(mine: NDArray[Any], right: NDArray[Any]) -> tuple[int, ...] | None:
    if right.dtype.kind in "biu":
        apart = mine != right
    else:
        # Entries of an array are sums of terms as large as its largest entry; a single number has itself alone.
        scale = np.abs(right).max(initial=0)
        apart = ~(np.abs(mine.astype(float) - right) <= RELATIVE * scale + 1e-12)
    places = np.argwhere(apart)
    return tuple(int(axis) for axis in places[0]) if len(places) else None


def _in_mapping(mine: Any, right: Mapping[Any, Any]) -> str | None:
    if not isinstance(mine, Mapping):
        return f"it gives {brief(mine)}, but a dict is right, such as {brief(right)}"
    if missing := [key for key in right if key not in mine]:
        return f"{missing[0]!r} is missing in what it gives"
    if extra := [key for key in mine if key not in right]:
        return f"it gives {brief(extra[0])} as well, which does not belong there"
    return next((f"at {key!r}, {place}" for key in right if (place := difference(mine[key], right[key]))), None)


def _in_sequence(mine: Any, right: Sequence[Any]) -> str | None:
    if not isinstance(mine, list | tuple):
        return f"it gives {brief(mine)}{_advice(mine)}, but a {type(right).__name__} of {len(right)} values is right"
    if len(mine) != len(right):
        return f"it gives {len(mine)} values, but {len(right)} is right"
    pairs = enumerate(zip(mine, right, strict=True))
    return next((f"in value {i + 1} of {len(right)}, {place}" for i, (a, b) in pairs if (place := difference(a, b))), None)


def _texts(mine: Any, right: str) -> str:
    if not isinstance(mine, str):
        return f"it gives {brief(mine)}{_advice(mine)}, but {brief(right)} is right"
    mine = str(mine)
    place = next((i for i, (a, b) in enumerate(zip(mine, right, strict=False)) if a != b), min(len(mine), len(right)))
    if max(len(mine), len(right)) <= 70 and ascii(mine) == repr(mine):
        return f"it gives {mine!r}, but {right!r} is right (they differ at letter {place + 1})"
    start = max(0, place - 15)
    # ascii: two letters that look the same show their numbers
    pieces = [ascii(text[start : place + 15]) for text in (mine, right)]
    return f"from letter {start + 1} on it gives {pieces[0]}, but {pieces[1]} is right"


def _two(mine: Any, right: Any) -> str:
    """Both numbers, with as many digits as it takes to tell them apart."""
    a, b = mine.item(), right.item()
    if type(a) is type(b) is bool:
        return f"{a}, but {b}"
    if right.dtype.kind in "biu":
        return f"{a!r}, but {b!r}"
    digits = next(d for d in (4, 6, 9, 12, 17) if f"{a:.{d}g}" != f"{b:.{d}g}" or d == 17)
    return f"{a:.{digits}g}, but {b:.{digits}g}"


def _at(place: tuple[int, ...]) -> str:
    return f"at {list(place)} " if place else ""


def _kind(array: NDArray[Any]) -> str:
    return f"an array of shape {list(array.shape)}" if array.ndim else f"one number ({brief(array[()])})"


def _type(value: Any) -> str:
    return f"an array of {value.dtype}" if hasattr(value, "dtype") else f"a {type(value).__name__}"


def _advice(value: Any) -> str:
    if hasattr(value, "__next__"):
        return " (an iterator: make a list of it)"
    return " (calls of a function lack their parentheses?)" if callable(value) else ""
