"""Layers that keep their weights as packed integers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from autoglm_lab.compress.coverage import MIN_SHARE, coverage_of, name_filter, record
from autoglm_lab.compress.integer_grid import (
    RANGES,
    Quantized,
    Ranges,
    Scheme,
    affine,
    from_rows,
    pack,
    quantize,
    relative_error,
    to_rows,
    unpack,
)
from autoglm_lab.compress.layers import CONVOLUTIONS, RECURRENT, named_error, own_forward, put, weight_layers
from autoglm_lab.compress.lazy import LazyWeight
from autoglm_lab.compress.low_rank import LowRankLinear
from autoglm_lab.compress.plain import plain

__all__ = [
    "RANGES",
    "PackedConv",
    "PackedEmbedding",
    "PackedLayer",
    "PackedLinear",
    "PackedRecurrent",
    "PackedWeight",
    "Quantized",
    "Scheme",
    "affine",
    "from_rows",
    "pack",
    "packed_layer",
    "quantize",
    "quantize_weights",
    "relative_error",
    "to_rows",
    "unpack",
]


class PackedWeight(nn.Module):
    """The weight of a layer as packed integers, in the file as in memory. Codes of 3 bits take 4, those of 5 to 7 bits take 8."""

    packed: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(
        self, weight: Float[Tensor, "*shape"], scheme: Scheme, method: str = "minmax", learned: Ranges | None = None
    ) -> None:
        super().__init__()
        quantized_weight = quantize(weight, scheme, method, learned=learned)
        self.shape, self.scheme, self.float_dtype = quantized_weight.shape, scheme, weight.dtype
        self.rows = tuple(quantized_weight.codes.shape)
        self.width = next(bits for bits in (2, 4, 8) if bits >= scheme.bits)
        self.register_buffer("packed", pack(quantized_weight.codes - scheme.limits[0], self.width))
        self.register_buffer("scale", quantized_weight.scale.half())
        zero_point = quantized_weight.zero_point[:1] if scheme.symmetric else quantized_weight.zero_point  # one 0 stands for all
        self.register_buffer("zero_point", zero_point.to(torch.uint8))

    @property
    def codes(self) -> Int[Tensor, "R n"]:
        """The integers, unpacked; those of a row share a scale."""
        return unpack(self.packed, self.width, self.rows[0] * self.rows[1]).reshape(self.rows) + self.scheme.limits[0]

    def forward(self) -> Shaped[Tensor, "*shape"]:
        """The weight as floats."""
        rows = self.scale.float() * (self.codes - self.zero_point.to(torch.int32))
        return from_rows(rows, self.shape, self.scheme).to(self.float_dtype)

    def channels(self, numbers: Int[Tensor, "*N"]) -> Shaped[Tensor, "*N I"]:
        """Some channels of the weight only, as floats: the words of a sentence out of a whole vocabulary."""
        each, bits = self.rows[0] // self.shape[0], self.rows[1] * self.width
        if not each or bits % 8:  # one scale for all, or channels that share a byte
            rows: Tensor = self()[numbers]
            return rows
        packed = self.packed.reshape(self.shape[0], -1)[numbers].reshape(-1)
        codes = unpack(packed, self.width, packed.numel() * 8 // self.width).reshape(*numbers.shape, each, -1)
        shape = (self.shape[0], each, 1)
        offset, scale = self.scheme.limits[0] - self.zero_point.to(torch.int32).expand(self.rows[0], 1), self.scale.float()
        values = scale.reshape(shape)[numbers] * (codes + offset.reshape(shape)[numbers])
        channel_values: Tensor = values.flatten(-2)[..., : self.shape.numel() // self.shape[0]].to(self.float_dtype)
        return channel_values


class PackedLayer(nn.Module):
    """A layer whose weight is kept as packed integers."""

    weight_codes: PackedWeight

    @property
    def weight(self) -> Shaped[Tensor, "*shape"]:
        """The weight as floats, unpacked when it is computed with."""
        codes = self.weight_codes
        return LazyWeight.of(codes, codes.shape, codes.float_dtype, codes.packed.device)


class PackedLinear(PackedLayer):
    """A linear layer with packed weights, unpacked whenever it runs: small, and slower than floats."""

    def __init__(
        self,
        weight: Float[Tensor, "O I"],
        bias: Float[Tensor, " O"] | None,
        scheme: Scheme,
        method: str = "minmax",
        learned: Ranges | None = None,
        inputs: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.inputs = inputs  # rounds the input; None leaves it as it is
        self.weight_codes = PackedWeight(weight, scheme, method, learned)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """The product with the unpacked weight, plus the bias."""
        layer_input = x if self.inputs is None else self.inputs(x)
        return F.linear(layer_input, self.weight_codes().to(x.dtype), self.bias)


class PackedConv(PackedLayer):
    """A convolution with packed weights, unpacked whenever it runs."""

    def __init__(self, conv: _ConvNd, scheme: Scheme, method: str = "minmax") -> None:
        super().__init__()
        if conv.padding_mode != "zeros":
            raise ValueError(f"padding_mode is {conv.padding_mode!r}; packed convolutions pad with zeros")
        self.weight_codes = PackedWeight(conv.weight, scheme, method)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())
        self.stride, self.padding, self.dilation, self.groups = conv.stride, conv.padding, conv.dilation, conv.groups
        self.transposed, self.output_padding = conv.transposed, conv.output_padding

    def forward(self, x: Float[Tensor, "B I *S"]) -> Float[Tensor, "B O *P"]:
        """The convolution with the unpacked weight."""
        weight = self.weight_codes().to(x.dtype)
        places = weight.ndim - 3
        if self.transposed:
            spread: Callable[..., Tensor] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[places]
            return spread(x, weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[places]
        return convolve(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class PackedEmbedding(PackedLayer):
    """An embedding whose table is packed; only the rows that are asked for are unpacked."""

    def __init__(self, embedding: nn.Embedding, scheme: Scheme, method: str = "minmax") -> None:
        super().__init__()
        self.weight_codes = PackedWeight(embedding.weight, scheme, method)

    def forward(self, ids: Int[Tensor, "*B"]) -> Float[Tensor, "*B D"]:
        """The vectors of some ids."""
        return self.weight_codes.channels(ids)


def _packed_subclass(layer: nn.Module, scheme: Scheme, method: str) -> PackedLayer:
    """A copy of a layer whose class has a forward of its own; that forward reads a weight that is unpacked for each call."""
    layer_copy = copy.copy(layer)
    layer_copy._parameters = {name: value for name, value in layer._parameters.items() if name != "weight"}
    layer_copy._modules = dict(layer._modules)
    layer_copy.__class__ = type(f"Packed{type(layer).__name__}", (PackedLayer, type(layer)), {})
    assert isinstance(layer_copy, PackedLayer)
    layer_copy.weight_codes = PackedWeight(layer.get_parameter("weight"), scheme, method)
    return layer_copy


class PackedRecurrent(nn.Module):
    """An LSTM, GRU or plain recurrent layer whose matrices are packed, and unpacked once for each sequence."""

    def __init__(self, layer: nn.RNNBase, scheme: Scheme, method: str = "minmax") -> None:
        super().__init__()
        values = dict(layer.named_parameters())
        self.order = list(values)  # in which the kernel wants them
        self.codes = nn.ModuleDict({name: PackedWeight(v, scheme, method) for name, v in values.items() if v.ndim > 1})
        self.biases = nn.ParameterDict({name: v.detach().clone() for name, v in values.items() if v.ndim == 1})
        frame = copy.deepcopy(layer)  # the layer without its parameters
        for name in values:
            del frame._parameters[name]
        frame._flat_weights, frame._flat_weight_refs, frame._flat_weights_names = [], [], []
        self.frame = (frame,)  # in a tuple, since it is no part to be saved, pruned or packed

    @property
    def scheme(self) -> Scheme:
        """The integers of its matrices."""
        first: PackedWeight = next(iter(self.codes.values()))  # type: ignore[assignment]
        return first.scheme

    def forward(self, x: Any, state: Any = None) -> Any:
        """Return outputs and last states, as the layer with the unpacked matrices does."""
        frame = copy.copy(self.frame[0])  # of this call alone
        frame.train(self.training)
        frame._flat_weights = [self.codes[n]() if n in self.codes else self.biases[n] for n in self.order]
        return frame(x, state)


def packed_layer(layer: nn.Module, scheme: Scheme, method: str = "minmax", inputs: nn.Module | None = None) -> PackedLayer:
    """A linear layer, convolution or embedding with packed weights. ValueError for weights that are not finite.

    A subclass that computes something of its own, such as a scaled embedding, keeps its class's forward.
    """
    if isinstance(layer, (nn.Linear, nn.Embedding, *CONVOLUTIONS)) and own_forward(layer):
        if inputs is not None:
            raise ValueError(f"the inputs of a {type(layer).__name__} can't be rounded: it computes something of its own")
        return _packed_subclass(layer, scheme, method)
    if isinstance(layer, nn.Linear):
        return PackedLinear(layer.weight, layer.bias, scheme, method, inputs=inputs)
    if isinstance(layer, _ConvNd):
        return PackedConv(layer, scheme, method)
    if isinstance(layer, nn.Embedding):
        return PackedEmbedding(layer, scheme, method)
    raise ValueError(f"a {type(layer).__name__} holds no weights that can be packed")


def quantize_weights(
    model: nn.Module,
    scheme: Scheme,
    *,
    method: str = "minmax",
    skip: str | Iterable[str] = (),
    min_share: float = MIN_SHARE,
    quiet: bool = False,
) -> nn.Module:
    """A copy of the model whose linear layers, convolutions and embeddings keep packed weights.

    Layers that a pattern of `skip` names stay floats (see `coverage.name_filter`). A weight that several layers share (a tied
    head) is packed once, for all of them; low-rank factors stay floats. What was packed, and what not and why, is printed
    unless `quiet` and added to the result's `coverage`. ValueError when less than the share `min_share` of the parameters in
    matrices can be packed, nothing is left to quantise, a pattern names nothing, or a weight is not finite (the layer is named).
    """
    copied = plain(model)
    spared = name_filter(copied, skip)
    selected_layers = [(name, layer) for name, layer in weight_layers(copied) if not spared(name)]
    recurrent = [(name, layer) for name, layer in copied.named_modules() if isinstance(layer, RECURRENT) and not spared(name)]
    names, operation = [name for name, _ in (*selected_layers, *recurrent)], f"packed in {scheme.bits} bits"
    coverage = coverage_of(operation, copied, names, spared=spared, other_kinds=(LowRankLinear,)).require(min_share)
    if not names:
        raise ValueError("no layer is left to quantise: the model has none with weights, or all are skipped")
    codes_by_weight: dict[int, PackedWeight] = {}
    for name, layer in selected_layers:
        replacement = named_error(name, packed_layer, layer, scheme, method)
        replacement.weight_codes = codes_by_weight.setdefault(id(layer.get_parameter("weight")), replacement.weight_codes)
        put(copied, name, replacement)
    for name, layer in recurrent:
        put(copied, name, named_error(name, PackedRecurrent, layer, scheme, method))
    return record(copied, coverage, quiet)
