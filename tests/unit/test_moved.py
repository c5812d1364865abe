"""Modules under the names that they had before."""

import ast
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from autoglm_lab.moved import MOVED, current_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sorted(MOVED))
def test_an_old_name_is_the_same_module(name):
    old, new = f"autoglm_lab.{name}", f"autoglm_lab.{MOVED[name]}"
    module = import_module(old)
    assert module is import_module(new) and module.__name__ == module.__spec__.name == new


def test_what_lies_in_a_moved_room_is_found():
    from autoglm_lab.measure import claims
    from autoglm_lab.peers import told
    from autoglm_lab.web import deck

    names = [module.__name__ for module in (claims, told, deck)]
    assert names == [f"autoglm_lab.{name}" for name in ("benchmarks.claims", "benchmarks.peers.findings", "device.browser.deck")]


def test_a_command_runs_by_its_old_name():
    command = [sys.executable, "-m", "autoglm_lab.measure.loading", "--help"]
    assert "usage: python -m" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_module_that_was_in_neither_is_named():
    with pytest.raises(
        ModuleNotFoundError, match=r"autoglm_lab\.measure\.nothing'; it would be 'autoglm_lab\.evaluation\.nothing' now"
    ):
        import_module("autoglm_lab.measure.nothing")


@pytest.mark.parametrize("chapter", sorted((ROOT / "notebooks" / "source").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_chapter_imports_is_there(chapter):
    lines = "\n".join(line for line in chapter.read_text("utf-8").splitlines() if not line.lstrip().startswith(("%", "!")))
    imports = [node.module or "" for node in ast.walk(ast.parse(lines)) if isinstance(node, ast.ImportFrom)]
    names = [current_name(name) for name in imports if name.startswith("autoglm_lab.")]
    assert [name for name in names if find_spec(name) is None] == [] and (names or chapter.stem.startswith("14"))
