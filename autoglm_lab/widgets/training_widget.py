"""The loss curve of a run, drawn while it runs. What it shows is computed in `training_view`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.training_view import Curve

EVERY_SECONDS = 0.5


class TrainingWidget(LabWidget):
    """See `autoglm_lab.widgets.training`. Called with a row of the log, as `on_step` of a run does."""

    _esm = source("training.js")
    _css = source("training.css")

    shown = traitlets.Dict().tag(sync=True)  # Curve.data
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, steps: int, align_steps: int = 0) -> None:
        self.curve = Curve(steps, align_steps)
        self._last_update = 0.0
        super().__init__(shown=self.curve.data(), said=self.curve.sentence())

    def __call__(self, row: Mapping[str, float]) -> None:
        """Take in one row; the page is updated at most twice a second, and always after the last step."""
        self.curve.add(row)
        now = time.monotonic()
        if now - self._last_update >= EVERY_SECONDS or self.curve.step >= self.curve.steps:
            self._last_update = now
            with self.hold_sync():
                self.shown, self.said = self.curve.data(), self.curve.sentence()

    def picture(self) -> Image.Image:
        """The shares of right answers so far."""
        return self.curve.picture()

    def sentence(self) -> str:
        """Progress of the run, in words."""
        return self.curve.sentence()

    def handle(self, content: dict[str, Any]) -> None:
        """Raise ValueError: the page has nothing to ask."""
        raise ValueError(f"a training curve is only looked at; it cannot {content.get('kind')!r}")
