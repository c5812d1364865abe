"""Named tensors for the nested inputs and outputs of a model: caches, tuples, dictionaries, and fields that are None."""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, StaticCache
from transformers.utils.generic import ModelOutput

from autoglm_lab.model.modes import evaluating


def named_tensors(name: str, value: Any, cache: str = "past") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors inside a value with their names: `name`, `name_0`, `name_key`; of a cache `past_key_0`, `past_value_0`.

    They may have any shape.
    Numbers, flags, text and None are constants of the model and yield nothing. ValueError for a cache that holds more than the keys
    and values of its layers, and for an object whose parts are not known.
    """
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Cache):
        for number, (key, state) in enumerate(_pairs(value)):
            yield f"{cache}_key_{number}", key
            yield f"{cache}_value_{number}", state
    elif value is None or isinstance(value, (bool, int, float, str, torch.dtype, torch.device)):
        return
    else:
        for part, inner in _parts(value):
            yield from named_tensors(f"{name}_{part}" if name else str(part), inner, cache)


def _with_tensors(value: Any, tensors: Iterator[Tensor]) -> Any:
    """Return a value of the same structure around other tensors, taken in the order of `named_tensors`; caches are made anew."""
    if isinstance(value, Tensor):
        return next(tensors)
    if isinstance(value, Cache):
        cache = DynamicCache()
        for number, _ in enumerate(_pairs(value)):
            cache.update(next(tensors), next(tensors), number)
        return cache
    if isinstance(value, Mapping):
        inside = {name: _with_tensors(inner, tensors) for name, inner in value.items()}
        return type(value)(**inside) if isinstance(value, ModelOutput) else inside
    if isinstance(value, (list, tuple)):
        parts = [_with_tensors(inner, tensors) for inner in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{name: _with_tensors(inner, tensors) for name, inner in _parts(value)})
    return value


def _pairs(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    layers = getattr(cache, "layers", None)
    keys = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers or ()]
    if isinstance(cache, StaticCache) or not keys or not all(isinstance(key, Tensor) and key.ndim == 4 for key, _ in keys):
        raise ValueError(f"a {type(cache).__name__} is not a growing list of keys and values; export without a cache")
    return keys  # type: ignore[return-value]


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        return list(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    raise ValueError(f"a {type(value).__name__} holds no tensors that could be named; give tensors, tuples or dictionaries")


class FlatModel:
    """A model with its example: the call that takes tensors one after the other and returns tensors one after the other.

    `example` holds the arguments of `forward` by name, in any order. ValueError for an argument that `forward` does not have, for
    one that is missing, and for two tensors of one name.
    """

    def __init__(self, module: nn.Module, example: Mapping[str, Any]) -> None:
        self.module, self.example = module, dict(example)
        self.forward = module.forward
        self.positional = _positional(module, example)
        self.owner: dict[str, str] = {}  # the argument that each tensor belongs to
        self.inputs: dict[str, Tensor] = {}
        for argument, value in self.example.items():
            for name, tensor in named_tensors(argument, value):
                if name in self.inputs:
                    raise ValueError(f"two inputs are called {name!r}; give one of them another name")
                self.inputs[name], self.owner[name] = tensor, argument
        if not self.inputs:
            raise ValueError("the example holds no tensor; a file needs an input")

    def outputs(self, *tensors: Tensor) -> dict[str, Tensor]:
        """Compute the outputs by name: `output` if there is one tensor, else `output_0`, or fields; of a cache `present_key_0`.

        They may have any shape.
        """
        values = iter(tensors)
        arguments = {name: _with_tensors(value, values) for name, value in self.example.items()}
        placed = [arguments.pop(name) for name in self.positional]
        result = self.forward(*placed, **arguments)
        pairs = list(named_tensors("output" if isinstance(result, (Tensor, list, tuple)) else "", result, "present"))
        if not pairs:
            raise ValueError("the module returns no tensor; a file needs an output")
        counted = Counter(name for name, _ in pairs)
        double = next((name for name, count in counted.items() if count > 1), None)
        if double is not None:
            raise ValueError(f"two outputs are called {double!r}; give one of them another name")
        return {f"{name}_out" if name in self.inputs else name: tensor for name, tensor in pairs}

    @contextmanager
    def flat(self) -> Iterator[None]:
        """Let the module itself take and return flat tensors, in eval mode; afterwards it is as it was, every part of it."""
        own = self.module.__dict__.get("forward")

        def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.outputs(*tensors).values())

        try:
            self.module.__dict__["forward"] = forward
            with evaluating(self.module), torch.no_grad():
                yield
        finally:
            del self.module.__dict__["forward"]
            if own is not None:
                self.module.__dict__["forward"] = own


def _positional(module: nn.Module, example: Mapping[str, Any]) -> tuple[str, ...]:
    """Check the arguments against the signature; return their order if they must be given by place (`*states`), else nothing.

    The only argument of a module may have any name: `nn.Linear` calls its own `input`.
    """
    parameters = inspect.signature(module.forward).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    names = [name for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    strange = [name for name in example if name not in names]
    if strange and len(example) == 1 and names:
        return tuple(strange)
    if strange and not kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        raise ValueError(f"forward takes no {strange[0]!r}; it takes {', '.join(map(repr, names))}")
    absent = [name for name in names if name not in example and parameters[name].default is inspect.Parameter.empty]
    if absent:
        raise ValueError(f"forward needs {absent[0]!r} as well; the example has {', '.join(map(repr, example))}")
    by_place = inspect.Parameter.POSITIONAL_ONLY in kinds or (strange and inspect.Parameter.VAR_POSITIONAL in kinds)
    return tuple(name for name in (*names, *strange) if name in example) if by_place else ()
