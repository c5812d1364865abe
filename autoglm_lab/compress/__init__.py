"""Compression of models. Each function takes any `nn.Module`, leaves it as it was, and returns a smaller copy.

>>> from autoglm_lab import compress
>>> recipe = compress.Recipe("small", channels=0.4, bits=4)
>>> small, report = compress.apply(model, recipe, example)      # doctest: +SKIP
>>> compress.save(small, folder)                                # doctest: +SKIP

| step | functions |
| --- | --- |
| all steps in one record | `Recipe`, `apply`, `named`, `grid`, `search`, `within` |
| whole channels | `trace`, `prune_structured`, `Pruned`, `Group`, `layer_macs`, `answer_prices` |
| whole layers | `drop_layers` |
| single weights | `magnitude_masks`, `masks_by_layer`, `prune`, `Masks`, `sparsity_of` |
| low rank | `factorise`, `factorise_layers`, `record_inputs`, `LowRankLinear` |
| least squares after a cut | `input_moments`, `refit_channels`, `refit_masked` |
| integers | `Scheme`, `quantize`, `quantize_weights`, `relative_error` |
| training with rounding | `prepare`, `calibrate`, `convert` |
| sensitivity of layers | `scan`, `gradient_sensitivity`, `Sensitivity` |
| coverage, and the kinds of layers | `Coverage`, `known_layers`, `layer_table` |
| files | `save`, `load`, `stored_bytes` |

The kinds of layers that each step knows are a table: `print(compress.layer_table())`, or as data `compress.known_layers()`.
Any other kind is left as it is, named in a result's `coverage`, and an error where that is too much (`min_share`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoglm_lab.compress.checkpoint import load, save, stored_bytes
    from autoglm_lab.compress.coverage import Coverage
    from autoglm_lab.compress.dependency_graph import Group, trace
    from autoglm_lab.compress.distillation import drop_layers
    from autoglm_lab.compress.explore import grid, search
    from autoglm_lab.compress.kinds import known_layers, layer_table
    from autoglm_lab.compress.low_rank import LowRankLinear, factorise, factorise_layers, record_inputs
    from autoglm_lab.compress.qat import calibrate, convert, prepare
    from autoglm_lab.compress.quantization import Scheme, quantize, quantize_weights, relative_error
    from autoglm_lab.compress.recipe import Recipe, apply, named
    from autoglm_lab.compress.reconstruction import input_moments, refit_channels, refit_masked
    from autoglm_lab.compress.sensitivity import Sensitivity, gradient_sensitivity, scan
    from autoglm_lab.compress.sparsity import Masks, magnitude_masks, masks_by_layer, prune, sparsity_of
    from autoglm_lab.compress.structured import Pruned, answer_prices, prune_structured
    from autoglm_lab.compress.work import layer_macs
    from autoglm_lab.evaluation.report import within

__all__ = [
    "Coverage",
    "Group",
    "LowRankLinear",
    "Masks",
    "Pruned",
    "Recipe",
    "Scheme",
    "Sensitivity",
    "answer_prices",
    "apply",
    "calibrate",
    "convert",
    "drop_layers",
    "factorise",
    "factorise_layers",
    "gradient_sensitivity",
    "grid",
    "input_moments",
    "known_layers",
    "layer_macs",
    "layer_table",
    "load",
    "magnitude_masks",
    "masks_by_layer",
    "named",
    "prepare",
    "prune",
    "prune_structured",
    "quantize",
    "quantize_weights",
    "record_inputs",
    "refit_channels",
    "refit_masked",
    "relative_error",
    "save",
    "scan",
    "search",
    "sparsity_of",
    "stored_bytes",
    "trace",
    "within",
]

# each name is imported when it is first used: the package itself imports nothing
_NAMES = {
    "coverage": "Coverage",
    "distillation": "drop_layers",
    "explore": "grid search",
    "checkpoint": "load save stored_bytes",
    "dependency_graph": "Group trace",
    "kinds": "known_layers layer_table",
    "low_rank": "LowRankLinear factorise factorise_layers record_inputs",
    "qat": "calibrate convert prepare",
    "quantization": "Scheme quantize quantize_weights relative_error",
    "recipe": "Recipe apply named",
    "reconstruction": "input_moments refit_channels refit_masked",
    "sensitivity": "Sensitivity gradient_sensitivity scan",
    "sparsity": "Masks magnitude_masks masks_by_layer prune sparsity_of",
    "structured": "Pruned answer_prices prune_structured",
    "work": "layer_macs",
}
_LAZY = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names.split()}
_LAZY["within"] = "autoglm_lab.evaluation.report"


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"{__name__} has no {name!r}; it has {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value
