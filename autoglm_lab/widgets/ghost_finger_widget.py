"""A ghost finger in a notebook, and the purse that it fills. `ghost_finger_view` computes both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.edge.intent.value import Price
from autoglm_lab.widgets import ghost_finger_view as view
from autoglm_lab.widgets.base import LabWidget, source


class GhostFingerWidget(LabWidget):
    """See `autoglm_lab.widgets.ghost_finger`."""

    _esm = source("ghost_finger.js")
    _css = source("ghost_finger.css")

    screens = traitlets.List(traitlets.Unicode()).tag(sync=True)  # PNGs in data URLs
    events = traitlets.List(traitlets.Dict()).tag(sync=True)  # view.Purse.events
    purse = traitlets.Dict().tag(sync=True)  # view.Purse.data
    most_cost = traitlets.Float(1.0).tag(sync=True)  # end of the slider, in milliseconds
    summary = traitlets.Unicode("").tag(sync=True)

    def __init__(self, moments: Sequence[view.Moment], price: Price, gate: float) -> None:
        self._purse = view.Purse(tuple(moments), price, gate)
        super().__init__(screens=self._purse.screens(), events=self._purse.events(), most_cost=view.MOST_COST * price.saving_ms)
        self._show()

    @property
    def best_gate(self) -> float:
        """The gate with the largest total."""
        return self._purse.best_gate

    def set_gate(self, gate: float) -> None:
        """Prepare above this probability. ValueError outside 0 to 1."""
        self._purse = replace(self._purse, gate=gate)
        self._show()

    def set_cost(self, cost_ms: float) -> None:
        """Let a miss cost so many milliseconds. ValueError unless it is above 0."""
        self._purse = replace(self._purse, price=Price(self._purse.price.saving_ms, cost_ms))
        self._show()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: {"kind": "gate", "gate"} or {"kind": "cost", "cost"}."""
        match content.get("kind"):
            case "gate":
                self.set_gate(float(content["gate"]))
            case "cost":
                self.set_cost(float(content["cost"]))
            case other:
                raise ValueError(f"the page asked for {other!r}")

    def picture(self) -> Image.Image:
        """The purse under every gate, beside the surest ghost finger."""
        return view.picture(self._purse)

    def sentence(self) -> str:
        """Say what the gate gains, and which gate would gain most."""
        return self._purse.sentence()

    def _show(self) -> None:
        with self.hold_sync():
            self.purse, self.summary = self._purse.data(), self.sentence()
