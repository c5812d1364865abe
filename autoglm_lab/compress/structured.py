"""Structured pruning: whole channels, neurons and key/value groups go, and the network is really smaller afterwards."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import nn

from autoglm_lab.compress.channels import IN, OUT, THROUGH, channel_layers, size_of
from autoglm_lab.compress.coverage import Coverage, coverage_of, name_filter, record
from autoglm_lab.compress.dependency_graph import Group, trace
from autoglm_lab.compress.examples import Example, outputs
from autoglm_lab.compress.geometry import Fitter, Misfit, near, shares
from autoglm_lab.compress.importance import Importance, Loss, fisher_importance, group_importance, weight_scores
from autoglm_lab.compress.plain import is_plain, plain
from autoglm_lab.compress.resize import masked, remove, stays, together
from autoglm_lab.compress.work import layer_macs
from autoglm_lab.model.modes import evaluating
from autoglm_lab.progress import track

Measure = Literal["macs", "parameters", "channels"]
Family = tuple[tuple[str, str], ...]  # layers and sides

READ = 15  # multiply-accumulates that take as long as reading a weight of 32 bits from memory, on the machine of the reports
TRIES = 8  # choices of groups until the share that is really gone is near what was asked
NEAR = 0.05  # how far, as a share of what was asked, the achieved ratio may be off


@dataclass(frozen=True)
class Sizes:
    """Size of a network: channels that are in a group, parameters, and multiply-accumulates of layers for one example."""

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
    spared: Mapping[str, str] = field(default_factory=dict)  # layers that were left whole, and why
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
    model: nn.Module,
    example: Example,
    ratio: float,
    *,
    of: Measure = "macs",
    importance: Importance = "l1",
    loss: Loss | None = None,
    groups: Sequence[Group] | None = None,
    least: float = 0.1,
    multiple: int = 1,
    prices: Mapping[str, float] | None = None,
    ignore: Iterable[str] = (),
    min_share: float = 0.0,
    quiet: bool = False,
) -> Pruned:
    """A smaller copy of a network, without the least important groups of channels.

    Groups of all layers are ranked together: each by its importance relative to the mean of its family (Molchanov et al.
    2017, 2019), or with "fisher" by what losing it would do to the loss, for each MAC, parameter or channel that it saves (Liu
    et al. 2021), or for what it costs at `prices`, one for each layer. They go until the share `ratio` of all that is gone; of
    each family at least the share `least` stays. With `multiple` they go in packs of so many alike, because kernels like round
    widths. All importances but "l1" need a `loss`. Layers that `ignore` names (as `name_filter` reads it) keep all channels.
    The result is compared with the network in which the same channels are only masked, and carries the share `reached`, counted
    anew. A family of groups that does not survive this is left whole, and listed in `spared` with the reason. Which layers'
    channels could go, and which not and why, is printed unless `quiet` and is the result's `coverage`.
    ValueError for a ratio outside (0, 1), weights that are not finite, a ratio that cannot be had within 5 % of itself (the message
    names what was spared and why), or when layers whose channels can go hold less than the share `min_share` of the parameters.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio is {ratio}; it is a share between 0 and 1")
    model = model if is_plain(model) else plain(model)
    groups = _removable(model, trace(model, example) if groups is None else groups, ignore)
    spared, search = dict[Family, str](), _Search(ratio, ratio)
    with track(None, "pruning", "step", total=2) as bar:
        scores, budget = _scores(model, example, groups, of, importance, loss, prices)
        bar.update()
        while search.tries < TRIES:  # what is outside of layers, or squared in them, may cost otherwise than the budget knows
            candidates = [place for place, group in enumerate(groups) if group.family not in spared]
            stay, ranks, exact = [groups[i] for i in candidates], [scores[i] for i in candidates], search.target == ratio
            try:
                selection = choose(stay, ranks, budget.anew(), search.target, least, multiple, exact=exact)
                candidate = _remove_checked(model, example, selection, groups)
                bar.update(bar.n < bar.total)
            except Misfit as error:
                spared |= _misfits(model, example, selection, error)
                continue
            except ValueError as error:
                if exact:
                    raise ValueError(f"{error}{_because(spared)}") from error
                break
            saved = candidate.saved[of]
            if abs(saved - ratio) <= NEAR * ratio:
                pruned = _with_coverage(replace(candidate, of=of, ratio=ratio), model, stay, spared, min_share)
                if not quiet:
                    bar.close()
                    print(f"{100 * saved:.1f} % of the {of} gone; {pruned.coverage}", file=sys.stderr)
                return pruned
            search.narrow(saved)
    raise ValueError(search.failure(of) + _because(spared))


