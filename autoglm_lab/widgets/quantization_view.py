"""Weights before and after rounding, in words and as a picture. Numpy and Pillow only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from autoglm_lab.phone.draw import font

Values = NDArray[np.float32]
BINS = 81
INK, SOFT, BEFORE, AFTER = (28, 30, 36), (104, 108, 118), (190, 196, 206), (59, 130, 196)


@dataclass(frozen=True)
class QuantizationView:
    """The weights of one layer, what they are after rounding, and the grid that was used."""

    weights: Values = field(repr=False)  # any shape
    rounded: Values = field(repr=False)  # the same shape
    scale: Values = field(repr=False)  # one for each row of the grid
    zero_point: NDArray[np.integer[Any]] = field(repr=False)
    bits: int
    clipped: float  # share of weights outside the range
    stored_bytes: int
    measured: Mapping[str, float] = field(default_factory=dict)  # name with its unit -> value

    def __post_init__(self) -> None:
        if self.weights.shape != self.rounded.shape or not self.weights.size:
            raise ValueError(
                f"weights have shape {list(self.weights.shape)}, rounded ones {list(self.rounded.shape)}; they are alike"
            )
        for name in ("weights", "rounded", "scale"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds values that are not finite")

    @property
    def error(self) -> float:
        """Root mean square error over root mean square weight."""
        size = float(np.sqrt(np.mean(np.square(self.weights, dtype=np.float64))))
        return float(np.sqrt(np.mean(np.square(self.weights - self.rounded, dtype=np.float64)))) / max(size, 1e-12)

    @property
    def edges(self) -> Values:
        """Edges of the histogram's bins."""
        reach = max(float(np.abs(self.weights).max()), float(np.abs(self.rounded).max()), 1e-9)
        return np.linspace(-reach, reach, BINS + 1, dtype=np.float32)

    def histogram(self) -> tuple[list[int], list[int]]:
        """Counts of weights in each bin, before and after rounding."""
        before, after = (np.histogram(values, self.edges)[0] for values in (self.weights, self.rounded))
        return before.tolist(), after.tolist()

    def data(self) -> dict[str, Any]:
        """Histogram, grid and errors as plain JSON values."""
        before, after = self.histogram()
        return {
            "before": before,
            "after": after,
            "reach": float(self.edges[-1]),
            "bits": self.bits,
            "scales": int(self.scale.size),
            "scale": [float(self.scale.min()), float(self.scale.max())],
            "zero_point": [int(self.zero_point.min()), int(self.zero_point.max())],
            "error": self.error,
            "clipped": self.clipped,
            "bytes": self.stored_bytes,
            "measured": {name: float(value) for name, value in self.measured.items()},
        }

    def sentence(self) -> str:
        """The grid and what it costs."""
        scales = "one scale" if self.scale.size == 1 else f"{self.scale.size:,} scales"
        clipped = f", {self.clipped:.1%} of the weights clipped" if self.clipped else ""
        measurements = "".join(f"; {name} {value:.3g}" for name, value in self.measured.items())
        kilobytes = self.stored_bytes / 1000
        return f"{self.bits} bits with {scales}: {kilobytes:,.1f} kB, error {self.error:.1%} of a weight{clipped}{measurements}."


def picture(view: QuantizationView, width: int = 720, height: int = 260) -> Image.Image:
    """The histogram of the weights in grey, and in blue where they are after rounding; below it the sentence."""
    margin = 24
    image = Image.new("RGB", (width, height + 2 * margin + 60), "white")
    pen = ImageDraw.Draw(image)
    before, after = view.histogram()
    room = (width - 2 * margin) / BINS
    for counts, colour, inset in ((before, BEFORE, 0.0), (after, AFTER, 0.3)):
        tallest = max(*counts, 1)
        for place, count in enumerate(counts):
            if count:
                left = margin + place * room
                top = margin + height * (1 - count / tallest)
                pen.rectangle((left + inset * room, top, left + (1 - inset) * room - 1, margin + height), colour)
    pen.line((margin, margin + height, width - margin, margin + height), INK)
    reach = float(view.edges[-1])
    for share, text, anchor in ((0.0, f"{-reach:.3g}", "la"), (0.5, "0", "ma"), (1.0, f"{reach:.3g}", "ra")):
        pen.text((margin + share * (width - 2 * margin), margin + height + 6), text, SOFT, font(12), anchor=anchor)
    pen.text((margin, margin + height + 30), "grey: the weights; blue: what is left of them", SOFT, font(12))
    pen.text((margin, margin + height + 50), view.sentence(), INK, font(12))
    return image
