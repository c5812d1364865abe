"""Finding the layers of a model that hold weights, and putting others in their place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from torch import nn

P = ParamSpec("P")
R = TypeVar("R")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every linear layer, convolution and embedding; subclasses, which may compute something else, are not among them."""
    for name, module in model.named_modules():
        if type(module) in (nn.Linear, nn.Embedding, *CONVOLUTIONS):
            yield name, module


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Every linear layer that owns its weight alone: a tied head is not among them."""
    owners: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    for name, module in model.named_modules():
        if type(module) is nn.Linear and owners[id(module.weight)] == 1:
            yield name, module


def replace_linear(
    model: nn.Module, make: Callable[[str, nn.Linear], nn.Module], select: Callable[[str], bool] = lambda name: True
) -> nn.Module:
    """A copy of the model with `make(name, layer)` in place of every selected linear layer that owns its weight.

    ValueError when no layer is selected; one that `make` raises is raised again with the name of the layer.
    """
    copied = copy.deepcopy(model)
    chosen = [(name, layer) for name, layer in linear_layers(copied) if select(name)]
    if not chosen:
        raise ValueError("no linear layer is selected: the model has none of its own, or all are left out")
    for name, layer in chosen:
        put(copied, name, named_error(name, make, name, layer))
    return copied


def put(model: nn.Module, name: str, value: object) -> None:
    """Set a module or parameter by its dotted name."""
    holder, _, last = name.rpartition(".")
    setattr(model.get_submodule(holder), last, value)


def named_error(name: str, make: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
    """What `make` gives; a ValueError that it raises is raised again with the name of the layer."""
    try:
        return make(*args, **options)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from error
