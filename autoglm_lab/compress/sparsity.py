"""Unstructured pruning: the smallest weights become zero. Shapes, and with them dense kernels, stay as they were."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors.torch import save
from torch import Tensor, nn

from autoglm_lab.compress.coverage import coverage_of, name_filter, record
from autoglm_lab.progress import track

DEFLATED_AT_ONCE = 2**20  # bytes
Scope = Literal["global", "layer", "scaled"]


@dataclass(frozen=True)
class Masks:
    """Masks of the weights that stay, by parameter name. Apply them after every optimizer step, or zeros grow back."""

    keep: Mapping[str, Bool[Tensor, "*shape"]]

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Set what does not stay to zero, in place. KeyError if the model lacks one of the parameters."""
        parameters = dict(model.named_parameters())
        for name, keep in self.keep.items():
            parameters[name].mul_(keep.to(parameters[name].dtype))

    @property
    def sparsity(self) -> float:
        """The share of weights that do not stay."""
        remaining = sum(int(keep.sum()) for keep in self.keep.values())
        total = sum(keep.numel() for keep in self.keep.values())
        return 1 - remaining / total


def magnitude_masks(model: nn.Module, sparsity: float, *, scope: Scope = "scaled", skip: str | Iterable[str] = ()) -> Masks:
    """Masks that drop the given share of weights with the least magnitude (LeCun 1990; Han et al. 2015).

    One threshold for all parameters in units of each one's own root mean square (`scaled`), which spares parts whose weights
    are small but all needed, one for the whole model (`global`), or one for each parameter (`layer`). Only matrices and
    convolutions are pruned; what a pattern of `skip` names stays whole (see `coverage.name_filter`). ValueError for a share
    outside (0, 1), an unknown scope, a pattern that names nothing, weights that are not finite, a parameter that would lose
    all of its weights (it is named), or a model without any such parameter.
    """
    if not 0 < sparsity < 1:
        raise ValueError(f"sparsity is {sparsity}; it is a share between 0 and 1")
    if scope not in get_args(Scope):
        raise ValueError(f"scope is {scope!r}; there are {', '.join(get_args(Scope))}")
    weights = prunable(model, skip)
    if scope == "layer":
        return _checked(weights, {name: _largest([weight], sparsity)[0] for name, weight in weights.items()}, scope)
    unit = {
        name: weight.float().square().mean().sqrt().clamp_min(1e-12) if scope == "scaled" else 1 for name, weight in weights.items()
    }
    masks = _largest([weight / unit[name] for name, weight in weights.items()], sparsity)
    return _checked(weights, dict(zip(weights, masks, strict=True)), scope)


def _checked(weights: Mapping[str, Tensor], keep: dict[str, Bool[Tensor, "*shape"]], scope: str) -> Masks:
    """The masks, if something of each parameter stays. ValueError names those that would be emptied."""
    empty = [name for name, mask in keep.items() if not mask.any() and weights[name].any()]
    if empty:
        remedy = "take 'scaled' or 'layer' for scope, a smaller share, or skip it" if scope == "global" else "take a smaller share"
        names = f"{', '.join(map(repr, empty[:3]))}{f' and {len(empty) - 3} more' * (len(empty) > 3)}"
        raise ValueError(f"no weight of {names} would stay, and nothing can pass through it; {remedy}")
    return Masks(keep)


def masks_by_layer(model: nn.Module, shares: Mapping[str, float]) -> Masks:
    """Masks that drop a share of its own of each named parameter or layer: an uneven budget. A share of 0 leaves it whole.

    ValueError for a share outside [0, 1), or a name that is no matrix or convolution of the model.
    """
    weights, keep = prunable(model), {}
    for name, share in shares.items():
        parameter = name if name in weights else f"{name}.weight"
        if parameter not in weights:
            raise ValueError(f"there is no weight to prune called {name!r}; there are {', '.join(list(weights)[:3])}, ...")
        if not 0 <= share < 1:
            raise ValueError(f"the share of {name!r} is {share}; it is at least 0 and less than 1")
        keep[parameter] = _largest([weights[parameter]], share)[0]
    if not keep:
        raise ValueError("shares is empty; give the share of at least one layer")
    return _checked(weights, keep, "layer")


def prunable(model: nn.Module, skip: str | Iterable[str] = ()) -> dict[str, Float[Tensor, "*shape"]]:
    """The weights of matrices and convolutions by name; a shared weight is listed once. ValueError as in `magnitude_masks`."""
    spared = name_filter(model, skip)
    weights = {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and parameter.is_floating_point() and not spared(name)
    }
    if not weights:
        raise ValueError("there is no weight to prune: the model has no matrices, or all are skipped")
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"parameter {name!r} holds values that are not finite")
    return weights


def _largest(weights: list[Tensor], sparsity: float) -> list[Tensor]:
    """Masks of the largest weights of all. Exactly the share `sparsity` goes, also among equal weights."""
    flat = torch.cat([weight.abs().float().flatten() for weight in weights])
    count = round(sparsity * len(flat))
    if not count:
        return [torch.ones_like(weight, dtype=torch.bool) for weight in weights]
    threshold = float(np.partition(flat.numpy(), count - 1)[count - 1])
    keep = flat > threshold
    equal = (flat == threshold).nonzero().flatten()
    keep[equal[len(equal) - (len(flat) - count - int(keep.sum())) :]] = True  # the last of them stay
    parts = keep.split([weight.numel() for weight in weights])
    return [part.reshape(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def prune(model: nn.Module, masks: Masks) -> nn.Module:
    """A copy of the model without the masked weights; which layers have masks, and which not, is added to its `coverage`."""
    copied = copy.deepcopy(model)
    masks.apply(copied)
    masked = {name.rpartition(".")[0] for name in masks.keep}
    unmasked = {name: "it has no mask" for name, _ in model.named_modules() if name not in masked}
    return record(copied, coverage_of("masked", model, masked, reasons=unmasked), quiet=True)


def sparsity_of(model: nn.Module) -> dict[str, float]:
    """The share of exact zeros in each matrix and convolution."""
    return {name: float((weight == 0).float().mean()) for name, weight in prunable(model).items()}


def compressed_bytes(model: nn.Module) -> int:
    """The size of the model's safetensors file after deflate, as 16-bit floats: where zeros do pay."""
    pointers: set[int] = set()
    state = {}
    for name, value in model.state_dict().items():
        if value.data_ptr() not in pointers or value.numel() == 0:
            pointers.add(value.data_ptr())
            state[name] = value.detach().to(torch.bfloat16).contiguous() if value.is_floating_point() else value
    packer, data = zlib.compressobj(6), memoryview(save(state))
    parts = range(0, len(data), DEFLATED_AT_ONCE)
    bar = track(parts, "deflating", "part")
    return sum(len(packer.compress(data[first : first + DEFLATED_AT_ONCE])) for first in bar) + len(packer.flush())
