"""Export any module as one ONNX file: traced, cleaned, its axes read back, compared with the module at other lengths."""

from __future__ import annotations

import io
import logging
import warnings
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from autoglm_lab.export.failures import one_line
from autoglm_lab.export.flatten import FlatModel
from autoglm_lab.export.lengths import Axes, check_axes, compare_lengths, state_axes
from autoglm_lab.export.quantized_layers import Stored
from autoglm_lab.memory import trim_heap

OPSET = 20
LARGEST_BYTES = 2**31 - 2**24  # of weights in one file; the format counts to 2**31
SUPPORTED = (torch.float32, torch.float16, torch.float64)
Dynamic = Mapping[str, Mapping[int, str]]  # for each input, the names of its axes whose length may change


def onnx_module(
    module: nn.Module,
    example: Mapping[str, Any],
    *,
    dynamic: Dynamic | None = None,
    outputs: Sequence[str] | None = None,
    check: bool = True,
    tolerance: float | None = None,
) -> bytes:
    """Return a module as the bytes of one ONNX file, opset 20, its weights inside.

    `example` holds arguments of `forward` by name: tensors, or tuples, dictionaries and caches of tensors (`flatten.named_tensors`
    says how these are called in the file); numbers, flags and None become part of the graph. `dynamic` names axes whose length may
    change, which have a length other than 0 and 1 in the example; axes of one name are one axis, and "past + tokens" is the sum of
    two. `outputs` are names in place of those of `FlatModel.outputs`.
    The axes of the file are read back, and with `check` its outputs are compared with the module's at other lengths; modules that
    hold stored integers (`integers.exportable`) compute nothing in PyTorch and are not compared here.

    ValueError for arguments or axes that do not exist, an axis of length 0 or 1, an axis that the trace has frozen, bfloat16, an
    operator that ONNX does not have, weights over 2 GB, and outputs further apart than `tolerance` (`lengths.compare_lengths`).
    """
    content, _ = checked_module(module, example, dynamic=dynamic, outputs=outputs, tolerance=tolerance, check=check)
    return content


def checked_module(
    module: nn.Module,
    example: Mapping[str, Any],
    *,
    dynamic: Dynamic | None = None,
    outputs: Sequence[str] | None = None,
    tolerance: float | None = None,
    check: bool = True,
    reference: nn.Module | None = None,
) -> tuple[bytes, dict[str, float]]:
    """Return the file of `onnx_module`, and how far it is from the module, or from `reference` in its place, in each case."""
    flat = FlatModel(module, example)
    right = FlatModel(reference, example) if reference is not None else flat
    axes = _axes(flat, dynamic or {})
    _check_weights(module, flat.inputs)
    with flat.flat(), right.flat() if right is not flat else nullcontext():
        content, bounds = _trace(flat, axes, outputs)
        trim_heap()  # a trace takes some 150 MB
        check_axes(content, axes)
        if not check or (right is flat and any(isinstance(part, Stored) for part in module.modules())):
            return content, {}
        differences, stated = compare_lengths(content, flat, axes, bounds=bounds, tolerance=tolerance, reference=right)
    return state_axes(content, stated), differences


def _axes(flat: FlatModel, dynamic: Dynamic) -> Axes:
    """Return the names of the axes of every tensor; what `dynamic` says of an argument holds for all tensors in it."""
    unknown = sorted(set(dynamic) - set(flat.inputs) - set(flat.owner.values()))
    if unknown:
        names = ", ".join(map(repr, flat.inputs))
        raise ValueError(f"dynamic names {', '.join(map(repr, unknown))}; the inputs are {names}")
    axes: dict[str, dict[int, str]] = {}
    for name, tensor in flat.inputs.items():
        axes[name] = {}
        for axis, label in {**dynamic.get(flat.owner[name], {}), **dynamic.get(name, {})}.items():
            if not -tensor.ndim <= axis < tensor.ndim:
                raise ValueError(f"{name!r} has no axis {axis}; its shape is {list(tensor.shape)}")
            length = tensor.shape[axis]
            if length < 2:
                raise ValueError(f"axis {axis} of {name!r} has length {length}; an axis that may change needs 2 or more")
            axes[name][axis % tensor.ndim] = label
    _check_lengths(flat.inputs, axes)
    return axes


def _check_lengths(inputs: Mapping[str, Tensor], axes: Axes) -> None:
    """Refuse names that are no identifiers, and axes of one name that differ in the example."""
    lengths: dict[str, int] = {}
    places = [(label, inputs[name].shape[axis], f"axis {axis} of {name!r}") for name in axes for axis, label in axes[name].items()]
    for label, length, place in sorted(places, key=lambda each: " + " in each[0]):
        parts = label.split(" + ")
        if not all(part.isidentifier() for part in parts):
            raise ValueError(f"{place} is called {label!r}; a name has letters, digits and underscores, a sum of two ' + ' between")
        if len(parts) > 1 and all(part in lengths for part in parts):
            lengths[label] = sum(lengths[part] for part in parts)
        if lengths.setdefault(label, length) != length:
            raise ValueError(f"{place} has length {length}, {label!r} has {lengths[label]} in the example")


