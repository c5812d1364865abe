"""Integers instead of floats: a readable quantiser, and the error it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

Granularity = Literal["tensor", "channel", "group"]
Ranges = tuple[Tensor, Tensor]  # lowest and highest value of each row


@dataclass(frozen=True)
class Scheme:
    """Rounding of floats to integers: one scale for a tensor, for each output channel, or for each `group_size` inputs of one."""

    bits: int = 8
    symmetric: bool = True  # zero is in the middle of the range; otherwise the range is fitted, at the price of a zero point
    granularity: Granularity = "channel"
    group_size: int = 32

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits is {self.bits}; 2 to 8 are possible")
        if self.granularity not in get_args(Granularity):
            raise ValueError(f"granularity is {self.granularity!r}; it is 'tensor', 'channel' or 'group'")
        if self.group_size < 2:
            raise ValueError(f"group_size is {self.group_size}; a group has at least two weights")

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        top = 2 ** (self.bits - 1) - 1
        return (-top, top) if self.symmetric else (0, 2**self.bits - 1)


@dataclass(frozen=True)
class Quantized:
    """A tensor as integers. R rows of n codes share a scale (and a zero point) each; `shape` is that of the tensor."""

    codes: Int[Tensor, "R n"]
    scale: Float[Tensor, "R 1"]
    zero_point: Int[Tensor, "R 1"]
    shape: torch.Size
    scheme: Scheme
    clipped: float  # the share of values that lay outside the range of the codes

    def dequantize(self) -> Float[Tensor, "*shape"]:
        """The floats that the integers stand for: scale * (code - zero_point)."""
        rows = self.scale * (self.codes - self.zero_point)
        return from_rows(rows, self.shape, self.scheme)

    @property
    def stored_bytes(self) -> int:
        """Bytes when stored: packed codes, a 16-bit scale and, if there are any, an 8-bit zero point for each row."""
        rows = self.scale.shape[0]
        return -(-self.codes.numel() * self.scheme.bits // 8) + 2 * rows + (0 if self.scheme.symmetric else rows)


def quantize(
    x: Float[Tensor, "*shape"], scheme: Scheme = Scheme(), method: str = "minmax", *, learned: Ranges | None = None
) -> Quantized:
    """Round a tensor to integers. Its first dimension holds the channels.

    `method` chooses the range that the codes cover: "minmax", "percentile" (99.9 % of the values) or "mse" (least squared
    error). `learned` gives scale and zero point instead. ValueError for an empty tensor, values that are not finite, or
    another method.

    >>> quantize(torch.tensor([[0.0, 1.0, -2.0]]), Scheme(bits=3)).codes.tolist()
    [[0, 2, -3]]
    """
    if method not in RANGES:
        raise ValueError(f"method is {method!r}; there are {', '.join(RANGES)}")
    if x.numel() == 0 or not torch.isfinite(x).all():
        raise ValueError(f"a tensor of shape {list(x.shape)} is empty or holds values that are not finite")
    rows = to_rows(x.detach().float(), scheme)
    scale, zero_point = affine(*RANGES[method](rows, scheme), scheme) if learned is None else learned
    codes = torch.round(rows / scale) + zero_point
    inside = codes.clamp(*scheme.limits)
    clipped = float((codes != inside).float().mean())
    return Quantized(inside.to(torch.int32), scale, zero_point, x.shape, scheme, clipped)


def affine(low: Float[Tensor, "R 1"], high: Float[Tensor, "R 1"], scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Scale and zero point with which the codes cover [low, high]; zero itself is always met exactly."""
    first, last = scheme.limits
    if scheme.symmetric:
        scale = torch.maximum(low.abs(), high.abs()) / last
        zero_point = torch.zeros_like(scale, dtype=torch.int32)
    else:
        low, high = low.clamp_max(0), high.clamp_min(0)
        scale = (high - low) / (last - first)
        zero_point = (-low / scale.clamp_min(1e-12)).round().to(torch.int32)
    return torch.where(scale > 0, scale, torch.ones_like(scale)), zero_point


