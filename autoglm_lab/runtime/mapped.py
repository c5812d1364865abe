"""Graphs whose weights stay in a file: mapped into memory, already in the order in which this processor's kernels read them.

ONNX Runtime copies the weights of a graph when it loads it, and copies most of them once more into the order that its kernels want.
Saved in that order in a file of their own, they are mapped: pages of a file that the system reads when they are needed, takes away
when it needs room, and shares between processes. The file suits one version of the runtime on one kind of processor, so it is made
where it is used, beside the bundle, and never travels.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import onnxruntime

from autoglm_lab import atomic
from autoglm_lab.marks import NotWrittenError, verify
from autoglm_lab.runtime.bundle import Bundle, digest
from autoglm_lab.runtime.processor import cpu_flags
from autoglm_lab.runtime.sessions import quiet

MADE_FOR, WEIGHTS = "made_for.json", "weights.bin"
SMALL_BYTES = 1024  # what is smaller stays in the graph
PATIENCE_S = 120.0  # for another process that writes the same


def place_of(bundle: Path) -> Path:
    """The folder beside a bundle in which its graphs lie in mapped form."""
    folder = bundle.resolve()
    return folder.with_name(f"{folder.name}.mapped")


def mapped_graph(graph: Path, place: Path, options: Any) -> Path:
    """Find a graph in mapped form in `place`; it is written there when it is missing, or was made for something else.

    `options` are those of the session that writes it. NotWrittenError when `place` cannot be written or holds what is not ours.
    """
    folder, here = place / graph.stem, made_for(graph)
    if not _is_made_for(folder, here):
        with atomic.lock(folder, patience_s=PATIENCE_S):
            if not _is_made_for(folder, here):
                _write(graph, folder, here, options)
    return folder / graph.name


def write_mapped(bundle: Bundle) -> Path:
    """Write all graphs of a bundle in mapped form beside it, for this machine; return the folder."""
    place = place_of(bundle.folder)
    for name in sorted(bundle.files):
        if name.endswith(".onnx"):
            mapped_graph(bundle.folder / name, place, quiet(1))
    return place


def made_for(graph: Path) -> dict[str, str]:
    """The facts that a mapped form depends on: the graph, the runtime, and the processor with its instruction sets."""
    flags = " ".join(cpu_flags())
    return {"graph": digest(graph), "onnxruntime": onnxruntime.__version__, "machine": platform.machine(), "flags": flags}


def _is_made_for(folder: Path, here: dict[str, str]) -> bool:
    """True if the folder holds the mapped form for here and now, and its files are as they were written."""
    try:
        if json.loads((folder / MADE_FOR).read_text("utf-8")) != here:
            return False
        verify(folder, (f"{folder.name}.onnx", WEIGHTS))
    except (OSError, ValueError):
        return False
    return True


def _write(graph: Path, folder: Path, here: dict[str, str], options: Any) -> None:
    with atomic.folder(folder, "mapped graph") as part:
        options.optimized_model_filepath = str(part / graph.name)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", WEIGHTS)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", str(SMALL_BYTES))
        options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
        try:
            onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's errors have no common class
            reason = " ".join(str(error).split())[:200]
            raise NotWrittenError(f"{graph.name} could not be written in mapped form: {reason}") from None
        if not (part / WEIGHTS).exists():
            (part / WEIGHTS).touch()  # a graph of small constants
        (part / MADE_FOR).write_text(json.dumps(here, indent=1) + "\n", "utf-8")
