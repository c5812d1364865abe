"""The figures in README.md: taken from what was measured, never typed in.

Chapters come from the notebooks and `build/notebooks.json` (written by `make nbval`), results from
`data/model/results.json` (written by `autoglm-lab evaluate`), what small agents cost from `data/claims.csv` (written by
`python -m autoglm_lab.benchmarks.claims`). Each block stands between two comments.
"""

from __future__ import annotations

import csv
import json
import pathlib
import re
import sys
from collections.abc import Iterator

import nbformat

from autoglm_lab import atomic
from autoglm_lab.benchmarks.peers.findings import read, table

MEASURED = "build/notebooks.json"
RESULTS = "data/model/results.json"
CLAIMS = "data/claims.csv"
RUNTIMES = "data/reports/peers/runtimes.json"
NOT_YET = "not measured yet"
DRIFT = 0.5
HOW = "make figures writes it anew"


def update(root: pathlib.Path) -> list[str]:
    """Write the blocks of the README anew; what is still missing."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8")
    for name, block in blocks(root).items():
        text = put(text, name, block)
    atomic.write_text(path, text)
    return unmeasured(text)


def check(root: pathlib.Path) -> list[str]:
    """Where the README does not show what was measured.

    Times and memory differ between machines: a drift of more than half is only said, on the standard error.
    Anything else is a problem: a chapter without its row, another goal, missing figures, stale results.
    """
    text = (root / "README.md").read_text(encoding="utf-8")
    problems = unmeasured(text)
    wanted = blocks(root)
    for name, source in (("results", RESULTS), ("claims", CLAIMS), ("speed", CLAIMS), ("verdicts", CLAIMS), ("runtimes", RUNTIMES)):
        if get(text, name) != wanted[name]:
            problems.append(f"README.md: the {name} are not those of {source}; {HOW}")
    shown, measured = rows(get(text, "chapters")), rows(wanted["chapters"])
    if [row[:2] for row in shown] != [row[:2] for row in measured]:
        problems.append(f"README.md: the table of chapters is not what the notebooks say; {HOW}")
    for old, new in zip(shown, measured, strict=False):
        for before, now in zip(numbers(old[2:]), numbers(new[2:]), strict=False):
            if abs(now - before) > DRIFT * before:
                print(f"README.md: {old[0]} says {before:g}, this run measured {now:g}", file=sys.stderr)
    return problems


def blocks(root: pathlib.Path) -> dict[str, str]:
    """The generated blocks by name."""
    return {
        "chapters": chapters(root),
        "results": results(root),
        "claims": claims(root),
        "speed": speed(root),
        "verdicts": verdicts(root),
        "runtimes": runtimes(root),
    }


def chapters(root: pathlib.Path) -> str:
    """The table of chapters: link, goal, measured time of Run All and peak memory of the kernel.

    A chapter that was not measured in this checkout keeps the figures that the README shows.
    """
    path, text = root / MEASURED, (root / "README.md").read_text(encoding="utf-8")
    measured = json.loads(path.read_text(encoding="utf-8"))["notebooks"] if path.exists() else {}
    shown = {row[0]: row[2:] for row in rows(get(text, "chapters"))}
    lines = ["| Chapter | Afterwards you can | Run All | Peak RAM |", "| --- | --- | --- | --- |"]
    for notebook in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        content = nbformat.read(notebook, as_version=4)
        figures = measured.get(f"notebooks/{notebook.name}")
        link = f"[{title(content)}](notebooks/{notebook.name})"
        cost = shown.get(link, [NOT_YET] * 2)
        if figures:
            cost = [f"{figures['seconds'] / 60:.1f} min", f"{figures['peak_rss_mb']:.0f} MB"]
        goal = content.metadata.get("lab", {}).get("goal", NOT_YET)
        lines.append(f"| {link} | {goal} | {' | '.join(cost)} |")
    return "\n".join(lines)


def title(notebook: nbformat.NotebookNode) -> str:
    """The first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.+)$", cell.source, re.MULTILINE)):
            return found[1].strip()
    return "untitled"


def results(root: pathlib.Path) -> str:
    """Success rates with their intervals, and how far each gate closes."""
    path = root / RESULTS
    if not path.exists():
        return f"The model is {NOT_YET}."
    measured = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| Held-out tasks | Success | 95 % interval | n |", "| --- | --- | --- | --- |"]
    for name, entry in measured.items():
        if isinstance(entry, dict) and "rate" in entry:
            low, high = entry["ci95"]
            label = name.replace("_", " ")
            lines.append(f"| {label} | {entry['rate']:.1%} | {low:.1%} to {high:.1%} | {entry['n']} |")
    gates = measured.get("gates", {})
    if gates:
        flat = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in gate_values(gates)]
        lines += ["", f"Mean gates: {', '.join(flat)}."]
    return "\n".join(lines)


