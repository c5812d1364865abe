"""Convolutions that are computed with integers, by the runtime's own static quantiser.

What flows between two convolutions has to be rounded with a scale that is known beforehand, and what is added to it with the
same tools; batch norms have to be part of the weights. The quantiser of ONNX Runtime does all three on the finished graph, from
the ranges that pictures of real screens give.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from autoglm_lab.export.conditions import every_node

ROUNDED = ("Conv", "Relu", "Add")  # operators between which integers flow
INTEGER = "QLinearConv"  # what the runtime makes of a convolution between rounded inputs and outputs


def integer_convolutions(graph: bytes, examples: Sequence[NDArray[np.float32]]) -> bytes:
    """A graph of one input whose convolutions have 8-bit inputs, and weights of 7 bits: safe without VNNI, too.

    Examples have the shape of its input.

    ValueError without examples, and when the runtime would compute not a single convolution with integers.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if not examples:
        raise ValueError("there is no example; ranges of what flows between convolutions are taken from real pictures")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.examples: Iterator[NDArray[np.float32]] = iter(examples)
            self.name = name

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            """The next example, until there is none."""
            example = next(self.examples, None)
            return None if example is None else {self.name: example}

    log = logging.getLogger()
    level = log.level
    log.setLevel(logging.ERROR)  # the quantiser warns of missing pre-processing, which was done just before
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole, folded, rounded = (Path(folder) / f"{name}.onnx" for name in ("whole", "folded", "rounded"))
            whole.write_bytes(graph)
            name = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).get_inputs()[0].name
            quant_pre_process(str(whole), str(folded), skip_symbolic_shape=True)  # batch norms become part of the weights
            quantize_static(
                str(folded),
                str(rounded),
                Reader(name),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(ROUNDED),
                nodes_to_exclude=_floats(folded.read_bytes()),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )
            content = rounded.read_bytes()
    finally:
        log.setLevel(level)
    if not runtime_nodes(content)[INTEGER]:
        raise ValueError("the runtime computes none of the convolutions with integers; nothing was gained")
    return content


def _floats(graph: bytes) -> list[str]:
    """The sums of a graph that stay floats: those with one stored number, or one for each channel. A bias of a product, a norm."""
    import onnx

    proto = onnx.load_from_string(graph).graph
    small = {stored.name for stored in proto.initializer if math.prod(stored.dims) == (stored.dims[-1] if stored.dims else 1)}
    return [node.name for node in proto.node if node.op_type == "Add" and small & set(node.input)]


def runtime_nodes(graph: bytes) -> Counter[str]:
    """Count the nodes that the runtime runs by operator, after its fusions."""
    import onnx

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return Counter(node.op_type for node in every_node(onnx.load(options.optimized_model_filepath).graph))
