"""Where the time of answers goes, stage by stage: rows of a timeline as numbers, words and a picture. No browser, no torch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from PIL import Image

from autoglm_lab.widgets.charts import COLOURS, canvas

STAGES = ("features", "image", "audio", "prefill", "decode")
Times = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the timeline: median milliseconds of each stage over `answers`, and what was guessed for the total."""

    name: str
    stages: dict[str, float]
    answers: int = 0
    guess: float | None = None

    @classmethod
    def of(cls, name: str, times: Sequence[Times], guess: float | None = None) -> Row:
        """From the times of answers, `{stage: ms}` each. ValueError for a negative guess."""
        if guess is not None and not 0 <= guess < 1e7:
            raise ValueError(f"the guess is {guess}; an answer takes some milliseconds, 0 or more")
        found = {stage: [told[stage] for told in times if stage in told] for stage in STAGES}
        return cls(name, {stage: median(ms) for stage, ms in found.items() if ms}, len(times), guess)

    @property
    def total(self) -> float:
        """The sum of the stages."""
        return sum(self.stages.values())

    def sentence(self) -> str:
        """The row in words."""
        guessed = "" if self.guess is None else f", guessed {self.guess:.0f}"
        if not self.answers:
            return f"{self.name}: not measured{guessed}"
        most = max(self.stages, key=lambda stage: self.stages[stage])
        share = self.stages[most] / self.total if self.total else 0.0
        return f"{self.name}: {self.total:.0f} ms{guessed}, {share:.0%} of them {most}, median of {self.answers}"


def data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as plain JSON values."""
    return [
        {"name": row.name, "stages": {stage: round(ms, 2) for stage, ms in row.stages.items()}, "total": round(row.total, 2),
         "answers": row.answers, "guess": row.guess}
        for row in rows
    ]  # fmt: skip


def sentence(rows: Sequence[Row]) -> str:
    """All rows in words."""
    return ". ".join(row.sentence() for row in rows) + "." if rows else "No times were told yet."


def picture(rows: Sequence[Row]) -> Image.Image:
    """A bar for each row, a colour for each stage; a line marks a guess."""
    drawing, axes = canvas("Where the time of an answer goes", "ms", height=1.2 + 0.45 * max(1, len(rows)))
    for place, row in enumerate(rows):
        left = 0.0
        for stage, ms in row.stages.items():
            axes.barh(place, ms, 0.6, left=left, color=COLOURS[STAGES.index(stage)])
            left += ms
        if row.answers:
            axes.text(left, place, f" {row.total:.0f}", va="center", fontsize=9)
        if row.guess is not None:
            axes.plot([row.guess, row.guess], [place - 0.4, place + 0.4], color="#24292f", linewidth=2)
    used = [stage for stage in STAGES if any(stage in row.stages for row in rows)]
    for stage in used:
        axes.barh(0, 0, color=COLOURS[STAGES.index(stage)], label=stage)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.margins(x=0.12)
    axes.invert_yaxis()
    if used:
        axes.legend(ncol=len(used), frameon=False, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8)
    file = io.BytesIO()
    drawing.savefig(file, format="png", dpi=80)
    return Image.open(file).convert("RGB")
