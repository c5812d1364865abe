"""Attention over the screen: checked, packed for the page, put into words and drawn. Numpy and Pillow only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from autoglm_lab.phone.draw import font

Weights = NDArray[np.float32]
Box = tuple[float, float, float, float]
Names = Callable[[int, int], str] | Sequence[tuple[Box, str]]
MEAN = -1  # the head number that stands for the mean of all heads
STEPS = 65535  # weights travel as 16-bit integers
# From no attention to the most, after Matplotlib's inferno.
HEAT = np.array([(22, 11, 57), (101, 21, 110), (188, 55, 84), (243, 120, 25), (252, 255, 164)], np.float32)


@dataclass(frozen=True)
class AttentionMaps:
    """Weights [layers, heads, tokens, cells] over a square grid of cells on a screenshot, and a name for each cell."""

    tokens: list[str]
    weights: Weights
    names: list[str]

    @classmethod
    def of(cls, tokens: Sequence[str], weights: Any, names: Names | None = None) -> AttentionMaps:
        """Check shapes and values and name the cells. Raises ValueError that says what is wrong."""
        values = np.asarray(weights, np.float32)
        if values.ndim != 4 or 0 in values.shape:
            raise ValueError(f"weights are [layers, heads, tokens, cells], got shape {list(values.shape)}")
        if values.shape[2] != len(tokens):
            raise ValueError(f"weights of shape {list(values.shape)} have {values.shape[2]} tokens, but {len(tokens)} are named")
        side = isqrt(values.shape[3])
        if side * side != values.shape[3]:
            raise ValueError(f"weights of shape {list(values.shape)} have {values.shape[3]} cells, which is no square grid")
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1.0005:
            raise ValueError("weights have to be finite and between 0 and 1, as after a softmax")
        centres = [cell_centre(cell, side) for cell in range(side * side)]
        page_values = (np.round(np.minimum(values, 1) * STEPS) / STEPS).astype(np.float32)  # as the page has them
        return cls(list(tokens), page_values, [_name(names, x, y) for x, y in centres])

    @property
    def side(self) -> int:
        """Cells along each side of the grid."""
        return isqrt(self.weights.shape[3])

    @cached_property
    def peak(self) -> tuple[int, int, int]:
        """Layer, head and token of the largest weight."""
        layer, head, token, _ = np.unravel_index(int(self.weights.argmax()), self.weights.shape)
        return int(layer), int(head), int(token)

    def packed(self) -> bytes:
        """The weights as little-endian unsigned 16-bit integers, 65535 for 1."""
        return np.round(self.weights * STEPS).astype("<u2").tobytes()

    def cells(self, layer: int, head: int, token: int) -> Weights:
        """Attention weights of one token, [cells], by one head or by the mean of all (head -1). ValueError outside."""
        layers, heads, tokens, _ = self.weights.shape
        if not (0 <= layer < layers and MEAN <= head < heads and 0 <= token < tokens):
            shape = f"{layers} layers, {heads} heads and {tokens} tokens"
            raise ValueError(f"layer {layer}, head {head}, token {token} is not among {shape} (head -1 is the mean)")
        by_head = self.weights[layer, :, token]
        return np.asarray(by_head.mean(0) if head == MEAN else by_head[head], np.float32)

    def sentence(self, layer: int, head: int, token: int) -> str:
        """The strongest cell in words."""
        weights = self.cells(layer, head, token)
        cell = int(weights.argmax())
        x, y = cell_centre(cell, self.side)
        where = f"({x}, {y})" + (f", {self.names[cell]}" if self.names[cell] else "")
        text = f"layer {layer}, {who(head)}, token {self.shown(token)}"
        return f"{text} puts {percent(weights[cell])} on the cell at {where}"

    def shown(self, token: int) -> str:
        """A token in quotes, on one line."""
        return f"'{self.tokens[token]}'".replace("\n", "\\n")


def cell_centre(cell: int, side: int) -> tuple[int, int]:
    """Centre of a cell on the screen, in thousandths.

    >>> cell_centre(0, 10)
    (50, 50)
    """
    row, column = divmod(cell, side)
    return int((column + 0.5) * 1000 / side), int((row + 0.5) * 1000 / side)


def who(head: int) -> str:
    """A head in words."""
    return "mean of heads" if head == MEAN else f"head {head}"


def percent(share: float | np.floating[Any]) -> str:
    """A share in words: whole per cents from 10 up, tenths below.

    >>> percent(0.714), percent(0.0312)
    ('71 %', '3.1 %')
    """
    rounded = float(share) * 100
    return f"{rounded:.0f} %" if rounded >= 9.95 else f"{rounded:.1f} %"


def overlay(screenshot: Image.Image, weights: Weights) -> Image.Image:
    """The screenshot, dimmed, under the heat of `weights` [cells], which are scaled to their largest."""
    side = isqrt(weights.size)
    strength = np.asarray(weights, np.float32).reshape(side, side) / max(float(weights.max()), 1e-9)
    place = strength * (len(HEAT) - 1)
    low = np.minimum(place.astype(int), len(HEAT) - 2)
    colour = HEAT[low] + (HEAT[low + 1] - HEAT[low]) * (place - low)[..., None]
    alpha = 0.15 + 0.75 * np.sqrt(strength)
    heat = np.dstack([colour, alpha * 255]).round().astype(np.uint8)
    layer = Image.fromarray(heat).resize(screenshot.size, Image.Resampling.NEAREST)
    dim = Image.blend(screenshot.convert("RGB"), Image.new("RGB", screenshot.size, (18, 18, 24)), 0.4)
    return Image.alpha_composite(dim.convert("RGBA"), layer).convert("RGB")


def layers_picture(maps: AttentionMaps, screenshot: Image.Image, head: int, token: int, height: int = 320) -> Image.Image:
    """One overlay per layer for a head and a token, each with its layer and its strongest share below."""
    width = max(1, round(screenshot.width * height / screenshot.height))
    small = screenshot.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    layers, margin, gap, top = len(maps.weights), 20, 18, 48
    size = (2 * margin + layers * width + (layers - 1) * gap, top + height + 48)
    picture = Image.new("RGB", size, "white")
    pen, ink = ImageDraw.Draw(picture), (28, 30, 36)
    pen.text((margin, 16), f"token {maps.shown(token)}, {who(head)}", ink, font(15))
    for layer in range(layers):
        weights = maps.cells(layer, head, token)
        x = margin + layer * (width + gap)
        picture.paste(overlay(small, weights), (x, top))
        pen.text((x, top + height + 10), f"layer {layer}: {percent(weights.max())}", ink, font(14))
    return picture


def _name(names: Names | None, x: int, y: int) -> str:
    if names is None:
        return ""
    if callable(names):
        return names(x, y) or ""
    hits = [name for (left, top, right, bottom), name in names if left <= x < right and top <= y < bottom]
    return hits[-1] if hits else ""
