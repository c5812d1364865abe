"""Layers of a file beside those of its model: the difference of each, and the first that is too large. No browser, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from autoglm_lab.widgets.charts import COLOURS, canvas, drawn

LEAST, MOST = -8.0, 0.0  # powers of ten that are shown


class Layer(Protocol):
    """Protocol of `export.parity.Layer`."""

    @property
    def name(self) -> str:
        """Name of the module."""

    @property
    def difference(self) -> float:
        """The norm of the difference as a share of the norm of the right output."""


@dataclass(frozen=True)
class ParityView:
    """Comparisons by name: each a list of layers in the order in which they are computed."""

    comparisons: Mapping[str, Sequence[Layer]]

    def __post_init__(self) -> None:
        if not self.comparisons:
            raise ValueError("parity needs a comparison at least: {name: layers}")
        for name, layers in self.comparisons.items():
            if not layers:
                raise ValueError(f"the comparison {name!r} has no layers")

    def layers(self, name: str) -> Sequence[Layer]:
        """Layers of one comparison. ValueError if there is none of this name."""
        if name not in self.comparisons:
            raise ValueError(f"there is no comparison {name!r}; there are {', '.join(map(repr, self.comparisons))}")
        return self.comparisons[name]

    def rows(self, name: str, tolerance: float) -> list[dict[str, Any]]:
        """Layers as plain JSON values: the length of each bar, from 0 to 1 over the powers of ten, and if it is too far apart."""
        first = self.first(name, tolerance)
        return [
            {
                "name": layer.name,
                "told": f"{layer.difference:.1e}",
                "share": bar(layer.difference),
                "apart": apart(layer, tolerance),
                "first": number == first,
            }
            for number, layer in enumerate(self.layers(name))
        ]

    def first(self, name: str, tolerance: float) -> int | None:
        """The place of the first layer that is too far apart; None when all agree. NaN agrees with nothing."""
        return next((place for place, layer in enumerate(self.layers(name)) if apart(layer, tolerance)), None)

    def sentence(self, name: str, tolerance: float) -> str:
        """A comparison in words."""
        layers, first = self.layers(name), self.first(name, tolerance)
        if first is None:
            most = max(layers, key=lambda layer: layer.difference)
            return (
                f"{name}: all {len(layers)} layers agree within {tolerance:.0e}; "
                f"the largest difference is {most.difference:.1e}, in {most.name}."
            )
        wrong = sum(apart(layer, tolerance) for layer in layers)
        culprit = layers[first]
        return (
            f"{name}: the first layer that differs is {culprit.name}, by {culprit.difference:.1e}; "
            f"{first} before it agree within {tolerance:.0e}, {wrong} of {len(layers)} do not."
        )

    def picture(self, name: str, tolerance: float) -> Image.Image:
        """A bar for each layer over powers of ten; a line marks the tolerance."""
        rows = self.rows(name, tolerance)
        drawing, axes = canvas(name, "difference as a power of ten", height=1.2 + 0.16 * len(rows))
        colours = [COLOURS[4] if row["first"] else COLOURS[1] if row["apart"] else COLOURS[0] for row in rows]
        axes.barh(range(len(rows)), [row["share"] * (MOST - LEAST) for row in rows], 0.7, left=LEAST, color=colours)
        axes.axvline(math.log10(tolerance), color="#24292f", linewidth=1)
        axes.set_xlim(LEAST, MOST)
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=6)
        axes.invert_yaxis()
        return drawn(drawing)


def apart(layer: Layer, tolerance: float) -> bool:
    """True if a layer differs by more than the tolerance, or by NaN."""
    return not layer.difference <= tolerance


def bar(difference: float) -> float:
    """Place of a difference between the least (0) and the largest (1) power of ten that is shown.

    >>> bar(1e-4), bar(0.0), bar(float("nan"))
    (0.5, 0.0, 1.0)
    """
    if math.isnan(difference):
        return 1.0
    power = math.log10(max(difference, 1e-30))
    return round(min(max((power - LEAST) / (MOST - LEAST), 0.0), 1.0), 4)
