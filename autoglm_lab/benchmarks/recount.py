"""The MACs in stored reports of compressed agents, counted anew: `python -m autoglm_lab.benchmarks.recount`.

Structure alone decides them, so each report's recipe is applied to the shipped agent without training, refitting or rounding.
A recipe that no longer gives the parameters that were measured is left alone and named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from autoglm_lab import atomic
from autoglm_lab.benchmarks.agent_report import sample_requests
from autoglm_lab.compress.agent import load_agent
from autoglm_lab.compress.recipe import Recipe, apply, named, names
from autoglm_lab.evaluation.report import Report
from autoglm_lab.model.batch import BatchEngine
from autoglm_lab.paths import data_dir


@cache
def _recounted(recipe: Recipe) -> Report:
    """The parameters and MACs of the shipped agent after a recipe."""
    engine = load_agent(None)
    many, sample = BatchEngine(engine.model, engine.processor), sample_requests()
    return apply(engine.model, recipe, engine.example(), loss=lambda model: many.loss(sample, model), quiet=True)[1]


def recount(paths: Iterable[Path]) -> list[str]:
    """Write the MACs in these reports anew where they are others now; one line for each report that changed or cannot."""
    lines = []
    for path in paths:
        report = Report.from_json(path.read_text("utf-8"))
        if report.name not in names() and report.name != Recipe().name:
            continue
        recipe = named(report.name) if report.name in names() else Recipe()
        shape = replace(recipe, name="", refit=False, sparsity=0.0, bits=16, round_inputs=False, train_rounding=False)
        now = _recounted(shape)
        if now.parameters != report.parameters:
            lines.append(f"{path.stem}: {report.parameters} parameters were measured, its recipe gives {now.parameters} now")
        elif now.macs != report.macs:
            lines.append(f"{path.stem}: {report.macs} -> {now.macs}")
            atomic.write_text(path, replace(report, macs=now.macs).to_json() + "\n")
    return lines


if __name__ == "__main__":
    places = ("", "compared", "onnx")
    reports = [path for place in places for path in sorted((data_dir() / "reports" / place).glob("*.json"))]
    print("\n".join(recount(reports)) or "every report is as counted now")
