"""A bundle: the folder that is put on a phone. Graphs, tokenizer, and a manifest that says what each file has to be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoglm_lab import atomic
from autoglm_lab.compress.quantization import PackedLinear
from autoglm_lab.compress.recipe import Recipe
from autoglm_lab.export.conditions import every_node
from autoglm_lab.export.convolutions import integer_convolutions
from autoglm_lab.export.features import feature_graphs
from autoglm_lab.export.graphs import agent_graphs
from autoglm_lab.export.greedy import greedy_graph
from autoglm_lab.export.module import OPSET
from autoglm_lab.export.verify import verify
from autoglm_lab.memory import trim_heap
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.runtime.bundle import FEATURES, FORMAT, GRAPHS, MANIFEST, ONE_CALL, ROWS, TOKENIZER, digest
from autoglm_lab.runtime.features import image_features

BUNDLE_BYTES = 100_000_000  # about what the largest one takes: floats, with rows and one call


def bundle(
    engine: TorchEngine,
    out: Path,
    recipe: Recipe | None = None,
    *,
    screens: Sequence[Any] = (),
    one_call: bool = False,
    rows: bool = False,
) -> None:
    """Write an agent, compressed or not, as a bundle; a kill at any moment leaves the old folder or the new one.

    With `screens`, pictures of any kind, the convolutions of the image encoder compute with integers; ranges come from these.
    With `one_call` there is one more file, in which the step stands in a loop (`greedy.greedy_graph`), with `rows` one that takes a
    step in several answers at once, for a server (`runtime.rows`).
    Every graph is compared with the model at several lengths first, and the manifest says how far they are apart (`verify`).
    ValueError for a layer without a kernel, a graph that computes something else, and when the file would multiply fewer layers as
    integers than the model has.
    """
    atomic.check(out, "bundle", needs_bytes=BUNDLE_BYTES)
    graphs = agent_graphs(engine.model, rows=rows)
    _check_integers(engine, graphs)
    pictures = [image_features(screen)[None] for screen in screens]
    if pictures:
        graphs["image"] = integer_convolutions(graphs["image"], pictures)
    apart = verify(engine.model, graphs, pictures)
    with atomic.folder(out, "bundle") as part:
        for name, content in (graphs | feature_graphs()).items():
            (part / (GRAPHS | FEATURES | {"rows": ROWS})[name]).write_bytes(content)
        engine.processor.tokenizer.backend_tokenizer.save(str(part / TOKENIZER))
        files = [*GRAPHS.values(), *FEATURES.values(), TOKENIZER, *[ROWS] * rows]
        if one_call:
            (part / ONE_CALL).write_bytes(greedy_graph(graphs["step"], engine.processor.tokenizer.eos_token_id))
            files.append(ONE_CALL)
        manifest = {
            "format": FORMAT,
            "opset": OPSET,
            "recipe": json.loads((recipe or Recipe()).to_json()),
            "places": engine.model.config.max_position_embeddings,
            "memory": engine.memory,
            "understands": engine.understands,
            "confirm_below": engine.model.config.confirm_below,
            "shared_scale": count_nodes(graphs["step"])["DynamicQuantizeLinear"] > 0,
            "apart": {name: float(f"{share:.2g}") for name, share in apart.items()},
            "end": engine.processor.tokenizer.eos_token_id,
            "files": {name: {"bytes": (part / name).stat().st_size, "sha256": digest(part / name)} for name in files},
        }
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
    trim_heap()


def count_nodes(graph: bytes) -> Counter[str]:
    """Count the nodes of a graph by operator."""
    import onnx

    return Counter(node.op_type for node in every_node(onnx.load_from_string(graph).graph))


def integer_products(graph: bytes) -> int:
    """Count the matrices of a graph that are multiplied as integers, by a kernel of their own or between (de)quantise nodes."""
    import onnx

    return len(_integer_channels(onnx.load_from_string(graph).graph))


def _integer_channels(graph: Any) -> list[int]:
    """Return the number of channels of each matrix that is multiplied as integers."""
    stored = {initializer.name: initializer.dims[1] for initializer in graph.initializer if len(initializer.dims) == 2}
    channels = []
    for node in every_node(graph):
        if node.op_type == "MatMulNBits":
            channels.append(next(attribute.i for attribute in node.attribute if attribute.name == "N"))
        elif node.op_type == "MatMulInteger":
            channels.append(stored.get(node.input[1], 0))
        elif node.op_type == "DequantizeLinear" and node.input[0] in stored:
            channels.append(stored[node.input[0]])
    return channels


def _check_integers(engine: TorchEngine, graphs: dict[str, bytes]) -> None:
    """Refuse graphs that multiply fewer channels as integers than the model's layers have; several layers may be one product."""
    import onnx

    expected = sum(layer.weight_codes.shape[0] for layer in engine.model.modules() if isinstance(layer, PackedLinear))
    count = sum(sum(_integer_channels(onnx.load_from_string(graph).graph)) for graph in graphs.values())
    if count < expected:
        raise ValueError(
            f"the files multiply {count} channels as integers, the layers of the model have {expected}: some were written as floats"
        )
