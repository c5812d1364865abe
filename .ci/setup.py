"""Fill `.venv` with the pinned environment: `python3 .ci/setup.py`, called by `make setup`.

Standard library only, because it runs before anything is installed. PyTorch comes first and as its CPU build: on Linux
the default index serves a CUDA build of several gigabytes, so that one is recognised and refused.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PINS = ROOT / "binder" / "constraints.txt"
CPU_INDEX = os.environ.get("TORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")
PROBE_S = 2.0
CUDA_NAMES = ("nvidia", "cuda", "triton")


class SetupError(Exception):
    """The environment cannot be made; the message says what would help."""


def main() -> int:
    """Create or complete the environment; 0 when everything is installed."""
    try:
        create_venv()
        install_torch()
        say("the other packages, at the versions in binder/constraints.txt")
        pip_install("-r", "binder/requirements.txt", "-r", "binder/requirements-dev.txt")
        pip_install("--no-deps", "--no-build-isolation", "-e", ".")
        silence_news()
        fetch_browser_runtime()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    say("ready: make lab, make demo, make test")
    return 0


def say(text: str) -> None:
    """One line of progress."""
    print(f"setup: {text}", flush=True)


def venv_python() -> str:
    """The interpreter inside the environment."""
    return str(VENV / "bin" / "python")


def create_venv() -> None:
    """Make `.venv` unless a working one is there; a broken one (its Python was removed) is replaced."""
    if run([venv_python(), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]).returncode == 0:
        return
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"Python {version} came without venv. On Debian and Ubuntu: sudo apt install python3-venv python{version}-venv"
        )
    say(f"a new environment in .venv, Python {sys.version.split()[0]}")
    made = run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    if made.returncode:
        raise SetupError(f"python -m venv failed. On Debian and Ubuntu: sudo apt install python3-venv\n{made.stdout}{made.stderr}")


def install_torch() -> None:
    """Install PyTorch's CPU build, from wherever one can be had, and never a CUDA build."""
    pin = torch_pin()
    installed = installed_torch()
    if installed is not None:
        version, is_cpu = installed
        if version.split("+")[0] != pin.split("==")[1]:
            say(f"torch {version} is there, {pin} is wanted")
        elif is_cpu:
            return
        else:
            raise SetupError("the torch in .venv is a CUDA build. Remove it: rm -rf .venv, then make setup")
    say(f"{pin}, CPU build")
    arguments = torch_arguments(pin, linux=sys.platform.startswith("linux"))
    pip_install(*arguments)


def torch_arguments(pin: str, *, linux: bool) -> list[str]:
    """What to give `pip install` so that a CPU build comes.

    Away from Linux the default index has only such builds. On Linux, first to last: a build labelled `+cpu` (from the
    CPU index when it answers, or a local mirror), a plain one that needs nothing of CUDA, the CPU index alone.
    """
    if not linux:
        return [pin]
    extra = ["--extra-index-url", CPU_INDEX] if answers(f"{CPU_INDEX}/torch/") else []
    labelled = f"{pin}+cpu"
    if resolve(labelled, "--no-deps", *extra) is not None:
        return [labelled, *extra]
    names = resolve(pin, *extra)
    if names is not None and not cuda_names(names):
        return [pin, *extra]
    alone = ["--no-deps", "--retries", "1", "--timeout", "15", "--index-url", CPU_INDEX]
    if resolve(labelled, *alone) is not None:
        return [labelled, *alone]
    found = "nothing" if names is None else "a CUDA build of several gigabytes"
    raise SetupError(
        f"no CPU build of {pin}: the default package index offers {found} and {CPU_INDEX} does not answer. "
        f"When one of them is reachable, run make setup again; or install a CPU wheel: .venv/bin/pip install FILE.whl"
    )


def torch_pin() -> str:
    """The `torch==` line of the constraints."""
    return next(line.strip() for line in PINS.read_text().splitlines() if line.startswith("torch=="))


def installed_torch() -> tuple[str, bool] | None:
    """Version of the torch in the environment and whether it is free of CUDA packages; None without one."""
    code = "import importlib.metadata as m, json; t = m.distribution('torch'); print(json.dumps([t.version, t.requires]))"
    done = run([venv_python(), "-c", code])
    if done.returncode:
        return None
    version, requires = json.loads(done.stdout)
    return version, not cuda_names(line for line in requires or [] if "extra ==" not in line)


def cuda_names(names) -> list[str]:
    """Those distribution names that belong to CUDA."""
    return sorted(name for name in names if name.lower().startswith(CUDA_NAMES))


def answers(url: str, seconds: float = PROBE_S) -> bool:
    """Whether the address answers in time; name look-up included, which is why a thread asks."""
    reached = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):
                reached.set()
        except (OSError, ValueError):
            return

    threading.Thread(target=ask, daemon=True).start()
    return reached.wait(seconds)


def resolve(requirement: str, *options: str) -> list[str] | None:
    """Names pip would install for a requirement, without installing; None when it finds nothing."""
    dry = ["install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary=:all:", "--report", "-"]
    done = run([venv_python(), "-m", "pip", *dry, "-c", str(PINS), *options, requirement])
    if done.returncode:
        return None
    return [item["metadata"]["name"] for item in json.loads(done.stdout)["install"]]


def pip_install(*arguments: str) -> None:
    """`pip install` under the constraints; its own messages are shown when it fails."""
    command = [venv_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(PINS)]
    done = run([*command, *arguments])
    if done.returncode:
        raise SetupError(f"pip install {' '.join(arguments)} failed:\n{done.stderr[-4000:]}")


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command at the repository's root, its output captured; a missing program counts as a failure."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def silence_news() -> None:
    """Keep JupyterLab from asking about news on its first start, and from looking for them on the network."""
    page = VENV / "etc" / "jupyter" / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))


def fetch_browser_runtime() -> None:
    """What the phone in a browser runs on; without it everything else works."""
    done = run([venv_python(), "-m", "autoglm_lab.device.browser.assets"])
    if done.returncode:
        say((done.stderr.strip().splitlines() or ["the browser phone is not ready"])[-1])


if __name__ == "__main__":
    sys.exit(main())
