"""Importance of a group of channels: by its weights, by their gradients, or by the change of the loss without it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from autoglm_lab.compress.channels import IN, OUT, THROUGH, canonical, channel_axis, main_weight, mixes
from autoglm_lab.compress.dependency_graph import Group

Importance = Literal["l1", "taylor", "gradient", "fisher"]
Loss = Callable[[nn.Module], Float[Tensor, ""]]


def weight_scores(model: nn.Module, importance: Importance, loss: Loss | None = None) -> dict[str, Float[Tensor, "*shape"]]:
    """Score each single weight: |w| (Li et al. 2017), |w g| (Molchanov et al. 2019) or g squared, with g the gradient.

    Output channels come first in each, then input channels. "fisher" is of groups, not of weights. The model's own gradients
    are left as they were. ValueError for an unknown importance, a missing loss, or weights that are not finite.
    """
    methods = [name for name in get_args(Importance) if name != "fisher"]
    if importance not in methods:
        raise ValueError(f"importance {importance!r} is unknown; there are {', '.join(map(repr, methods))}")
    modules = {f"{name}.weight": m for name, m in model.named_modules() if mixes(m) and not isinstance(m, nn.Embedding)}
    weights = {name: module.get_parameter(main_weight(module)) for name, module in modules.items()}
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"parameter {name!r} holds values that are not finite")
    scores = _single_scores(model, weights, importance, loss)
    return {name: canonical(modules[name], score) for name, score in scores.items()}


def _single_scores(
    model: nn.Module, weights: Mapping[str, Tensor], importance: Importance, loss: Loss | None
) -> dict[str, Float[Tensor, "*shape"]]:
    if importance == "l1":
        return {name: weight.detach().abs() for name, weight in weights.items()}
    if loss is None:
        raise ValueError(f"importance {importance!r} is measured with gradients and needs a loss")
    gradients = torch.autograd.grad(loss(model), list(weights.values()), allow_unused=True, materialize_grads=True)
    gradients_by_name = dict(zip(weights, gradients, strict=True))
    if importance == "gradient":
        return {name: gradient.square() for name, gradient in gradients_by_name.items()}
    return {name: (weights[name].detach() * gradient).abs() for name, gradient in gradients_by_name.items()}


def group_importance(groups: Sequence[Group], scores: Mapping[str, Float[Tensor, "*shape"]]) -> list[float]:
    """The mean score of all weights in each group, relative to the mean of its family: 1 is as important as its like."""
    sums: dict[tuple[str, str], tuple[Float[Tensor, " C"], int]] = {}  # of each channel's scores, and how many they are
    for layer, side in {key for group in groups for key in group.parts if key[1] != THROUGH and f"{key[0]}.weight" in scores}:
        score = scores[f"{layer}.weight"].float().movedim(0 if side == OUT else 1, 0).flatten(1)
        sums[layer, side] = score.sum(1), score.shape[1]
    raw = []
    for group in groups:
        entries = [(*sums[key], list(channels)) for key, channels in group.parts.items() if key in sums]
        raw.append(
            float(sum(total[numbers].sum() for total, _, numbers in entries) / sum(n * len(numbers) for _, n, numbers in entries))
        )
    totals: dict[object, list[float]] = defaultdict(list)
    for group, value in zip(groups, raw, strict=True):
        totals[group.family].append(value)
    means = {family: sum(values) / len(values) for family, values in totals.items()}
    return [value / max(means[group.family], 1e-30) for group, value in zip(groups, raw, strict=True)]


def below_threshold(groups: Sequence[Group], importance: Sequence[float], threshold: float) -> list[Group]:
    """The groups whose importance is under `threshold` times the largest of their family, which always stays (B3)."""
    largest: dict[object, float] = defaultdict(float)
    for group, value in zip(groups, importance, strict=True):
        largest[group.family] = max(largest[group.family], value)
    return [g for g, value in zip(groups, importance, strict=True) if value < threshold * largest[g.family]]


def fisher_importance(model: nn.Module, groups: Sequence[Group], loss: Loss | None) -> list[float]:
    """Squared change of the loss without each group, summed over the examples of the loss (Liu et al. 2021).

    If a group's channels were multiplied by m, each example's loss would have a derivative by m at 1: the sum of what
    `_felt` gives for all that read the group. Its square is the diagonal of the Fisher information, and comparable between
    groups of all kinds.
    ValueError without a loss, or for layers whose rows are not examples.
    """
    each = _felt(model, {layer for group in groups for layer, side in group.parts if side == IN}, loss)
    rows = {len(row): name for name, row in each.items()}
    if len(rows) > 1:
        counts = " and ".join(f"{name!r} {count}" for count, name in rows.items())
        raise ValueError(f"layers are given different numbers of rows ({counts}); each row has to be an example")
    harms = []
    for group in groups:
        reads = [(layer, list(channels)) for (layer, side), channels in group.parts.items() if side == IN and layer in each]
        harms.append(float(sum((each[name][:, at].sum(1) for name, at in reads), start=torch.zeros(())).square().sum()))
    return harms


def _felt(model: nn.Module, layers: Iterable[str], loss: Loss | None) -> dict[str, Float[Tensor, "B C"]]:
    """Activation times gradient of every channel that layers read, for each example of the loss.

    The loss is a mean over examples, and the layers' inputs have one row for each. Layers that no gradient reaches are left
    out. ValueError without a loss.
    """
    if loss is None:
        raise ValueError("importance 'fisher' is measured with gradients and needs a loss")
    products: dict[str, Float[Tensor, "B C"]] = {}

    def feel(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x = inputs[0].view_as(inputs[0])  # of its own, so that only this layer's gradient comes back

            def add(gradient: Tensor) -> None:
                each = (gradient * x.detach()).movedim(channel_axis(layer), 1)
                products[name] = products.get(name, 0) + each.reshape(*each.shape[:2], -1).sum(2).double()

            if x.requires_grad:
                x.register_hook(add)
            return (x, *inputs[1:])

        return hook

    hooks = [model.get_submodule(name).register_forward_pre_hook(feel(name)) for name in layers]
    try:
        torch.autograd.grad(loss(model), [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    finally:
        for handle in hooks:
            handle.remove()
    return products
