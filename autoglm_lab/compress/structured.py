"""Structured pruning: whole channels, neurons and key/value groups go, and the network is really smaller afterwards."""

from __future__ import annotations

import copy
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from autoglm_lab.compress.coverage import Coverage, coverage_of
from autoglm_lab.compress.groups import (
    IN,
    OUT,
    THROUGH,
    Example,
    Group,
    channel_layers,
    outputs,
    size_of,
    trace,
)
from autoglm_lab.compress.importance import Importance, Loss, fisher_importance, group_importance, weight_scores
from autoglm_lab.compress.work import layer_macs

Measure = Literal["macs", "parameters", "channels"]

HEAD_COUNTS = ("num_heads", "num_attention_heads", "num_key_value_heads", "num_kv_heads", "n_heads", "heads", "all_head_size")
READ = 15  # multiply-accumulates that take as long as reading a weight of 32 bits from memory, on the machine of the reports
ATTEMPTS = 3  # to reach the ratio as counted on the finished network
NEAR = 0.05  # how far, as a share of what was asked, the achieved ratio may be off
SAME = 1e-5  # how far the smaller network may be from the masked one in 32 bits, as a share of the largest output


@dataclass(frozen=True)
class Sizes:
    """How big a network is: channels that are in a group, parameters, and multiply-accumulates of layers for one example."""

    channels: int
    parameters: int
    macs: int

    @classmethod
    def of(cls, model: nn.Module, example: Example, groups: Iterable[Group]) -> Sizes:
        """Measure a network. MACs are counted as in `work`: products of two activations (attention) are not among them."""
        channels = sum(len(numbers) for group in groups for (_, side), numbers in group.parts.items() if side == OUT)
        return cls(channels, sum(p.numel() for p in model.parameters()), sum(layer_macs(model, example).values()))

    def saved(self, smaller: Sizes) -> dict[str, float]:
        """The share of each that is gone in a smaller network."""
        return {name: 1 - getattr(smaller, name) / value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Pruned:
    """A smaller network, the groups that went, and its size before and after."""

    model: nn.Module
    removed: tuple[Group, ...]
    before: Sizes
    after: Sizes
    of: Measure = "macs"  # measure of which a share was asked
    ratio: float | None = None  # that share
    coverage: Coverage | None = None  # layers whose channels could go, and those whose could not

    @property
    def reached(self) -> float:
        """The share of the measure asked for that is gone, counted on the finished network."""
        return self.saved[self.of]

    @property
    def saved(self) -> dict[str, float]:
        """The share of channels, parameters and MACs that is gone."""
        return self.before.saved(self.after)


def prune_structured(
    model: nn.Module, example: Example, ratio: float, *, of: Measure = "macs", importance: Importance = "l1",
    loss: Loss | None = None, groups: Sequence[Group] | None = None, least: float = 0.1, multiple: int = 1,
    prices: Mapping[str, float] | None = None, quiet: bool = False,
) -> Pruned:  # fmt: skip
    """A smaller copy of a network, without the least important groups of channels.

    Groups of all layers are ranked together: each by its importance relative to the mean of its family (Molchanov et al.
    2017, 2019), or with "fisher" by what losing it would do to the loss, for each MAC, parameter or channel that it saves (Liu
    et al. 2021), or for what it costs at `prices`, one for each layer. They go until the share `ratio` of all that is gone; of
    each family at least the share `least` stays. With `multiple` they go in packs of so many alike, because kernels like round
    widths. All importances but "l1" need a `loss`.
    The result is compared with the network in which the same channels are only masked, and carries the share `reached`, counted
    anew. Which layers' channels could go, and which not and why, is printed unless `quiet` and is the result's `coverage`.
    ValueError for a ratio outside (0, 1), weights that are not finite, a ratio that cannot be had or is missed by more than 5 %
    of itself, or a network that does not survive: the message names the layer.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio is {ratio}; it is a share between 0 and 1")
    groups = trace(model, example) if groups is None else groups
    if not groups:
        raise ValueError("no group of channels can be removed from this model: every channel is tied to its inputs or outputs")
    ledger = Ledger.of(model, example, of, groups)
    if importance == "fisher":
        harms = fisher_importance(model, groups, loss)
        purse = ledger if prices is None else Ledger.priced(model, prices)
        scores = [harm / max(purse.left - purse.without(group), 1e-30) for group, harm in zip(groups, harms, strict=True)]
    else:
        scores = group_importance(groups, weight_scores(model, importance, loss))
    coverage, target = _coverage(model, groups), ratio
    for _ in range(ATTEMPTS):  # operators outside of layers may cost otherwise than the ledger knows
        chosen = choose(groups, scores, copy.deepcopy(ledger), target, least, multiple)
        done = replace(remove_checked(model, example, chosen, groups), of=of, ratio=ratio, coverage=coverage)
        if abs(done.reached - ratio) <= NEAR * ratio:
            break
        target *= ratio / max(done.reached, 1e-3)
    else:
        raise ValueError(f"{done.reached:.1%} of the {of} are gone, {ratio:.1%} was asked for: what is not in layers costs "
                         f"otherwise than they do. {coverage}")  # fmt: skip
    if not quiet:
        print(f"{100 * done.reached:.1f} % of the {of} gone; {coverage}", file=sys.stderr)
    return done


def _coverage(model: nn.Module, groups: Iterable[Group]) -> Coverage:
    """The layers with channels that could go, and why those of the others could not."""
    tied = dict.fromkeys(channel_layers(model), "tied to what the model takes in or puts out, or to all of a layer")
    return coverage_of("channels can go", model, {layer for layer, _ in together(groups)}, reasons=tied)


def remove_checked(model: nn.Module, example: Example, chosen: Sequence[Group], groups: Sequence[Group]) -> Pruned:
    """Remove the chosen ones of all groups, and make sure that the outputs are those of the masked network."""
    smaller = remove(model, chosen)
    wanted = _run(masked(model, chosen), example)
    for mine, right in zip(_run(smaller, example), wanted, strict=True):
        near = max(SAME, 4 * torch.finfo(right.dtype).eps) * float(right.abs().max())
        if mine.shape != right.shape or not torch.allclose(mine, right, rtol=0, atol=near):
            raise ValueError("the smaller network does not answer as the masked one does; a layer uses its channels in a way "
                             "that the groups do not know")  # fmt: skip
    stay = [group for group in groups if group not in chosen]
    return Pruned(smaller, tuple(chosen), Sizes.of(model, example, groups), Sizes.of(smaller, example, stay))


class Ledger:
    """What is left of every layer while groups are chosen, in MACs, parameters or channels."""

    def __init__(self, costs: Mapping[str, float], sizes: Mapping[tuple[str, str], int], outputs_only: bool) -> None:
        self.costs, self.sizes, self.outputs_only = costs, sizes, outputs_only
        self.gone: dict[tuple[str, str], int] = defaultdict(int)
        self.total = sum(costs.values())
        self.left = self.total

    @classmethod
    def priced(cls, model: nn.Module, prices: Mapping[str, float]) -> Ledger:
        """A ledger of a whole network in which each layer has a price."""
        return cls(prices, _sides(model), False)

    @classmethod
    def of(cls, model: nn.Module, example: Example, measure: Measure, groups: Iterable[Group]) -> Ledger:
        """A ledger of a whole network; channels count where they are in a group."""
        layers, sizes = channel_layers(model), _sides(model)
        if measure == "macs":
            costs: dict[str, float] = dict(layer_macs(model, example))
        elif measure == "parameters":
            costs = {name: sum(p.numel() for p in module.parameters()) for name, module in layers.items()}
            costs[""] = sum(p.numel() for p in model.parameters()) - sum(costs.values())
        elif measure == "channels":
            costs = defaultdict(float)
            for (layer, side), numbers in together(groups).items():
                if side == OUT:
                    costs[layer] = sizes[layer, OUT] = len(numbers)
        else:
            raise ValueError(f"of is {measure!r}; there are 'macs', 'parameters' and 'channels'")
        return cls(costs, sizes, measure == "channels")

    def _cost(self, layer: str, gone: Mapping[tuple[str, str], int]) -> float:
        cost = self.costs.get(layer, 0.0)
        for side in (OUT,) if self.outputs_only else (OUT, IN, THROUGH):
            if (layer, side) in gone:
                cost *= 1 - gone[layer, side] / self.sizes[layer, side]
        return cost

    def without(self, group: Group) -> float:
        """What would be left if this group went too."""
        after = {key: self.gone[key] + len(channels) for key, channels in group.parts.items()}
        layers = {layer for layer, _ in group.parts}
        return self.left + sum(self._cost(layer, {**self.gone, **after}) - self._cost(layer, self.gone) for layer in layers)

    def take(self, group: Group) -> None:
        """Let a group go."""
        self.left = self.without(group)
        for key, channels in group.parts.items():
            self.gone[key] += len(channels)


def _sides(model: nn.Module) -> dict[tuple[str, str], int]:
    return {(name, side): size_of(module, side) for name, module in channel_layers(model).items() for side in (OUT, IN, THROUGH)}


def answer_prices(model: nn.Module, example: Example, tokens: int, stack: str) -> dict[str, float]:
    """What each layer costs in a whole answer, in MACs: those for the example, and what `tokens` written after it read.

    For one token a layer of the `stack` computes next to nothing, but its weights have to come from memory, and that takes as
    long as READ MACs for each of them.
    """
    read = {name: module.get_parameter("weight").numel() for name, module in model.named_modules()
            if name.startswith(f"{stack}.") and isinstance(module, nn.Linear)}  # fmt: skip
    return {name: macs + tokens * READ * read.get(name, 0) for name, macs in layer_macs(model, example).items()}


def choose(
    groups: Sequence[Group], importance: Sequence[float], ledger: Ledger, ratio: float, least: float, multiple: int = 1
) -> list[Group]:
    """The least important groups that together save `ratio`; ValueError if that cannot be had within 5 % of it.

    They go in packs of `multiple` of one family; a family of fewer goes one by one.
    """
    families: dict[object, list[int]] = defaultdict(list)
    for place in sorted(range(len(groups)), key=lambda i: importance[i]):
        families[groups[place].family].append(place)
    packs: list[list[int]] = []
    for places in families.values():
        size = multiple if len(places) >= 2 * multiple else 1
        going = len(places) - max(1, round(least * len(places)))
        packs += [places[first : first + size] for first in range(0, going - going % size, size)]
    chosen: list[Group] = []
    for pack in sorted(packs, key=lambda places: sum(importance[i] for i in places) / len(places)):
        if 1 - ledger.left / ledger.total >= ratio:
            break
        pack_gone = merged(groups[i] for i in pack)
        if 1 - ledger.without(pack_gone) / ledger.total <= ratio * (1 + NEAR):
            ledger.take(pack_gone)
            chosen += [groups[i] for i in pack]
    saved = 1 - ledger.left / ledger.total
    if saved < ratio * (1 - NEAR):
        raise ValueError(f"at most {saved:.1%} can go this way, {ratio:.0%} was asked for: the rest is tied to inputs and outputs, "
                         f"or is the last {least:.0%} of its layer")  # fmt: skip
    return chosen


def merged(groups: Iterable[Group]) -> Group:
    """Several groups as one."""
    return Group({key: tuple(channels) for key, channels in together(groups).items()})


def masked(model: nn.Module, groups: Iterable[Group]) -> nn.Module:
    """A copy of a network that reads nothing from the channels of these groups; its shapes stay."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for (layer, side), channels in together(groups).items():
            if side == IN:
                copied.get_submodule(layer).get_parameter("weight")[:, channels] = 0
    return copied


def remove(model: nn.Module, groups: Iterable[Group]) -> nn.Module:
    """A copy of a network without the channels of these groups. ValueError for a layer that shares its weight."""
    gone = together(groups)
    keep = {}
    for (layer, side), channels in gone.items():
        module = model.get_submodule(layer)
        size = size_of(module, side)
        keep[layer, side] = [c for c in range(size) if c not in set(channels)]
        if not keep[layer, side]:
            raise ValueError(f"layer {layer!r} would lose its last channel")
    return resize(copy.deepcopy(model), keep)


def together(groups: Iterable[Group]) -> dict[tuple[str, str], list[int]]:
    """The channels of all groups, for each layer and side."""
    gone: dict[tuple[str, str], set[int]] = defaultdict(set)
    for group in groups:
        for key, channels in group.parts.items():
            gone[key].update(channels)
    return {key: sorted(channels) for key, channels in gone.items()}


@torch.no_grad()
def resize(model: nn.Module, keep: Mapping[tuple[str, str], list[int]]) -> nn.Module:
    """Shrink layers in place to the channels that are kept on each side. ValueError for a layer that shares its weight."""
    owners: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)].append(name)
    ratios: dict[str, float] = {}
    for (layer, side), channels in keep.items():
        module = model.get_submodule(layer)
        sharing = owners[id(module.weight)]  # a batch norm may have none
        if len(sharing) > 1:
            raise ValueError(f"layer {layer!r} shares its weight with {sharing}; it cannot shrink alone")
        ratios[layer.rpartition(".")[0]] = len(channels) / size_of(module, side)
    for (layer, side), channels in keep.items():
        _cut(model.get_submodule(layer), side, torch.tensor(channels))
    for holder, ratio in ratios.items():
        _count_heads(model.get_submodule(holder), holder, ratio)
    return model


