"""Compare every graph of an agent with the agent itself, at several lengths, before a bundle is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoglm_lab.compress.quantization import PackedLinear
from autoglm_lab.export.graphs import flat_memories
from autoglm_lab.export.parity import distance
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.modes import evaluating
from autoglm_lab.runtime.onnx_engine import Step
from autoglm_lab.runtime.rows import Rows
from autoglm_lab.runtime.sessions import quiet

FLOATS, INTEGERS = 1e-3, 0.25  # kernels that round their inputs to 8 bits give other sums than PyTorch
FRAMES = (4, 33, 160)  # mel frames of a sound
READ = ((1, 1), (5, 1), (3, 40), (64, 2))  # tokens of a first and of a second pass


def verify(
    model: PhoneGLMForConditionalGeneration, graphs: Mapping[str, bytes], pictures: Sequence[NDArray[np.float32]] = ()
) -> dict[str, float]:
    """The largest distance of each graph's outputs from the model's (`parity.distance`).

    Pictures, sounds of several lengths, and answers with and without either, in two passes of several lengths. `pictures` [1, 3,
    224, 224] are those that ranges were taken from, if the image graph computes with integers; otherwise noise will do.
    ValueError names the graph and the case when they are further apart than they may be, or contain NaN.
    """
    packed = any(isinstance(layer, PackedLinear) for layer in model.modules())
    worst: dict[str, float] = {}
    with evaluating(model):
        for graph, case, mine, right in _cases(model, graphs, pictures[:2]):
            allowed = INTEGERS if packed or (graph == "image" and pictures) else FLOATS
            apart = distance(mine, right)
            if not apart <= allowed:
                raise ValueError(f"the {graph} graph is {apart:.1%} away from the model ({case}); allowed is {allowed:.1%}")
            worst[graph] = max(worst.get(graph, 0.0), apart)
    return worst


Case = tuple[str, str, Any, Any]


@torch.no_grad()
def _cases(
    model: PhoneGLMForConditionalGeneration, graphs: Mapping[str, bytes], pictures: Sequence[NDArray[np.float32]]
) -> Iterator[Case]:
    rng = torch.Generator().manual_seed(0)
    session = {
        name: onnxruntime.InferenceSession(graph, quiet(), providers=["CPUExecutionProvider"]) for name, graph in graphs.items()
    }
    side = model.config.image_size
    for pixels in map(torch.from_numpy, pictures or [torch.rand(1, 3, side, side, generator=rng).numpy()]):
        cells = model.encode_image(pixels)
        yield from _outputs("image", session, pixels, flat_memories(model, "image", cells), "a picture")
    for frames in FRAMES:
        mel = torch.randn(1, frames, model.config.mel_bins, generator=rng)
        audio, _ = model.encode_audio(mel)
        yield from _outputs("audio", session, mel, flat_memories(model, "audio", audio), f"{frames} frames of sound")
    for has_image in (False, True):
        for has_audio in (False, True):
            yield from _steps(model, session["step"], cells if has_image else None, audio if has_audio else None, rng)
    if "rows" in session:
        yield from _rows(model, session["step"], session["rows"], cells, audio, rng)


def _outputs(graph: str, sessions: Mapping[str, Any], inputs: Tensor, right: tuple[Tensor, ...], case: str) -> Iterator[Case]:
    outputs = sessions[graph].run(None, {sessions[graph].get_inputs()[0].name: inputs.numpy()})
    for mine, value in zip(outputs, right, strict=True):
        yield graph, case, mine, value.numpy()


def _steps(
    model: PhoneGLMForConditionalGeneration, session: Any, cells: Tensor | None, audio: Tensor | None, rng: torch.Generator
) -> Iterator[Case]:
    memories, states = _remembered(model, cells, audio)
    for counts in READ:
        step, past = Step(session, states, room=sum(counts)), None
        for place, count in enumerate(counts):
            ids = torch.randint(8, model.config.vocab_size, (1, count), generator=rng)
            out = model(ids, memories=memories, past_key_values=past, use_cache=True, logits_to_keep=1)
            past = out.past_key_values
            case = (
                f"{count} tokens after {sum(counts[:place])}, {'with' if cells is not None else 'without'} a picture, "
                f"{'with' if audio is not None else 'without'} sound"
            )
            yield "step", case, step.scores(ids[0].tolist()), out.logits[0, -1].float().numpy()


def _rows(
    model: PhoneGLMForConditionalGeneration, step: Any, session: Any, cells: Tensor, audio: Tensor, rng: torch.Generator
) -> Iterator[Case]:
    """Answers of all kinds and of several lengths in one batch; in the middle one of them ends."""
    rows, right = Rows(session, most=4, room=80), []
    for count, (has_image, frames) in zip((3, 17, 9, 64), ((True, 0), (True, 20), (False, 40), (False, 0)), strict=True):
        sound = audio[:, :frames] if frames else None
        memories, states = _remembered(model, cells if has_image else None, sound)
        ids = torch.randint(8, model.config.vocab_size, (1, count), generator=rng)
        one = Step(step, states, room=count)
        one.scores(ids[0].tolist())
        rows.join(states, one.cache, one.total)
        right.append((memories, model(ids, memories=memories, use_cache=True, logits_to_keep=1).past_key_values))
    for leaves in (None, None, 1, None):
        if leaves is not None:
            right[leaves] = right[rows.leave(leaves)]
            right.pop()
        ids = torch.randint(8, model.config.vocab_size, (len(right), 1), generator=rng)
        scores = rows.step(ids[:, 0].tolist())
        for row, (memories, past) in enumerate(right):
            out = model(ids[row : row + 1], memories=memories, past_key_values=past, use_cache=True, logits_to_keep=1)
            yield "rows", f"row {row} of {len(right)}", scores[row], out.logits[0, -1].float().numpy()


def _remembered(
    model: PhoneGLMForConditionalGeneration, cells: Tensor | None, audio: Tensor | None
) -> tuple[Any, dict[str, NDArray[np.float32]]]:
    """Memories of a picture and a sound, as the model takes them and as its graphs do."""
    sound = None if audio is None else (audio, torch.ones(audio.shape[:2], dtype=torch.bool))
    memories = model.remember(cells, sound, 1)
    present = np.array([cells is not None, audio is not None], np.float32)
    states = {
        f"{m}_{kind}_{place}": getattr(layer[m], kind).numpy()
        for place, layer in enumerate(memories)
        for m in ("image", "audio")
        for kind in ("key", "value")
    }
    return memories, {"present": present, **states}
