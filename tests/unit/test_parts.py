"""The table of parts in CONTRIBUTING.md: no part of the system without code and a chapter, and both are there."""

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = {"A": 6, "B": 11, "C": 10, "D": 5, "E": 7, "F": 5}
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()
    if re.match(r"\| [A-F]\d+ \|", line)
]


def test_every_part_has_its_row():
    assert [row[0] for row in ROWS] == [f"{letter}{number}" for letter, most in NUMBERS.items() for number in range(1, most + 1)]


def test_every_claim_is_of_a_part():
    with (ROOT / "data" / "claims.csv").open(encoding="utf-8", newline="") as file:
        keys = {key for row in csv.DictReader(file) for key in re.findall(r"\b[A-F]\d+\b", next(iter(row.values())))}
    assert keys and keys <= {row[0] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_code_and_chapter_are_there(row):
    _, _, code, chapter, words = row
    files = re.findall(r"`([^`]+)`", code)
    assert files and [name for name in files if not (ROOT / "autoglm_lab" / name).is_file()] == []
    [notebook] = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    assert words.strip("`") in "\n".join(everything(cells))


def everything(value):
    """Every text in a cell and its outputs."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from everything(part)
