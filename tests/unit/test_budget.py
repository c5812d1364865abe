"""The notebook budget: figures are recorded, and a greedy or slow notebook fails."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from notebooks.build import KERNEL

ROOT = Path(__file__).resolve().parents[2]


def run_nbval(folder, *options):
    command = [sys.executable, "-m", "pytest", "-p", "tests.notebooks.budget", "--nbval-lax", "--nbval-current-env"]
    place = ["--rootdir", str(folder), "-c", str(folder / "pytest.ini"), "-p", "no:cacheprovider"]
    return subprocess.run([*command, *place, *options, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    cells = [new_code_cell(text) for text in ("import time", "data = bytearray(b'x' * 150_000_000)", "time.sleep(1)")]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), tmp_path / "00_greedy.ipynb")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_figures_are_recorded(folder, workers):
    done = run_nbval(folder, "-n", workers, "--dist", "loadfile")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    figures = json.loads((folder / "build/notebooks.json").read_text())["notebooks"]["00_greedy.ipynb"]
    assert 1 < figures["seconds"] < 60
    assert 200 < figures["peak_rss_mb"] < 600
    assert figures["cells"] == 3


@pytest.mark.parametrize(("limit", "said"), [("--notebook-mb=180", "limit is 180 MB"), ("--notebook-seconds=1", "limit is 1 s")])
def test_a_notebook_over_its_limit_fails(folder, limit, said):
    done = run_nbval(folder, limit)
    assert done.returncode == 1
    assert said in done.stdout
    assert "3 passed" in done.stdout


def test_a_failing_notebook_leaves_no_figures(folder):
    notebook = nbformat.read(folder / "00_greedy.ipynb", as_version=4)
    notebook.cells[0].source = "1 / 0"
    nbformat.write(notebook, folder / "00_greedy.ipynb")
    assert run_nbval(folder).returncode == 1
    assert not (folder / "build/notebooks.json").exists()
