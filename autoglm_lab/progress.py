"""Bars for work that takes long: on standard error, or as a widget in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

DELAY_S = 0.5  # what is done sooner shows no bar


def track(items: Iterable[Any] | None, what: str, unit: str, total: int | None = None) -> tqdm[Any]:
    """A tqdm bar over `items`, or over `total` calls of its `update`, that goes away when the work is done.

    Nothing of it is on standard output, where a command writes its results.

    >>> list(track([1, 2, 3], "counting", "number"))
    [1, 2, 3]
    """
    return tqdm(items, desc=what, unit=unit, total=total, leave=False, delay=DELAY_S)
