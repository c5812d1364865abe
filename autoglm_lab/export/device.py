"""The folder that is copied to a device: a bundle, the part of this package that runs it, and how to start it there."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import autoglm_lab
from autoglm_lab import atomic
from autoglm_lab.runtime.bundle import Bundle

PACKAGES = ("numpy", "onnxruntime", "pillow", "tokenizers")  # all that the device needs beside Python
PARTS = ("__init__.py", "memory.py", "paths.py", "phone/__init__.py", "phone/actions.py", "runtime")  # of this package

RUN = '''"""One answer: python run.py "open Settings" screenshot.png"""

import sys
from pathlib import Path

from autoglm_lab.runtime.files import read_image
from autoglm_lab.runtime.onnx_engine import OnnxEngine

task, picture = sys.argv[1:]
answer = OnnxEngine(Path(__file__).parent / "bundle").answer(task, read_image(picture)).answer
print(answer.text, f"({answer.ms['total']:.0f} ms)")
'''
GUIDE = """# The agent on a device

`bundle` holds the model, `autoglm_lab` what runs it, `run.py` asks it. Nothing here needs PyTorch.

`run.py` asks once. In a loop the agent is also told of its last actions: keep `(name, screen_changed)` of each, and give
`last=write_memory(steps, engine.memory)` (of `autoglm_lab.runtime.prompt`) to `engine.answer`.

## A computer or a board with 64-bit Linux (x86-64 or ARM64), macOS

    python3 -m venv .venv
    .venv/bin/pip install -r requirements.txt
    .venv/bin/python run.py "open Settings" screenshot.png

## An Android phone, with Termux

Wheels of ONNX Runtime for Linux are made for glibc, Android has another C library. A small Debian inside Termux has the right one:

    pkg install proot-distro
    proot-distro install debian
    proot-distro login debian --termux-home
    apt update && apt install -y python3-venv

Copy this folder to the phone (`adb push FOLDER /sdcard/Download/agent`, or a cable), then, inside that Debian:

    cp -r /sdcard/Download/agent ~/agent && cd ~/agent
    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python run.py "open Settings" screenshot.png

`termux-setup-storage` lets Termux read `/sdcard`. Python has to be 3.11 or newer and 64-bit.
"""


def device_folder(bundle: Path | str, out: Path) -> None:
    """Write the folder for a bundle; a kill at any moment leaves the old one or the new one.

    ValueError or FileNotFoundError for a bad bundle, as `Bundle.open`; ValueError when `out` is or holds the bundle.
    """
    opened = Bundle.open(bundle)
    if opened.folder.resolve().is_relative_to(out.resolve()):
        raise ValueError(f"{out} is or holds the bundle itself; give another folder")
    package = Path(autoglm_lab.__file__).parent
    atomic.check(out, "device folder", needs_bytes=2 * opened.bytes)
    with atomic.folder(out, "device folder") as part:
        shutil.copytree(opened.folder, part / "bundle")
        for name in PARTS:
            source, target = package / name, part / "autoglm_lab" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        (part / "run.py").write_text(RUN, "utf-8")
        (part / "README.md").write_text(GUIDE, "utf-8")
        (part / "requirements.txt").write_text("".join(f"{name}=={importlib.metadata.version(name)}\n" for name in PACKAGES))
