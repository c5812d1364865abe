"""Progress of a training run, gathered while it runs: losses and shares of right answers, as numbers, words and a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from autoglm_lab.widgets.charts import lines

POINTS = 150  # on each line; what lies closer together is averaged
LOSSES = {"alignment loss": ("image", "audio"), "answer loss": ("answer",)}
SHARES = {"things found in pictures": "image_right", "things heard in speech": "audio_right", "answers right": "answer_right"}


class Curve:
    """The log of a run of `steps` steps, of which the first `align_steps` only align; rows are those of `Training.run`."""

    def __init__(self, steps: int, align_steps: int = 0) -> None:
        if steps < 1 or not 0 <= align_steps <= steps:
            raise ValueError(f"a run needs at least one step and 0 to that many of alignment, got {steps} and {align_steps}")
        self.steps, self.align_steps = steps, align_steps
        self.width = -(-steps // POINTS)
        self.step = 0
        self.seconds: list[float] = []
        self._sums: dict[str, dict[int, tuple[float, int]]] = {name: {} for name in (*LOSSES, *SHARES)}

    def add(self, row: Mapping[str, float]) -> None:
        """Take in one row of the log. KeyError if it lacks a number that is shown."""
        self.step = int(row["step"])
        self.seconds = [*self.seconds[-49:], float(row["seconds"])]
        answering = self.step > self.align_steps
        for name, parts in LOSSES.items():
            if name != "answer loss" or answering:
                self._put(name, sum(float(row[part]) for part in parts))
        for name, column in SHARES.items():
            if name != "answers right" or answering:
                self._put(name, float(row[column]))

    def _put(self, name: str, value: float) -> None:
        bucket = (self.step - 1) // self.width
        total, count = self._sums[name].get(bucket, (0.0, 0))
        self._sums[name][bucket] = (total + value, count + 1)

    def points(self, name: str) -> list[tuple[float, float]]:
        """Points (step, mean value) along one line."""
        return [((bucket + 0.5) * self.width, total / count) for bucket, (total, count) in sorted(self._sums[name].items())]

    def last(self, name: str) -> float | None:
        """The newest value of a line, None before there is one."""
        return self.points(name)[-1][1] if self._sums[name] else None

    def data(self) -> dict[str, Any]:
        """Everything the page draws, as plain JSON values."""

        def line(name: str) -> dict[str, Any]:
            return {"name": name, "points": [[round(x, 1), round(y, 4)] for x, y in self.points(name)]}

        panels = [
            {"title": title, "lines": [line(name) for name in names]}
            for title, names in (("loss", LOSSES), ("share right", SHARES))
        ]
        return {"step": self.step, "steps": self.steps, "align_steps": self.align_steps, "panels": panels}

    def sentence(self) -> str:
        """Progress of the run, in words."""
        if not self.step:
            return f"A run of {self.steps} steps, not yet begun."
        shares = [f"{name} {value:.0%}" for name in SHARES if (value := self.last(name)) is not None]
        stage = "alignment" if self.step <= self.align_steps else "instruction"
        minutes = sum(self.seconds) / len(self.seconds) * (self.steps - self.step) / 60
        rest = "done" if self.step >= self.steps else f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"
        return f"Step {self.step} of {self.steps} ({stage}): {', '.join(shares)}; {rest}."

    def picture(self) -> Image.Image:
        """The shares of right answers so far, as a picture."""
        curves = {name: self.points(name) for name in SHARES if self._sums[name]}
        curves = curves or {"not yet begun": [(0.0, 0.0), (float(self.steps), 0.0)]}
        series = {name: ([x for x, _ in points], [y for _, y in points]) for name, points in curves.items()}
        chart = lines("Training", series, "step", "share right")
        return Image.open(io.BytesIO(chart.png)).convert("RGB")
