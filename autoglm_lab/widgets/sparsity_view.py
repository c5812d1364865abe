"""Zeros among weights, in words and as a picture. Numpy and Pillow only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from autoglm_lab.phone.draw import Colour, font

Weights = NDArray[np.float32]
POSITIVE, NEGATIVE, ZERO = (59, 130, 196), (201, 111, 10), (255, 255, 255)  # blue, orange; white where nothing is left
INK, SOFT, TRACK, BAR = (28, 30, 36), (104, 108, 118), (233, 235, 240), (59, 130, 196)
CORNER = 96  # weights a side that are shown of a layer


@dataclass(frozen=True)
class SparsityView:
    """Layers by name, the share of each that is zero, and the measurements of the model with these shares."""

    weights: Mapping[str, Weights] = field(repr=False)  # [outputs, inputs] each
    shares: Mapping[str, float]
    measured: Mapping[str, float] = field(default_factory=dict)  # name with its unit -> value

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError("there is no layer to show")
        for name, weight in self.weights.items():
            if weight.ndim != 2 or not weight.size or not np.isfinite(weight).all():
                raise ValueError(f"weights[{name!r}] has shape {list(weight.shape)}; a finite matrix [outputs, inputs] is shown")
        if set(self.shares) != set(self.weights):
            raise ValueError(f"shares are given for {sorted(self.shares)}, weights for {sorted(self.weights)}")
        for name, share in self.shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"the share of {name!r} is {share}; it lies between 0 and 1")

    @property
    def total(self) -> float:
        """The share of all weights that is zero."""
        count = sum(weight.size for weight in self.weights.values())
        return sum(self.shares[name] * weight.size for name, weight in self.weights.items()) / count

    def data(self) -> dict[str, Any]:
        """Layers with their sizes and shares, the total and what was measured, as plain JSON values."""
        layers = [
            {"name": name, "shape": list(weight.shape), "share": round(float(self.shares[name]), 4)}
            for name, weight in self.weights.items()
        ]
        return {"layers": layers, "total": round(self.total, 4), "measured": {k: float(v) for k, v in self.measured.items()}}

    def sentence(self) -> str:
        """The total, the least and the most pruned layer, and what was measured."""
        least, most = (choose(self.shares, key=lambda name: self.shares[name]) for choose in (min, max))
        if self.shares[least] == self.shares[most]:
            where = "as many in each layer"
        else:
            where = f"from {self.shares[least]:.0%} in {least} to {self.shares[most]:.0%} in {most}"
        measurements = "".join(f"; {name} {value:.3g}" for name, value in self.measured.items())
        return f"{self.total:.0%} of the weights are zero, {where}{measurements}."


def threshold(weight: Weights, share: float) -> float:
    """The magnitude under which this share of a layer's weights lies.

    >>> threshold(np.array([[1.0, -2.0], [3.0, -4.0]]), 0.5)
    3.0
    """
    magnitudes = np.sort(np.abs(weight), axis=None)
    dropped = round(share * magnitudes.size)
    return float(magnitudes[dropped]) if dropped < magnitudes.size else float("inf")


def even_shares(weights: Mapping[str, Weights], share: float) -> dict[str, float]:
    """The share of each layer that is pruned when one threshold for all layers prunes `share` of all weights."""
    limit = threshold(np.concatenate([weight.ravel() for weight in weights.values()])[None], share)
    return {name: float((np.abs(weight) < limit).mean()) for name, weight in weights.items()}


def corner(weight: Weights, share: float, side: int = CORNER) -> Image.Image:
    """The first `side` x `side` weights of a layer, one pixel each: blue above zero, orange below, white where pruned."""
    part = weight[:side, :side]
    strength = np.clip(np.abs(part) / max(float(np.quantile(np.abs(weight), 0.98)), 1e-12), 0.12, 1)[..., None]
    colour = np.where(part[..., None] >= 0, np.array(POSITIVE), np.array(NEGATIVE))
    pixels = np.array(ZERO) * (1 - strength) + colour * strength
    pixels[np.abs(part) < threshold(weight, share)] = ZERO
    return Image.fromarray(pixels.round().astype(np.uint8))


def picture(view: SparsityView, layer: str, side: int = 300) -> Image.Image:
    """A corner of one layer beside a bar for each layer's share of zeros."""
    margin, gap, room, line = 24, 32, 380, 30
    height = max(side + 30, line * len(view.weights) + 60)
    image = Image.new("RGB", (2 * margin + side + gap + room, 2 * margin + height), "white")
    pen = ImageDraw.Draw(image)
    corner_image = corner(view.weights[layer], view.shares[layer]).resize((side, side), Image.Resampling.NEAREST)
    image.paste(corner_image, (margin, margin))
    pen.rectangle((margin - 1, margin - 1, margin + side, margin + side), outline=TRACK)
    pen.text((margin, margin + side + 10), f"{layer}: {view.shares[layer]:.0%} zeros", INK, font(13))
    x, y = margin + side + gap, margin
    for name, share in view.shares.items():
        _bar(pen, x, y, room, name, share)
        y += line
    texts = [f"all weights: {view.total:.0%} zeros", *(f"{name}: {value:.3g}" for name, value in view.measured.items())]
    for number, text in enumerate(texts):
        pen.text((x, y + 6 + 18 * number), text, INK if number == 0 else SOFT, font(13))
    return image


def _bar(pen: ImageDraw.ImageDraw, x: int, y: int, room: int, name: str, share: float) -> None:
    track: Colour = TRACK
    pen.text((x, y), name if len(name) <= 34 else "…" + name[-33:], SOFT, font(12))
    pen.text((x + room, y), f"{share:.0%}", INK, font(12), anchor="ra")
    pen.rounded_rectangle((x, y + 17, x + room, y + 23), 3, track)
    if share > 0.01:
        pen.rounded_rectangle((x, y + 17, x + max(6, room * share), y + 23), 3, BAR)
