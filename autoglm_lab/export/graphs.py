"""The three graphs of an agent: image encoder, audio encoder, and one step of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from autoglm_lab.compress.layers import put
from autoglm_lab.export.conditions import on_condition
from autoglm_lab.export.module import onnx_module
from autoglm_lab.export.quantized_layers import exportable, rowwise
from autoglm_lab.export.step import RowsGraph, StepGraph, replace_rms_norms
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration


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
    """Keys and values [1, K, S, E] of one modality, layer by layer."""
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
    network = exportable(model)
    assert isinstance(network, PhoneGLMForConditionalGeneration)
    replace_rms_norms(network)
    if isinstance(network.embed_tokens, nn.Embedding):
        columns = nn.Parameter(network.embed_tokens.weight.detach().T.contiguous())
        put(network, "embed_tokens", TableEmbedding(columns))
        put(network, "lm_head", TableHead(columns))
    put(network, "lm_head", rowwise(network.lm_head))  # scores of several tokens are asked for at once
    side, width = model.config.image_size, model.config.hidden_size
    with torch.no_grad():
        image = named_states("image", flat_memories(model, "image", torch.randn(1, model.config.image_cells, width)))
        audio = named_states("audio", flat_memories(model, "audio", torch.randn(1, 9, width)))
        cache = model(torch.randint(10, 20, (1, 6)), memories=model.remember(None, None, 1), use_cache=True).past_key_values
        past = named_states("past", [part for layer in cache.layers for part in (layer.keys, layer.values)])
    states = {**image, **audio, **past}
    grows = {"image": "cells", "audio": "frames", "past": "room"}
    total = torch.tensor([5], dtype=torch.int32)
    example = {
        "input_ids": torch.randint(10, 20, (1, 5)),
        "present": torch.ones(2),
        "total": total,
        "places": torch.tensor([3, 4]),
        **states,
    }
    dynamic = {"input_ids": {1: "tokens"}, "places": {0: "wanted"}, **{name: {2: grows[name.split("_")[0]]} for name in states}}
    outputs = ["scores", *(name.replace("past", "present") for name in past)]
    step = onnx_module(StepGraph(network), example, dynamic=dynamic, outputs=outputs, check=False)  # `verify` compares them all
    places = {"image": 0, "audio": 1}  # in `present`
    looks = {f"looks.{layer}.{m}": ("present", place) for layer in range(len(model.gated)) for m, place in places.items()}
    graphs = {
        "image": onnx_module(SeenGraph(network), {"pixel_values": torch.rand(1, 3, side, side)}, outputs=list(image), check=False),
        "audio": onnx_module(
            HeardGraph(network),
            {"input_features": torch.rand(1, 48, model.config.mel_bins)},
            dynamic={"input_features": {1: "mel_frames"}},
            outputs=list(audio),
            check=False,
        ),
        "step": on_condition(step, looks),
    }
    if rows:
        example = _two_answers(states)
        dynamic = {name: {0: "rows"} for name in example if name not in ("anywhere", "longest")}
        dynamic |= {name: {0: "rows", 2: grows[name.split("_")[0]]} for name in states} | {"covered": {0: "rows", 3: "frames"}}
        looks = {path: ("anywhere", place) for path, (_, place) in looks.items()}
        several = onnx_module(RowsGraph(network), example, dynamic=dynamic, outputs=outputs, check=False)
        graphs["rows"] = on_condition(several, looks)
    return graphs


def _two_answers(states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inputs of `RowsGraph`, for two answers of two lengths."""
    first = torch.tensor([5, 3], dtype=torch.int32)
    frames = next(state.shape[2] for name, state in states.items() if name.startswith("audio"))
    return {
        "input_ids": torch.randint(10, 20, (2, 1)),
        "present": torch.ones(2, 2),
        "anywhere": torch.ones(2),
        "totals": first,
        "longest": first[:1],
        "covered": torch.zeros(2, 1, 1, frames),
        **{name: torch.cat((state, state)) for name, state in states.items()},
    }


def named_states(what: str, states: Sequence[Tensor]) -> dict[str, Tensor]:
    """Keys and values [1, K, S, E], layer by layer, with their names: `image_key_0`, `image_value_0`, ..."""
    return {f"{what}_{('key', 'value')[place % 2]}_{place // 2}": state for place, state in enumerate(states)}
