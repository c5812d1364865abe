"""Which channels can only go together: found by letting ink run through the model.

A channel of a layer's output is filled with NaN, the ink. NaN survives every sum, product and activation, so wherever it
comes out at the input of another layer, that layer reads the channel and has to lose it too. Layers themselves let no
ink through: they answer as they did in a clean run, and so does everything before the ink. What is stained by the same
ink is one group. Fused projections, batch norms, residual partners and key/value groups of attention need no rule of
their own: the ink finds them.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from networkx.utils import UnionFind
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from tqdm.auto import tqdm

Example = Mapping[str, Any] | tuple[Any, ...]  # keyword or positional arguments of the model; tensors with the batch first
Node = tuple[str, str, int]  # layer, "out" or "in" or "through", channel

OUT, IN, THROUGH = "out", "in", "through"
ROWS = 64  # channels inked at once, each in its own row of the batch


@dataclass(frozen=True)
class Group:
    """Channels that go together: for each layer and side the numbers of its channels."""

    parts: Mapping[tuple[str, str], tuple[int, ...]]

    @property
    def family(self) -> tuple[tuple[str, str], ...]:
        """The layers and sides that the group has a part in; groups of one family are alike."""
        return tuple(self.parts)

    def __str__(self) -> str:
        return ", ".join(f"{layer} {side} {_ranges(channels)}" for (layer, side), channels in self.parts.items())


def mixes(module: nn.Module) -> bool:
    """Whether every output channel of a layer depends on every input channel, so that ink would colour all of them."""
    if "weight" not in module._parameters:  # packed, or computed anew at each call
        return False
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.groups == 1
    return isinstance(module, nn.Linear | nn.Embedding)


def passes_through(module: nn.Module) -> bool:
    """Whether a layer keeps channels apart but has weights for each of them."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.groups == module.in_channels == module.out_channels > 1
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)


def channel_axis(module: nn.Module) -> int:
    """Where a layer's activations have their channels."""
    return -1 if isinstance(module, nn.Linear | nn.Embedding) else 1


def width(module: nn.Module) -> int:
    """How many channels a layer puts out."""
    names = ("out_features", "out_channels", "num_features", "embedding_dim")
    return next(int(getattr(module, name)) for name in names if hasattr(module, name))


def size_of(module: nn.Module, side: str) -> int:
    """How many channels a layer has on a side."""
    return module.get_parameter("weight").shape[1] if side == IN and mixes(module) else width(module)


