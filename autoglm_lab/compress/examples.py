"""Example inputs of a model, and the tensors in them and in its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

Example = Mapping[str, Any] | tuple[Any, ...]  # keyword or positional arguments of the model; tensors with the batch first


def outputs(model: nn.Module, example: Example) -> list[Tensor]:
    """The floating-point tensors, of any shape but scalars, that a model answers an example with.

    What the configuration lists in `keys_to_ignore_at_inference`, caches above all, is no answer.
    """
    ignored = getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", ())
    answer = model(**example) if isinstance(example, Mapping) else model(*example)
    if isinstance(answer, Mapping):
        answer = {name: value for name, value in answer.items() if name not in ignored}
    return [value for value in tensors(answer) if value.is_floating_point() and value.ndim]


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with every tensor in it, of any shape, changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: map_tensors(part, change) for name, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(part, change) for part in value))
    if isinstance(value, tuple | list):
        return type(value)(map_tensors(part, change) for part in value)
    return value


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in a value, of any shape, in order."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors(part)]
