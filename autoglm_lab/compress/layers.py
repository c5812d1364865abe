"""Finding the layers of a model that hold weights, and putting others in their place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from autoglm_lab.compress.coverage import MIN_SHARE, coverage_of, record
from autoglm_lab.compress.plain import plain

P = ParamSpec("P")
R = TypeVar("R")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
KNOWN = (nn.Linear, nn.Embedding, *CONVOLUTIONS)
RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def weight_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every linear layer, convolution and embedding by name, subclasses among them, whose weight is a parameter of its own.

    A layer that computes its weight (see `plain`) is not among them.
    """
    for name, module in model.named_modules():
        if isinstance(module, KNOWN) and isinstance(module._parameters.get("weight"), nn.Parameter):
            yield name, module


def own_forward(layer: nn.Module) -> bool:
    """True if a layer's class changes what a layer of its kind computes: another layer of that kind can't take its place."""
    return not any(isinstance(layer, kind) and type(layer).forward is kind.forward for kind in KNOWN)


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Every linear layer by name that another one can stand in for; `_linear_refusals` says why the others are not among them."""
    refused = _linear_refusals(model)
    for name, module in weight_layers(model):
        if isinstance(module, nn.Linear) and name not in refused:
            yield name, module


def _linear_refusals(model: nn.Module) -> dict[str, str]:
    """The reason for each linear layer, by name, that has no stand-in: what it computes, or who else reads its weight."""
    sharing, reasons = _weight_owners(model), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            others = [owner for owner in sharing[id(module._parameters.get("weight"))] if owner != name]
            if isinstance(module, NonDynamicallyQuantizableLinear):
                reasons[name] = "nn.MultiheadAttention reads its weight and never calls it"
            elif own_forward(module):
                reasons[name] = f"its class {type(module).__name__} computes something of its own"
            elif others:
                reasons[name] = f"it shares its weight with {', '.join(others)}"
    return reasons


def _weight_owners(model: nn.Module) -> dict[int, list[str]]:
    """The names of the modules that hold each parameter, by the parameter's id."""
    owners: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)].append(name)
    return owners


def replace_linear(
    model: nn.Module,
    make: Callable[[str, nn.Linear], nn.Module],
    select: Callable[[str], bool] = lambda name: True,
    operation: str = "replaced",
    *,
    other_kinds: tuple[type[nn.Module], ...] = (),
    min_share: float = MIN_SHARE,
    quiet: bool = False,
) -> nn.Module:
    """A copy of the model with `make(name, layer)` in place of every selected linear layer that owns its weight.

    The result has its `coverage`, printed unless `quiet`. ValueError when no layer is selected, or less than the share
    `min_share` of the parameters in selected matrices is taken (embeddings, convolutions and `other_kinds` do not count); one that
    `make` raises is raised again with the name of the layer.
    """
    copied = plain(model)
    selected_layers = [(name, layer) for name, layer in linear_layers(copied) if select(name)]
    coverage = coverage_of(
        operation,
        copied,
        [name for name, _ in selected_layers],
        spared=lambda name: not select(name),
        other_kinds=(nn.Embedding, *CONVOLUTIONS, *other_kinds),
        reasons=_linear_refusals(copied),
    ).require(min_share)
    if not selected_layers:
        raise ValueError("no linear layer is selected: the model has none of its own, or all are left out")
    for name, layer in selected_layers:
        put(copied, name, named_error(name, make, name, layer))
    return record(copied, coverage, quiet)


def put(model: nn.Module, name: str, value: object) -> None:
    """Set a module or parameter by its dotted name."""
    holder, _, last = name.rpartition(".")
    setattr(model.get_submodule(holder), last, value)


def named_error(name: str, make: Callable[P, R], *args: P.args, **options: P.kwargs) -> R:
    """Return what `make` returns; a ValueError that it raises is raised again with the name of the layer."""
    try:
        return make(*args, **options)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from error