def _minmax(rows: Tensor, scheme: Scheme) -> Ranges:
    return rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)


def _percentile(rows: Tensor, scheme: Scheme, share: float = 0.999) -> Ranges:
    cut = max(1, round(rows.shape[1] * (1 - share) / 2)) if rows.shape[1] > 2 / (1 - share) else 0
    ordered = rows.sort(1).values
    return ordered[:, cut : cut + 1], ordered[:, rows.shape[1] - 1 - cut : rows.shape[1] - cut]


def _mse(rows: Tensor, scheme: Scheme) -> Ranges:
    low, high = _minmax(rows, scheme)
    best = torch.full_like(low, float("inf"))
    best_range = (low, high)
    for shrink in torch.linspace(1.0, 0.4, 25):
        scale, zero_point = affine(low * shrink, high * shrink, scheme)
        rounded = scale * ((torch.round(rows / scale) + zero_point).clamp(*scheme.limits) - zero_point)
        error = (rounded - rows).square().sum(1, keepdim=True)
        better = error < best
        best = torch.where(better, error, best)
        best_range = torch.where(better, low * shrink, best_range[0]), torch.where(better, high * shrink, best_range[1])
    return best_range


RANGES: dict[str, Callable[[Tensor, Scheme], Ranges]] = {"minmax": _minmax, "percentile": _percentile, "mse": _mse}


def _has_groups(inputs: int, scheme: Scheme) -> bool:
    """True if a channel falls into groups; one that is shorter than a group has a scale of its own, and no padding."""
    return scheme.granularity == "group" and inputs > scheme.group_size


def to_rows(x: Float[Tensor, "*shape"], scheme: Scheme) -> Float[Tensor, "R n"]:
    """A tensor as rows that share a scale; groups that are not full are padded with zeros."""
    if scheme.granularity == "tensor" or x.ndim < 2:
        return x.reshape(1, -1)
    rows = x.reshape(x.shape[0], -1)
    if not _has_groups(rows.shape[1], scheme):
        return rows
    short = -rows.shape[1] % scheme.group_size
    return F.pad(rows, (0, short)).reshape(-1, scheme.group_size)


def from_rows(rows: Float[Tensor, "R n"], shape: torch.Size, scheme: Scheme) -> Float[Tensor, "*shape"]:
    """The tensor that was taken apart by `to_rows`."""
    inputs = shape.numel() // shape[0]
    if len(shape) >= 2 and _has_groups(inputs, scheme):
        rows = rows.reshape(shape[0], -1)[:, :inputs]
    return rows.reshape(shape)


@torch.no_grad()
def relative_error(x: Float[Tensor, "*shape"], rounded: Float[Tensor, "*shape"]) -> float:
    """Root mean square error over root mean square value."""
    return float((rounded - x).float().square().mean().sqrt() / x.float().square().mean().sqrt().clamp_min(1e-12))


def pack(codes: Int[Tensor, "*shape"], bits: int) -> UInt8[Tensor, " bytes"]:
    """Codes of 2, 4 or 8 bits, from 0 up, side by side in bytes: the first code in the lowest bits.

    >>> pack(torch.tensor([1, 15, 2]), 4).tolist()
    [241, 2]
    """
    if bits not in (2, 4, 8):
        raise ValueError(f"bits is {bits}; 2, 4 or 8 fill a byte")
    each = 8 // bits
    flat = codes.reshape(-1)
    flat = F.pad(flat, (0, -len(flat) % each)).reshape(-1, each)
    shifts = torch.arange(each) * bits
    packed: Tensor = (flat << shifts).sum(1).to(torch.uint8)
    return packed


def unpack(packed: UInt8[Tensor, " bytes"], bits: int, count: int) -> Int[Tensor, " count"]:
    """The first `count` codes of `pack`."""
    shifts = torch.arange(8 // bits, device=packed.device) * bits
    codes = (packed.to(torch.int32)[:, None] >> shifts) & (2**bits - 1)
    first: Tensor = codes.reshape(-1)[:count].to(torch.int32)
    return first
