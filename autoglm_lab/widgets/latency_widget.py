"""Answers measured while they are given. What is shown is computed in `latency_view`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.runtime.engine import Stream
from autoglm_lab.widgets import latency_view as view
from autoglm_lab.widgets.base import LabWidget, source

Begin = Callable[[], Stream]
LIVE_SECONDS = 0.05


class LatencyWidget(LabWidget):
    """See `autoglm_lab.widgets.latency`."""

    _esm = source("timeline.js", "latency.js")
    _css = source("timeline.css")

    rows = traitlets.List(traitlets.Dict()).tag(sync=True)  # latency_view.data
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, variants: Mapping[str, Begin], repeats: int = 3) -> None:
        if not variants:
            raise ValueError("latency needs a variant at least: {name: function that begins an answer}")
        if repeats < 1:
            raise ValueError(f"repeats is {repeats}; an answer is measured once at least")
        self.variants, self.repeats = dict(variants), repeats
        self._times: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
        self._guesses: dict[str, float] = {}
        super().__init__()
        self._show()

    def guess(self, name: str, ms: float) -> None:
        """What you think that an answer of this variant takes. ValueError for a variant there is not, or a negative time."""
        view.Row.of(self._known(name), [], ms)
        self._guesses[name] = ms
        self._show()

    def measure(self, name: str | None = None) -> None:
        """Answer `repeats` times, each variant in turn (or one of them); while an answer comes the page is told."""
        names = list(self.variants) if name is None else [self._known(name)]
        for each in names:
            self._times[each] = []
        for _ in range(self.repeats):
            for each in names:
                self._times[each].append(self._watched(each))
        self._show()

    def table(self) -> list[view.Row]:
        """The rows as they stand."""
        return [view.Row.of(name, times, self._guesses.get(name)) for name, times in self._times.items()]

    def picture(self) -> Image.Image:
        """The timeline."""
        return view.picture(self.table())

    def sentence(self) -> str:
        """Every row in words."""
        return view.sentence(self.table())

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: measure or guess."""
        if content.get("kind") == "measure":
            self.measure(content.get("name"))
        elif content.get("kind") == "guess":
            self.guess(str(content["name"]), float(content["ms"]))
        else:
            raise ValueError(f"the page sent {content}, which asks for nothing known")

    def _watched(self, name: str) -> dict[str, float]:
        began = told = time.perf_counter()
        stream = self.variants[name]()
        first = None
        for _ in stream:
            now = time.perf_counter()
            first = now if first is None else first
            if now - told >= LIVE_SECONDS:
                told = now
                self.send({"live": name, "before": 1000 * (first - began), "decode": 1000 * (now - first)})
        return {stage: ms for stage, ms in stream.answer.ms.items() if stage in view.STAGES}

    def _known(self, name: str) -> str:
        if name not in self.variants:
            raise ValueError(f"there is no variant {name!r}; there are {', '.join(self.variants)}")
        return name

    def _show(self) -> None:
        with self.hold_sync():
            self.rows, self.said = view.data(self.table()), self.sentence()
