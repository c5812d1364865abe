"""An environment for each other runtime: on top of this one, so that what both need is there once."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import autoglm_lab
from autoglm_lab import atomic

FOLDER = Path.home() / ".cache" / "autoglm-lab" / "peers"
PATIENCE_S = 1800


def environment(name: str, needs: Sequence[str], folder: Path = FOLDER) -> Path:
    """The Python of a runtime's environment, made when it is not there or its pins have changed.

    What is installed here is found there as well, PyTorch first of all; what the runtime needs in another version is installed
    there and leaves this environment as it is. ImportError with pip's last words when a package cannot be had.
    """
    place = folder / name
    if not is_ready(name, needs, folder):
        with atomic.folder(place, "environment", cache=True, patience_s=PATIENCE_S) as part:
            venv.create(part, with_pip=True, symlinks=True)
            _stand_on_this_one(part)
            if needs:
                command = [str(part / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needs]
                process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
                if process.returncode:
                    raise ImportError(f"{name} cannot be installed: {' '.join(process.stderr.strip().splitlines()[-2:])[-400:]}")
            (part / "needs.json").write_text(json.dumps(list(needs)))
    else:
        _stand_on_this_one(place)  # it may have been made by a checkout that is gone
    return place / "bin" / "python"


def _stand_on_this_one(place: Path) -> None:
    """Let an environment find what is installed here, after what is installed there."""
    above = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(above))
    pointer = next((place / "lib").glob("python*")) / "site-packages" / "above.pth"
    if not pointer.exists() or pointer.read_text() != lines:
        atomic.write_text(pointer, lines)


def is_ready(name: str, needs: Sequence[str], folder: Path = FOLDER) -> bool:
    """True if the environment is there, with these pins."""
    pins = folder / name / "needs.json"
    return pins.is_file() and json.loads(pins.read_text()) == list(needs)


def call(python: Path, module: str, *arguments: object, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    """Run a module of this package by another Python; its last line is one JSON object. RuntimeError when it fails."""
    root = Path(autoglm_lab.__file__).parents[1]
    settings = os.environ | {"PYTHONPATH": str(root)}
    command = [str(python), "-m", module, *map(str, arguments)]
    process = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=timeout_s, check=False)
    lines = process.stdout.strip().splitlines()
    if process.returncode or not lines:
        messages = [line for line in process.stderr.strip().splitlines() if line.strip()]
        raise RuntimeError(f"{module} failed: {messages[-1] if messages else f'exit code {process.returncode}'}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result
