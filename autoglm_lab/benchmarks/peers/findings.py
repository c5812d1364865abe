"""Findings about other runtimes, in words and as a table. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoglm_lab.paths import data_dir

Reports = Mapping[str, Mapping[str, Any]]


def read(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read a report of `autoglm-lab runtimes --json` (default: the shipped one), by runtime. FileNotFoundError without a report."""
    path = path or data_dir() / "reports" / "peers" / "runtimes.json"
    if not path.is_file():
        raise FileNotFoundError(f"there is no report {path.name}; `autoglm-lab runtimes --json` makes one")
    runtimes: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["runtimes"]
    return runtimes


def described(told: Mapping[str, Any]) -> str:
    """A report in one line.

    >>> print(described({"runtime": "MNN", "version": "3", "verdict": "fails", "why": "converting: no room"}))
    MNN 3: fails, converting: no room
    """
    line = f"{told['runtime']} {told['version']}: {told['verdict']}"
    if "why" in told:
        return f"{line}, {told['why']}"
    if "hardware" in told:
        return f"{line}, {told['known']}; needs {told['hardware']}"
    line += f", {told['same_answers']} of {told['requests']} answers the same, scores apart by {told['distance']:.0e} of their size"
    if "note" in told:
        line += f" ({told['note']})"
    if "step_ms" in told:
        line += "; a step takes " + ", ".join(f"{spread['median']:.2f} ms ({name})" for name, spread in told["step_ms"].items())
    return line


def table(reports: Reports) -> str:
    """All runtimes as rows of Markdown: what is proven, what was only converted, what else is needed.

    >>> print(table({"mnn": {"runtime": "MNN", "version": "3", "verdict": "fails", "why": "no room"}}).splitlines()[-1])
    | MNN | 3 | fails | | | | | no room |
    """
    lines = [
        "| Runtime | Version | Verdict | Same answers | Scores apart | MB | One step beside ONNX Runtime | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, report in reports.items():
        cells = [report["runtime"], report["version"], report["verdict"], "", "", "", "", report.get("why", report.get("note", ""))]
        if "same_answers" in report:
            cells[3:5] = [f"{report['same_answers']} of {report['requests']}", f"{report['distance']:.0e} of their size"]
        if "bytes" in report:
            cells[5] = f"{report['bytes'] / 1e6:.0f}"
        if "step_ms" in report:
            ratio = report["ratios"][f"same_file_vs_{name}"]
            cells[6] = (
                f"{report['step_ms'][name]['median']:.1f} ms, {ratio['median']:.2f} times ({ratio['lo']:.2f} to {ratio['hi']:.2f})"
            )
        if "hardware" in report:
            cells[7] = f"needs {report['hardware']}; {report['known']}"
        lines.append(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|")
    return "\n".join(lines)
