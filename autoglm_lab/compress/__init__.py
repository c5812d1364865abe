"""Making models small. Each function takes any `nn.Module`, leaves it as it was, and gives a smaller copy.

>>> from autoglm_lab import compress
>>> recipe = compress.Recipe("small", channels=0.4, bits=4)
>>> made, report = compress.apply(model, recipe, example)       # doctest: +SKIP
>>> compress.save(made, folder)                                 # doctest: +SKIP
"""

from autoglm_lab.compress.explore import grid, search
from autoglm_lab.compress.files import load, save
from autoglm_lab.compress.quantization import quantize_weights
from autoglm_lab.compress.recipe import Recipe, apply
from autoglm_lab.measure.report import within

__all__ = ["Recipe", "apply", "grid", "load", "quantize_weights", "save", "search", "within"]