def _check_weights(module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Refuse numbers that ONNX Runtime cannot compute with, and more of them than one file can hold."""
    stored = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in {**inputs, **stored}.items():
        if value.is_floating_point() and value.dtype not in SUPPORTED:
            kind = str(value.dtype).removeprefix("torch.")
            raise ValueError(f"{name!r} is {kind}, for which ONNX Runtime has hardly a kernel; call model.float() first")
    total_bytes = sum({value.untyped_storage().data_ptr(): value.nbytes for value in stored.values()}.values())
    if total_bytes > LARGEST_BYTES:
        raise ValueError(
            f"the weights take {total_bytes / 1e9:.1f} GB, one ONNX file holds {LARGEST_BYTES / 1e9:.1f}; pack them "
            "(compress.quantize_weights), call model.half(), or export parts of the model"
        )


def _trace(flat: FlatModel, axes: Axes, outputs: Sequence[str] | None) -> tuple[bytes, dict[str, tuple[int, int | None]]]:
    """Return the file, and for each name of an axis the shortest and the longest length that the trace holds for."""
    tensors = tuple(flat.inputs.values())
    with one_line("the module fails on its own example"):
        names = list(outputs) if outputs is not None else list(flat.outputs(*tensors))
    labels = dict.fromkeys(label for places in axes.values() for label in places.values())
    dims = {label: Dim(_identifier(label), min=1) for label in labels}
    shapes = (tuple({axis: dims[label] for axis, label in axes[name].items()} for name in flat.inputs),)
    _read_operators_once()
    with _quiet(), one_line("the module cannot be traced"):
        program = torch.onnx.export(
            flat.module,
            tensors,
            input_names=list(flat.inputs),
            output_names=names,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    bounds = _bounds(program.exported_program, axes)
    model = program.model_proto
    del program  # it holds the weights once more
    if len(model.graph.output) != len(names):
        raise ValueError(f"outputs names {len(names)}; the module returns {len(model.graph.output)} tensors")
    _name_nodes(model)
    _spell(model, {_identifier(label): label for label in labels if " " in label})
    for line in (model.graph, *model.graph.node, *model.graph.value_info):  # where each line came from: a megabyte nobody reads
        line.ClearField("metadata_props")
        line.ClearField("doc_string")
    return _checked(model), bounds


def _checked(model: Any) -> bytes:
    import onnx

    full_check, content = not _has_kernels(model), bytes(model.SerializeToString())
    try:
        onnx.checker.check_model(content, full_check=full_check)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"the exported file breaks a rule of ONNX: {' '.join(str(error).split())[:300]}") from error
    return content


def _identifier(label: str) -> str:
    return label.replace(" + ", "_plus_")


def _spell(model: Any, labels: Mapping[str, str]) -> None:
    """Give sums of axes their names back: the tracer wanted identifiers."""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            for identifier, label in labels.items():
                if identifier in dim.dim_param:
                    dim.dim_param = dim.dim_param.replace(identifier, label)


def _bounds(program: Any, axes: Axes) -> dict[str, tuple[int, int | None]]:
    """Read the shortest and the longest length of each axis for which the trace holds; None where there is no longest."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    bounds = {}
    for name, placeholder in zip(axes, program.graph_signature.user_inputs, strict=True):
        for axis, label in axes[name].items():
            symbol = getattr(getattr(values[placeholder].shape[axis], "node", None), "expr", None)
            value_range = program.range_constraints.get(symbol)
            if value_range is not None:
                upper = int(value_range.upper) if value_range.upper.is_Integer and value_range.upper < 2**31 else None
                bounds[label] = (int(value_range.lower), upper)
    return bounds


@cache
def _read_operators_once() -> None:
    """Let torch's exporter keep its table of operators, which it reads anew for each export, a second each time."""
    with suppress(ImportError, AttributeError):  # where a release keeps it elsewhere, exports are slower, and no more
        apis: Any = import_module("torch.onnx._internal.exporter._registration").onnxscript_apis
        apis.get_torchlib_ops = cache(apis.get_torchlib_ops)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from writing; it has a logger, warnings, and both streams."""
    logger, noise = logging.getLogger("torch.onnx"), io.StringIO()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(noise), redirect_stderr(noise):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _name_nodes(model: Any) -> None:
    """Call every node by the module that it was traced in, so that it can be found in a profile: `layers.0.mlp/linear_3`."""
    for node in model.graph.node:
        scopes = next((literal_eval(entry.value) for entry in node.metadata_props if entry.key.endswith("name_scopes")), ["", ""])
        node.name = f"{scopes[-2] if len(scopes) > 1 else ''}/{node.output[0]}"


def _has_kernels(model: Any) -> bool:
    """True if a graph uses operators of the runtime's own, which the checker of ONNX does not know."""
    return any(node.domain not in ("", "ai.onnx") for node in model.graph.node)
