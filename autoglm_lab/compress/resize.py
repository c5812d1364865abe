"""Networks with fewer channels: the same shapes with channels that nothing reads, or smaller ones without them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from autoglm_lab.compress.channels import channel_layers, cut, silence, size_of
from autoglm_lab.compress.dependency_graph import Group
from autoglm_lab.compress.geometry import count_heads, shares
from autoglm_lab.compress.plain import plain


def masked(model: nn.Module, groups: Iterable[Group]) -> nn.Module:
    """A copy of a network that reads nothing from the channels of these groups; its shapes stay."""
    copied = plain(model)
    for (layer, side), channels in together(groups).items():
        silence(copied.get_submodule(layer), side, channels)
    return copied


def remove(model: nn.Module, groups: Iterable[Group]) -> nn.Module:
    """A copy of a network without the channels of these groups. ValueError for a layer that would lose all of them."""
    copied = plain(model)
    return resize(copied, stays(copied, groups))


def stays(model: nn.Module, groups: Iterable[Group]) -> dict[tuple[str, str], list[int]]:
    """The channels that every layer keeps on every side without some groups. ValueError for a layer that would keep none."""
    keep = {}
    for (layer, side), channels in together(groups).items():
        gone = set(channels)
        keep[layer, side] = [c for c in range(size_of(model.get_submodule(layer), side)) if c not in gone]
        if not keep[layer, side]:
            raise ValueError(f"layer {layer!r} would lose its last channel")
    return keep


def together(groups: Iterable[Group]) -> dict[tuple[str, str], list[int]]:
    """The channels of all groups, for each layer and side."""
    gone: dict[tuple[str, str], set[int]] = defaultdict(set)
    for group in groups:
        for key, channels in group.parts.items():
            gone[key].update(channels)
    return {key: sorted(channels) for key, channels in gone.items()}


def resize(model: nn.Module, keep: Mapping[tuple[str, str], list[int]], *, heads: bool = True) -> nn.Module:
    """Shrink layers in place to the channels that are kept on each side. ValueError for layers that share a weight alone.

    With `heads` the modules that hold them get the number of heads that they have now.
    """
    sharing: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, module in channel_layers(model).items():
        for part, parameter in module.named_parameters(recurse=False):
            sharing[id(parameter)].append((name, part))
    module_shares = shares(model, keep)
    cut_values: dict[tuple[int, int, tuple[int, ...]], Tensor] = {}
    for (layer, side), channels in keep.items():
        cut(model.get_submodule(layer), side, channels, cut_values)
    for owners in sharing.values():
        if len({id(getattr(model.get_submodule(name), part)) for name, part in owners}) > 1:
            names = [name for name, _ in owners]
            raise ValueError(f"layer {names[0]!r} shares its weight with {names[1:]}; it cannot shrink alone")
    if heads:
        count_heads(model, module_shares)
    return model