def _with_coverage(
    pruned: Pruned, model: nn.Module, groups: Sequence[Group], spared: Mapping[Family, str], min_share: float
) -> Pruned:
    """The result with its coverage: the layers whose channels could go, those that could not, and why."""
    reasons = {layer: reason for family, reason in spared.items() for layer, _ in family}
    coverage = _coverage(model, groups, reasons).require(min_share)
    record(pruned.model, coverage, quiet=True)
    return replace(pruned, coverage=coverage, spared={family[0][0]: reason for family, reason in spared.items()})


@dataclass
class _Search:
    """Search for the share to ask of `choose`, so that the share `ratio` really goes: in proportion, within known bounds."""

    ratio: float
    target: float
    nearest: float = 0.0
    tries: int = 0
    under: float = 0.0
    over: float = 1.0

    def failure(self, of: Measure) -> str:
        """A sentence that says how near the search came."""
        return f"{self.ratio:.1%} of the {of} was asked for, and {self.nearest:.1%} is the nearest that can go"

    def narrow(self, saved: float) -> None:
        """Set the next target, after the last one saved this share."""
        self.nearest = min(self.nearest, saved, key=lambda share: abs(share - self.ratio))
        self.under, self.over = (self.target, self.over) if saved < self.ratio else (self.under, self.target)
        self.target *= self.ratio / max(saved, 0.1 * self.ratio)
        self.tries += 1
        if not self.under < self.target < self.over:
            self.target = (self.under + self.over) / 2


def _removable(model: nn.Module, groups: Sequence[Group], ignore: Iterable[str]) -> list[Group]:
    """The groups without a layer that `ignore` names. ValueError when there is none."""
    ignored = name_filter(model, ignore, "ignore")
    rest = [group for group in groups if not any(ignored(layer) for layer, _ in group.parts)]
    if not rest:
        raise ValueError("no group of channels can be removed from this model: every channel is tied to its inputs or outputs")
    return rest


def _coverage(model: nn.Module, groups: Iterable[Group], spared: Mapping[str, str]) -> Coverage:
    """The layers with channels that could go, and why those of the others could not."""
    tied = dict.fromkeys(channel_layers(model), "tied to what the model takes in or puts out, or to all of a layer")
    return coverage_of("channels can go", model, {layer for layer, _ in together(groups)}, reasons=tied | dict(spared))


def _scores(
    model: nn.Module,
    example: Example,
    groups: Sequence[Group],
    of: Measure,
    importance: Importance,
    loss: Loss | None,
    prices: Mapping[str, float] | None,
) -> tuple[list[float], Budget]:
    """Importance of each group, and a budget of the whole network."""
    budget = Budget.of(model, example, of, groups)
    if importance != "fisher":
        return group_importance(groups, weight_scores(model, importance, loss)), budget
    harms = fisher_importance(model, groups, loss)
    spending = budget if prices is None else Budget.priced(model, prices)
    return [harm / max(spending.left - spending.without(group), 1e-30) for group, harm in zip(groups, harms, strict=True)], budget


def _misfits(model: nn.Module, example: Example, selection: Sequence[Group], error: Misfit) -> dict[Family, str]:
    """The families of groups that do not survive on their own, with the reason. Raises `error` if all of them do."""
    families: dict[Family, list[Group]] = defaultdict(list)
    for group in selection:
        families[group.family].append(group)
    misfits = {}
    for family, groups in families.items():
        try:
            _fitted(model, example, groups)
        except Misfit as alone:
            misfits[family] = str(alone)
    if not misfits:
        raise error
    return misfits


def _because(spared: Mapping[Family, str]) -> str:
    return "".join(f"; {family[0][0]!r} is left whole ({reason})" for family, reason in spared.items())


def _remove_checked(model: nn.Module, example: Example, chosen: Sequence[Group], groups: Sequence[Group]) -> Pruned:
    """Remove the chosen ones of all groups, and make sure that the outputs are those of the masked network.

    Misfit, a ValueError, if they are not: it names the module and the line of its code.
    """
    smaller = _fitted(model, example, chosen)
    gone = {_first_channel(group) for group in chosen}
    stay = [group for group in groups if _first_channel(group) not in gone]
    return Pruned(smaller, tuple(chosen), Sizes.of(model, example, groups), Sizes.of(smaller, example, stay))


def _first_channel(group: Group) -> tuple[str, str, int]:
    """The layer, the side and the number of a group's first channel, which no other group has."""
    (layer, side), channels = next(iter(group.parts.items()))
    return layer, side, channels[0]


