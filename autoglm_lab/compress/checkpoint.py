"""Compressed models on disk: weights as safetensors, and beside them the structure that no configuration file knows."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from autoglm_lab import atomic
from autoglm_lab.compress.channels import IN, OUT, THROUGH, channel_layers, mixes, passes_through, size_of, width
from autoglm_lab.compress.geometry import change
from autoglm_lab.compress.layers import put
from autoglm_lab.compress.low_rank import LowRankLinear
from autoglm_lab.compress.plain import is_plain, plain
from autoglm_lab.compress.qat import FakeQuantActivation, QATLinear
from autoglm_lab.compress.quantization import (
    PackedConv,
    PackedEmbedding,
    PackedLayer,
    PackedLinear,
    PackedRecurrent,
    Scheme,
    packed_layer,
)
from autoglm_lab.compress.resize import resize
from autoglm_lab.marks import read_whole

STRUCTURE, WEIGHTS = "structure.json", "model.safetensors"


def structure_of(model: nn.Module) -> dict[str, Any]:
    """Structure of a compressed model: sizes of its layers, ranks, integer schemes, and parameters with several names."""
    sizes: dict[str, dict[str, int]] = {}
    low_rank: dict[str, int] = {}
    packed: dict[str, dict[str, Any]] = {}
    inside: tuple[str, ...] = ()  # parts of a layer that is listed whole
    holders: dict[int, str] = {}  # of packed weights, the first layer that has each
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        if mixes(module):
            sizes[name] = {IN: size_of(module, IN), OUT: size_of(module, OUT)}
        elif passes_through(module):
            sizes[name] = {THROUGH: width(module)}
        elif isinstance(module, LowRankLinear):
            sizes[name] = {IN: module.down.shape[1], OUT: module.up.shape[0]}
            low_rank[name] = module.rank
        elif isinstance(module, PackedLayer):
            sizes[name] = _packed_size(module)
            inputs = module.inputs if isinstance(module, PackedLinear) else None
            rounded = asdict(inputs.scheme) if isinstance(inputs, FakeQuantActivation) else None
            first = holders.setdefault(id(module.weight_codes), name)
            packed[name] = {"scheme": asdict(module.weight_codes.scheme), "inputs": rounded, "same_as": first}
            inside += (name + ".",)
        elif isinstance(module, PackedRecurrent):
            sizes[name] = {IN: module.frame[0].input_size, OUT: module.frame[0].hidden_size}
            packed[name] = {"scheme": asdict(module.scheme), "inputs": None, "same_as": name}
            inside += (name + ".",)
    geometry = {name: vars(module)["geometry"] for name, module in model.named_modules() if "geometry" in vars(module)}
    return {"sizes": sizes, "low_rank": low_rank, "packed": packed, "shared": _shared(model), "geometry": geometry}


def _packed_size(layer: PackedLayer) -> dict[str, int]:
    outputs, inputs = layer.weight_codes.shape[:2]
    if isinstance(layer, PackedConv) and layer.transposed:
        outputs, inputs = inputs, outputs
    if isinstance(layer, PackedEmbedding | nn.Embedding):
        return {IN: inputs, OUT: inputs}
    if isinstance(layer, PackedConv) and layer.groups > 1:
        return {THROUGH: layer.groups}
    return {IN: inputs, OUT: outputs}


def _shared(model: nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return [same for same in names.values() if len(same) > 1]


def stored_bytes(model: nn.Module, *, half: bool = False) -> int:
    """The bytes of all weights and buffers in the file that `save` writes with the same `half`; a shared tensor counts once.

    The file begins with their names and shapes, which are not counted: about a hundred bytes each.
    """
    pointers: set[int] = set()
    total = 0
    for value in model.state_dict().values():
        if value.data_ptr() not in pointers or value.numel() == 0:
            pointers.add(value.data_ptr())
            total += value.numel() * (2 if half and value.dtype == torch.float32 else value.element_size())
    return total


def save(model: nn.Module, folder: Path | str, *, half: bool = False, also: Callable[[Path], None] | None = None) -> None:
    """Write a compressed model; a kill at any moment leaves the old folder or the new one.

    `half` stores 32-bit floats as 16-bit ones. `also(folder)` may write more files beside the model. ValueError for a model
    that still trains with rounding.
    """
    if any(isinstance(module, QATLinear) for module in model.modules()):
        raise ValueError("the model still trains with rounding; save qat.convert(model), which holds the integers")
    model = model if is_plain(model) else plain(model)
    with atomic.folder(folder, "model") as part:
        save_model(_halved(model) if half else model, str(part / WEIGHTS))
        (part / STRUCTURE).write_text(json.dumps(structure_of(model), indent=1) + "\n", "utf-8")
        if also is not None:
            also(part)


def _halved(model: nn.Module) -> nn.Module:
    """A copy with bfloat16 in place of 32-bit floats; scales, which are 16-bit already, stay as they are."""
    copied = copy.deepcopy(model)
    for value in (*copied.parameters(), *copied.buffers()):
        if value.dtype == torch.float32:
            value.data = value.data.bfloat16()
    return copied


def load(model: nn.Module, folder: Path | str) -> nn.Module:
    """The compressed model in a folder, given `model`: the one it was made from at its full size, whatever its weights.

    ValueError when the folder holds a model that `model` cannot be made into, or files that were changed since `save` wrote them;
    FileNotFoundError when it holds none.
    """
    place = Path(folder)
    return read_whole(place, (WEIGHTS, STRUCTURE), lambda: _load(model, place))


def _load(model: nn.Module, folder: Path) -> nn.Module:
    path = folder / STRUCTURE
    if not path.exists():
        raise FileNotFoundError(f"{folder.name} holds no {STRUCTURE}; give a folder written by compress.save")
    structure = json.loads(path.read_text("utf-8"))
    compressed_model = plain(model)
    layers = channel_layers(compressed_model)
    sizes, geometry = structure["sizes"], structure.get("geometry")
    if not _same_layers(layers, sizes, geometry is None):
        raise ValueError(f"{folder.name} holds another model: {sorted(set(sizes) ^ set(layers))[:3]} are not in both")
    resize(compressed_model, _channels_left(layers, sizes, folder.name), heads=geometry is None)
    for name, setting in (geometry or {}).items():
        change(compressed_model.get_submodule(name), setting)
    _replace_layers(compressed_model, structure)
    load_model(compressed_model, str(folder / WEIGHTS))
    return compressed_model


def _same_layers(layers: dict[str, nn.Module], sizes: dict[str, Any], older: bool) -> bool:
    """True if a stored structure names the layers of this model; an `older` one did not list those that pass channels through."""
    unlisted = {name for name in layers if passes_through(layers[name])} if older else set()
    return set(layers) - unlisted <= set(sizes) <= set(layers)


def _channels_left(layers: dict[str, nn.Module], sizes: dict[str, Any], folder: str) -> dict[tuple[str, Any], list[int]]:
    """Channels of each side of a layer that has fewer than the full model. ValueError for one that has more."""
    keep = {}
    for name, sides in sizes.items():
        for side, size in sides.items():
            full = size_of(layers[name], side)
            if size > full:
                raise ValueError(f"{folder} has {size} channels in {name!r}, the full model only {full}")
            if size < full:
                keep[name, side] = list(range(size))
    return keep


def _replace_layers(model: nn.Module, structure: dict[str, Any]) -> None:
    """Put empty low-rank and packed layers where the stored model has them, and tie what it shares."""
    for name, rank in structure["low_rank"].items():
        put(model, name, _empty_low_rank(model.get_submodule(name), rank))
    for name, facts in structure["packed"].items():
        put(model, name, _empty_packed(model.get_submodule(name), facts))
        if facts["same_as"] != name:
            model.get_submodule(name).weight_codes = model.get_submodule(facts["same_as"]).weight_codes
    for first, *others in structure["shared"]:
        for other in others:
            put(model, other, model.get_parameter(first))


def _empty_low_rank(layer: nn.Module, rank: int) -> LowRankLinear:
    assert isinstance(layer, nn.Linear)
    like = layer.weight
    return LowRankLinear(like.new_zeros(layer.out_features, rank), like.new_zeros(rank, layer.in_features), layer.bias)


def _empty_packed(layer: nn.Module, facts: dict[str, Any]) -> nn.Module:
    inputs = None if facts["inputs"] is None else FakeQuantActivation(Scheme(**facts["inputs"])).train(False)
    blank = copy.deepcopy(layer)
    for parameter in blank.parameters():
        nn.init.zeros_(parameter)
    if isinstance(blank, nn.RNNBase):
        return PackedRecurrent(blank, Scheme(**facts["scheme"]))
    return packed_layer(blank, Scheme(**facts["scheme"]), inputs=inputs)
