"""Compare a file with its model layer by layer, so that the first layer that differs can be named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoglm_lab.export.conditions import always
from autoglm_lab.model.modes import evaluating

Values = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Layer:
    """Distance (`distance`) between two versions of one layer's output."""

    name: str
    difference: float


def layer_outputs(graph: bytes) -> dict[str, str]:
    """Name of the last value that each module of an exported graph computes, in the order in which the modules end."""
    import onnx

    last: dict[str, str] = {}
    for node in onnx.load_from_string(graph).graph.node:
        path, _, _ = node.name.rpartition("/")
        parts = path.split(".") if path else []
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            last.pop(name, None)
            last[name] = node.output[0]
    return last


def file_layers(graph: bytes, feeds: Mapping[str, NDArray[np.generic]]) -> Values:
    """Compute the output of every module of a graph, of any shape, in ONNX Runtime without fusions: a fused node has no inside."""
    import onnx

    graph = always(graph)
    model, value_names = onnx.load_from_string(graph), layer_outputs(graph)
    graph_outputs = {value.name for value in model.graph.output}
    for name in dict.fromkeys(value_names.values()):
        if name not in graph_outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip((output.name for output in session.get_outputs()), session.run(None, dict(feeds)), strict=True))
    return {layer: values[name] for layer, name in value_names.items() if values[name].dtype == np.float32}


@torch.no_grad()
def module_layers(module: nn.Module, example: Mapping[str, Tensor]) -> Values:
    """Compute the output of every submodule in PyTorch, where it is one tensor, of any shape; the last of several runs."""
    values: Values = {}

    def note(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                values.pop(name, None)
                values[name] = output.detach().float().numpy()

        return hook

    hooks = [part.register_forward_hook(note(name)) for name, part in module.named_modules() if name]
    try:
        with evaluating(module):
            module(*example.values())
    finally:
        for hook in hooks:
            hook.remove()
    return values


def compare(mine: Values, right: Values) -> list[Layer]:
    """Compare the layers that two versions have in common, in the order of the second. ValueError when there is none."""
    both = [name for name in right if name in mine and mine[name].shape == right[name].shape]
    if not both:
        raise ValueError("the two have no layer in common; was the file written by onnx_module, from the same module?")
    return [Layer(name, distance(mine[name], right[name])) for name in both]


def distance(mine: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """The norm of the difference as a share of the norm of `right`.

    >>> round(distance(np.array([1.01, 1.01]), np.array([1.0, 1.0])), 6)
    0.01
    """
    return float(np.linalg.norm(mine - right) / max(float(np.linalg.norm(right)), 1e-12))


def first_diverging(layers: list[Layer], tolerance: float = 1e-4) -> Layer | None:
    """The first layer that is further apart than it may be; None when all agree. NaN agrees with nothing."""
    return next((layer for layer in layers if not layer.difference <= tolerance), None)


def check_layers(module: nn.Module, example: Mapping[str, Tensor], graph: bytes, tolerance: float = 1e-4) -> list[Layer]:
    """Compare all layers of a module, outputs of any shape, with those of its file. ValueError names the first that diverges."""
    layers = compare(file_layers(graph, {name: value.numpy() for name, value in example.items()}), module_layers(module, example))
    wrong = first_diverging(layers, tolerance)
    if wrong is not None:
        raise ValueError(f"the file diverges in layer {wrong.name!r} by {wrong.difference:.1e}, allowed is {tolerance:.0e}")
    return layers
