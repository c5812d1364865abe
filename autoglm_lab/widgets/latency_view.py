"""Times of answers by stages and by layers: rows as numbers, words and pictures. No browser, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from PIL import Image

from autoglm_lab.widgets.charts import COLOURS, canvas, drawn

STAGES = ("understand", "features", "image", "audio", "prefill", "decode")
GRAPHS = {"image": "image", "audio": "audio", "step": "decode"}  # the stage whose colour a graph has
SHOWN = 12  # layers, before the others are put together
Times = Mapping[str, float]
Profile = Mapping[str, Mapping[str, float]]  # {graph: {layer: ms}}, as `evaluation.layers.layer_times` gives


@dataclass(frozen=True)
class Row:
    """One line of the timeline: median milliseconds of each stage over `answers`, and what was guessed for the total."""

    name: str
    stages: dict[str, float]
    answers: int = 0
    guess: float | None = None

    @classmethod
    def of(cls, name: str, times: Sequence[Times], guess: float | None = None) -> Row:
        """Build a row from the times of answers, `{stage: ms}` each. ValueError for a negative guess."""
        if guess is not None and not 0 <= guess < 1e7:
            raise ValueError(f"the guess is {guess}; an answer takes some milliseconds, 0 or more")
        values = {stage: [each[stage] for each in times if stage in each] for stage in STAGES}
        return cls(name, {stage: median(ms) for stage, ms in values.items() if ms}, len(times), guess)

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


@dataclass(frozen=True)
class Inside:
    """Layers of the graphs of one variant: (graph, layer, mean milliseconds over `turns` profiles), the longest first."""

    name: str
    layers: tuple[tuple[str, str, float], ...] = ()
    turns: int = 0

    @classmethod
    def of(cls, name: str, profiles: Sequence[Profile]) -> Inside:
        """The mean of several profiles; a layer that one of them lacks counts as 0 ms there."""
        totals: Counter[tuple[str, str]] = Counter()
        for profile in profiles:
            for graph, layers in profile.items():
                totals.update({(graph, layer): ms for layer, ms in layers.items()})
        return cls(name, tuple((*key, ms / len(profiles)) for key, ms in totals.most_common()), len(profiles))

    @property
    def total(self) -> float:
        """The sum of all layers."""
        return sum(ms for *_, ms in self.layers)

    def rows(self) -> list[tuple[str, str, float]]:
        """The longest layers, and the others of each graph together."""
        first, others = self.layers[:SHOWN], self.layers[SHOWN:]
        rest = {graph: [ms for of, _, ms in others if of == graph] for graph in GRAPHS}
        return [*first, *((graph, f"{len(ms)} others", sum(ms)) for graph, ms in rest.items() if ms)]

    def sentence(self) -> str:
        """The first layer in words."""
        if not self.layers:
            return f"{self.name}: no layer was timed"
        graph, layer, ms = self.layers[0]
        times, count = "once" if self.turns == 1 else f"{self.turns} times", len(self.layers)
        return f"{self.name}: {layer} of the {graph} graph takes most, {ms / self.total:.0%} of {count} layers, profiled {times}"


def layer_data(insides: Sequence[Inside]) -> list[dict[str, Any]]:
    """Layers as plain JSON values."""
    return [
        {
            "name": inside.name,
            "turns": inside.turns,
            "rows": [
                {
                    "graph": graph,
                    "layer": layer,
                    "stage": GRAPHS.get(graph, "decode"),
                    "ms": round(ms, 4),
                    "share": round(ms / (inside.total or 1), 4),
                }
                for graph, layer, ms in inside.rows()
            ],
        }
        for inside in insides
    ]


def layer_picture(insides: Sequence[Inside]) -> Image.Image:
    """For each variant a bar for each layer, in the colour of its graph."""
    timed = [inside for inside in insides if inside.layers]
    rows = [(inside.name, *row) for inside in timed for row in inside.rows()]
    drawing, axes = canvas("Inside the graphs, profiled", "ms", height=1.2 + 0.24 * max(1, len(rows)))
    for place, (_, graph, _, ms) in enumerate(rows):
        axes.barh(place, ms, 0.7, color=COLOURS[STAGES.index(GRAPHS.get(graph, "decode"))])
    several = len(timed) > 1
    axes.set_yticks(range(len(rows)), [f"{name}: {layer}" if several else layer for name, _, layer, _ in rows], fontsize=8)
    axes.invert_yaxis()
    for graph in dict.fromkeys(graph for _, graph, *_ in rows):
        axes.barh(0, 0, color=COLOURS[STAGES.index(GRAPHS.get(graph, "decode"))], label=graph)
    if rows:
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    return drawn(drawing)


def data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as plain JSON values."""
    return [
        {
            "name": row.name,
            "stages": {stage: round(ms, 2) for stage, ms in row.stages.items()},
            "total": round(row.total, 2),
            "answers": row.answers,
            "guess": row.guess,
        }
        for row in rows
    ]


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
    stages = [stage for stage in STAGES if any(stage in row.stages for row in rows)]
    for stage in stages:
        axes.barh(0, 0, color=COLOURS[STAGES.index(stage)], label=stage)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.margins(x=0.12)
    axes.invert_yaxis()
    if stages:
        axes.legend(ncol=len(stages), frameon=False, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8)
    return drawn(drawing)
