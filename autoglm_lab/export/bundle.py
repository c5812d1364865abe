"""A bundle: the folder that is put on a phone. Graphs, tokenizer, and a manifest that says what each file has to be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoglm_lab.compress.quantization import PackedLinear
from autoglm_lab.compress.recipe import Recipe
from autoglm_lab.export.convolutions import integer_convolutions
from autoglm_lab.export.features import feature_graphs
from autoglm_lab.export.graphs import OPSET, agent_graphs
from autoglm_lab.export.greedy import greedy_graph
from autoglm_lab.export.verify import verify
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.paths import whole_folder
from autoglm_lab.runtime.bundle import FEATURES, FORMAT, GRAPHS, MANIFEST, ONE_CALL, TOKENIZER, digest
from autoglm_lab.runtime.features import image_features

KERNELS = ("MatMulInteger", "MatMulNBits")  # that multiply integers


def bundle(
    engine: TorchEngine, out: Path, recipe: Recipe | None = None, *, screens: Sequence[Any] = (), one_call: bool = False
) -> None:  # fmt: skip
    """Write an agent, compressed or not, as a bundle; a kill at any moment leaves the old folder or the new one.

    With `screens`, pictures of any kind, the convolutions that see are computed with integers; their ranges come from these.
    With `one_call` there is one more file, in which the step stands in a loop (`greedy.greedy_graph`).
    Every graph is compared with the model at several lengths first, and the manifest says how far they are apart (`verify`).
    ValueError for a layer without a kernel, a graph that computes something else, and when the file would multiply fewer layers as
    integers than the model has.
    """
    graphs = agent_graphs(engine.model)
    _check_integers(engine, graphs)
    pictures = [image_features(screen)[None] for screen in screens]
    if pictures:
        graphs["image"] = integer_convolutions(graphs["image"], pictures)
    apart = verify(engine.model, graphs, pictures)
    with whole_folder(out) as part:
        for name, content in (graphs | feature_graphs()).items():
            (part / (GRAPHS | FEATURES)[name]).write_bytes(content)
        engine.processor.tokenizer.backend_tokenizer.save(str(part / TOKENIZER))
        files = [*GRAPHS.values(), *FEATURES.values(), TOKENIZER]
        if one_call:
            (part / ONE_CALL).write_bytes(greedy_graph(graphs["step"], engine.processor.tokenizer.eos_token_id))
            files.append(ONE_CALL)
        manifest = {
            "format": FORMAT,
            "opset": OPSET,
            "recipe": json.loads((recipe or Recipe()).to_json()),
            "places": engine.model.config.max_position_embeddings,
            "apart": {name: float(f"{share:.2g}") for name, share in apart.items()},
            "end": engine.processor.tokenizer.eos_token_id,
            "files": {name: {"bytes": (part / name).stat().st_size, "sha256": digest(part / name)} for name in files},
        }
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def count_nodes(graph: bytes) -> Counter[str]:
    """How many nodes of each kind a graph has."""
    import onnx

    return Counter(node.op_type for node in onnx.load_from_string(graph).graph.node)


def integer_products(graph: bytes) -> int:
    """How many matrices of a graph are multiplied as integers: by a kernel of their own, or between quantised and dequantised."""
    import onnx

    known = onnx.load_from_string(graph).graph
    stored = {initializer.name for initializer in known.initializer if len(initializer.dims) == 2}
    return sum(node.op_type in KERNELS or (node.op_type == "DequantizeLinear" and node.input[0] in stored) for node in known.node)


def _check_integers(engine: TorchEngine, graphs: dict[str, bytes]) -> None:
    """A quantiser that did nothing is an error, not a slow surprise."""
    wanted = sum(isinstance(layer, PackedLinear) for layer in engine.model.modules())
    found = sum(integer_products(graph) for graph in graphs.values())
    if found < wanted:
        raise ValueError(f"the files multiply {found} layers as integers, the model has {wanted}: some were written as floats")
