"""Checks the types of the JavaScript: TypeScript reads each widget as the browser gets it, and the modules of the page.

`python -m tests.javascript` prints what TypeScript objects to, with the line in question, and exits with 1 if there is anything.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from autoglm_lab import widgets
from autoglm_lab.widgets.base import LabWidget

TYPESCRIPT = ("npx", "--yes", "--prefer-offline", "--package=typescript@5.9.3", "tsc")
OPTIONS = ("--allowJs", "--checkJs", "--noEmit", "--skipLibCheck", "--strict", "false", "--target", "es2022")
OPTIONS += ("--module", "esnext", "--moduleResolution", "bundler")
PAGE = Path(widgets.__file__).parents[1] / "device" / "browser" / "static"
AMBIENT = """declare module "*.mjs";
declare class AudioWorkletProcessor { port: MessagePort }
declare function registerProcessor(name: string, processor: typeof AudioWorkletProcessor): void;
"""  # what comes with the page and what only a sound worklet has
DOM, WORKER = "dom,dom.iterable,es2023", "webworker,es2023"


def widget_sources() -> dict[str, str]:
    """Return the module of each widget, by its file name: common code and all its parts in one text."""
    names = [module.name for module in pkgutil.iter_modules(widgets.__path__) if module.name.endswith("_widget")]
    for name in names:
        importlib.import_module(f"autoglm_lab.widgets.{name}")
    texts = {f"{kind.__module__.rsplit('.', 1)[1]}.js": str(kind.__dict__.get("_esm", "")) for kind in LabWidget.__subclasses__()}
    return {name: text for name, text in texts.items() if text}


def check(folder: Path, files: list[str], lib: str) -> list[str]:
    """Run TypeScript on files of a folder; return its objections, each with the line of the file below it."""
    done = subprocess.run([*TYPESCRIPT, *OPTIONS, "--lib", lib, *files], cwd=folder, capture_output=True, text=True, check=False)
    objections = []
    for line in done.stdout.splitlines():
        place = re.match(r"(\S+)\((\d+),\d+\): ", line)
        text = (folder / place[1]).read_text("utf-8").splitlines()[int(place[2]) - 1].strip() if place else ""
        objections.append(f"{line}\n    {text}" if text else line)
    if done.returncode and not objections:
        objections.append(done.stderr.strip() or f"TypeScript ended with {done.returncode}")
    return objections


def main() -> int:
    """Check everything; 1 if there is an objection."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ambient.d.ts").write_text(AMBIENT, "utf-8")
        sources = widget_sources()
        for file, text in sources.items():
            (folder / file).write_text(text, "utf-8")
        pages = [path.name for path in sorted(PAGE.glob("*.js"))]
        for page in pages:
            text = (PAGE / page).read_text("utf-8").replace("@FILES@", "[]")
            (folder / page).write_text(text, "utf-8")
        worker = "sw.js"
        objections = check(folder, ["ambient.d.ts", *sources, *(page for page in pages if page != worker)], DOM)
        objections += check(folder, [worker], WORKER)
    print("\n".join(objections) or f"TypeScript: {len(sources)} widgets and {len(pages)} files of the page, nothing to object to")
    return int(bool(objections))


if __name__ == "__main__":
    sys.exit(main())
