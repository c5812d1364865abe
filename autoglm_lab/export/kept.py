"""The shipped agent as a bundle, exported once and kept: what only uses a bundle need not wait for the next export.

`python -m autoglm_lab.export.kept --recipe int8` prints where it lies.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import autoglm_lab
from autoglm_lab import atomic
from autoglm_lab.marks import NotWrittenError
from autoglm_lab.memory import trim_heap
from autoglm_lab.paths import data_dir, work_dir
from autoglm_lab.runtime.bundle import is_whole

RECIPES = ("whole", "int8")  # of the agent as it is shipped; those that train first take longer than an export
PATIENCE_S = 600.0  # for another process that exports the same
ROOMS = ("compress", "export", "model", "runtime")  # rooms of the package whose code decides what a bundle holds
TOOLS = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def kept_bundle(recipe: str = "whole", *, rows: bool = False) -> Path:
    """Return the folder of a bundle of the shipped agent in the work folder; it is exported when it is not there yet.

    With `rows` it has the graph for many answers at once, too. It is exported anew when the checkpoint, this package's code or an
    exporting library has changed, or a file of it: by a process of its own, so that this one stays small. ValueError for a recipe
    other than those in `RECIPES`; NotWrittenError when another process exports it for more than ten minutes, or when it cannot be
    written.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe {recipe!r} is not kept; there are {', '.join(RECIPES)}")
    folder = _place(recipe, rows)
    if not _up_to_date(folder):
        _export_in_another_process(recipe, rows)
    return folder


def export_here(recipe: str, rows: bool = False) -> Path:
    """Do the work of `kept_bundle` in this process, unless another one has done it meanwhile."""
    folder = _place(recipe, rows)
    with atomic.lock(folder, patience_s=PATIENCE_S):
        if not _up_to_date(folder):
            _digest_file(folder).unlink(missing_ok=True)
            _export(recipe, folder, rows)
            atomic.write_text(_digest_file(folder), _sources_digest())
    return folder


def _place(recipe: str, rows: bool) -> Path:
    return work_dir() / "bundles" / f"{recipe}{'-rows' * rows}"


def _digest_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sha256")


def _up_to_date(folder: Path) -> bool:
    """True if the bundle is whole and its sources have not changed since."""
    digest = _digest_file(folder)
    return digest.exists() and digest.read_text("utf-8") == _sources_digest() and is_whole(folder)


def _export_in_another_process(recipe: str, rows: bool) -> None:
    """Export in a process whose memory is freed at its end: a trace takes more than twice what the agent needs to run."""
    package = str(Path(autoglm_lab.__file__).parents[1])
    paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "autoglm_lab.export.kept", "--recipe", recipe, *["--rows"] * rows]
    process = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"the process ended with code {process.returncode}"]
        raise NotWrittenError(f"the bundle {recipe!r} could not be exported: {lines[-1]}")


def _sources_digest() -> str:
    """One digest of a bundle's sources: checkpoint, code and versions of the exporting libraries."""
    package, total = Path(autoglm_lab.__file__).parent, hashlib.sha256()
    sources = [path for room in ROOMS for path in sorted((package / room).rglob("*.py"))]
    for path in [*sorted(path for path in (data_dir() / "model").iterdir() if path.is_file()), *sources]:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    for tool in TOOLS:
        total.update(f"{tool} {importlib.metadata.version(tool)}".encode())
    return total.hexdigest()


def _export(recipe: str, folder: Path, rows: bool) -> None:
    import autoglm_lab as lab
    from autoglm_lab.compress.recipe import apply, named
    from autoglm_lab.export.bundle import bundle
    from autoglm_lab.model.engine import TorchEngine
    from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration

    engine = lab.load()
    if recipe == "whole":
        bundle(engine, folder, rows=rows)
        return
    small, _ = apply(engine.model, named(recipe), engine.example(), quiet=True)
    assert isinstance(small, PhoneGLMForConditionalGeneration)
    processor = engine.processor
    del engine  # its weights make room for the traces
    trim_heap()
    bundle(TorchEngine(small, processor), folder, named(recipe), rows=rows)


def main() -> None:
    """Export a bundle if it is not there yet, and print its folder."""
    parser = argparse.ArgumentParser(prog="python -m autoglm_lab.export.kept", description="a bundle of the shipped agent, kept")
    parser.add_argument("--recipe", choices=RECIPES, default="whole")
    parser.add_argument("--rows", action="store_true", help="with the graph for many answers at once")
    options = parser.parse_args()
    try:
        print(export_here(options.recipe, options.rows))
    except (OSError, ValueError) as problem:
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