def _fitted(model: nn.Module, example: Example, selection: Sequence[Group]) -> nn.Module:
    mask, smaller = masked(model, selection), remove(model, selection)
    fitter = Fitter(mask, smaller, shares(mask, stays(mask, selection)))
    with evaluating(mask, smaller), torch.no_grad():
        expected = outputs(mask, example)
        mine = fitter.fit(example)
    if len(mine) != len(expected) or not all(map(near, mine, expected)):
        raise Misfit("", "the smaller network does not answer as the masked one does")
    return smaller


class Budget:
    """Remaining cost of a network while groups are chosen, in MACs, parameters or channels."""

    def __init__(self, costs: Mapping[str, float], sizes: Mapping[tuple[str, str], int], outputs_only: bool) -> None:
        self.costs, self.sizes, self.outputs_only = costs, sizes, outputs_only
        self.gone: dict[tuple[str, str], int] = defaultdict(int)
        self.total = sum(costs.values())
        self.left = self.total

    def anew(self) -> Budget:
        """The same budget with nothing gone."""
        return Budget(self.costs, self.sizes, self.outputs_only)

    @classmethod
    def priced(cls, model: nn.Module, prices: Mapping[str, float]) -> Budget:
        """A budget of a whole network in which each layer has a price."""
        return cls(prices, _sides(model), False)

    @classmethod
    def of(cls, model: nn.Module, example: Example, measure: Measure, groups: Iterable[Group]) -> Budget:
        """A budget of a whole network; channels count where they are in a group."""
        layers, sizes = channel_layers(model), _sides(model)
        if measure == "macs":
            costs: dict[str, float] = dict(layer_macs(model, example))
        elif measure == "parameters":
            owner = {id(p): name for name, module in reversed(layers.items()) for p in module.parameters()}  # the first of them
            costs = {name: sum(p.numel() for p in module.parameters() if owner[id(p)] == name) for name, module in layers.items()}
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
        """Remaining cost if this group went too."""
        after = {key: self.gone[key] + len(channels) for key, channels in group.parts.items()}
        layers = {layer for layer, _ in group.parts}
        return self.left + sum(self._cost(layer, {**self.gone, **after}) - self._cost(layer, self.gone) for layer in layers)

    def take(self, group: Group) -> None:
        """Take a group out of the network."""
        self.left = self.without(group)
        for key, channels in group.parts.items():
            self.gone[key] += len(channels)


def _sides(model: nn.Module) -> dict[tuple[str, str], int]:
    return {(name, side): size_of(module, side) for name, module in channel_layers(model).items() for side in (OUT, IN, THROUGH)}


def answer_prices(model: nn.Module, example: Example, tokens: int, stack: str) -> dict[str, float]:
    """Cost of each layer in a whole answer, in MACs: those for the example, and the weights that `tokens` after it read.

    For one token a layer of the `stack` computes next to nothing, but its weights have to come from memory, and that takes as
    long as READ MACs for each of them.
    """
    weight_counts = {
        name: module.get_parameter("weight").numel()
        for name, module in model.named_modules()
        if name.startswith(f"{stack}.") and isinstance(module, nn.Linear)
    }
    return {name: macs + tokens * READ * weight_counts.get(name, 0) for name, macs in layer_macs(model, example).items()}


def choose(
    groups: Sequence[Group],
    importance: Sequence[float],
    budget: Budget,
    ratio: float,
    least: float,
    multiple: int = 1,
    exact: bool = True,
) -> list[Group]:
    """The least important groups that together save `ratio`; if `exact`, ValueError if that cannot be had within 5 % of it.

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
    selection: list[Group] = []
    for pack in sorted(packs, key=lambda places: sum(importance[i] for i in places) / len(places)):
        if 1 - budget.left / budget.total >= ratio:
            break
        pack_gone = merged(groups[i] for i in pack)
        if 1 - budget.without(pack_gone) / budget.total <= ratio * (1 + NEAR):
            budget.take(pack_gone)
            selection += [groups[i] for i in pack]
    saved = 1 - budget.left / budget.total
    if exact and saved < ratio * (1 - NEAR):
        raise ValueError(
            f"at most {saved:.1%} can go this way, {ratio:.0%} was asked for: the rest is tied to inputs and outputs, "
            f"or is the last {least:.0%} of its layer"
        )
    return selection


def merged(groups: Iterable[Group]) -> Group:
    """Several groups as one."""
    return Group({key: tuple(channels) for key, channels in together(groups).items()})
