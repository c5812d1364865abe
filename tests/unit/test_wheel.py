"""The wheel: the package with its scripts for the browser, and the data inside it."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Names in a wheel built from a copy of the checkout, with something planted for training only."""
    work = tmp_path_factory.mktemp("wheel")
    for name in ("autoglm_lab", "data"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, work)
    for planted in ("speech/train/clips.bin", "eval/training/screens.bin", "eval/tasks.json"):
        (work / "data" / planted).parent.mkdir(parents=True, exist_ok=True)
        (work / "data" / planted).write_text("planted")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=work, check=True, capture_output=True)
    (wheel,) = (work / "dist").glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_file_of_the_package_is_there(names):
    package = [path for path in (ROOT / "autoglm_lab").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(ROOT).as_posix() for path in package} <= names


def test_data_lies_inside_the_package(names):
    assert {"autoglm_lab/_data/eval/tasks.json", "autoglm_lab/_data/icons/index.json"} <= names
    assert not [name for name in names if name.startswith("data/")]


def test_what_only_training_reads_stays_out(names):
    data = [name for name in names if name.startswith("autoglm_lab/_data/")]
    assert not [name for name in data if re.search(r"/train(ing)?/", name) or name.endswith(".py")]


def test_command_is_installed(names):
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)
