"""What was found out about other runtimes, in words and as a table. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoglm_lab.paths import data_dir

Reports = Mapping[str, Mapping[str, Any]]


def read(path: Path | None = None) -> dict[str, dict[str, Any]]:
    """What `autoglm-lab runtimes --json` told (default: the shipped report), by runtime. FileNotFoundError without a report."""
    path = path or data_dir() / "reports" / "peers" / "runtimes.json"
    if not path.is_file():
        raise FileNotFoundError(f"there is no report {path.name}; `autoglm-lab runtimes --json` makes one")
    found: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))["runtimes"]
    return found


def described(told: Mapping[str, Any]) -> str:
    """A report in one line.

    >>> print(described({"runtime": "MNN", "version": "3", "verdict": "fails", "why": "converting: no room"}))
    MNN 3: fails, converting: no room
    """
    said = f"{told['runtime']} {told['version']}: {told['verdict']}"
    if "why" in told:
        return f"{said}, {told['why']}"
    if "hardware" in told:
        return f"{said}, {told['known']}; needs {told['hardware']}"
    said += f", {told['same_answers']} of {told['requests']} answers the same, scores apart by {told['distance']:.0e} of their size"
    if "note" in told:
        said += f" ({told['note']})"
    if "step_ms" in told:
        said += "; a step takes " + ", ".join(f"{spread['median']:.2f} ms ({name})" for name, spread in told["step_ms"].items())
    return said


def table(reports: Reports) -> str:
    """All runtimes as rows of Markdown: what is proven, what was only converted, what else is needed.

    >>> print(table({"mnn": {"runtime": "MNN", "version": "3", "verdict": "fails", "why": "no room"}}).splitlines()[-1])
    | MNN | 3 | fails | | | | | no room |
    """
    lines = [
        "| Runtime | Version | Verdict | Same answers | Scores apart | MB | One step beside ONNX Runtime | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, told in reports.items():
        cells = [told["runtime"], told["version"], told["verdict"], "", "", "", "", told.get("why", told.get("note", ""))]
        if "same_answers" in told:
            cells[3:5] = [f"{told['same_answers']} of {told['requests']}", f"{told['distance']:.0e} of their size"]
        if "bytes" in told:
            cells[5] = f"{told['bytes'] / 1e6:.0f}"
        if "step_ms" in told:
            ratio = told["ratios"][f"same_file_vs_{name}"]
            cells[6] = (
                f"{told['step_ms'][name]['median']:.1f} ms, {ratio['median']:.2f} times ({ratio['lo']:.2f} to {ratio['hi']:.2f})"
            )
        if "hardware" in told:
            cells[7] = f"needs {told['hardware']}; {told['known']}"
        lines.append(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|")
    return "\n".join(lines)