def claims(root: pathlib.Path) -> str:
    """What each recipe leaves of the agent's success, bytes and work."""
    path = root / CLAIMS
    if not path.exists():
        return f"Small agents are {NOT_YET}."
    with path.open(encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    lines = [
        "| Recipe | In | Right steps | 95 % interval | Bytes of FP32 | MACs | Answers | Asked | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in entries:
        if entry["figure"] or entry["verdict"]:
            continue
        first = f"| {entry['report']} | {entry['runtime'] or 'PyTorch'} |"
        if not entry["success"]:
            lines.append(f"{first} | | | | | {entry['asked']} | {entry['reached']} |")
            continue
        rate, low, high, size, saved = (float(entry[k]) for k in ("success", "low", "high", "share_of_fp32_bytes", "macs_saved"))
        verdict = {"yes": "reached", "no": "missed"}.get(entry["reached"], entry["reached"])
        figures = f"{rate:.1%} | {low:.1%} to {high:.1%} | {size:.0%} | {-saved:+.0%}".replace("+0%", "0%").replace("-0%", "0%")
        lines.append(f"{first} {figures} | {entry['times_faster']}x | {entry['asked']} | {verdict} |")
    return "\n".join(lines)


def runtimes(root: pathlib.Path) -> str:
    """Other runtimes: what is verified, what converts, what needs other hardware."""
    path = root / RUNTIMES
    return table(read(path)) if path.exists() else f"Other runtimes are {NOT_YET}."


def speed(root: pathlib.Path) -> str:
    """How fast a bundle answers, beside other ways to the same answer."""
    path = root / CLAIMS
    entries = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            entries = [entry for entry in csv.DictReader(file) if entry["figure"] and not entry["verdict"]]
    if not entries:
        return f"Speed is {NOT_YET}."
    lines = [
        "| Bundle | In | Figure | Median | 5 % to 95 % | Runs | Claimed | Asked | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for entry in entries:
        verdict = {"yes": "reached", "no": "missed"}.get(entry["reached"], entry["reached"])
        spread = f"{entry['measured']} | {entry['measured_low']} to {entry['measured_high']} | {entry['runs']}"
        figure = entry["figure"].replace("_", " ")
        place = f"| {entry['report']} | {entry['runtime']} | {figure}"
        lines.append(f"{place} | {spread} | {entry['claimed']} | {entry['asked']} | {verdict} |")
    return "\n".join(lines)


def verdicts(root: pathlib.Path) -> str:
    """Write the table of claims on a phone's budget with their verdicts."""
    path = root / CLAIMS
    entries = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            entries = [entry for entry in csv.DictReader(file) if entry["verdict"]]
    if not entries:
        return f"Verdicts are {NOT_YET}."
    lines = ["| | Claimed | Verdict | Because | Found | 95 % or range | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for entry in entries:
        measured = f"{entry['figure']}: {entry['measured']}" if entry["figure"] else ""
        interval = f"{entry['measured_low']} to {entry['measured_high']}, n = {entry['runs']}" if entry["figure"] else ""
        cells = f"{entry['claimed']} | {entry['verdict']} | {entry['reason']} | {measured} | {interval} | {entry['how']}"
        lines.append(f"| {entry['key']} | {cells} |")
    return "\n".join(lines)


def gate_values(gates: dict[str, float | dict[str, float]]) -> Iterator[tuple[str, float]]:
    """Name and mean of each gate, whether the record keeps them flat or by modality."""
    for name, entry in gates.items():
        if isinstance(entry, dict):
            yield from ((f"{name} {noise}", value) for noise, value in entry.items())
        else:
            yield name, entry


def put(text: str, name: str, block: str) -> str:
    r"""The text with one block replaced.

    >>> put("a <!-- x:begin -->old<!-- x:end --> b", "x", "new")
    'a <!-- x:begin -->\nnew\n<!-- x:end --> b'
    """
    before, rest = text.split(f"<!-- {name}:begin -->")
    return f"{before}<!-- {name}:begin -->\n{block}\n<!-- {name}:end -->{rest.split(f'<!-- {name}:end -->')[1]}"


def get(text: str, name: str) -> str:
    """What stands in one block."""
    return text.split(f"<!-- {name}:begin -->")[1].split(f"<!-- {name}:end -->")[0].strip("\n")


def rows(table: str) -> list[list[str]]:
    """The cells of a markdown table, without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def numbers(cells: list[str]) -> list[float]:
    """The first number of each cell that has one."""
    return [float(found[0]) for cell in cells if (found := re.search(r"\d+(\.\d+)?", cell))]


def unmeasured(text: str) -> list[str]:
    """A problem for each block that still lacks a figure."""
    names = ("chapters", "results", "claims", "speed", "verdicts", "runtimes")
    return [f"README.md: the {name} lack figures; {HOW}" for name in names if NOT_YET in get(text, name)]
