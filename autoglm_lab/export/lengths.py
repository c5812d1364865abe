"""Compare a file with its module at lengths that were not traced: an axis that the trace has frozen shows there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoglm_lab.export.flatten import FlatModel

Axes = Mapping[str, Mapping[int, str]]  # for each input, the names of its axes
Arrays = dict[str, NDArray[Any]]
Stated = dict[str, list[int | str]]  # for each output, the length or the name of each axis
ALLOWED = {torch.float64: 1e-3, torch.float32: 1e-3, torch.float16: 2e-2}  # distance, by the numbers a module computes with
SMALL = 1e-3  # values of this size at least are what a difference is a share of
ENOUGH = 2  # lengths beside that of the example


def read_axes(content: bytes) -> tuple[Stated, Stated]:
    """Read the axes of the inputs and of the outputs from a file: a number, or the name of one that may change."""
    import onnx

    graph = onnx.load_from_string(content).graph
    stored = {value.name for value in graph.initializer}
    sides = ([value for value in graph.input if value.name not in stored], graph.output)
    inputs, outputs = ({value.name: _places(value) for value in side} for side in sides)
    return inputs, outputs


def _places(value: Any) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def check_axes(content: bytes, axes: Axes) -> None:
    """Compare the axes of a file with those that may change. ValueError names one that is frozen, or was made one with another."""
    inputs, _ = read_axes(content)
    for name, places in axes.items():
        for axis, label in places.items():
            if name not in inputs:
                raise ValueError(f"the file has no input {name!r}: the module does not read it")
            stands = inputs[name][axis]
            if isinstance(stands, int):
                raise ValueError(
                    f"axis {axis} of {name!r} ({label!r}) is frozen at {stands}: the module loops over it, makes a number of it "
                    "(int, len, range), or holds a tensor of this length; use operators on whole tensors, or take it out of dynamic"
                )
            if stands != label:
                raise ValueError(
                    f"axis {axis} of {name!r} ({label!r}) is {stands!r} in the file: the module makes both one; name them alike"
                )


def compare_lengths(
    content: bytes,
    flat: FlatModel,
    axes: Axes,
    *,
    bounds: Mapping[str, tuple[int, int | None]] | None = None,
    tolerance: float | None = None,
    reference: FlatModel | None = None,
) -> tuple[dict[str, float], Stated]:
    """Compute a file's outputs and the module's at the example, and at two or more other lengths of each axis.

    Returns the largest distance (`apart`) of any output in each case, and the axes of the outputs as they turned out.
    `bounds` are lengths for which the trace is known to hold; one beyond is among those that are tried. Lengths at which the module
    itself fails are left out. `reference` is computed in place of the module, where that computes nothing in PyTorch.
    ValueError when they are further apart than `tolerance` (default: `ALLOWED`), naming the axis, and when the module can be
    computed at fewer than two other lengths of an axis.
    """
    kind = next((p.dtype for p in flat.module.parameters() if p.is_floating_point()), torch.float32)
    both = _Comparison(content, reference or flat, axes, ALLOWED.get(kind, 1e-3) if tolerance is None else tolerance)
    lengths = {label: flat.inputs[name].shape[axis] for name, places in axes.items() for axis, label in places.items()}
    free = {label: length for label, length in lengths.items() if " + " not in label}
    both.judge(_with_sums(lengths, free), None)
    for label in free:
        first, spare = _others(lengths[label], (bounds or {}).get(label, (1, None)))
        count, failure = 0, ""
        for other in first + spare:
            if count >= ENOUGH and other in spare:
                break
            try:
                both.judge(_with_sums(lengths, free | {label: other}), label)
                count += 1
            except OutOfRangeError as error:
                failure = failure or f"{other}: {error}"
        if count < ENOUGH:
            raise ValueError(f"axis {label!r} cannot change: the module itself fails at length {failure}")
    return both.differences, _axes_of_outputs(read_axes(content)[1], both.shapes)


class OutOfRangeError(Exception):
    """A length at which the module itself fails: longer than its longest sentence, no multiple of four."""


class _Comparison:
    """A comparison of a file with its module."""

    def __init__(self, content: bytes, module: FlatModel, axes: Axes, allowed: float) -> None:
        self.session, self.module, self.axes, self.allowed = _open_file(content), module, axes, allowed
        self.names = [output.name for output in self.session.get_outputs()]
        self.differences: dict[str, float] = {}
        self.shapes: list[tuple[dict[str, int], dict[str, tuple[int, ...]]]] = []

    def judge(self, case: Mapping[str, int], label: str | None) -> None:
        """Compare both at some lengths, of which `label` is new. ValueError when they are too far apart; OutOfRangeError."""
        text = ", ".join(f"{name} {length}" for name, length in case.items()) or "the example"
        right = self._right(case)
        try:
            inputs = {name: value.numpy() for name, value in resized(self.module.inputs, self.axes, case).items()}
            mine = self.session.run(None, inputs)
        except Exception as error:  # the runtime has a class for each of its codes
            raise ValueError(
                f"{self._axis(label)}the file cannot be computed at {text}: {str(error).splitlines()[0][:200]}"
            ) from error
        self.shapes.append((dict(case), {name: value.shape for name, value in zip(self.names, mine, strict=True)}))
        difference = max(map(apart, mine, right))
        self.differences[text] = difference
        if not difference <= self.allowed:
            far = f"{self._axis(label)}the file is {difference:.1%} away from the module at {text}; allowed is {self.allowed:.1%}"
            if max(map(apart, self._right(case), right)):
                raise ValueError(f"{far}; the module draws random numbers, it differs from itself as well")
            raise ValueError(far if label is None else f"{far}; the module decides by this length, write it with torch.where")

    def _right(self, case: Mapping[str, int]) -> list[NDArray[Any]]:
        try:
            outputs = self.module.outputs(*resized(self.module.inputs, self.axes, case).values())
        except Exception as error:
            raise OutOfRangeError(type(error).__name__) from error
        return [value.numpy() for value in outputs.values()]

    def _axis(self, label: str | None) -> str:
        if label is None:
            return ""
        places = ((name, axis) for name, labels in self.axes.items() for axis, each in labels.items() if each == label)
        name, axis = next(places)
        return f"axis {axis} of {name!r} ({label!r}) is frozen: "


def _open_file(content: bytes) -> Any:
    """Open a file in ONNX Runtime on a CPU. ValueError in one line when it does not."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # it has a class for each of its codes
        raise ValueError(f"ONNX Runtime does not open the file: {' '.join(str(error).split())[:300]}") from error


