"""Export any model to an ONNX file that was compared with it: Hugging Face models, packed models, plain modules."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoglm_lab import atomic
from autoglm_lab.compress.quantization import PackedLayer, PackedRecurrent
from autoglm_lab.export.lengths import Stated, read_axes, resized
from autoglm_lab.export.module import Dynamic, checked_module
from autoglm_lab.export.quantized_layers import exportable
from autoglm_lab.model.modes import evaluating

INTEGERS = 0.05  # distance from a packed model: kernels round their inputs to 8 bits, PyTorch does not
PAST = 3  # tokens of the cache that a trace begins with
WORDS = {0: "batch", 1: "tokens"}
ANSWER = {0: "batch", 1: "decoder_tokens"}
KNOWN_AXES: Mapping[str, Mapping[int, str]] = {
    "input_ids": WORDS,
    "attention_mask": WORDS,
    "token_type_ids": WORDS,
    "position_ids": WORDS,
    "inputs_embeds": WORDS,
    "decoder_input_ids": ANSWER,
    "decoder_attention_mask": ANSWER,
    "input_values": {0: "batch", 1: "samples"},
}


@dataclass(frozen=True)
class OnnxFile:
    """A file that was compared with its model."""

    content: bytes
    inputs: Stated  # for each input, the length or the name of each axis, as they stand in the file
    outputs: Stated
    differences: dict[str, float]  # for each case (`lengths.compare_lengths`), the distance from the model

    @property
    def difference(self) -> float:
        """The largest distance from the model."""
        return max(self.differences.values())


def export_onnx(
    model: nn.Module,
    example: Mapping[str, Any],
    path: Path | str | None = None,
    *,
    dynamic: Dynamic | None = None,
    cache: bool = False,
    outputs: Sequence[str] | None = None,
    tolerance: float | None = None,
) -> OnnxFile:
    """Export a model as it is, compare the file with it, and write it to `path`, whole or not at all.

    `example` holds arguments of `forward` by name, as a tokenizer or processor gives them. Models of transformers have a dynamic
    batch and dynamic tokens unless `dynamic` (see `onnx_module`) says otherwise. With `cache` a language model reads and returns
    keys and values: `past_key_0`, `past_value_0`, ... [B, K, past, E] and `present_key_0`, ...; `attention_mask` [B, past + tokens]
    covers both. Packed layers are multiplied as integers, each row of a batch rounded by itself, and the file is compared with the
    packed model. The model keeps its mode, training or not; the file is that of eval mode.

    ValueError as `onnx_module`, for a model without a cache, for a packed layer without a kernel, and for a `path` that cannot be
    written.
    """
    if path is not None:
        atomic.check_file(path)
    model = getattr(model, "_orig_mod", model)  # what torch.compile has wrapped
    if isinstance(model, PreTrainedModel):
        example, dynamic = _prepared(model, example, dynamic, cache)
    elif cache:
        raise ValueError(f"a {type(model).__name__} has no cache that is known; give past_key_values in the example")
    packed = any(isinstance(part, PackedLayer | PackedRecurrent) for part in model.modules())
    network = exportable(model, by_rows=True) if packed else model
    allowed = INTEGERS if packed and tolerance is None else tolerance
    content, differences = checked_module(
        network, example, dynamic=dynamic, outputs=outputs, tolerance=allowed, reference=model if packed else None
    )
    if path is not None:
        with atomic.file(path) as part:
            part.write_bytes(content)
    return OnnxFile(content, *read_axes(content), differences)


def _prepared(
    model: PreTrainedModel, example: Mapping[str, Any], dynamic: Dynamic | None, cache: bool
) -> tuple[dict[str, Any], Dynamic]:
    """Return the example with a cache or without one, at lengths that a trace takes as dynamic, and the names of its axes."""
    example = dict(example)
    if "use_cache" in inspect.signature(model.forward).parameters:
        example.setdefault("use_cache", cache)
    elif cache:
        raise ValueError(f"a {type(model).__name__} has no cache; export it with cache=False")
    if cache and model.config.is_encoder_decoder:
        raise ValueError(f"the cache of a {type(model).__name__} holds its encoder's states as well; export it with cache=False")
    if dynamic is not None and not cache:
        return example, dynamic
    tensors = {name: value for name, value in example.items() if isinstance(value, Tensor) and value.ndim}
    rows = next((len(value) for value in tensors.values()), 0)
    axes: dict[str, dict[int, str]] = {}
    for name, value in tensors.items():
        labels = {axis: label for axis, label in KNOWN_AXES.get(name, {0: "batch"}).items() if axis < value.ndim}
        axes[name] = {axis: label for axis, label in labels.items() if axis or value.shape[0] == rows}
    lengths = {label: max(2, tensors[name].shape[axis]) for name, places in axes.items() for axis, label in places.items()}
    example |= resized(tensors, axes, lengths)
    mask = example.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2:  # padding in front has queries that see nothing: every runtime makes up its own
        example["attention_mask"] = mask.sort(1, descending=True).values.index_fill(1, torch.tensor([0]), 1)
    if cache and "past_key_values" not in example:
        if "input_ids" not in example:
            raise ValueError("cache=True needs input_ids in the example")
        example["past_key_values"] = _past(model, example["input_ids"])
        if "attention_mask" in example:
            mask = example["attention_mask"]
            example["attention_mask"] = torch.cat((mask.new_ones(len(mask), PAST), mask), 1)
            axes["attention_mask"][1] = "past + tokens"
        axes["past_key_values"] = {0: "batch", 2: "past"}
    return example, {**axes, **(dynamic or {})}


@torch.no_grad()
def _past(model: PreTrainedModel, ids: Tensor) -> Any:
    """Return the cache of a model that has read a few tokens."""
    first = ids[:, torch.arange(PAST) % ids.shape[1]]
    with evaluating(model):
        past = model(input_ids=first, use_cache=True).past_key_values
    if past is None:
        raise ValueError(f"a {type(model).__name__} returns no cache; export it with cache=False")
    return past