def channel_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every layer that has channels to speak of, by name."""
    return {name: module for name, module in model.named_modules() if mixes(module) or passes_through(module)}


def outputs(model: nn.Module, example: Example) -> list[Tensor]:
    """The floating-point tensors that a model answers an example with.

    What the configuration lists in `keys_to_ignore_at_inference`, caches above all, is no answer.
    """
    ignored = getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", ())
    answer = model(**example) if isinstance(example, Mapping) else model(*example)
    if isinstance(answer, Mapping):
        answer = {name: value for name, value in answer.items() if name not in ignored}
    return [value for value in _tensors(answer) if value.is_floating_point() and value.ndim]


def trace(model: nn.Module, example: Example) -> list[Group]:
    """Every group of channels that can be removed without changing what the model puts out or takes in.

    `example` needs one row of real input. Channels that reach the output, and groups that are all a layer has (the width of
    a residual stream behind a norm), are not among them. ValueError when the model has no layer to look at, or when the
    example already holds NaN.
    """
    ink = _Ink(copy.deepcopy(model).eval(), example)
    together, seen = UnionFind(), set()
    layers = [name for name, module in ink.layers.items() if mixes(module)]
    for name in tqdm(layers, desc="following the ink", unit="layer", leave=False):
        for channel, stained, reaches_output in ink.follow(name):
            node: Node = (name, OUT, channel)
            together.union(node, *stained)
            if reaches_output:
                seen.add(node)
    for layer, side in ink.soaked:
        together.union(*((layer, side, channel) for channel in range(size_of(ink.layers[layer], side))))
    return [group for group in _groups(together, seen, ink) if group.parts]


def _groups(together: UnionFind, visible: set[Node], ink: _Ink) -> Iterator[Group]:
    for nodes in together.to_sets():
        parts: dict[tuple[str, str], list[int]] = defaultdict(list)
        for layer, side, channel in nodes:
            parts[layer, side].append(channel)
        whole = any(len(channels) == size_of(ink.layers[layer], side) for (layer, side), channels in parts.items())
        read = any(side == IN for _, side in parts)
        if read and not whole and not nodes & visible:
            order = sorted(parts, key=lambda key: (ink.order[key[0]], key[1]))
            yield Group({key: tuple(sorted(parts[key])) for key in order})


@dataclass(frozen=True)
class _Answer:
    """One answer of a module in the clean run: how many rows it read, and what it put out."""

    rows: int
    output: Tensor


class _Ink:
    """A model whose layers answer from memory, so that one channel's ink can be followed from where it is dropped."""

    def __init__(self, model: nn.Module, example: Example) -> None:
        self.model = model
        self.layers = channel_layers(model)
        if not self.layers:
            raise ValueError("the model has no linear, convolution or embedding layer to look at")
        batch = next(value.shape[0] for value in _tensors(example) if value.ndim)
        example = _map(example, lambda value: value[:1] if _is_batched(value, batch) else value)
        self.memory: dict[str, list[_Answer]] = defaultdict(list)  # of each module, what it answered in the clean run
        self._record(example)
        self.example = _map(example, lambda value: _spread(value) if _is_batched(value, 1) else value)
        self.layers = {name: module for name, module in self.layers.items() if name in self.memory}
        self.order = {name: place for place, name in enumerate(self.layers)}
        self.source, self.first, self.dropped, self.run = "", 0, False, 0
        self.stains: list[tuple[Node, list[int]]] = []
        self.soaked: set[tuple[str, str]] = set()  # sides of layers on which ink reached every channel at once
        for name, module in model.named_modules():
            if name in self.layers:
                module.forward = self._layer(name, module)
            elif name and len(self.memory.get(name, ())) == 1 and any(inner.startswith(name + ".") for inner in self.layers):
                module.forward = self._before_the_ink(name, module)

    @torch.no_grad()
    def _record(self, example: Example) -> None:
        def keep(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
            def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
                x = inputs[0] if inputs and isinstance(inputs[0], Tensor) else torch.empty(0)
                if isinstance(output, Tensor) and x.ndim:
                    self.memory[name].append(_Answer(x.shape[0], output))

            return hook

        hooks = [module.register_forward_hook(keep(name)) for name, module in self.model.named_modules()]
        if any(bool(value.isnan().any()) for value in outputs(self.model, example)):
            raise ValueError("the model answers this example with NaN; give one that it can read")
        for hook in hooks:
            hook.remove()

    def _layer(self, name: str, module: nn.Module) -> Callable[..., Tensor]:
        """A stand-in for a layer's forward: notes the ink it is given and answers as in the clean run."""
        axis, original, state = channel_axis(module), module.forward, {"run": -1, "calls": 0}

        def forward(x: Tensor, *args: Any, **options: Any) -> Tensor:
            if state["run"] != self.run:
                state.update(run=self.run, calls=0)
            clean = self.memory[name][state["calls"]]
            state["calls"] += 1
            spread = x.shape[0] == clean.rows * ROWS
            if self.dropped and spread and x.is_floating_point():
                self._note(name, THROUGH if passes_through(module) else IN, x.movedim(axis, -1))
                if passes_through(module):
                    passed: Tensor = original(x, *args, **options)
                    return passed
            answer = _spread(clean.output) if spread else clean.output
            if name == self.source and not spread:  # the same for every row, as embeddings of positions are: not told apart
                self.soaked.add((name, OUT))
            return self._drop(answer, axis) if name == self.source and spread else answer

        return forward

    def _before_the_ink(self, name: str, module: nn.Module) -> Callable[..., Any]:
        """A stand-in for what holds layers: as long as no ink is in the model, it answers from memory."""
        original, clean = module.forward, self.memory[name][0]

        def forward(*args: Any, **options: Any) -> Any:
            known = args and isinstance(args[0], Tensor) and args[0].shape[0] == clean.rows * ROWS
            if known and not self.dropped and not self.source.startswith(name + "."):
                return _spread(clean.output)
            return original(*args, **options)

        return forward

    def _note(self, name: str, side: str, x: Tensor) -> None:
        stained: Bool[Tensor, "R C"] = x.isnan().reshape(ROWS, -1, x.shape[-1]).any(1)
        soaked = stained.all(1)
        if soaked.any():  # one channel stands for all
            self.soaked.add((name, side))
            stained = stained & ~soaked[:, None]
            self.stains.append(((name, side, 0), soaked.nonzero().flatten().tolist()))
        for channel in stained.any(0).nonzero().flatten().tolist():
            self.stains.append(((name, side, channel), stained[:, channel].nonzero().flatten().tolist()))

    def _drop(self, answer: Tensor, axis: int) -> Tensor:
        self.dropped = True
        inked = answer.clone().movedim(axis, -1).unflatten(0, (ROWS, -1))
        for row in range(min(ROWS, inked.shape[-1] - self.first)):
            inked[row, ..., self.first + row] = torch.nan
        dripping: Tensor = inked.flatten(0, 1).movedim(-1, axis)
        return dripping

    @torch.no_grad()
    def follow(self, name: str) -> Iterator[tuple[int, list[Node], bool]]:
        """For each output channel of a layer: where its ink arrives, and whether it reaches the model's output."""
        self.source = name
        for first in range(0, width(self.layers[name]), ROWS):
            self.first, self.run, self.dropped, self.stains = first, self.run + 1, False, []
            with _AttentionOfInk():
                answers = outputs(self.model, self.example)
            wet = torch.stack([value.isnan().reshape(ROWS, -1).any(1) for value in answers if value.shape[0] == ROWS]).any(0)
            arrived: dict[int, list[Node]] = defaultdict(list)
            for node, rows in self.stains:
                for row in rows:
                    arrived[row].append(node)
            for row in range(min(ROWS, width(self.layers[name]) - self.first)):
                yield self.first + row, arrived[row], bool(wet[row])


class _AttentionOfInk(TorchFunctionMode):
    """Fused attention without its sums: only whether something is stained counts here."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        mask = options.get("attn_mask", args[3] if len(args) > 3 else None)
        if func is scaled_dot_product_attention and len(args) >= 3 and (mask is None or not mask.isnan().any()):
            return stained_attention(*args[:3])
        return func(*args, **options)


def stained_attention(
    query: Float[Tensor, "*B H T E"], key: Float[Tensor, "*B K S E"], value: Float[Tensor, "*B K S V"]
) -> Float[Tensor, "*B H T V"]:
    """What attention makes of ink: a stained query colours its own answer, a key its whole head, a value one channel of it."""
    rows = len(query)
    query, key, value = (x[:1] if x.stride(0) == 0 else x for x in (query, key, value))  # rows that are all the same
    heads = query.shape[-3] // key.shape[-3]
    wet_key = key.isnan().flatten(-2).any(-1).repeat_interleave(heads, -1)
    wet_value = value.isnan().any(-2).repeat_interleave(heads, -2)
    wet = (query.isnan().any(-1) | wet_key[..., None])[..., None] | wet_value[..., None, :]
    return torch.zeros(wet.shape, dtype=query.dtype).masked_fill(wet, torch.nan).expand(rows, *wet.shape[1:])


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with every tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _map(part, change) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_map(part, change) for part in value)
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _is_batched(value: Tensor, batch: int) -> bool:
    return bool(value.ndim) and value.shape[0] == batch


def _spread(value: Tensor) -> Tensor:
    """The rows of `value` ROWS times over, without a copy where there is one."""
    return value.expand(ROWS, *value.shape[1:]) if value.shape[0] == 1 else value.repeat(ROWS, *[1] * (value.ndim - 1))


def _ranges(channels: tuple[int, ...]) -> str:
    """Channel numbers as people write them.

    >>> _ranges((0, 1, 2, 5, 8, 9))
    '0-2,5,8-9'
    """
    starts = [c for c in channels if c - 1 not in channels]
    ends = [c for c in channels if c + 1 not in channels]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
