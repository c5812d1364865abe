"""Times of an answer inside the graphs: the runtime's own profile, added up layer by layer."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from autoglm_lab.evaluation.bench import questions
from autoglm_lab.runtime.onnx_engine import OnnxEngine

BETWEEN = "between layers"  # what belongs to no module: sums of the residual stream, shapes
HOLLOW = ("If", "Loop")  # what they run inside is booked by itself


def layer_times(
    folder: Path, *, threads: int | None = None, count: int = 12, rounds: int = 3, depth: int = 3
) -> dict[str, dict[str, float]]:
    """Milliseconds of an answer in each layer of each graph of a bundle, the mean over `count` requests in `rounds` rounds.

    A layer is called by its module, `depth` names deep: `layers.0.mlp`. What the runtime fused is booked under one of its parts,
    and being profiled costs time itself: compare shares, not sums with an unprofiled answer. The first round does not count.
    ValueError without requests, rounds or depth, ImportError without the package onnx.
    """
    if rounds < 1 or depth < 1:
        raise ValueError(f"rounds is {rounds} and depth {depth}; both are 1 or more")
    requests = questions(count)
    with tempfile.TemporaryDirectory() as place:
        engine = OnnxEngine(folder, threads=threads, profile=Path(place))
        before: Counter[str] = Counter()  # how often each graph ran while it warmed up
        for turn in tqdm(range(rounds + 1), desc="profiling", unit="round", leave=False):
            for request in requests:
                answer = engine.answer(**request).answer
                if not turn:
                    before += Counter({"step": answer.passes, **{name: int(name in answer.ms) for name in ("image", "audio")}})
        makers = {name: _values_of(engine.bundle.path(name)) for name in engine.sessions}
        events = {name: json.loads(Path(session.end_profiling()).read_text("utf-8")) for name, session in engine.sessions.items()}
    answers = rounds * len(requests)
    return {
        graph: {layer: ms / answers for layer, ms in added_up(graph_events, before[graph], depth, makers[graph]).items()}
        for graph, graph_events in events.items()
    }


def _values_of(path: Path) -> dict[str, str]:
    """Name of the node that makes each value of a graph."""
    import onnx

    return {value: node.name for node in onnx.load(path).graph.node for value in node.output}


def added_up(
    events: Iterable[Mapping[str, Any]], skipped: int, depth: int, makers: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Milliseconds by layer, most first, of one graph's profile without its first `skipped` runs.

    The runtime calls some nodes of its own after the value that they make, `relu_1_nchwc`; `makers` says whose that is.
    """
    events = list(events)
    runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
    if skipped >= len(runs):
        return {}
    milliseconds: Counter[str] = Counter()
    for event in events:
        kernel = event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if kernel and event["ts"] >= runs[skipped] and event["args"]["op_name"] not in HOLLOW:
            milliseconds[layer_of(_named(event["name"], makers or {}), depth)] += event["dur"] / 1000
    return dict(milliseconds.most_common())


def _named(name: str, makers: Mapping[str, str]) -> str:
    """The name of the node that a node of the runtime stands for, if it bears no module itself."""
    parts = name.split("_")
    stems = [] if "/" in name else ["_".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((makers[stem] for stem in stems if stem in makers), name)


def layer_of(name: str, depth: int) -> str:
    """The module that a node of the profile belongs to.

    >>> layer_of("model.layers.0.mlp.down_proj/matmul_kernel_time", 3)
    'layers.0.mlp'
    >>> layer_of("/add_70_kernel_time", 3)
    'between layers'
    """
    path, slash, _ = name.partition("/")
    parts = path.removeprefix("model.").split(".")[:depth] if slash and not path.startswith("_") else []
    return ".".join(parts) or BETWEEN


def table(times: Mapping[str, Mapping[str, float]], width: int = 24) -> str:
    """Layers with their milliseconds, their share of all graphs, and a bar.

    >>> print(table({"step": {"lm_head": 3.0, "layers.0.mlp": 1.0}}, width=4))
    step   lm_head        3.00 ms   75 %  ####
    step   layers.0.mlp   1.00 ms   25 %  #
    """
    rows = [(graph, layer, ms) for graph, layers in times.items() for layer, ms in layers.items()]
    if not rows:
        return ""
    whole, most = sum(ms for *_, ms in rows), max(ms for *_, ms in rows)
    wide = max(len(layer) for _, layer, _ in rows)
    return "\n".join(
        f"{graph:5}  {layer:{wide}}  {ms:5.2f} ms  {ms / whole:4.0%}".replace("%", " %")
        + f"  {'#' * round(width * ms / most)}".rstrip()
        for graph, layer, ms in rows
    )
