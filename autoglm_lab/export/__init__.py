"""Export from PyTorch to files that run without it: graphs, integers in them, and the bundle that is put on a phone.

>>> from autoglm_lab import export
>>> file = export.export_onnx(model, example, "model.onnx")       # doctest: +SKIP
>>> file.inputs, file.difference                                  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoglm_lab.export.module import onnx_module
    from autoglm_lab.export.onnx_file import OnnxFile, export_onnx
    from autoglm_lab.export.parity import check_layers
    from autoglm_lab.export.quantized_layers import exportable

__all__ = ["OnnxFile", "check_layers", "export_onnx", "exportable", "onnx_module"]
_HOMES = {
    "OnnxFile": "onnx_file",
    "check_layers": "parity",
    "export_onnx": "onnx_file",
    "exportable": "quantized_layers",
    "onnx_module": "module",
}


def __getattr__(name: str) -> Any:
    """Load a function when it is asked for: `device`, which a phone's folder is made with, needs no PyTorch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
