"""A file and its model, layer by layer. What is shown is computed in `parity_view`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.parity_view import LEAST, MOST, Layer, ParityView


class ParityWidget(LabWidget):
    """See `autoglm_lab.widgets.parity`."""

    _esm = source("parity.js")
    _css = source("parity.css")

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    shown = traitlets.Unicode("").tag(sync=True)
    power = traitlets.Float(-4.0).tag(sync=True)  # of ten: the tolerance
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)  # ParityView.rows
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, comparisons: Mapping[str, Sequence[Layer]], tolerance: float = 1e-4) -> None:
        self.view = ParityView(dict(comparisons))
        super().__init__(names=list(self.view.comparisons))
        self.allow(tolerance)
        self.show(self.names[0])

    @property
    def tolerance(self) -> float:
        """Largest difference that is allowed, as a share of a layer's size."""
        return float(10**self.power)

    def show(self, name: str) -> None:
        """Choose a comparison. ValueError if there is none of this name."""
        self.view.layers(name)
        self.shown = name
        self._update()

    def allow(self, tolerance: float) -> None:
        """Choose how far a layer may be apart, from 1e-8 to 1. ValueError beyond."""
        if not 10**LEAST <= tolerance <= 10**MOST:
            raise ValueError(f"the tolerance is {tolerance}; it is 1e-8 to 1, as a share of a layer's size")
        self.power = round(math.log10(tolerance), 2)
        self._update()

    def picture(self) -> Image.Image:
        """A bar for each layer."""
        return self.view.picture(self.shown, self.tolerance)

    def sentence(self) -> str:
        """The first layer that differs, or that none does."""
        return self.view.sentence(self.shown, self.tolerance)

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: show a comparison, or allow more or less."""
        if content.get("kind") == "show":
            self.show(str(content["name"]))
        elif content.get("kind") == "allow":
            self.allow(10 ** float(content["power"]))
        else:
            raise ValueError(f"the page sent {content}, which asks for nothing known")

    def _update(self) -> None:
        if self.shown:
            with self.hold_sync():
                self.rows, self.said = self.view.rows(self.shown, self.tolerance), self.sentence()
