"""The gates in a notebook, computed anew whenever a slider moves. What it shows is computed in `gates_view`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.widgets import gates_view as view
from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.pictures import png

Range = tuple[float, float]


class GatesWidget(LabWidget):
    """See `autoglm_lab.widgets.gates`."""

    _esm = source("gates.js")
    _css = source("gates.css")

    blur_range = traitlets.List(traitlets.Float()).tag(sync=True)  # from clean to worst
    snr_range = traitlets.List(traitlets.Float()).tag(sync=True)
    blur = traitlets.Float(0).tag(sync=True)  # pixels
    snr_db = traitlets.Float(0).tag(sync=True)
    clean = traitlets.Dict().tag(sync=True)  # the means on the clean input
    shown = traitlets.Dict().tag(sync=True)  # GateView.data
    screen = traitlets.Bytes(b"").tag(sync=True)  # PNG
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, compute: Callable[[float, float], view.GateView], *, blur: Range = (0, 8), snr: Range = (30, 0)) -> None:
        for name, ends in (("blur", blur), ("snr", snr)):
            if ends[0] == ends[1]:
                raise ValueError(f"{name} is {ends}; it needs two different ends, the clean one first")
        self.compute = compute
        self._clean = self._now = compute(float(blur[0]), float(snr[0]))
        super().__init__(blur_range=list(blur), snr_range=list(snr), clean=self._clean.means)
        self._show(float(blur[0]), float(snr[0]))

    def set(self, blur: float, snr_db: float) -> None:
        """Compute and show the gates at a blur in pixels and a speech-to-noise ratio; ValueError outside the ranges."""
        for name, value, ends in (("blur", blur, self.blur_range), ("snr_db", snr_db, self.snr_range)):
            if not min(ends) <= value <= max(ends):
                raise ValueError(f"{name} is {value}; the slider goes from {ends[0]:g} to {ends[1]:g}")
        self._now = self.compute(blur, snr_db)
        self._show(blur, snr_db)

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: {"kind": "set", "blur", "snr_db"}."""
        self.set(float(content["blur"]), float(content["snr_db"]))

    def picture(self) -> Image.Image:
        """The screen and a bar for each mean gate."""
        return view.picture(self._clean, self._now)

    def sentence(self) -> str:
        """The mean gates, and those on the clean input."""
        return view.sentence(self._clean, self._now, self.blur, self.snr_db)

    def _show(self, blur: float, snr_db: float) -> None:
        with self.hold_sync():
            self.blur, self.snr_db = blur, snr_db
            self.shown = self._now.data()
            self.screen = png(self._now.screenshot)
            self.said = self.sentence()
