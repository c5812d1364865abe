"""Layers with packed weights as ONNX writes them: the integers in the file are those of the model, bit for bit.

In PyTorch a packed layer unpacks its weight and computes with floats. In ONNX Runtime the same integers are multiplied as
integers, by one of three kernels:

- groups of inputs share a scale: `MatMulNBits`, which unpacks block by block while it multiplies;
- one scale for a channel: the input is rounded to 8 bits as it comes (`DynamicQuantizeLinear`), then `MatMulInteger`;
- inputs have learned or calibrated ranges: quantise and dequantise nodes on either side, which the runtime fuses.

Convolutions and embeddings are only stored as integers and computed with floats; `convolutions.integer_convolutions` goes on from
there. Channels should have 7 bits: on x86 processors without VNNI two products of 8-bit numbers, one of them signed, may overflow
the 16 bits in which they are added. Codes of 8 bits are therefore written from 0 up, around 128: the product is right on every
processor, but takes one to three times as long there. These modules exist to be exported: run in PyTorch they give nothing that
means anything.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from autoglm_lab.compress.layers import named_error, put
from autoglm_lab.compress.qat import FakeQuantActivation
from autoglm_lab.compress.quantization import (
    PackedConv,
    PackedEmbedding,
    PackedLayer,
    PackedLinear,
    PackedRecurrent,
    PackedWeight,
    affine,
    pack,
    unpack,
)

BLOCKS = (16, 32, 64, 128, 256)  # group sizes that MatMulNBits knows
MICROSOFT = "com.microsoft::"


def node(name: str, inputs: tuple[Any, ...], dtype: torch.dtype, shape: Any, **attributes: Any) -> Tensor:
    """One ONNX operator in a traced graph; its output has the given `shape`."""
    version = 1 if name.startswith(MICROSOFT) else None
    output: Tensor = torch.onnx.ops.symbolic(name, inputs, attributes or None, dtype=dtype, shape=shape, version=version)
    return output


def exportable(model: nn.Module, *, by_rows: bool = False) -> nn.Module:
    """A copy of a model in which every packed layer is one that ONNX can write. ValueError names a layer that has no kernel.

    With `by_rows` no row of a batch depends on the others: each is rounded to a range of its own (`rowwise`), which costs a little.
    """
    copied = copy.deepcopy(model)
    stored: dict[int, Stored] = {}
    layers: dict[int, nn.Module] = {}
    for name, layer in list(copied.named_modules(remove_duplicate=False)):
        if isinstance(layer, PackedRecurrent):
            kind = type(layer.frame[0]).__name__
            raise ValueError(f"layer {name!r}: there is no kernel for a packed {kind}; leave it out with `skip` when packing")
        if not isinstance(layer, PackedLayer):
            continue
        key = id(layer.weight_codes)
        if key not in stored:
            stored[key] = named_error(name, Stored.of, layer.weight_codes)
        if id(layer) not in layers:
            replacement = named_error(name, _export_layer, layer, stored[key])
            layers[id(layer)] = rowwise(replacement) if by_rows else replacement
        put(copied, name, layers[id(layer)])
    return copied


class Stored(nn.Module, ABC):
    """Codes and scales of one weight in the layout of the kernel that multiplies with them; layers may share it."""

    codes: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__()
        self.shape, self.bits, self.symmetric = weight.shape, weight.width, weight.scheme.symmetric
        self.layout: tuple[Any, ...] = (type(self), weight.scheme)  # weights of one layout can stand in one matrix
        self.register_buffer("scale", weight.scale)

    @abstractmethod
    def dense(self) -> Float[Tensor, "*shape"]:
        """The weight as floats; the runtime computes it once, when it loads the file."""

    @abstractmethod
    def rows(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Weights of some channels, as floats."""

    @abstractmethod
    def product(self, x: Float[Tensor, "B T I"]) -> Float[Tensor, "B T O"]:
        """Product of an input and this weight, multiplied as integers."""

    @abstractmethod
    def beside(self, others: Sequence[Any]) -> Stored:
        """The channels of several weights of the same layout, one after the other."""

    def _with(self, outputs: int, **buffers: Tensor) -> Stored:
        clone = copy.copy(self)
        clone._buffers = {**self._buffers, **buffers}
        clone.shape = torch.Size((outputs, *self.shape[1:]))
        return clone

    @staticmethod
    def of(weight: PackedWeight) -> Stored:
        """Store weights in groups as `Blocks`, all others as `Bytes`. ValueError for groups of a size without a kernel."""
        if weight.scheme.granularity != "group":
            return Bytes(weight)
        if weight.scheme.group_size not in BLOCKS:
            sizes = ", ".join(map(str, BLOCKS))
            raise ValueError(f"it has groups of {weight.scheme.group_size}; there are kernels for {sizes}")
        return Blocks(weight)


