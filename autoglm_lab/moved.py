"""Names that modules had before: they still import, so that notebooks and scripts of earlier versions run."""

from __future__ import annotations

import sys
from importlib import import_module
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_BENCHMARKS = ("claims", "exchanging", "loading", "verdicts", "verdicts_articles", "verdicts_network")
# (`from autoglm_lab.measure import claims` looks for it in the package that `measure` is now)
MOVED = {f"{package}.{name}": f"benchmarks.{name}" for package in ("measure", "evaluation") for name in _BENCHMARKS} | {
    "benchmarks.peers.told": "benchmarks.peers.findings",
    "agent.circles": "phone.circles",
    "compress.files": "compress.checkpoint",
    "compress.groups": "compress.dependency_graph",
    "compress.refit": "compress.reconstruction",
    "edge.scoreboard": "benchmarks.scoreboard",
    "export.device": "device.folder",
    "export.integers": "export.quantized_layers",
    "measure": "evaluation",
    "peers": "benchmarks.peers",
    "peers.told": "benchmarks.peers.findings",
    "phone.adb_dump": "phone.adb.dump",
    "phone.adb_front": "phone.adb.front",
    "phone.adb_input": "phone.adb.touch",
    "phone.adb_shell": "phone.adb.shell",
    "phone.kept": "phone.adb.kept",
    "runtime.preflight": "device.preflight",
    "serve.batches": "serve.batching",
    "serve.jobs": "serve.queue",
    "serve.load": "benchmarks.http_load",
    "serve.remote": "serve.client",
    "serve.speech": "serve.stream_parser",
    "serve.turns": "serve.sequential",
    "training.batch": "model.batch",
    "training.build": "training.pipeline",
    "training.card": "benchmarks.card",
    "training.copying": "training.copy_task",
    "training.data": "training.dataset",
    "training.evaluation": "evaluation.success",
    "training.measured": "benchmarks.agent_report",
    "training.objective": "training.losses",
    "training.own_words": "evaluation.own_words",
    "training.recount": "benchmarks.recount",
    "training.recovery": "training.finetune",
    "training.voices_evaluation": "evaluation.voices",
    "web": "device.browser",
}


def current_name(name: str) -> str:
    """The name that a module of this package has now, whichever it was imported by.

    >>> current_name("autoglm_lab.measure.timing")
    'autoglm_lab.evaluation.timing'
    """
    package, _, rest = name.partition(".")
    parts = rest.split(".")
    for length in range(len(parts), 0, -1):
        if (new := MOVED.get(".".join(parts[:length]))) is not None:
            return ".".join([package, new, *parts[length:]])
    return name


class _Loader:
    """Loads a module under the name that it has now: both names give the same module."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec: Any = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the machinery of imports has put the old name's there

    def get_code(self, fullname: str) -> CodeType | None:
        """The code that `python -m` runs."""
        from importlib.util import find_spec

        loader: Any = getattr(find_spec(self.name), "loader", None)
        return None if loader is None else loader.get_code(self.name)


class _Finder:
    """Finds the modules of `MOVED` by their old names (a meta path finder; nothing is imported before one is asked for)."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith("autoglm_lab.") or (name := current_name(fullname)) == fullname:
            return None
        from importlib.machinery import ModuleSpec
        from importlib.util import find_spec

        if (spec := find_spec(name)) is None:
            raise ModuleNotFoundError(f"No module named {fullname!r}; it would be {name!r} now", name=fullname)
        loader: Any = _Loader(name)
        return ModuleSpec(fullname, loader, is_package=spec.submodule_search_locations is not None)


def install() -> None:
    """Let the names of `MOVED` be imported."""
    if not any(type(finder).__qualname__ == _Finder.__qualname__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
