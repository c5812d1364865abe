"""Groups of channels that can only be removed together, found by letting ink run through the model.

A channel of a layer's output is filled with NaN, the ink. NaN survives every sum, product and activation, so wherever it
comes out at the input of another layer, that layer reads the channel and has to lose it too. Layers themselves let no
ink through: they answer as they did in a clean run, and so does everything before the ink. What is stained by the same
ink is one group. Fused projections, batch norms, residual partners and key/value groups of attention need no rule of
their own: the ink finds them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from networkx.utils import UnionFind
from torch import nn
from tqdm.auto import tqdm

from autoglm_lab.compress.channels import IN, OUT, THROUGH, mixes, size_of, slices
from autoglm_lab.compress.examples import Example, outputs
from autoglm_lab.compress.ink import PIECE, SEEN, Ink, Node
from autoglm_lab.compress.plain import plain
from autoglm_lab.memory import trim_heap

__all__ = ["IN", "OUT", "Example", "Group", "outputs", "trace"]


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


def trace(model: nn.Module, example: Example) -> list[Group]:
    """Every group of channels that can be removed without changing what the model puts out or takes in.

    Layers have the names that they have in `plain(model)`. `example` needs one row of real input. Channels that reach the
    output, and groups that are all a layer has (the width of a residual stream behind a norm), are not among them. ValueError
    when the model has no layer to look at, or when the example already holds NaN.
    """
    ink = Ink(plain(model).eval(), example)
    together = UnionFind()
    unions: set[tuple[Node, ...]] = set()
    arrived: set[Node] = set()
    layers = [name for name, module in ink.layers.items() if mixes(module)]
    for name in tqdm(layers, desc="following the ink", unit="layer", leave=False):
        arrived.update((name, OUT, channel) for channel in range(size_of(ink.layers[name], OUT)))
        for channels, places in ink.follow(name):
            together.union(places[0], *((name, OUT, channel) for channel in channels))
            if places not in unions:  # else they are together already
                unions.add(places)
                together.union(*places)
                arrived.update(places)
    for layer, side in ink.soaked:
        whole = [(layer, side, channel) for channel in range(size_of(ink.layers[layer], side))]
        together.union(*whole)
        arrived.update(whole)
    for tied in _tied(ink.layers):
        together.union(*tied, *([] if arrived.issuperset(tied) else [SEEN]))  # what nothing wrote is read from the model's input
    groups = [group for group in _groups(together, ink) if group.parts]
    del ink  # with the answers of every module
    trim_heap()
    return groups


def _tied(layers: Mapping[str, nn.Module]) -> Iterator[list[Node]]:
    """Channels that are the same places of a value which several layers share."""
    places: dict[tuple[int, int, int], list[Node]] = defaultdict(list)
    owners = Counter(id(value) for module in layers.values() for value in module.parameters(recurse=False))
    for name, module in layers.items():
        for side in (OUT, IN) if mixes(module) else (THROUGH,):
            for part in slices(module, side):
                value = getattr(module, part.name)
                if owners[id(value)] < 2:
                    continue
                for channel in range(size_of(module, side)):
                    places[id(value), part.axis, int(part.places(value, [channel])[0])].append((name, side, channel))
    return (nodes for nodes in places.values() if len({layer for layer, _, _ in nodes}) > 1)


def _groups(together: UnionFind, ink: Ink) -> Iterator[Group]:
    for nodes in together.to_sets():
        if SEEN in nodes:
            continue
        parts: dict[tuple[str, str], list[int]] = defaultdict(list)
        for layer, side, channel in nodes:
            if side != PIECE:
                parts[layer, side].append(channel)
        whole = any(len(channels) == size_of(ink.layers[layer], side) for (layer, side), channels in parts.items())
        has_reader = any(side == IN for _, side in parts)
        if has_reader and not whole:
            order = sorted(parts, key=lambda key: (ink.order[key[0]], key[1]))
            yield Group({key: tuple(sorted(parts[key])) for key in order})


def _ranges(channels: tuple[int, ...]) -> str:
    """Channel numbers as people write them.

    >>> _ranges((0, 1, 2, 5, 8, 9))
    '0-2,5,8-9'
    """
    starts = [c for c in channels if c - 1 not in channels]
    ends = [c for c in channels if c + 1 not in channels]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