class Bytes(Stored):
    """One code in a byte, [inputs, channels], as MatMulInteger reads it; a scale for each channel.

    Codes of 7 bits and less are signed, those of 8 bits stand around `middle`.
    """

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__(weight)
        codes = _codes(weight).reshape(self.shape[0], -1)
        if not self.symmetric:
            raise ValueError("channels with zero points have no fast kernel; choose symmetric=True")
        self.middle = 128 if weight.scheme.bits == 8 else 0
        self.register_buffer("codes", (codes + self.middle).T.contiguous().to(torch.uint8 if self.middle else torch.int8))
        self.register_buffer("scale", weight.scale.flatten().expand(self.shape[0]).contiguous())

    def dense(self) -> Float[Tensor, "*shape"]:
        """See `Stored.dense`."""
        return (self._signed(self.codes) * self.scale.float()).T.reshape(self.shape)

    def rows(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """See `Stored.rows`."""
        vectors = self._signed(self.codes[:, ids]) * self.scale[ids].float()
        return vectors.movedim(0, -1)

    def _signed(self, codes: Tensor) -> Tensor:
        return codes.float() - self.middle if self.middle else codes.float()

    def product(self, x: Float[Tensor, "B T I"]) -> Float[Tensor, "B T O"]:
        """Multiply as integers; the input is rounded as it comes, with one scale for all of it."""
        shape = (*x.shape[:-1], self.shape[0])
        rounded, scale, zero_point = torch.onnx.ops.symbolic_multi_out(
            "DynamicQuantizeLinear", (x,), dtypes=(torch.uint8, torch.float32, torch.uint8), shapes=(x.shape, (), ())
        )
        middle = (torch.tensor(self.middle, dtype=torch.uint8),) if self.middle else ()
        sums = node("MatMulInteger", (rounded, self.codes, zero_point, *middle), torch.int32, shape)
        y: Tensor = sums.float() * (scale * self.scale.float())
        return y

    def beside(self, others: Sequence[Bytes]) -> Bytes:
        """See `Stored.beside`."""
        every = [self, *others]
        codes, scale = torch.cat([each.codes for each in every], 1), torch.cat([each.scale for each in every])
        matrix = self._with(len(scale), codes=codes, scale=scale)
        assert isinstance(matrix, Bytes)
        return matrix

    def product_of_ranges(self, x: Float[Tensor, "B T I"], low: Tensor, high: Tensor, limits: Any) -> Float[Tensor, "B T O"]:
        """Multiply as integers; the input is rounded to a range (two scalars) that is known beforehand."""
        scale, zero_point = affine(low, high, limits)
        return self._rounded(x, scale.reshape(()), zero_point.reshape(()).to(torch.uint8))

    def product_of_rows(self, x: Float[Tensor, "B T I"], sums: Float[Tensor, " O"]) -> Float[Tensor, "B T O"]:
        """Multiply as integers; each row is rounded as by `product`, but to its own range: its output depends on no other row.

        Codes of all rows are multiplied as if zero were their zero point; what that adds for each row is taken off again. `sums`
        are those of the weights of each channel.
        """
        low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
        scale = (high - low).clamp(min=1e-30) / 255  # for a row of zeros; the exporter takes the sum with a small number out
        zero_point = torch.round(-low / scale)
        product = self._rounded(x / scale + zero_point, torch.tensor(1.0), torch.tensor(0, dtype=torch.uint8))
        return (product - zero_point * sums) * scale

    def _rounded(self, x: Float[Tensor, "B T I"], scale: Float[Tensor, ""], zero: UInt8[Tensor, ""]) -> Float[Tensor, "B T O"]:
        grid = node("QuantizeLinear", (x, scale, zero), torch.uint8, x.shape)
        inputs = node("DequantizeLinear", (grid, scale, zero), torch.float32, x.shape)
        middle = torch.full_like(self.codes[0], self.middle)
        weight = node("DequantizeLinear", (self.codes, self.scale.float(), middle), torch.float32, self.codes.shape, axis=1)
        return inputs @ weight


class Blocks(Stored):
    """Codes packed in bytes, [channels, blocks, bytes], as MatMulNBits reads them; a scale for each block."""

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__(weight)
        self.block = weight.scheme.group_size
        outputs = self.shape[0]
        blocks = weight.rows[0] // outputs
        middle = 2 ** (self.bits - 1) if self.symmetric else 0
        codes = nn.functional.pad(_codes(weight), (0, self.block - weight.rows[1])) + middle
        self.register_buffer("codes", pack(codes, self.bits).reshape(outputs, blocks, -1))
        self.register_buffer("scale", weight.scale.reshape(outputs, blocks))
        if self.symmetric:
            self.register_buffer("zero_point", torch.empty(0, dtype=torch.uint8))
        else:
            padded = nn.functional.pad(weight.zero_point.reshape(outputs, blocks), (0, -blocks % (8 // self.bits)))
            self.register_buffer("zero_point", pack(padded, self.bits).reshape(outputs, -1))

    def beside(self, others: Sequence[Blocks]) -> Blocks:
        """See `Stored.beside`."""
        every = [self, *others]
        parts = {name: torch.cat([each.get_buffer(name) for each in every]) for name in ("codes", "scale", "zero_point")}
        matrix = self._with(len(parts["scale"]), **parts)
        assert isinstance(matrix, Blocks)
        return matrix

    @property
    def inputs(self) -> int:
        """Number of inputs of a channel."""
        return self.shape.numel() // self.shape[0]

    def _unpacked(self, codes: UInt8[Tensor, "*B n"], scale: Float[Tensor, "*B"]) -> Float[Tensor, "*B m"]:
        each = 8 // self.bits
        parts = []
        for place in range(each):
            shifted_codes = (
                codes
                if place == 0
                else node(
                    "BitShift",
                    (codes, torch.tensor(place * self.bits, dtype=torch.uint8)),
                    torch.uint8,
                    codes.shape,
                    direction="RIGHT",
                )
            )
            mask = torch.tensor(2**self.bits - 1, dtype=torch.uint8)
            parts.append(node("BitwiseAnd", (shifted_codes, mask), torch.uint8, codes.shape) if each > 1 else shifted_codes)
        whole = torch.stack([part.float() for part in parts], -1).flatten(-2)
        return (whole - self._middle(scale)) * scale.float()[..., None]

    def _middle(self, scale: Tensor) -> float:
        if not self.symmetric:
            raise ValueError("embeddings and convolutions with zero points in groups cannot be exported; choose symmetric=True")
        return float(2 ** (self.bits - 1))

    def dense(self) -> Float[Tensor, "*shape"]:
        """See `Stored.dense`."""
        return self._unpacked(self.codes, self.scale).flatten(1)[:, : self.inputs].reshape(self.shape)

    def rows(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """See `Stored.rows`."""
        return self._unpacked(self.codes[ids], self.scale[ids]).flatten(-2)[..., : self.inputs]

    def product(self, x: Float[Tensor, "B T I"]) -> Float[Tensor, "B T O"]:
        """Multiply as integers, unpacked block by block; the input is rounded to 8 bits in blocks as well (`accuracy_level` 4)."""
        points = () if self.symmetric else (self.zero_point.flatten(),)
        return node(
            f"{MICROSOFT}MatMulNBits",
            (x, self.codes, self.scale.float().flatten(), *points),
            torch.float32,
            (*x.shape[:-1], self.shape[0]),
            K=self.inputs,
            N=self.shape[0],
            bits=self.bits,
            block_size=self.block,
            accuracy_level=4,
        )


def _codes(weight: PackedWeight) -> Int[Tensor, "R n"]:
    """Codes around zero for symmetric weights, from 0 up for others."""
    codes = unpack(weight.packed, weight.width, weight.rows[0] * weight.rows[1]).reshape(weight.rows)
    return codes + weight.scheme.limits[0]


class WrittenLinear(nn.Module):
    """A linear layer with stored integers."""

    def __init__(self, layer: PackedLinear, stored: Stored) -> None:
        super().__init__()
        if layer.inputs is not None and not isinstance(stored, Bytes):
            raise ValueError("its inputs have ranges, its weights groups; no kernel multiplies both, choose whole channels")
        self.stored, self.bias = stored, layer.bias
        self.ranges = layer.inputs if isinstance(layer.inputs, FakeQuantActivation) else None

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """The product as the runtime will compute it."""
        if self.ranges is not None and isinstance(self.stored, Bytes):
            y = self.stored.product_of_ranges(x, self.ranges.low, self.ranges.high, self.ranges.scheme)
            # with three axes: the runtime makes one product of floats of a product and a bias of one axis, before it sees integers
            return y if self.bias is None else y + self.bias.reshape((1,) * (y.ndim - 1) + (-1,))
        y = self.stored.product(x)
        return y if self.bias is None else y + self.bias

    def like(self, other: WrittenLinear) -> bool:
        """True if one product can replace both: layers without bias, of one kernel, precision and input range."""
        return self.bias is None and other.bias is None and self._key() == other._key()

    def _key(self) -> tuple[object, ...]:
        return (self.stored.layout, self.ranges and (self.ranges.low.tolist(), self.ranges.high.tolist(), self.ranges.scheme))

    def beside(self, others: Sequence[WrittenLinear]) -> WrittenLinear:
        """The channels of several layers that are alike, one after the other."""
        layer = copy.copy(self)
        layer._modules = {**self._modules, "stored": self.stored.beside([other.stored for other in others])}
        return layer


class PerTokenQuantLinear(nn.Module):
    """A linear layer with stored integers that rounds each row of its input by itself, where `inner` rounds all of them alike."""

    sums: Tensor

    def __init__(self, inner: WrittenLinear) -> None:
        super().__init__()
        assert isinstance(inner.stored, Bytes)
        self.stored, self.bias = inner.stored, inner.bias
        self.register_buffer("sums", inner.stored.dense().sum(1))

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """The product as the runtime will compute it."""
        y = self.stored.product_of_rows(x, self.sums)
        return y if self.bias is None else y + self.bias


def rowwise(layer: nn.Module) -> nn.Module:
    """Return a layer whose output for a row depends on that row alone: itself, unless it rounds its input as it comes."""
    shares = isinstance(layer, WrittenLinear) and layer.ranges is None and isinstance(layer.stored, Bytes)
    return PerTokenQuantLinear(layer) if shares else layer  # type: ignore[arg-type]


class ConcatLinear(nn.Module):
    """Several layers with the same input, each a product of its own; their outputs one after the other."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """Concatenate the outputs of all layers."""
        return torch.cat([layer(x) for layer in self.layers], -1)


def fuse_projections(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer for several with the same input: one product if they are linear, of one kind and without bias, else one by one."""
    plain = [layer.weight.detach() for layer in layers if isinstance(layer, nn.Linear) and len(list(layer.parameters())) == 1]
    if len(plain) == len(layers):
        weight = torch.cat(plain)
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        linear.weight = nn.Parameter(weight)
        return linear
    packed_layers = [layer for layer in layers if isinstance(layer, WrittenLinear)]
    if len(packed_layers) == len(layers) and all(layer.like(packed_layers[0]) for layer in packed_layers):
        return packed_layers[0].beside(packed_layers[1:])
    return ConcatLinear(layers)


class WrittenConv(nn.Module):
    """A convolution whose weight is stored as integers."""

    def __init__(self, layer: PackedConv, stored: Stored) -> None:
        super().__init__()
        self.stored, self.bias = stored, layer.bias
        self.stride, self.padding, self.dilation, self.groups = layer.stride, layer.padding, layer.dilation, layer.groups
        self.transposed, self.output_padding = layer.transposed, layer.output_padding

    def forward(self, x: Float[Tensor, "B I *S"]) -> Float[Tensor, "B O *P"]:
        """The convolution with the unpacked weight."""
        weight = self.stored.dense()
        if self.transposed:
            spread: Callable[..., Tensor] = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}[weight.ndim]
            return spread(x, weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        convolve: Callable[..., Tensor] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.ndim]
        return convolve(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class WrittenEmbedding(nn.Module):
    """An embedding whose table is stored as integers."""

    def __init__(self, stored: Stored) -> None:
        super().__init__()
        self.stored = stored

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The vectors of some ids."""
        return self.stored.rows(ids)


def _export_layer(layer: PackedLayer, stored: Stored) -> nn.Module:
    if isinstance(layer, PackedLinear):
        return WrittenLinear(layer, stored)
    if isinstance(layer, PackedConv):
        return WrittenConv(layer, stored)
    if isinstance(layer, PackedEmbedding):
        return WrittenEmbedding(stored)
    kind = type(layer).__name__.removeprefix("Packed")
    raise ValueError(f"a {kind} computes something of its own, for which there is no kernel; leave it out with `skip` when packing")
