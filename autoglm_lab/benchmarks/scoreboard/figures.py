"""Measured figures of two origins, nested by report and name: the shipped ones, and own ones that replace them key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Figures = Mapping[str, Any]  # as `benchmarks.verdicts_articles.read_figures` gives them


def merge(shipped: Figures, own: Figures) -> dict[str, Any]:
    """Put own figures in the place of shipped ones; what was not measured again stays. A list is replaced whole.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"x": 3}})
    {'a': {'x': 3, 'y': 2}}
    """
    both = {name: merge(shipped[name], own[name]) for name in own if _nested(shipped.get(name), own[name])}
    return {**shipped, **own, **both}


def subtract(shipped: Figures, own: Figures) -> dict[str, Any]:
    """Take away the shipped figures that were measured again, and reports of which nothing is left.

    >>> subtract({"a": {"x": 1, "y": 2}, "b": 5}, {"a": {"x": 3}, "b": 6})
    {'a': {'y': 2}}
    """
    rest = {name: value for name, value in shipped.items() if name not in own}
    parts = {name: subtract(value, own[name]) for name, value in shipped.items() if _nested(value, own.get(name))}
    return rest | {name: part for name, part in parts.items() if part}


def _nested(one: object, other: object) -> bool:
    return isinstance(one, Mapping) and isinstance(other, Mapping)
