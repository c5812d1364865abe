"""The three graphs of an agent: what it sees, what it hears, and one step of its answer; and the same for a stranger's module."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from ast import literal_eval
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.export import Dim

from autoglm_lab.compress.layers import put
from autoglm_lab.export.conditions import on_condition
from autoglm_lab.export.integers import exportable, rowwise
from autoglm_lab.export.step import RowsGraph, StepGraph, with_quotients
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration

OPSET = 20
Dynamic = Mapping[str, Mapping[int, str]]  # for each input, the names of its axes whose length may change


def onnx_module(
    module: nn.Module, example: Mapping[str, Tensor], *, dynamic: Dynamic | None = None, outputs: Sequence[str] = ("output",)
) -> bytes:
    """A module as the bytes of one ONNX file, opset 20, its weights inside.

    `example` holds the inputs by name, in the order in which `forward` takes them; axes that may change have a length other
    than 0 and 1 there. Axes of one name are one axis. ValueError for names in `dynamic` that are no inputs, for an axis of
    length 0 or 1, or when the file breaks the rules of ONNX.
    """
    import onnx

    axes = dict(dynamic or {})
    unknown = sorted(set(axes) - set(example))
    if unknown:
        raise ValueError(f"dynamic names {', '.join(map(repr, unknown))}; the inputs are {', '.join(map(repr, example))}")
    for name, places in axes.items():
        for axis in places:
            if example[name].shape[axis] < 2:
                raise ValueError(
                    f"axis {axis} of {name!r} has length {example[name].shape[axis]}; an axis that may change needs 2 or more"
                )
    labels = {label for places in axes.values() for label in places.values()}
    dims = {label: Dim(label, min=1) for label in labels}
    shapes: list[Any] = [{axis: dims[label] for axis, label in axes.get(name, {}).items()} for name in example]
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:  # what `*states` takes is one argument to the exporter
        first = kinds.index(inspect.Parameter.VAR_POSITIONAL)
        shapes[first:] = [tuple(shapes[first:])]
    modes = {part: part.training for part in module.modules()}
    module.train(False)
    quiet = logging.getLogger("torch.onnx")
    level, noise = quiet.level, io.StringIO()
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(noise), redirect_stderr(noise):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, tuple(example.values()), input_names=list(example), output_names=list(outputs),
                dynamic_shapes=tuple(shapes), opset_version=OPSET, dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
    finally:
        quiet.setLevel(level)
        for part, mode in modes.items():
            part.training = mode
    assert program is not None
    made = program.model_proto
    del program  # it holds the weights once more
    _name_nodes(made)
    for line in (made.graph, *made.graph.node, *made.graph.value_info):  # where each line came from: a megabyte nobody reads
        line.ClearField("metadata_props")
        line.ClearField("doc_string")
    known, content = not _has_kernels(made), bytes(made.SerializeToString())
    del made
    try:
        onnx.checker.check_model(content, full_check=known)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"the exported file breaks a rule of ONNX: {error}") from error
    return content


def _name_nodes(model: Any) -> None:
    """Call every node by the module that it was traced in, so that it can be found in a profile: `layers.0.mlp/linear_3`."""
    for node in model.graph.node:
        scopes = next((literal_eval(entry.value) for entry in node.metadata_props if entry.key.endswith("name_scopes")), ["", ""])
        node.name = f"{scopes[-2] if len(scopes) > 1 else ''}/{node.output[0]}"


def _has_kernels(model: Any) -> bool:
    """Whether a graph uses operators of the runtime's own, which the checker of ONNX does not know."""
    return any(node.domain not in ("", "ai.onnx") for node in model.graph.node)


class SeenGraph(nn.Module):
    """Pixels to the keys and values of every gated layer."""

    def __init__(self, model: PhoneGLMForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Float[Tensor, "1 3 224 224"]) -> tuple[Tensor, ...]:
        """Key and value [1, H, P, E] of each gated layer, one after the other."""
        return flat_memories(self.model, "image", self.model.encode_image(pixel_values))


class HeardGraph(nn.Module):
    """Log-mel frames to the keys and values of every gated layer."""

    def __init__(self, model: PhoneGLMForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_features: Float[Tensor, "1 M 80"]) -> tuple[Tensor, ...]:
        """Key and value [1, H, F, E] of each gated layer, one after the other."""
        everything = torch.ones_like(input_features[..., 0], dtype=torch.bool)
        frames, _ = self.model.encode_audio(input_features, everything)
        return flat_memories(self.model, "audio", frames)


