"""Rounding in a notebook: bits, granularity, symmetry and range, computed anew at every choice. See `quantization_view`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.widgets import quantization_view as view
from autoglm_lab.widgets.base import LabWidget, source

Compute = Callable[[int, str, bool, str], view.QuantizationView]  # bits, granularity, symmetric, method
CHOICES = {"granularity": ("tensor", "channel", "group"), "method": ("minmax", "percentile", "mse")}
BITS = (2, 8)


class QuantizationWidget(LabWidget):
    """See `autoglm_lab.widgets.quantization`."""

    _esm = source("quantization.js")
    _css = source("quantization.css")

    choices = traitlets.Dict().tag(sync=True)
    limits = traitlets.List(traitlets.Int()).tag(sync=True)  # fewest and most bits
    bits = traitlets.Int(8).tag(sync=True)
    granularity = traitlets.Unicode("tensor").tag(sync=True)
    symmetric = traitlets.Bool(True).tag(sync=True)
    method = traitlets.Unicode("minmax").tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)  # QuantizationView.data
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, compute: Compute) -> None:
        self.compute = compute
        self._view = compute(8, "tensor", True, "minmax")
        super().__init__(choices={name: list(values) for name, values in CHOICES.items()}, limits=list(BITS))
        self.set()

    def set(
        self, bits: int | None = None, granularity: str | None = None, symmetric: bool | None = None, method: str | None = None
    ) -> None:
        """Round with other settings; those that are not given stay. ValueError for an unknown choice."""
        bits = self.bits if bits is None else bits
        granularity, method = granularity or self.granularity, method or self.method
        symmetric = self.symmetric if symmetric is None else symmetric
        if not BITS[0] <= bits <= BITS[1]:
            raise ValueError(f"bits is {bits}; the slider goes from {BITS[0]} to {BITS[1]}")
        for name, value in (("granularity", granularity), ("method", method)):
            if value not in CHOICES[name]:
                raise ValueError(f"{name} is {value!r}; there are {', '.join(CHOICES[name])}")
        self._view = self.compute(bits, granularity, symmetric, method)
        with self.hold_sync():
            self.bits, self.granularity, self.symmetric, self.method = bits, granularity, symmetric, method
            self.shown = self._view.data()
            self.said = self.sentence()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: {"kind": "set", "name", "value"}, where the name is that of a setting."""
        kinds: dict[str, type] = {"bits": int, "granularity": str, "symmetric": bool, "method": str}
        name = content["name"]
        if name not in kinds:
            raise ValueError(f"the page asked for {name!r}; there are {', '.join(kinds)}")
        self.set(**{name: kinds[name](content["value"])})

    def picture(self) -> Image.Image:
        """The histogram before and after rounding."""
        return view.picture(self._view)

    def sentence(self) -> str:
        """The settings, and what they cost."""
        kind = "symmetric" if self.symmetric else "asymmetric"
        return f"Per {self.granularity}, {kind}, range by {self.method}: {self._view.sentence()}"
