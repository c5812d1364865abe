"""environment.yml and binder/: the same pins everywhere, no CUDA, accepted by repo2docker."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml

from autoglm_lab.benchmarks.peers.survey import KNOWN
from tests.unit.setup_script import setup

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINDER = ROOT / "binder"
CUDA = re.compile(r"^(nvidia|cuda|triton)|cu1\d\d?$", re.IGNORECASE)


def names_in(path):
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def pip_section(path):
    environment = yaml.safe_load(path.read_text())
    return next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))


def test_both_environments_say_the_same():
    top = yaml.safe_load((ROOT / "environment.yml").read_text())
    binder = yaml.safe_load((BINDER / "environment.yml").read_text())
    from_binder = {
        "binder/constraints.txt": "constraints.txt",
        "binder/requirements.txt": "requirements.txt",
        "-e .": "-e ..",
    }
    text = json.dumps(top)
    for here, there in from_binder.items():
        text = text.replace(here, there)
    assert json.loads(text) == binder


def test_conda_is_asked_only_for_python_and_pip():
    conda = [entry for entry in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"] if isinstance(entry, str)]
    assert conda == ["python=3.11", "pip"]


def test_every_requirement_is_pinned_once():
    pins = names_in(BINDER / "constraints.txt")
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^;\s]+", pin) for pin in pins)
    pinned = [pin.split("==")[0].lower().replace("_", "-") for pin in pins]
    assert len(pinned) == len(set(pinned))
    wanted = names_in(BINDER / "requirements.txt") + names_in(BINDER / "requirements-dev.txt")
    assert sorted(set(wanted) - set(pinned)) == []
    assert not [pin for pin in pins if CUDA.search(pin.split("==")[0])]


def test_requirements_are_the_extras_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    apart = {"all", "dev", *KNOWN}  # other runtimes have environments of their own
    own = {name for extra, names in extras.items() if extra not in apart for name in names}
    assert set(names_in(BINDER / "requirements.txt")) == own | set(project["dependencies"])
    assert set(names_in(BINDER / "requirements-dev.txt")) == set(extras["dev"])


def test_torch_is_pinned_to_a_cpu_build_on_linux():
    (line,) = [line for line in pip_section(ROOT / "environment.yml") if line.startswith("torch")]
    assert line == f'{setup.torch_pin()}+cpu ; sys_platform == "linux"'


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_can_be_started(name):
    script = BINDER / name
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)


def test_start_caps_threads_and_hands_over():
    done = subprocess.run(
        [BINDER / "start", sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2\n"


def test_repo2docker_accepts_binder():
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for part in ("binder/environment.yml", "binder/postBuild", "binder/start", "libsndfile1"):
        assert part in done.stdout


def write_pip_file(folder, *, cpu_index):
    """The pip section as a requirements file with absolute paths, without the CPU index where that does not answer."""
    lines = [
        re.sub(r"^(-[rc]) ", rf"\1 {ROOT}/", line)
        for line in pip_section(ROOT / "environment.yml")
        if cpu_index or not line.startswith("--extra-index-url")
    ]
    path = folder / "pip-section.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_cpu_torch(folder):
    """A stand-in wheel with the name and the dependencies of PyTorch's CPU build, for where no index has that."""
    pin = f"{setup.torch_pin().split('==')[1]}+cpu"
    needs = ("filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec", "setuptools")
    info = f"torch-{pin}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{pin}-py3-none-any.whl", "w") as wheel:
        required = "".join(f"Requires-Dist: {name}\n" for name in needs)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {pin}\n{required}")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


def resolve(requirements, *options):
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
    quick = ["--quiet", "--no-build-isolation", "--retries", "1", "--report", "-"]
    return subprocess.run([*command, *quick, *options, "-r", requirements], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_pip_section_resolves_without_cuda(tmp_path):
    requirements = write_pip_file(tmp_path, cpu_index=setup.answers(f"{setup.CPU_INDEX}/torch/"))
    done = resolve(requirements)
    if done.returncode and "torch==" in done.stderr:
        done = resolve(requirements, "--find-links", str(write_cpu_torch(tmp_path)))
    if done.returncode and "CI" not in os.environ and not package_index_answers(tmp_path):
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr
    found = {item["metadata"]["name"].lower(): item["metadata"]["version"] for item in json.loads(done.stdout)["install"]}
    assert not [name for name in found if CUDA.search(name)]
    assert "autoglm-lab" in found
    assert len(found) > len(names_in(BINDER / "requirements.txt"))
    pins = dict(pin.lower().split("==") for pin in names_in(BINDER / "constraints.txt"))
    pins = {name.replace("_", "-"): version for name, version in pins.items()}
    moved = {name: version for name, version in found.items() if pins.get(name.replace("_", "-")) != version.split("+")[0]}
    assert moved == {"autoglm-lab": found["autoglm-lab"]}


def package_index_answers(folder):
    (folder / "one.txt").write_text("packaging\n")
    return resolve(folder / "one.txt", "--no-deps").returncode == 0


def test_stand_in_wheel_resolves_as_the_cpu_build(tmp_path):
    (tmp_path / "torch.txt").write_text(f"{setup.torch_pin()}+cpu\n")
    done = resolve(tmp_path / "torch.txt", "--no-index", "--no-deps", "--find-links", str(write_cpu_torch(tmp_path)))
    assert [item["metadata"]["name"] for item in json.loads(done.stdout)["install"]] == ["torch"], done.stderr
