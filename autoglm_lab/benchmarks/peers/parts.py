"""Files that every other runtime starts from: the portable graphs, and requests with the right answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoglm_lab import atomic
from autoglm_lab.benchmarks.peers import llama
from autoglm_lab.benchmarks.peers.compare import CASES, SHAPES, TABLES
from autoglm_lab.export.portable import MEL_FRAMES, ROOM, PortableStep, portable_parts
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.model.modeling import Memories

CONVERTER_INPUT = "converter input"  # kind of a folder that converters start from


def write_parts(engine: TorchEngine, out: Path, requests: Sequence[Any]) -> None:
    """Write a folder with the portable parts as .onnx and .pt2 files, and the agent's answers to some requests.

    Requests whose sound or answer is too long for the graphs are left out; ValueError when none is left, or for an agent that
    holds packed integers. A kill at any moment leaves the old folder or the new one.
    """
    parts = portable_parts(engine.model)
    cases: dict[str, Any] = {}
    for request in requests:
        case = _case(engine, request)
        if case is not None:
            cases |= {f"{name}_{len(cases) // 5}": values for name, values in case.items()}
    if not cases:
        raise ValueError(f"no request fits into {ROOM} tokens and {MEL_FRAMES / 100:g} seconds of sound")
    with atomic.folder(out, CONVERTER_INPUT) as part:
        for name, graph in parts.items():
            (part / f"{name}.onnx").write_bytes(graph.onnx())
            torch.export.save(graph.program(), part / f"{name}.pt2")
        shapes = {
            name: {"inputs": {i: list(v.shape) for i, v in graph.example.items()}, "outputs": graph.outputs}
            for name, graph in parts.items()
        }
        end = engine.processor.tokenizer.eos_token_id
        (part / SHAPES).write_text(json.dumps({"parts": shapes, "end": end, "room": ROOM}, indent=1) + "\n", "utf-8")
        np.savez(part / CASES, **cases)
        step = parts["step"].module
        assert isinstance(step, PortableStep)
        embedding = step.body.model.embed(torch.arange(engine.model.config.vocab_size)).detach()
        np.savez(part / TABLES, embedding=embedding, cos=step.cos, sin=step.sin)


@torch.inference_mode()
def _case(engine: TorchEngine, request: Any) -> dict[str, np.ndarray] | None:
    """A request as the encoders and the decoder get it, the tokens of the answer, and the scores after each token of both."""
    spoken = request.audio is not None
    inputs = dict(
        engine.processor(
            text="" if spoken else request.task.text,
            images=request.image,
            audio=request.audio,
            current_app=request.app,
            last=request.memory(engine.memory),
        )
    )
    mel = inputs.get("input_features")
    if mel is not None and mel.shape[1] > MEL_FRAMES:
        return None
    image, audio = engine.model.encode_image(inputs["pixel_values"]), None if mel is None else engine.model.encode_audio(mel)
    prompt = inputs["input_ids"].shape[1]
    answer = _greedy_answer(engine, inputs["input_ids"], engine.model.remember(image, audio, 1))
    if answer is None:
        return None
    ids, scores = answer
    return {
        "pixels": inputs["pixel_values"].numpy(),
        "mel": np.zeros((0, 80), np.float32) if mel is None else mel[0].numpy(),
        "prompt": ids[0, :prompt].numpy(),
        "said": ids[0, prompt:].numpy(),
        "scores": scores.numpy(),
    }


def _greedy_answer(engine: TorchEngine, ids: Tensor, memories: Memories) -> tuple[Tensor, Tensor] | None:
    """Prompt and answer [1, T] and the scores [T, V] after each token; None for an answer that is too long."""
    while ids.shape[1] <= ROOM:
        scores = engine.model(ids, memories=memories).logits[0]
        token = int(scores[-1].argmax())
        if token == engine.processor.tokenizer.eos_token_id:
            return ids, scores
        ids = torch.cat((ids, torch.tensor([[token]])), 1)
    return None


def write_plain(engine: TorchEngine, out: Path, texts: Sequence[str]) -> None:
    """Write a folder with the decoder as a plain GLM, and the agent's answers to some texts without picture and sound.

    Gates are closed then, so that this is the agent itself. ValueError for a decoder with layers of other kinds than plain ones,
    and when no answer fits.
    """
    model = engine.model
    state = {name: values.float().numpy() for name, values in model.state_dict().items() if name in llama.names(len(model.layers))}
    missing = sorted(set(llama.names(len(model.layers))) - set(state))
    if missing:
        raise ValueError(f"the decoder has no {missing[0]}; only plain layers of floats can be written")
    state["embed_tokens.weight"] = state["embed_tokens.weight"] * np.float32(model.config.hidden_size**0.5)
    cases: dict[str, Any] = {}
    for text in texts:
        with torch.inference_mode():
            ids = engine.processor(text=text)["input_ids"]
            answer = _greedy_answer(engine, ids, model.remember(None, None, 1))
        if answer is not None:
            tokens, prompt, number = answer[0][0].numpy(), ids.shape[1], len(cases) // 3
            case = {"prompt": tokens[:prompt], "said": tokens[prompt:], "scores": answer[1][-1].numpy()}
            cases |= {f"{name}_{number}": values for name, values in case.items()}
    if not cases:
        raise ValueError(f"no request fits into {ROOM} tokens")
    with atomic.folder(out, CONVERTER_INPUT) as part:
        (part / llama.CONFIG).write_text(model.config.to_json_string(use_diff=False), "utf-8")
        np.savez(part / llama.WEIGHTS, **state)
        np.savez(part / llama.CASES, **cases)
