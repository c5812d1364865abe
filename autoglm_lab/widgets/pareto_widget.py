"""Recipes to choose from in a notebook. What it shows is computed in `pareto_view`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.evaluation.report import Report
from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.pareto_view import AXES, ParetoView

Chosen = Callable[[Report], str | None]


class ParetoWidget(LabWidget):
    """See `autoglm_lab.widgets.pareto`."""

    _esm = source("pareto.js")
    _css = source("pareto.css")

    axes = traitlets.Dict().tag(sync=True)  # name -> unit, of those that can be chosen
    axis = traitlets.Unicode("").tag(sync=True)
    choice = traitlets.Unicode("").tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)  # ParetoView.data
    reply = traitlets.Unicode("").tag(sync=True)  # reply of the call-back to a choice
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, reports: Sequence[Report], chosen: Chosen | None = None) -> None:
        self.view, self.chosen = ParetoView(list(reports)), chosen
        super().__init__(axes={axis: AXES[axis][0] for axis in self.view.axes}, axis=self.view.axes[0])
        self._show()

    @property
    def report(self) -> Report | None:
        """The report of the chosen recipe, None before one is chosen."""
        return self.view.report(self.choice) if self.choice else None

    def choose(self, name: str) -> None:
        """Choose a recipe; what the call-back says of it is shown. ValueError for a recipe that is not there."""
        report = self.view.report(name)
        reply = None if self.chosen is None else self.chosen(report)
        with self.hold_sync():
            self.choice, self.reply = name, reply or ""
            self._show()

    def turn(self, axis: str) -> None:
        """Show another measure along the plane. ValueError for one that not all reports have."""
        self.view.front(axis)
        self.axis = axis
        self._show()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: {"kind": "choose", "name"} or {"kind": "turn", "axis"}."""
        match content["kind"]:
            case "choose":
                self.choose(str(content["name"]))
            case "turn":
                self.turn(str(content["axis"]))
            case other:
                raise ValueError(f"the page asked for {other!r}")

    def picture(self) -> Image.Image:
        """The plane with its front."""
        return self.view.picture(self.axis, self.choice)

    def sentence(self) -> str:
        """Recipes of the front, and the chosen one."""
        return self.view.sentence(self.axis, self.choice)

    def _show(self) -> None:
        with self.hold_sync():
            self.shown = self.view.data(self.axis)
            self.said = self.sentence()
