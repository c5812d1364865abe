"""Models of all kinds brought to one form: every weight a parameter of a plain layer, which other modules can replace."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from contextlib import suppress

from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm

from autoglm_lab.compress.attention import Attention, linear, separable


def is_plain(model: nn.Module) -> bool:
    """True when `plain` has nothing to change."""
    return next(_unusual(model), None) is None


def plain(model: nn.Module) -> nn.Module:
    """A copy of the model that computes the same with plain layers.

    Compiled models are copied as they were before, weights that are computed anew at each call (weight norm, masks of
    `torch.nn.utils.prune`, parametrizations) are worked out once, transformers' Conv1D becomes a linear layer, and
    attention gets a linear layer for each projection. ValueError for a hook that computes a weight and cannot be removed.
    """
    model = _uncompiled(model)
    memo: dict[int, object] = {id(value): value.detach().clone() for module in model.modules() for value in _computed(module)}
    for module in model.modules():
        if _uncompiled(module) is not module:
            memo[id(module)] = copy.deepcopy(_uncompiled(module), memo)
    copied = copy.deepcopy(model, memo)  # what is in the memo is not copied: values in the middle of a graph cannot be
    for name, module in list(copied.named_modules()):
        _remove_hooks(name, module)
    replacements: dict[int, nn.Module] = {}
    for parent in list(copied.modules()):
        for name, child in list(parent._modules.items()):  # one that has two names is in both places afterwards, too
            if child is not None and replacements.setdefault(id(child), _plain_layer(child)) is not child:
                setattr(parent, name, replacements[id(child)])
    return _plain_layer(copied)


def _unusual(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        computed = parametrize.is_parametrized(module) or any(_weight_hooks(module))
        compiled = _uncompiled(module) is not module or getattr(module, "_compiled_call_impl", None) is not None
        if computed or compiled or _is_conv1d(module) or separable(module):
            yield module


def _uncompiled(model: nn.Module) -> nn.Module:
    inner = getattr(model, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else model


def _computed(module: nn.Module) -> Iterator[Tensor]:
    for value in vars(module).values():
        if isinstance(value, Tensor) and value.grad_fn is not None:
            yield value


def _is_conv1d(module: nn.Module) -> bool:
    kind = getattr(sys.modules.get("transformers.pytorch_utils"), "Conv1D", None)  # a model with such a layer has loaded the class
    return kind is not None and isinstance(module, kind)


def _plain_layer(module: nn.Module) -> nn.Module:
    module = _uncompiled(module)
    module._compiled_call_impl = None
    if _is_conv1d(module):
        return linear(module.get_parameter("weight").T, module.get_parameter("bias")).train(module.training)
    return Attention(module) if separable(module) else module  # type: ignore[arg-type]


def _weight_hooks(module: nn.Module) -> Iterator[object]:
    """Hooks that compute a weight before each call: they know its name and what it is computed of."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod) or type(hook).__name__ in ("WeightNorm", "SpectralNorm"):
            yield hook


def _remove_hooks(name: str, module: nn.Module) -> None:
    if parametrize.is_parametrized(module):
        kind = type(module)  # torch takes the property off this class, which the module that was copied has too
        module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
        for tensor in list(module.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(module, tensor, leave_parametrized=True)
    for hook in list(_weight_hooks(module)):
        if isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)
        else:
            with suppress(ValueError):  # one call may remove several
                remove = remove_weight_norm if type(hook).__name__ == "WeightNorm" else remove_spectral_norm
                remove(module, hook.name)  # type: ignore[attr-defined]
    weight = vars(module).get("weight")
    if isinstance(weight, Tensor) and isinstance(module, nn.Linear | nn.Embedding | nn.modules.conv._ConvNd):
        raise ValueError(f"layer {name!r} computes its weight at each call; call remove_parametrizations or prune.remove first")
