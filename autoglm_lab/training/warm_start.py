"""Start a training run from a model that is there, although its vocabulary or some of its layers differ."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast
from transformers.models.glm.modeling_glm import GlmDecoderLayer

from autoglm_lab import atomic
from autoglm_lab.model.encoders import ImageEncoder
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration


def transplant(
    old: PhoneGLMForConditionalGeneration,
    old_tokenizer: PreTrainedTokenizerFast,
    new: PhoneGLMForConditionalGeneration,
    new_tokenizer: PreTrainedTokenizerFast,
) -> list[str]:
    """Copy into `new` every weight of `old` that has the same name and shape; returns the names of those that stay as they were.

    Rows of the token table go by token: a token that `old` does not have becomes the mean of those that it is written with there.
    Blocks of the speech encoder that `old` does not have begin as ones that change nothing. ValueError when
    the two have hidden states of different width.
    """
    if old.config.hidden_size != new.config.hidden_size:
        raise ValueError(
            f"the model to start from is {old.config.hidden_size} wide, the new one {new.config.hidden_size}; they must be alike"
        )
    theirs: dict[str, Any] = old.state_dict()
    mine: dict[str, Any] = new.state_dict()
    table = _table(theirs["embed_tokens.weight"], old_tokenizer, mine["embed_tokens.weight"], new_tokenizer)
    fresh = []
    for name, value in mine.items():
        if name in ("embed_tokens.weight", "lm_head.weight"):
            mine[name] = table
        elif name in theirs and theirs[name].shape == value.shape:
            mine[name] = theirs[name]
        else:
            fresh.append(name)
            if re.fullmatch(r"audio_encoder\.blocks\.\d+\.down\.(weight|bias)", name) and name not in theirs:
                mine[name] = torch.zeros_like(value)
    new.load_state_dict(mine)
    return fresh


def _table(
    theirs: torch.Tensor, old_tokenizer: PreTrainedTokenizerFast, mine: torch.Tensor, new_tokenizer: PreTrainedTokenizerFast
) -> torch.Tensor:
    """The token table [V, D] of the new vocabulary from that of the old one."""
    vocabulary, table = old_tokenizer.get_vocab(), mine.clone()
    for token, row in new_tokenizer.get_vocab().items():
        ids = [vocabulary[token]] if token in vocabulary else old_tokenizer.encode(new_tokenizer.decode([row]))
        if ids:
            table[row] = theirs[ids].mean(0)
    return table


COPY_RIDGE, COPY_GAIN = 30.0, 15.0


@torch.no_grad()
def hand_on_tokens(model: PhoneGLMForConditionalGeneration, rows: Sequence[Sequence[int]]) -> float:
    """Set two heads of the last layer to hand on the token that they look at; returns the share of tokens that they tell right.

    What a token is can still be read, linearly, from what the last layer reads at its place, but the value and output maps of a
    trained layer have no use for it and lose it. Ridge regression from those states to token embeddings, cut to the rank of a head,
    becomes the value map of the last group and the output map of its first two heads: those that `objective.quote_loss` teaches
    where to look. `rows` are token ids of commands. ValueError without any.
    """
    if not any(rows):
        raise ValueError("no tokens are given; give the token ids of some hundred commands")
    layer, config = model.layers[-1], model.config
    assert isinstance(layer, GlmDecoderLayer)
    attention = layer.self_attn
    width, heads = attention.head_dim, config.num_attention_heads
    groups = config.num_key_value_heads or heads
    x, ids = _states_of(model, layer, rows)
    table = F.normalize(model.embed_tokens.weight, dim=-1)
    fitted = torch.linalg.solve(x.T @ x + COPY_RIDGE * torch.eye(x.shape[1]), x.T @ table[ids])  # [D, D]
    basis = torch.linalg.svd(x @ fitted, full_matrices=False).Vh[:width]  # [head, D]
    attention.v_proj.weight[-width:] = basis @ fitted.T
    shared = heads // groups
    first = (heads - shared) * width  # the last group's first column of the output map
    attention.o_proj.weight[:, first:] = 0
    taught = min(2, shared)
    attention.o_proj.weight[:, first : first + taught * width] = COPY_GAIN * basis.T.repeat(1, taught)
    return float(((x @ fitted @ basis.T @ basis) @ table.T).argmax(1).eq(ids).float().mean())


def _states_of(
    model: PhoneGLMForConditionalGeneration, layer: GlmDecoderLayer, rows: Sequence[Sequence[int]]
) -> tuple[Float[Tensor, "N D"], Int[Tensor, " N"]]:
    """Read rows alone, with nothing to see or hear, and return the last layer's input at each token, with the token ids."""
    states = []
    for row in rows:
        hidden, _ = model.decode(torch.tensor([row]), [{} for _ in model.gated_layers()])
        states.append(layer.input_layernorm(hidden[-2])[0])
    return torch.cat(states), torch.tensor([token for row in rows for token in row])


EYE_STEPS, EYE_PICTURES, EYE_RATE, EYE_WARMUP = 1400, 16, 3e-3, 100


def learn_to_see(
    old: ImageEncoder,
    new: ImageEncoder,
    pictures: UInt8[np.ndarray, "N 224 224 3"],
    path: Path,
    seed: int = 0,
    steps: int = EYE_STEPS,
) -> None:
    """Let a new image encoder show in each cell what an old one shows there (cosine distance), before the two are exchanged.

    The decoder then finds on its cells what it found before. The weights are kept in `path`; where they are, nothing is learned.
    """
    if not path.exists():
        _imitate(old, new, pictures, seed, steps)
        with atomic.file(path) as part:
            torch.save(new.state_dict(), part)
    new.load_state_dict(torch.load(path, weights_only=True))


def _imitate(old: ImageEncoder, new: ImageEncoder, pictures: UInt8[np.ndarray, "N 224 224 3"], seed: int, steps: int) -> None:
    optimizer = torch.optim.AdamW(new.parameters(), lr=EYE_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rng = np.random.default_rng([seed, 21])
    rounds = -(-steps * EYE_PICTURES // len(pictures))
    order = np.concatenate([rng.permutation(len(pictures)) for _ in range(rounds)])
    old.train(False)
    new.train()
    bar = tqdm(range(steps), desc="learning to see", unit="step")
    for step in bar:
        falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = EYE_RATE * min((step + 1) / EYE_WARMUP, falling)
        numbers = np.sort(order[step * EYE_PICTURES : (step + 1) * EYE_PICTURES])
        pixels = torch.from_numpy(pictures[numbers]).permute(0, 3, 1, 2).float() / 255
        loss = _apart(new(pixels), _shown(old, pixels))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(new.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix(apart=f"{float(loss.detach()):.3f}", refresh=False)


@torch.no_grad()
def _shown(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
    cells: Tensor = encoder(pixels)
    return cells


def _apart(mine: Tensor, theirs: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(mine, theirs, dim=-1).mean()
