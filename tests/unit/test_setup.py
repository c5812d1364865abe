"""The set-up never waits for an index that hangs and never takes a CUDA build of PyTorch."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.setup_script import setup

ROOT = Path(__file__).resolve().parents[2]
PIN = setup.torch_pin()
CPU_BUILD = ["torch", "filelock", "sympy"]
CUDA_BUILD = ["torch", "filelock", "nvidia-cublas-cu12", "triton"]


@pytest.fixture
def offers(monkeypatch):
    """Pretend what the indexes offer: requirement -> names, plus whether the CPU index answers."""

    def pretend(default=None, labelled=None, cpu_index=None):
        def resolve(requirement, *options):
            if "--index-url" in options:
                return cpu_index
            if "--extra-index-url" in options and cpu_index is not None:
                return cpu_index
            return labelled if requirement.endswith("+cpu") else default

        monkeypatch.setattr(setup, "answers", lambda url, seconds=2: cpu_index is not None)
        monkeypatch.setattr(setup, "resolve", resolve)

    return pretend


def test_cpu_index_is_used_when_it_answers(offers):
    offers(default=CUDA_BUILD, cpu_index=CPU_BUILD)
    assert setup.torch_arguments(PIN, linux=True) == [f"{PIN}+cpu", "--extra-index-url", setup.CPU_INDEX]


def test_a_local_mirror_needs_no_other_index(offers):
    offers(default=CPU_BUILD, labelled=CPU_BUILD)
    assert setup.torch_arguments(PIN, linux=True) == [f"{PIN}+cpu"]


def test_a_plain_build_without_cuda_is_taken(offers):
    offers(default=CPU_BUILD)
    assert setup.torch_arguments(PIN, linux=True) == [PIN]


@pytest.mark.parametrize(("default", "found"), [(CUDA_BUILD, "CUDA build"), (None, "nothing")])
def test_cuda_is_refused_with_a_reason(offers, default, found):
    offers(default=default)
    with pytest.raises(setup.SetupError, match=found):
        setup.torch_arguments(PIN, linux=True)


def test_macos_takes_the_default(offers):
    offers(default=None)
    assert setup.torch_arguments(PIN, linux=False) == [PIN]


def test_a_hanging_index_costs_two_seconds():
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        assert not setup.answers(f"http://127.0.0.1:{server.getsockname()[1]}/whl/torch/", seconds=0.5)
        assert time.monotonic() - started < 2
    assert setup.PROBE_S <= 2


def test_missing_venv_module_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "VENV", tmp_path / "none")
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(setup.SetupError, match="apt install python3-venv"):
        setup.create_venv()


@pytest.fixture
def checkout(tmp_path):
    """The Makefile with a set-up that only leaves a note, to see when it runs."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "binder", tmp_path / "binder")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/setup.py").write_text(
        "import pathlib\npathlib.Path('.venv').mkdir(exist_ok=True)\nopen('ran', 'a').write('x')\n"
    )
    return tmp_path


def make(folder, *arguments):
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_second_setup_does_nothing_until_a_requirement_changes(checkout):
    for _ in range(2):
        assert make(checkout, "setup").returncode == 0
    assert (checkout / "ran").read_text() == "x"
    later = time.time() + 5
    for name in ("requirements.txt", "constraints.txt"):
        os.utime(checkout / "binder" / name, (later, later))
    make(checkout, "setup")
    assert (checkout / "ran").read_text() == "xx"


def test_no_suitable_python_is_said_plainly(checkout):
    done = make(checkout, "setup", "PYTHON=")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (checkout / "ran").exists()


def test_a_failing_stage_stops_the_run(checkout):
    assert make(checkout, "setup").returncode == 0
    done = make(checkout, "test")
    assert done.returncode != 0
    assert "== ruff" in done.stdout
    assert "== mypy" not in done.stdout
