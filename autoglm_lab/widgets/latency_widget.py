"""Answers measured while they are written. What is shown is computed in `latency_view`."""

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
Look = Callable[[], view.Profile]
LIVE_SECONDS = 0.05


class LatencyWidget(LabWidget):
    """See `autoglm_lab.widgets.latency`."""

    _esm = source("timeline.js", "latency.js")
    _css = source("timeline.css")

    rows = traitlets.List(traitlets.Dict()).tag(sync=True)  # latency_view.data
    said = traitlets.Unicode("").tag(sync=True)
    layers = traitlets.List(traitlets.Dict()).tag(sync=True)  # latency_view.layer_data

    def __init__(self, variants: Mapping[str, Begin], repeats: int = 3, looks: Mapping[str, Look] | None = None) -> None:
        if not variants:
            raise ValueError("latency needs a variant at least: {name: function that begins an answer}")
        if repeats < 1:
            raise ValueError(f"repeats is {repeats}; an answer is measured once at least")
        self.variants, self.repeats, self.looks = dict(variants), repeats, dict(looks or {})
        self._profiles: dict[str, list[view.Profile]] = {name: [] for name in self.looks}
        self._times: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
        self._guesses: dict[str, float] = {}
        super().__init__()
        self._show()

    def guess(self, name: str, ms: float) -> None:
        """Note your guess of an answer's time with this variant. ValueError for an unknown variant or a negative time."""
        view.Row.of(_check_name(name, self.variants), [], ms)
        self._guesses[name] = ms
        self._show()

    def measure(self, name: str | None = None) -> None:
        """Answer `repeats` times, each variant in turn (or one of them); the page follows each answer while it is written."""
        names = list(self.variants) if name is None else [_check_name(name, self.variants)]
        for each in names:
            self._times[each] = []
        for _ in range(self.repeats):
            for each in names:
                self._times[each].append(self._watched(each))
        self._show()

    def look_inside(self, name: str | None = None) -> None:
        """Profile once more, each variant that has a profiler (or one of them); shown is the mean of all profiles so far."""
        for each in self.looks if name is None else [_check_name(name, self.looks)]:
            self._profiles[each].append(self.looks[each]())
        self._show()

    def inside(self) -> list[view.Inside]:
        """The layers as they stand."""
        return [view.Inside.of(name, profiles) for name, profiles in self._profiles.items()]

    def table(self) -> list[view.Row]:
        """The rows as they stand."""
        return [view.Row.of(name, times, self._guesses.get(name)) for name, times in self._times.items()]

    def picture(self) -> Image.Image:
        """The timeline, and under it the layers that were profiled."""
        pictures = [view.picture(self.table()), *([view.layer_picture(self.inside())] if any(self._profiles.values()) else [])]
        whole = Image.new("RGB", (max(each.width for each in pictures), sum(each.height for each in pictures)), "white")
        for place, each in enumerate(pictures):
            whole.paste(each, (0, sum(before.height for before in pictures[:place])))
        return whole

    def sentence(self) -> str:
        """Every row in words, and the layer that takes most."""
        sentences = [inside.sentence() for inside in self.inside() if inside.turns]
        return " ".join([view.sentence(self.table()), *(f"{sentence}." for sentence in sentences)])

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: measure, guess or look inside."""
        if content.get("kind") == "measure":
            self.measure(content.get("name"))
        elif content.get("kind") == "guess":
            self.guess(str(content["name"]), float(content["ms"]))
        elif content.get("kind") == "layers":
            self.look_inside(content.get("name"))
        else:
            raise ValueError(f"the page sent {content}, which asks for nothing known")

    def _watched(self, name: str) -> dict[str, float]:
        began = last_report = time.perf_counter()
        stream = self.variants[name]()
        first = None
        for _ in stream:
            now = time.perf_counter()
            first = now if first is None else first
            if now - last_report >= LIVE_SECONDS:
                last_report = now
                self.send({"live": name, "before": 1000 * (first - began), "decode": 1000 * (now - first)})
        return {stage: ms for stage, ms in stream.answer.ms.items() if stage in view.STAGES}

    def _show(self) -> None:
        with self.hold_sync():
            self.rows, self.said = view.data(self.table()), self.sentence()
            self.layers = view.layer_data(self.inside())


def _check_name(name: str, variants: Mapping[str, object]) -> str:
    if name not in variants:
        raise ValueError(f"there is no variant {name!r}; there are {', '.join(variants)}")
    return name
