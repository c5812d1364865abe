"""Training and evaluation mode of a model, which each of its layers may have for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put models into evaluation mode; afterwards each of their layers has its own mode again, also after an error."""
    modes = {layer: layer.training for model in models for layer in model.modules()}
    try:
        for model in models:
            model.train(False)
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode
