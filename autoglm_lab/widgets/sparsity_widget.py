"""Sparsity in a notebook: sliders for all layers and for each, measured anew at every move. See `sparsity_view`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import traitlets
from PIL import Image

from autoglm_lab.widgets import sparsity_view as view
from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.pictures import png

Measure = Callable[[dict[str, float]], Mapping[str, float]]


class SparsityWidget(LabWidget):
    """See `autoglm_lab.widgets.sparsity`."""

    _esm = source("sparsity.js")
    _css = source("sparsity.css")

    shown = traitlets.Dict().tag(sync=True)  # SparsityView.data
    layer = traitlets.Unicode("").tag(sync=True)  # whose weights are shown
    corner = traitlets.Bytes(b"").tag(sync=True)  # PNG
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, weights: Mapping[str, Any], measure: Measure | None = None) -> None:
        self.measure = measure
        self.weights = {name: np.asarray(weight, np.float32) for name, weight in weights.items()}
        zeros = {name: float((weight == 0).mean()) if weight.size else 0.0 for name, weight in self.weights.items()}
        self._view = view.SparsityView(self.weights, zeros, self._measurements(zeros))
        super().__init__(layer=next(iter(self.weights)))
        self._show()

    @property
    def shares(self) -> dict[str, float]:
        """The share of zeros of each layer."""
        return dict(self._view.shares)

    def set_all(self, share: float) -> None:
        """Set one threshold for all layers, so that `share` of all weights is pruned. ValueError outside 0 to 1."""
        if not 0 <= share <= 1:
            raise ValueError(f"the share is {share}; it lies between 0 and 1")
        self._set(view.even_shares(self.weights, share))

    def set_layer(self, name: str, share: float) -> None:
        """Set the share of one layer. ValueError for a layer that is not shown, or a share outside 0 to 1."""
        self._check_layer(name)
        self.layer = name
        self._set({**self.shares, name: share})

    def look_at(self, name: str) -> None:
        """Show a layer's weights. ValueError for a layer that is not shown."""
        self._check_layer(name)
        self.layer = name
        self._show()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what the page asks: {"kind": "all", "share"}, {"kind": "layer", "name", "share"} or {"kind": "look", "name"}."""
        match content["kind"]:
            case "all":
                self.set_all(float(content["share"]))
            case "layer":
                self.set_layer(str(content["name"]), float(content["share"]))
            case "look":
                self.look_at(str(content["name"]))
            case other:
                raise ValueError(f"the page asked for {other!r}")

    def picture(self) -> Image.Image:
        """The weights of the chosen layer, and a bar for each layer."""
        return view.picture(self._view, self.layer)

    def sentence(self) -> str:
        """Share of weights that are zero, its range over the layers, and the measurements."""
        return self._view.sentence()

    def _check_layer(self, name: str) -> None:
        if name not in self.weights:
            raise ValueError(f"there is no layer {name!r}; there are {', '.join(self.weights)}")

    def _measurements(self, shares: dict[str, float]) -> Mapping[str, float]:
        return {} if self.measure is None else self.measure(shares)

    def _set(self, shares: dict[str, float]) -> None:
        checked = view.SparsityView(self.weights, shares)
        self._view = view.SparsityView(self.weights, shares, self._measurements(dict(checked.shares)))
        self._show()

    def _show(self) -> None:
        with self.hold_sync():
            self.shown = self._view.data()
            picture = view.corner(self.weights[self.layer], self._view.shares[self.layer])
            self.corner = png(picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.NEAREST))
            self.said = self.sentence()
