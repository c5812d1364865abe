"""Recipes on the plane of size or time against success, and their Pareto front. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from autoglm_lab.evaluation.report import Report, pareto_front
from autoglm_lab.widgets.charts import COLOURS, canvas, drawn

AXES = {
    "bytes": ("size, MB", 1e6),
    "answer_ms": ("whole answer, ms", 1.0),
    "macs": ("multiply-accumulates, millions", 1e6),
    "parameters": ("parameters, millions", 1e6),
}


@dataclass(frozen=True)
class ParetoView:
    """Reports that all have a success, and the measures that all of them have."""

    reports: Sequence[Report]

    def __post_init__(self) -> None:
        names = [report.name for report in self.reports]
        if not names:
            raise ValueError("there is no report to show")
        if len(set(names)) < len(names):
            raise ValueError(f"two reports have one name: {sorted(name for name in names if names.count(name) > 1)[0]!r}")
        lacking = [report.name for report in self.reports if report.success is None]
        if lacking:
            raise ValueError(f"success was not measured of {', '.join(map(repr, lacking))}")
        if not self.axes:
            raise ValueError(f"the reports have none of {', '.join(AXES)} in common")

    @property
    def axes(self) -> list[str]:
        """The measures that every report has."""
        return [axis for axis in AXES if all(getattr(report, axis) is not None for report in self.reports)]

    def report(self, name: str) -> Report:
        """The report of this name. ValueError if there is none."""
        for report in self.reports:
            if report.name == name:
                return report
        raise ValueError(f"there is no recipe {name!r}; there are {', '.join(repr(report.name) for report in self.reports)}")

    def value(self, report: Report, axis: str) -> float:
        """A measure of a report in the unit of its axis."""
        return float(getattr(report, axis)) / AXES[axis][1]

    def front(self, axis: str) -> list[str]:
        """The recipes that no other beats in this measure and success, smallest first. ValueError for a measure that some lack."""
        if axis not in self.axes:
            raise ValueError(f"axis is {axis!r}; there are {', '.join(self.axes)}")
        front = pareto_front(self.reports, (axis, "success"))
        return [report.name for report in sorted(front, key=lambda report: self.value(report, axis))]

    def data(self, axis: str) -> dict[str, Any]:
        """The points of the plane as plain JSON values."""
        front = self.front(axis)
        points = [
            {
                "name": report.name,
                "x": self.value(report, axis),
                "y": report.success,
                "ci95": list(report.ci95 or ()),
                "front": report.name in front,
                "note": ", ".join(part for part in (report.training, report.note) if part),
            }
            for report in self.reports
        ]
        return {"points": points, "axis": axis, "unit": AXES[axis][0], "front": front}

    def sentence(self, axis: str, chosen: str = "") -> str:
        """Recipes of the front, and the place of the chosen one."""
        unit = AXES[axis][0]
        text = f"{len(self.reports)} recipes; nothing beats {', '.join(self.front(axis))} in {unit.split(',')[0]} and success."
        if not chosen:
            return text
        report = self.report(chosen)
        value = f"{unit.replace(',', '')} {self.value(report, axis):.3g}"
        return f"{text} Chosen: {chosen}, {value}, success {report.success:.1%}."

    def picture(self, axis: str, chosen: str = "") -> Image.Image:
        """The plane, with the front as a line."""
        picture, axes = canvas("Success and what it costs", AXES[axis][0], height=3.6)
        for report in self.reports:
            x, y = self.value(report, axis), 100 * (report.success or 0.0)
            bars = None if report.ci95 is None else [[y - 100 * report.ci95[0]], [100 * report.ci95[1] - y]]
            colour = COLOURS[1] if report.name == chosen else COLOURS[0] if report.name in self.front(axis) else "#9aa1ab"
            axes.errorbar([x], [y], yerr=bars, fmt="o", color=colour, capsize=3, markersize=7 if report.name == chosen else 5)
            axes.annotate(report.name, (x, y), textcoords="offset points", xytext=(7, 4), fontsize=8)
        front = [self.report(name) for name in self.front(axis)]
        line = [(self.value(report, axis), 100 * (report.success or 0.0)) for report in front]
        axes.plot(*zip(*line, strict=True), color=COLOURS[0], linewidth=1, alpha=0.6)
        axes.set_ylabel("success, %")
        axes.margins(x=0.15, y=0.12)
        return drawn(picture)
