"""Channels of each kind of layer: the values that belong to one, and the counts that change when one is removed.

A layer that mixes has channels on two sides, IN and OUT. One that does not has units THROUGH it: a channel of a batch norm,
a group of channels of a group norm or of a grouped convolution.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

OUT, IN, THROUGH = "out", "in", "through"
RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def mixes(module: nn.Module) -> bool:
    """True for a layer in which every output channel depends on every input channel, so that NaN in one reaches all."""
    if isinstance(module, RECURRENT):
        return not module.proj_size
    if not isinstance(module._parameters.get("weight"), nn.Parameter):
        return False  # packed, or computed at each call
    return module.groups == 1 if isinstance(module, _ConvNd) else isinstance(module, nn.Linear | nn.Embedding)


def passes_through(module: nn.Module) -> bool:
    """True for a layer that keeps its units apart but has weights or a count for each of them."""
    if isinstance(module, _ConvNd):
        return module.groups > 1 and isinstance(module._parameters.get("weight"), nn.Parameter)
    if isinstance(module, nn.PReLU):
        return module.num_parameters > 1
    return isinstance(module, _NormBase | nn.GroupNorm)


def channel_axis(module: nn.Module) -> int:
    """The axis of a layer's activations that holds the channels."""
    return -1 if isinstance(module, nn.Linear | nn.Embedding | nn.RNNBase) else 1


def width(module: nn.Module) -> int:
    """The number of channels, or of units, that a layer puts out."""
    if isinstance(module, _ConvNd) and module.groups > 1:
        return module.groups
    names = ("out_features", "out_channels", "num_features", "num_groups", "num_parameters", "embedding_dim", "hidden_size")
    return next(int(getattr(module, name)) for name in names if hasattr(module, name))


def size_of(module: nn.Module, side: str) -> int:
    """The number of channels, or of units, that a layer has on a side."""
    if side != IN or not mixes(module):
        return width(module)
    if isinstance(module, nn.RNNBase):
        return module.input_size
    return module.get_parameter("weight").shape[0 if isinstance(module, _ConvTransposeNd) else 1]


def block(module: nn.Module, channels: int) -> int:
    """The number of neighbouring input channels that make one unit of a layer which has `channels` of them."""
    return max(1, channels // width(module)) if passes_through(module) else 1


def channel_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every layer that has channels or units, by name."""
    return {name: module for name, module in model.named_modules() if mixes(module) or passes_through(module)}


@dataclass(frozen=True)
class Slices:
    """The places of a layer's channels along one axis of a value: the axis falls into `repeats` times all units of `each`."""

    name: str
    axis: int
    repeats: int = 1
    each: int = 1
    reads: bool = False  # the values multiply what comes from the channels, and do not compute it

    def places(self, value: Tensor, units: Iterable[int]) -> Int[Tensor, " N"]:
        """The numbers of the places that belong to some units, along the axis of a value of any shape."""
        grid = torch.arange(value.shape[self.axis]).reshape(self.repeats, -1, self.each)
        return grid[:, torch.tensor(list(units), dtype=torch.long)].flatten()


def slices(module: nn.Module, side: str) -> list[Slices]:
    """Every value of a layer that has a part for each channel of a side."""
    if isinstance(module, nn.Embedding) and side == IN:
        return []  # words are no channels
    if isinstance(module, nn.RNNBase):
        parts = _recurrent(module, side)
    elif side == THROUGH:
        values = ((name, getattr(module, name, None)) for name in ("weight", "bias", "running_mean", "running_var"))
        units = width(module)
        parts = [Slices(name, 0, each=len(value) // units) for name, value in values if isinstance(value, Tensor)]
        if isinstance(module, _ConvTransposeNd):
            parts = [Slices("weight", 0, each=module.in_channels // units), *parts[1:]]
    else:
        swapped = isinstance(module, nn.Embedding | _ConvTransposeNd)  # their weights are [input, output]
        parts = [Slices("weight", int((side == IN) != swapped), reads=side == IN)]
        if side == OUT:
            parts.append(Slices("bias", 0))
    return [part for part in parts if isinstance(getattr(module, part.name, None), Tensor)]


def _recurrent(module: nn.RNNBase, side: str) -> list[Slices]:
    """Slices of a recurrent layer: a unit is the same row of every gate, layer and direction, and the columns that read it."""
    gates, directions = {"LSTM": 4, "GRU": 3}.get(module.mode, 1), 1 + module.bidirectional
    if side == IN:
        return [Slices(f"weight_ih_l0{end}", 1, reads=True) for end in ("", "_reverse")]
    parts = []
    for layer in range(module.num_layers):
        for end in ("", "_reverse"):
            names = (f"{name}_l{layer}{end}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            parts += [Slices(name, 0, gates) for name in names]
            parts.append(Slices(f"weight_hh_l{layer}{end}", 1, reads=True))
            if layer:
                parts.append(Slices(f"weight_ih_l{layer}{end}", 1, directions, reads=True))
    return parts


COUNTS = {
    IN: ("in_features", "in_channels", "input_size"),
    OUT: ("out_features", "out_channels", "embedding_dim", "hidden_size"),
    THROUGH: ("num_features", "in_channels", "out_channels", "groups", "num_groups", "num_channels", "num_parameters"),
}


def cut(module: nn.Module, side: str, keep: list[int], known: dict[tuple[int, int, tuple[int, ...]], Tensor]) -> None:
    """Shrink one side of a layer, in place. `known` holds the values cut so far: layers that share one go on sharing it."""
    before = size_of(module, side)
    for part in slices(module, side):
        value = getattr(module, part.name)
        key = id(value), part.axis, tuple(keep)
        if key not in known:
            smaller = value.detach().index_select(part.axis, part.places(value, keep))
            known[key] = nn.Parameter(smaller, value.requires_grad) if isinstance(value, nn.Parameter) else smaller
            known[id(value), -1, ()] = value  # keeps the id from being given away
        setattr(module, part.name, known[key])
    for name in COUNTS[side]:
        count = getattr(module, name, None)
        if isinstance(count, int):
            setattr(module, name, count * len(keep) // before)


def silence(module: nn.Module, side: str, channels: Iterable[int]) -> None:
    """Set the weights with which a layer reads some of its channels to zero, in place."""
    units = list(channels)
    for part in slices(module, side):
        if part.reads:
            value = getattr(module, part.name).data
            value.index_fill_(part.axis, part.places(value, units), 0)


def canonical(module: nn.Module, value: Tensor) -> Tensor:
    """A layer's weight, or something of its shape, with the output channels on axis 0 and the input channels on axis 1."""
    if isinstance(module, _ConvTransposeNd):
        return value.transpose(0, 1)
    if isinstance(module, nn.RNNBase):
        gates: Tensor = value.unflatten(0, (-1, module.hidden_size))
        return gates.movedim(0, -1)
    return value


def main_weight(module: nn.Module) -> str:
    """The name of the parameter that maps a mixing layer's input to its output."""
    return "weight_ih_l0" if isinstance(module, nn.RNNBase) else "weight"
