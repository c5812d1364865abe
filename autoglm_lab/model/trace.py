"""One answer taken apart: each token with its alternatives, its gates, and where on the screen and in the sound it looked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.model.modeling import MODALITIES, PhoneGLMOutput
from autoglm_lab.runtime.engine import Answer

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Trace:
    """Gates and attention of each token of an answer. L gated layers, H heads, T tokens, P image cells, F audio frames."""

    answer: Answer
    tokens: list[str]
    alternatives: list[list[tuple[str, float]]]  # for each token the likeliest three, with probabilities
    gates: dict[str, Array]  # by modality [L, T]
    image_attention: Array  # [L, H, T, P]
    audio_attention: Array  # [L, H, T, F]

    @property
    def mean_gates(self) -> dict[str, float]:
        """The mean gate of each modality over layers and tokens."""
        return {modality: float(values.mean()) for modality, values in self.gates.items()}


@torch.inference_mode()
def trace(
    engine: TorchEngine,
    task: str = "",
    image: Any = None,
    audio: Any = None,
    *,
    text: str | None = None,
    **request: Any,
) -> Trace:
    """Answer a request and record every token. `text` traces this answer instead of the model's own. See `TorchEngine.answer`.

    An agent that understands commands first answers by the goal; `trace_command` records how it came by that.
    """
    answer = engine.answer(task, image, audio, **request).answer if text is None else Answer.read(text, 0, {})
    request.pop("max_new_tokens", None)
    goal = request.pop("goal", "") or answer.goal
    inputs = engine.processor(text=goal or task, images=image, audio=None if goal else audio, **request)
    return _record(engine, dict(inputs), answer)


@torch.inference_mode()
def trace_command(engine: TorchEngine, task: str = "", audio: Any = None) -> Trace:
    """Have a command understood, typed or (without text) spoken, and record every token of what the model makes of it.

    Only for an agent that understands commands first: ValueError for others.
    """
    if not engine.understands:
        raise ValueError("this agent reads a command at each step, with the screen; trace(engine, task, image, audio) records that")
    audio = None if task.strip() else audio
    answer = Answer.read(engine.read_command(task, audio)[0], 0, {})
    return _record(engine, dict(engine.processor(text=task, audio=audio, command=True)), answer)


def _record(engine: TorchEngine, inputs: dict[str, Any], answer: Answer) -> Trace:
    """Read a prompt and its answer in one pass."""
    model, tokenizer = engine.model, engine.processor.tokenizer
    prompt = inputs["input_ids"]
    ids = torch.tensor([tokenizer.encode(answer.text)])
    inputs["input_ids"] = torch.cat((prompt, ids), 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    out = model(**inputs, output_attentions=True)
    # a token is chosen one place before it stands
    span = slice(prompt.shape[1] - 1, prompt.shape[1] - 1 + ids.shape[1])
    best = out.logits[0, span].softmax(-1).topk(3)
    return Trace(
        answer=answer,
        tokens=[tokenizer.decode([i]) for i in ids[0].tolist()],
        alternatives=[
            [(tokenizer.decode([i]), p) for i, p in zip(places, shares, strict=True)]
            for places, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
        gates={m: np.stack([layer[m][0, span].numpy() for layer in out.gates]) for m in MODALITIES},
        image_attention=_attention(out, "image", span),
        audio_attention=_attention(out, "audio", span),
    )


def _attention(out: PhoneGLMOutput, modality: str, span: slice) -> Array:
    return np.stack([layer[modality][0, :, span].numpy() for layer in out.cross_attentions])
