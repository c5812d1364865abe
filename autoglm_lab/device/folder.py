"""The folder that is copied to a device: a bundle, the part of this package that runs it, and how to start it there."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import autoglm_lab
from autoglm_lab import atomic
from autoglm_lab.runtime.bundle import Bundle

PACKAGES = ("numpy", "onnxruntime", "pillow", "tokenizers")  # all that the device needs beside Python
SERVING = ("fastapi", "prometheus-client", "pydantic", "soundfile", "uvicorn")  # and to serve
PARTS = (
    "__init__.py",
    "atomic.py",
    "hosts.py",
    "marks.py",
    "memory.py",
    "moved.py",
    "paths.py",
    "phone/__init__.py",
    "phone/actions.py",
    "phone/catalog.py",
    "phone/clock.py",
    "phone/goals.py",
    "phone/packages.py",
    "phone/public_apps.py",
    "phone/refusal.py",
    "runtime",
    "serve",
)  # of this package

RUN = '''"""One answer: python run.py "open Settings" screenshot.png. A server on this device: python run.py --serve"""

import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("task", nargs="?", help="what the agent should do")
parser.add_argument("picture", nargs="?", help="a screenshot")
parser.add_argument("--serve", type=int, nargs="?", const=8000, metavar="PORT",
                     help="answer over HTTP, to this device alone (port 8000)")
parser.add_argument("--api-key-file", type=Path, metavar="F", help="with --serve: the keys that apps have to send")
parser.add_argument("--settings", type=Path, metavar="F", help="with --serve: a JSON file of limits, read anew when it changes")
parser.add_argument("--mapped", action="store_true", help="leave the weights in files: less private memory, more of the disk")
parser.add_argument("--lazy", type=float, metavar="S", help="open what sees and hears when it is needed, drop it after S seconds")
options = parser.parse_args()
bundle, engine_options = Path(__file__).resolve().parent / "bundle", {"mapped": options.mapped, "lazy": options.lazy or False}

if options.serve is None:
    from autoglm_lab.runtime.files import read_image
    from autoglm_lab.runtime.onnx_engine import OnnxEngine

    if options.picture is None:
        parser.error("say what the agent should do and give a screenshot, or --serve")
    answer = OnnxEngine(bundle, **engine_options).answer(options.task, read_image(options.picture)).answer
    print(answer.text, f"({answer.ms['total']:.0f} ms)")
else:
    try:
        from autoglm_lab.serve import server
    except ImportError as error:
        parser.error(f"{error}; pip install -r requirements-serve.txt")
    from autoglm_lab.serve.keys import read_keys
    from autoglm_lab.runtime.reload import read_settings
    from autoglm_lab.serve.limits import Limits
    from autoglm_lab.serve.service import Service

    limits = read_settings(options.settings, Limits, Limits()) if options.settings else Limits()

    def make_scheduler():
        return server.scheduler(bundle, limits, workers=1, **engine_options)

    keys = read_keys(options.api_key_file) if options.api_key_file else None
    service = Service(make_scheduler, limits, keys, exchange="small")
    server.serve(service, "127.0.0.1", options.serve, make_scheduler, bundle / "manifest.json", options.settings, Limits())
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

## A service on the phone

    .venv/bin/pip install -r requirements-serve.txt
    .venv/bin/python run.py --serve --lazy 300

answers at `http://127.0.0.1:8000/v1`, as OpenAI's clients expect it, to this phone alone. What sees and what hears is loaded when
it is first needed and dropped after five idle minutes; `--mapped` leaves the weights in files, which the system can take back.
Copy another `bundle` over this one, its `manifest.json` last, and the next request is answered by it; a broken one is refused and
the old one stays. Limits stand in a file, `--settings limits.json` with `{"max_tokens": 64, "deadline_s": 20}`; a new content of it
holds from the next request on.

**Every app on the phone can reach a port of 127.0.0.1.** Write a long random line into a file, `--api-key-file FILE`, and give the
same line to the app that may ask:

    curl http://127.0.0.1:8000/v1/chat/completions -H "Authorization: Bearer LINE" -H "Content-Type: application/json" \
         -d '{"model": "autoglm-lab", "messages": [{"role": "user", "content": "open Settings"}]}'

An Android app of your own asks the same way, and has to allow plain HTTP to 127.0.0.1 in its network security configuration.

### After a restart of the phone

Install the app **Termux:Boot** from where Termux came from, open it once, then, in Termux (not in Debian):

    mkdir -p ~/.termux/boot
    printf '#!/data/data/com.termux/files/usr/bin/sh\ntermux-wake-lock\nexec proot-distro login debian --termux-home -- \
    sh -c "cd ~/agent && exec .venv/bin/python run.py --serve --lazy 300"\n' > ~/.termux/boot/agent
    chmod +x ~/.termux/boot/agent

`termux-wake-lock` keeps the processor from sleeping while the service is there, which costs battery; leave it out, and the first
answer after a pause comes late.

### So that Android does not end it

- Settings, Apps, Termux, Battery: **Unrestricted** (on some phones "No restrictions", or a list of protected apps).
- Android 12 and newer end processes of an app beyond 32: from a computer, once,
  `adb shell settings put global settings_enable_monitor_phantom_procs false`.
- Leave Termux's notification where it is: it is what keeps a service in the foreground alive.
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
        for name, packages in (("requirements.txt", PACKAGES), ("requirements-serve.txt", (*PACKAGES, *SERVING))):
            (part / name).write_text("".join(f"{package}=={importlib.metadata.version(package)}\n" for package in packages))
