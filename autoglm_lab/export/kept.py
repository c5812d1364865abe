"""The shipped agent as a bundle, exported once and kept: what only uses a bundle need not wait for the next export.

`python -m autoglm_lab.export.kept --recipe int8` prints where it lies.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
from pathlib import Path

import autoglm_lab
from autoglm_lab import atomic
from autoglm_lab.memory import trim_heap
from autoglm_lab.paths import data_dir, work_dir
from autoglm_lab.runtime.bundle import Bundle

RECIPES = ("whole", "int8")  # of the agent as it is shipped; those that train first take longer than an export
PATIENCE_S = 600.0  # for another process that exports the same
ROOMS = ("compress", "export", "model", "runtime")  # rooms of the package whose code decides what a bundle holds
TOOLS = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def kept_bundle(recipe: str = "whole", *, rows: bool = False) -> Path:
    """Return the folder of a bundle of the shipped agent in the work folder; it is exported when it is not there yet.

    With `rows` it has the graph for many answers at once, too. It is exported anew when the checkpoint, this package's code or an
    exporting library has changed, or a file of it. ValueError for a recipe other than those in `RECIPES`; NotWrittenError when
    another process exports it for more than ten minutes, or when it cannot be written.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe {recipe!r} is not kept; there are {', '.join(RECIPES)}")
    folder = work_dir() / "bundles" / f"{recipe}{'-rows' * rows}"
    made_of = folder.with_name(f"{folder.name}.sha256")
    with atomic.lock(folder, patience_s=PATIENCE_S):
        now = _made_of()
        if not (made_of.exists() and made_of.read_text("utf-8") == now and _intact(folder)):
            made_of.unlink(missing_ok=True)
            _export(recipe, folder, rows)
            atomic.write_text(made_of, now)
    return folder


def _made_of() -> str:
    """One digest of all that a bundle is made of."""
    package, total = Path(autoglm_lab.__file__).parent, hashlib.sha256()
    sources = [path for room in ROOMS for path in sorted((package / room).rglob("*.py"))]
    for path in [*sorted(path for path in (data_dir() / "model").iterdir() if path.is_file()), *sources]:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    for tool in TOOLS:
        total.update(f"{tool} {importlib.metadata.version(tool)}".encode())
    return total.hexdigest()


def _intact(folder: Path) -> bool:
    try:
        Bundle.open(folder)
    except (OSError, ValueError):
        return False
    return True


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
    """Print the folder of a kept bundle."""
    parser = argparse.ArgumentParser(prog="python -m autoglm_lab.export.kept", description="a bundle of the shipped agent, kept")
    parser.add_argument("--recipe", choices=RECIPES, default="whole")
    parser.add_argument("--rows", action="store_true", help="with the graph for many answers at once")
    options = parser.parse_args()
    print(kept_bundle(options.recipe, rows=options.rows))


if __name__ == "__main__":
    main()