def flat_memories(model: PhoneGLMForConditionalGeneration, modality: str, states: Float[Tensor, "1 S D"]) -> tuple[Tensor, ...]:
    """Keys and values of one modality, layer by layer."""
    everything = torch.ones_like(states[..., 0], dtype=torch.bool)
    image, audio = (states, None) if modality == "image" else (None, (states, everything))
    memories = model.remember(image, audio, 1)
    return tuple(part for layer in memories for part in (layer[modality].key, layer[modality].value))


class TableEmbedding(nn.Module):
    """An embedding whose table [D, V] is laid out as the head multiplies with it, so that both can be one."""

    def __init__(self, columns: nn.Parameter) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """The vectors of some ids."""
        return self.columns[:, ids].permute(1, 2, 0)


class TableHead(nn.Module):
    """The product with the whole table: its second factor is a stored matrix, which quantisers look for."""

    def __init__(self, columns: nn.Parameter) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        """Scores of all tokens."""
        return x @ self.columns


def agent_graphs(model: PhoneGLMForConditionalGeneration, *, rows: bool = False) -> dict[str, bytes]:
    """`image`, `audio` and `step` of an agent as ONNX files, packed layers as their integers.

    With `rows` there is one more: a step of several answers at once. ValueError names a layer that cannot be written.
    """
    written = exportable(model)
    assert isinstance(written, PhoneGLMForConditionalGeneration)
    with_quotients(written)
    if isinstance(written.embed_tokens, nn.Embedding):
        columns = nn.Parameter(written.embed_tokens.weight.detach().T.contiguous())
        put(written, "embed_tokens", TableEmbedding(columns))
        put(written, "lm_head", TableHead(columns))
    put(written, "lm_head", rowwise(written.lm_head))  # scores of several tokens are asked for at once
    side, width = model.config.image_size, model.config.hidden_size
    with torch.no_grad():
        image = _named("image", flat_memories(model, "image", torch.randn(1, model.config.image_cells, width)))
        audio = _named("audio", flat_memories(model, "audio", torch.randn(1, 9, width)))
        cache = model(torch.randint(10, 20, (1, 6)), memories=model.remember(None, None, 1), use_cache=True).past_key_values
        past = _named("past", [part for layer in cache.layers for part in (layer.keys, layer.values)])
    states = {**image, **audio, **past}
    grows = {"image": "cells", "audio": "frames", "past": "room"}
    total = torch.tensor([5], dtype=torch.int32)
    example = {"input_ids": torch.randint(10, 20, (1, 5)), "present": torch.ones(2), "total": total, "places": torch.tensor([3, 4]),
               **states}  # fmt: skip
    dynamic = {"input_ids": {1: "tokens"}, "places": {0: "wanted"}, **{name: {2: grows[name.split("_")[0]]} for name in states}}
    outputs = ["scores", *(name.replace("past", "present") for name in past)]
    step = onnx_module(StepGraph(written), example, dynamic=dynamic, outputs=outputs)
    places = {"image": 0, "audio": 1}  # in `present`
    looks = {f"looks.{layer}.{m}": ("present", place) for layer in range(len(model.gated)) for m, place in places.items()}
    graphs = {
        "image": onnx_module(SeenGraph(written), {"pixel_values": torch.rand(1, 3, side, side)}, outputs=list(image)),
        "audio": onnx_module(HeardGraph(written), {"input_features": torch.rand(1, 48, model.config.mel_bins)},
                             dynamic={"input_features": {1: "mel_frames"}}, outputs=list(audio)),
        "step": on_condition(step, looks),
    }  # fmt: skip
    if rows:
        example = _two_answers(states)
        dynamic = {name: {0: "rows"} for name in example if name not in ("anywhere", "longest")}
        dynamic |= {name: {0: "rows", 2: grows[name.split("_")[0]]} for name in states} | {"covered": {0: "rows", 3: "frames"}}
        looks = {path: ("anywhere", place) for path, (_, place) in looks.items()}
        graphs["rows"] = on_condition(onnx_module(RowsGraph(written), example, dynamic=dynamic, outputs=outputs), looks)
    return graphs


def _two_answers(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of `RowsGraph`, for two answers of two lengths."""
    first = torch.tensor([5, 3], dtype=torch.int32)
    frames = next(state.shape[2] for name, state in states.items() if name.startswith("audio"))
    return {
        "input_ids": torch.randint(10, 20, (2, 1)), "present": torch.ones(2, 2), "anywhere": torch.ones(2), "totals": first,
        "longest": first[:1], "covered": torch.zeros(2, 1, 1, frames),
        **{name: torch.cat((state, state)) for name, state in states.items()},
    }  # fmt: skip


def _named(what: str, states: Sequence[Tensor]) -> dict[str, Tensor]:
    return {f"{what}_{('key', 'value')[place % 2]}_{place // 2}": state for place, state in enumerate(states)}
