"""Least squares after pruning: the weights that stay are set so that a layer's outputs change least.

For one row w of a layer's weight and inputs x, the outputs w x are wanted from some of the inputs only. The best weights
v at the kept places solve a small linear system in the second moments M of the inputs: M[kept, kept] v = M[kept, :] w.
Nothing is trained; M comes from some example requests. Where they are few, least squares overfits them: so every
fourth is held out, and how far the new weights may move from the old ones is what suits those best.
Sources: optimal brain surgeon (Hassibi and Stork 1993), layer by layer (Dong et al. 2017); channels (He et al. 2017); large
language models (Frantar and Alistarh 2023, SparseGPT).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from autoglm_lab.compress.coverage import Coverage, record
from autoglm_lab.compress.dependency_graph import IN, OUT, Group
from autoglm_lab.compress.resize import together
from autoglm_lab.compress.sparsity import Masks, prune
from autoglm_lab.progress import track

EVERY = 4  # of so many examples one is held out
NOT_MEASURED = "its inputs were not recorded, or are of a kind that cannot be refitted"
NO_BETTER = "held-out examples are answered no better for it"
DAMPINGS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # relative to the mean of the moments' diagonal


def _refittable(module: nn.Module) -> bool:
    """True if a layer's outputs are sums over all its inputs: linear layers and plain convolutions of one or two dimensions."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return type(module) is nn.Linear


def read_by(layer: nn.Module, x: Float[Tensor, "B ..."]) -> Float[Tensor, "N I"]:
    """The inputs that each output of a layer is a sum over: rows of features, or the patches of a convolution."""
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return x.flatten(0, -2)
    padding = tuple(int(side) for side in layer.padding)
    if isinstance(layer, nn.Conv2d):
        patches = F.unfold(x, layer.kernel_size, layer.dilation, padding, layer.stride)
    else:  # a picture one pixel high
        patches = F.unfold(x[:, :, None], (1, *layer.kernel_size), (1, *layer.dilation), (0, *padding), (1, *layer.stride))
    return patches.transpose(1, 2).flatten(0, 1)


class Moments(dict[str, Float[Tensor, "I I"]]):
    """Sums of products of every two inputs, by layer; in `held_out` the part of each sum that is not fitted to."""

    def __init__(self) -> None:
        super().__init__()
        self.held_out: dict[str, Float[Tensor, "I I"]] = {}
        self.examples: Counter[str] = Counter()

    def add(self, name: str, rows: Float[Tensor, "N I"], examples: int) -> None:
        """Add the rows of some examples. Every fourth example is held out; of one alone, every fourth row."""
        each = len(rows) // examples if examples and len(rows) % examples == 0 else 1
        alone = examples == 1 and not self.examples[name]
        numbers = torch.arange(len(rows)) if alone else self.examples[name] + torch.arange(len(rows)) // each
        held_out_rows = rows[numbers % EVERY == 1]
        self.examples[name] += examples
        self[name] = self.get(name, 0) + rows.T @ rows
        self.held_out[name] = self.held_out.get(name, 0) + held_out_rows.T @ held_out_rows


@torch.no_grad()
def input_moments(model: nn.Module, run: Callable[[nn.Module], object], layers: Iterable[str] | None = None) -> Moments:
    """The sums of products of every two inputs of each layer (default: all that can be refitted) while `run(model)` runs.

    ValueError when nothing runs through any of the layers.
    """
    candidates = {name: module for name, module in model.named_modules() if _refittable(module)}
    recorded_layers = candidates if layers is None else {name: candidates[name] for name in layers if name in candidates}
    moments = Moments()

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], object], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
            rows = read_by(layer, inputs[0].detach().float())
            moments.add(name, rows, len(inputs[0]))

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in recorded_layers.items()]
    try:
        run(model)
    finally:
        for hook in hooks:
            hook.remove()
    if not moments:
        raise ValueError("there are no examples to refit by: nothing ran through the layers")
    return moments


@torch.no_grad()
def refit(
    weight: Float[Tensor, "O I"],
    moments: Float[Tensor, "I I"],
    keep: Bool[Tensor, "O I"],
    *,
    damping: float = 1e-3,
    held_out: Float[Tensor, "I I"] | None = None,
) -> Float[Tensor, "O I"]:
    """The weights at the kept places that change the outputs least; zero elsewhere.

    `damping`, relative to the mean of the moments' diagonal, draws the weights to what they were: entirely where the examples
    say nothing. With `held_out`, the part of `moments` that comes from rows to be judged by, the damping that changes the
    outputs on those least is taken, and weights that no damping serves better than leaving them stay as they were.

    >>> same = torch.ones(2, 2)  # two inputs that are always equal
    >>> refit(torch.tensor([[1.0, 2.0]]), same, torch.tensor([[True, False]]), damping=0)
    tensor([[3., 0.]])
    """
    if held_out is None:
        return _fitted(weight, moments, keep, damping)
    plain = weight * keep
    errors = {d: change(_fitted(weight, moments - held_out, keep, d), weight, held_out) for d in DAMPINGS}
    best = min(errors, key=lambda d: errors[d])
    return _fitted(weight, moments, keep, best) if errors[best] < change(plain, weight, held_out) else plain


