"""A weight that is worked out only when something computes with it: its type and shape cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

CHEAP = {getattr(Tensor, name).__get__ for name in ("dtype", "shape", "device", "ndim", "layout", "is_cuda")}
CHEAP |= {Tensor.size, Tensor.dim, Tensor.numel, Tensor.is_floating_point, Tensor.element_size, Tensor.__len__}


class LazyWeight(Tensor):
    """Stands for the tensor that `make()` gives. Models read `layer.weight.dtype` at every call, and need no more of it."""

    make: Callable[[], Tensor]

    @staticmethod
    def of(make: Callable[[], Tensor], shape: torch.Size, dtype: torch.dtype, device: torch.device) -> LazyWeight:
        """A weight of this shape and type."""
        weight: LazyWeight = Tensor._make_wrapper_subclass(LazyWeight, shape, dtype=dtype, device=device)
        weight.make = make
        return weight

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Call a function with the tensor that the weight stands for, unless it reads no values (`CHEAP`)."""
        options = kwargs or {}
        if func in CHEAP:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **options)
        return func(*map(_made, args), **{name: _made(value) for name, value in options.items()})

    def __torch_dispatch__(self, *args: Any, **options: Any) -> Any:
        """Never reached: functions arrive earlier."""
        raise NotImplementedError


def _made(value: Any) -> Any:
    if isinstance(value, LazyWeight):
        return value.make()
    return type(value)(map(_made, value)) if type(value) in (list, tuple) else value
