"""Multiply-accumulates (MACs), counted operator by operator while a model runs.

One convention everywhere: a matrix product or a convolution counts where one of its factors is the model's own, whatever holds
it: a layer, a low-rank pair, packed weights, a plain parameter, the cells of an LSTM. One multiplication with one addition is
one MAC, half of what PyTorch's counter calls two flops. Sums, norms, activations and look-ups in tables do not count. Nor do
products of two activations (queries with keys, attention weights with values) unless they are asked for: no pruned weight
makes them less, and they grow with the square of the length. Sizes of models are compared without them.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from autoglm_lab.compress.dependency_graph import Example, outputs
from autoglm_lab.model.modes import evaluating

SUSPECT = re.compile(r"mm$|conv|rnn|lstm|gru|linear|attention|trilinear")  # names of operators that multiply


def _product(left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    return 2 * left.numel() * (right.shape[-1] if right.ndim > 1 else 1)


def _product_and_sum(_: Tensor, left: Tensor, right: Tensor, *__: Any, **___: Any) -> int:
    return _product(left, right)


def _recurrent(x: Tensor, inputs: Tensor, hidden: Tensor, *_: Any, **__: Any) -> int:
    return 2 * x.shape[0] * x.shape[1] * (inputs.numel() + hidden.numel())


def _bilinear(left: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * left.numel() // left.shape[-1] * weight.numel()


SUMMED = ("addmm", "baddbmm", "addmv", "addbmm", "_addmm_activation")  # what is added comes before the factors
MORE: dict[str, Callable[..., int]] = {  # flops of operators that PyTorch's registry lacks
    **dict.fromkeys(SUMMED, _product_and_sum),
    **dict.fromkeys(("mv", "dot", "_int_mm", "_grouped_mm"), _product),
    "mkldnn_rnn_layer": _recurrent,
    "_trilinear": _bilinear,
}


class _Counter(TorchDispatchMode):
    """Counts every operator; remembers the storages that depend on the example: the others are the model's own."""

    def __init__(self, example: Example, activations: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.activations = activations
        self.macs: Counter[str] = Counter()
        self.inside: list[str] = [""]  # names of the modules that are running
        self.dependent: set[StorageWeakRef] = {
            _storage(tensor) for tensor in _strided(dict(example) if isinstance(example, Mapping) else example)
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options, name = kwargs or {}, func._overloadpacket.__name__
        formula = flop_registry.get(func._overloadpacket) or MORE.get(name)
        if formula is None:
            with self:
                answer = func.decompose(*args, **options)
            if answer is not NotImplemented:
                return answer
        depends = [_storage(factor) in self.dependent for factor in _strided((args, options))]
        answer = func(*args, **options)
        if formula is not None:
            factors = depends[1:3] if name in SUMMED else depends[:2]
            if self.activations or not all(factors):
                self.macs[self.inside[-1]] += formula(*args, **options, out_val=answer) // 2
        elif SUSPECT.search(name) and not name.startswith("upsample"):
            warnings.warn(f"the multiply-accumulates of {func} in {self.inside[-1]!r} are not counted", stacklevel=2)
        if any(depends):
            self.dependent |= {_storage(tensor) for tensor in _strided(answer)}
        return answer


def _strided(values: object) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor) and value.layout == torch.strided]


def _storage(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())


@torch.no_grad()
def layer_macs(model: nn.Module, example: Example, *, activations: bool = False) -> dict[str, int]:
    """Multiply-accumulates of each module's own operators for an example, by name; modules without any are left out.

    With `activations` products of two activations count too, those of attention above all. The model runs in evaluation mode
    and is left as it was. ValueError names the module in which it fails. An operator that multiplies and has no known formula
    gives a warning.
    """
    counter = _Counter(example, activations)
    with _by_known_operators(), _named(model, counter.inside), counter:
        try:
            outputs(model, example)
        except RuntimeError as error:
            raise ValueError(f"the network fails in layer {counter.inside[-1]!r}: {error}") from error
    return dict(counter.macs)


@contextmanager
def _by_known_operators() -> Iterator[None]:
    """Switch off what hides operators: the fast path of attention, fused attention, compiled modules."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:  # slow to import, and without it nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


@contextmanager
def _named(model: nn.Module, inside: list[str]) -> Iterator[None]:
    """Keep the names of the modules that are running in `inside`, in evaluation mode."""
    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda _module, _inputs, name=name: inside.append(name)))
        hooks.append(module.register_forward_hook(lambda _module, _inputs, _output: _nothing(inside.pop())))
    try:
        with evaluating(model):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _nothing(_: object) -> None:
    """Return None, by which a hook leaves an output as it is."""