def change(fitted: Float[Tensor, "O I"], weight: Float[Tensor, "O I"], moments: Float[Tensor, "I I"]) -> float:
    """The squared change of a layer's outputs, summed over the rows of `moments`, when `fitted` stands for `weight`."""
    off = (fitted - weight).double()
    return float((off @ moments.double() * off).sum())


def _fitted(
    weight: Float[Tensor, "O I"], moments: Float[Tensor, "I I"], keep: Bool[Tensor, "O I"], damping: float
) -> Float[Tensor, "O I"]:
    full = moments.double().clone()
    full.diagonal().add_(damping * full.diagonal().mean().clamp_min(1e-12))
    targets = weight.double() @ full  # [O, I]
    fitted = torch.zeros_like(targets)
    alike = bool((keep == keep[:1]).all())  # the same places in every row: one system
    for rows in [slice(None)] if alike else [slice(row, row + 1) for row in range(len(keep))]:
        columns = keep[rows][0].nonzero().flatten()
        fitted[rows, columns] = torch.linalg.solve(full[columns][:, columns], targets[rows][:, columns].T).T
    return fitted.to(weight.dtype)


def refit_masked(model: nn.Module, masks: Masks, moments: Mapping[str, Float[Tensor, "I I"]], *, quiet: bool = False) -> nn.Module:
    """A copy of the model with the masked weights gone and, in every layer whose moments are known, the others refitted.

    A weight that several layers share is only masked. Which layers were refitted, and which not and why, is printed unless `quiet`
    and added to the result's `coverage`. ValueError when no layer answers held-out examples better for it.
    """
    copied = prune(model, masks)
    counts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    owners = Counter(id(parameter) for module in model.modules() for parameter in module.parameters(recurse=False))
    for full, keep in track(masks.keep.items(), "refitting", "weight"):
        if keep.all():
            continue
        weight, name = model.get_parameter(full), full.rpartition(".")[0]
        counts[name] = weight.numel()
        if name not in moments or not full.endswith(".weight"):
            reasons[name] = NOT_MEASURED
        elif owners[id(weight)] > 1:
            reasons[name] = "other layers have its weight too"
        else:
            fitted = refit(weight.detach().flatten(1), moments[name], keep.flatten(1), held_out=_held_out_moments(moments, name))
            if torch.equal(fitted, (weight.detach() * keep).flatten(1)):
                reasons[name] = NO_BETTER
            copied.get_parameter(full).data.copy_(fitted.reshape(weight.shape))
    return _recorded(copied, counts, reasons, quiet)


def _held_out_moments(moments: Mapping[str, Float[Tensor, "I I"]], name: str) -> Float[Tensor, "I I"] | None:
    return moments.held_out[name] if isinstance(moments, Moments) else None


def _recorded(model: nn.Module, counts: Mapping[str, int], reasons: Mapping[str, str], quiet: bool) -> nn.Module:
    """The model with a coverage of the layers that lost inputs. ValueError if some were measured, and none got better."""
    if NO_BETTER in reasons.values() and all(name in reasons for name in counts):
        raise ValueError("refit serves no layer: held-out examples are answered worse than without it; give more examples")
    better = {name: count for name, count in counts.items() if name not in reasons}
    return record(model, Coverage("refitted", better, {name: counts[name] for name in reasons}, dict(reasons)), quiet)


def refit_channels(
    smaller: nn.Module,
    model: nn.Module,
    removed: Iterable[Group],
    moments: Mapping[str, Float[Tensor, "I I"]],
    *,
    quiet: bool = False,
) -> nn.Module:
    """A copy of a network that lost groups of channels, in which what read them is refitted to what it still reads.

    `model` and `moments` are of the network before; `removed` are the groups that went. Which layers were refitted, and which not
    and why, is printed unless `quiet` and added to the result's `coverage`. ValueError when no layer answers held-out examples
    better for it.
    """
    copied, gone = copy.deepcopy(smaller), together(removed)
    counts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for name in track([layer for layer, side in gone if side == IN], "refitting", "layer"):
        if name not in moments:
            counts[name] = sum(parameter.numel() for parameter in copied.get_submodule(name).parameters(recurse=False))
            reasons[name] = NOT_MEASURED
            continue
        weight = model.get_parameter(f"{name}.weight").detach()
        rows, columns = (_stays(weight.shape[axis], gone.get((name, side), ())) for axis, side in ((0, OUT), (1, IN)))
        places = columns.repeat_interleave(weight[0, 0].numel())  # of a kernel
        old, keep = weight[rows].flatten(1), places.expand(int(rows.sum()), -1)
        fitted = refit(old, moments[name], keep, held_out=_held_out_moments(moments, name))
        if torch.equal(fitted, old * keep):
            reasons[name] = NO_BETTER
        mine = copied.get_parameter(f"{name}.weight")
        counts[name] = mine.numel()
        mine.data.copy_(fitted[:, places].reshape(mine.shape))
    return _recorded(copied, counts, reasons, quiet)


def _stays(size: int, gone: Iterable[int]) -> Bool[Tensor, " C"]:
    return torch.ones(size, dtype=torch.bool).index_fill_(0, torch.tensor(list(gone), dtype=torch.long), False)
