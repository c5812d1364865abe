"""Gated cross-attention: a gate for each token says how much of picture or sound goes into the decoder's hidden state."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.glm.modeling_glm import GlmRMSNorm


class Memory(NamedTuple):
    """Keys and values of one modality for one gated layer, computed once per answer. S places, H heads of width E."""

    key: Float[Tensor, "B H S E"]
    value: Float[Tensor, "B H S E"]
    mask: Bool[Tensor, "B S"]  # which places exist
    present: Float[Tensor, " B"]  # 1 where the request has this modality, 0 where it has not


class Fused(NamedTuple):
    """Outputs of a gated layer: the new hidden states, the gate of each token, and (with `weights`) the attention weights."""

    hidden: Float[Tensor, "B T D"]
    gate: Float[Tensor, "B T"]
    weights: Float[Tensor, "B H T S"] | None


class GatedCrossAttention(nn.Module):
    """out = g * attend(q, k, v) + (1 - g) * q, with g in (0, 1) computed from the query and what it attended to.

    It starts in the shared space: query and key projections are one orthogonal matrix, value and output are the identity and
    every gate is one half, so that a query finds what resembles it from the first training step. With `shared_start`
    False in the configuration the projections start at random, which trains far slower (chapter 02 shows it).
    """

    def __init__(self, width: int, heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.query_norm = GlmRMSNorm(width, eps)
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)
        self.gate_proj = nn.Linear(2 * width, 1)

    def start_in_shared_space(self) -> None:
        """Set the weights as the class describes."""
        with torch.no_grad():
            nn.init.orthogonal_(self.q_proj.weight)
            self.k_proj.weight.copy_(self.q_proj.weight)
            nn.init.eye_(self.v_proj.weight)
            nn.init.eye_(self.o_proj.weight)
            nn.init.zeros_(self.gate_proj.weight)
            nn.init.zeros_(self.gate_proj.bias)

    def remember(self, states: Float[Tensor, "B S D"], mask: Bool[Tensor, "B S"], present: Float[Tensor, " B"]) -> Memory:
        """Keys and values of a modality, to be used for every token of the answer."""
        return Memory(self._split(self.k_proj(states)), self._split(self.v_proj(states)), mask, present)

    def _split(self, x: Float[Tensor, "B S D"]) -> Float[Tensor, "B H S E"]:
        heads: Tensor = x.unflatten(-1, (self.heads, -1))
        return heads.transpose(1, 2)

    def forward(self, hidden: Float[Tensor, "B T D"], memory: Memory, *, weights: bool = False) -> Fused:
        """Mix the values of `memory` into `hidden`. `weights` also returns the attention weights, which costs time."""
        normed = self.query_norm(hidden)
        query = self._split(self.q_proj(normed))
        # a row without any place would be NaN; an absent modality looks everywhere and is then gated to exactly zero
        mask = memory.mask | (memory.present[:, None] == 0)
        if weights:
            scores = query @ memory.key.transpose(-1, -2) * query.shape[-1] ** -0.5
            looks = scores.masked_fill(~mask[:, None, None], float("-inf")).softmax(-1)
            context = looks @ memory.value
        else:
            looks = None
            context = F.scaled_dot_product_attention(query, memory.key, memory.value, attn_mask=mask[:, None, None])
        attended = self.o_proj(context.transpose(1, 2).flatten(2))
        gate = torch.sigmoid(self.gate_proj(torch.cat((normed, attended), -1)).float()).to(hidden.dtype)
        gate = gate * memory.present[:, None, None].to(hidden.dtype)
        return Fused(gate * attended + (1 - gate) * hidden, gate.squeeze(-1), looks)