def resized(inputs: Mapping[str, Tensor], axes: Axes, case: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the inputs in shapes of other lengths: cut, or begun again from the front, so that ids stay ids and masks masks."""
    changed = {}
    for name, value in inputs.items():
        for axis, label in axes.get(name, {}).items():
            value = value.index_select(axis, torch.arange(case[label]) % value.shape[axis])
        changed[name] = value.detach().clone()  # a module may write into its input
    return changed


def apart(mine: NDArray[Any], right: NDArray[Any]) -> float:
    """Return the distance of two outputs; infinity when shapes differ, or values that are no finite numbers.

    >>> apart(np.array([1.0, -np.inf]), np.array([1.0, -np.inf]))
    0.0
    """
    if mine.shape != right.shape or mine.dtype != right.dtype:
        return float("inf")
    if mine.dtype.kind in "biu":
        return float((mine != right).mean()) if mine.size else 0.0
    if mine.dtype.kind == "c":
        return max(apart(mine.real, right.real), apart(mine.imag, right.imag))
    one, other = mine.astype(np.float64), right.astype(np.float64)
    finite = np.isfinite(other)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return float("inf")
    one, other = one[finite], other[finite]
    return float(np.linalg.norm(one - other) / max(float(np.linalg.norm(other)), SMALL * one.size**0.5, 1e-12))


def _others(length: int, bounds: tuple[int, int | None]) -> tuple[list[int], list[int]]:
    """Return lengths other than one: beside it, far from it, just beyond the bounds of a trace; and more, should these not do."""
    shortest, longest = bounds
    first = [length + 1, 2 * length + 1, 1, *[shortest - 1] * (shortest > 1), *([] if longest is None else [longest + 1])]
    spare = [length - 1, 2 * length, 3 * length, length // 2]
    unlike = [other for other in dict.fromkeys(first) if other not in (0, length)]
    return unlike, [other for other in dict.fromkeys(spare) if other not in (0, length, *unlike)]


def _with_sums(lengths: Mapping[str, int], case: Mapping[str, int]) -> dict[str, int]:
    """Add the lengths of axes that are sums of others."""
    sums = {label: label.split(" + ") for label in lengths if " + " in label}
    absent = next((part for parts in sums.values() for part in parts if part not in case), None)
    if absent is not None:
        raise ValueError(f"an axis is a sum with {absent!r}, and no axis has that name")
    return {**case, **{label: sum(case[part] for part in parts) for label, parts in sums.items()}}


def _axes_of_outputs(stated: Stated, shapes: list[tuple[dict[str, int], dict[str, tuple[int, ...]]]]) -> Stated:
    """Return the axes of outputs, with a name for each that is stated as a number and turned out to change."""
    true: Stated = {}
    for name, places in stated.items():
        output_shapes = [shape[name] for _, shape in shapes]
        true[name] = list(places) if len(places) == len(output_shapes[0]) else [*range(len(output_shapes[0]))]
        for axis in range(len(output_shapes[0])):
            lengths = [shape[axis] for shape in output_shapes]
            if isinstance(true[name][axis], int) and set(lengths) != {true[name][axis]}:
                same = (label for label in shapes[0][0] if all(case[label] == shape[name][axis] for case, shape in shapes))
                true[name][axis] = next(same, f"{name}_{axis}") if len(set(lengths)) > 1 else lengths[0]
    return true


def state_axes(content: bytes, stated: Stated) -> bytes:
    """Write the axes of the outputs into a file that states them otherwise; what it states of values inside is taken out."""
    import onnx
    from onnx import helper

    if read_axes(content)[1] == stated:
        return content
    model = onnx.load_from_string(content)
    del model.graph.value_info[:]  # what is wrong at the end was wrong on the way
    for value in model.graph.output:
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(helper.make_tensor_value_info(value.name, kind, stated[value.name]))
    return bytes(model.SerializeToString())