def _cut(module: nn.Module, side: str, keep: Tensor) -> None:
    """Shrink one side of a layer, in place."""
    axis = 1 if side == IN or isinstance(module, nn.Embedding) else 0
    names = ["weight"] if axis == 1 else ["weight", "bias", "running_mean", "running_var"]
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, nn.Parameter):
            setattr(module, name, nn.Parameter(value.index_select(axis, keep), requires_grad=value.requires_grad))
        elif isinstance(value, Tensor):
            setattr(module, name, value.index_select(axis, keep))
    sizes = {IN: ("in_features", "in_channels"), OUT: ("out_features", "out_channels", "embedding_dim"),
             THROUGH: ("num_features", "in_channels", "out_channels", "groups")}[side]  # fmt: skip
    for name in sizes:
        if hasattr(module, name):
            setattr(module, name, len(keep))


def _count_heads(module: nn.Module, name: str, ratio: float) -> None:
    """Tell the module that holds the projections of attention how many heads it has now."""
    for attribute in HEAD_COUNTS:
        before = getattr(module, attribute, None)
        if isinstance(before, int):
            after = before * ratio
            if abs(after - round(after)) > 1e-6:
                raise ValueError(f"{name}.{attribute} would be {after:.2f}; whole heads have to go")
            setattr(module, attribute, round(after))


@torch.no_grad()
def _run(model: nn.Module, example: Example) -> list[Tensor]:
    """The model's outputs in evaluation mode; its mode is left as it was. ValueError names the layer in which it fails."""
    inside: list[str] = []
    hooks = [
        m.register_forward_pre_hook(lambda _module, _inputs, name=name: inside.append(name)) for name, m in model.named_modules()
    ]
    training = model.training
    model.train(False)
    try:
        return outputs(model, example)
    except RuntimeError as error:
        raise ValueError(f"the network fails in layer {inside[-1] if inside else ''!r}: {error}") from error
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
