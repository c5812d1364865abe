"""Multi-head attention whose projections are layers of their own, where `nn.MultiheadAttention` has bare parameters.

torch reads those parameters past every layer (its fast path in evaluation even those of the feed-forward layers), so that
nothing that was put in a layer's place would take effect. Here each projection is an `nn.Linear`, and there is no fast path.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Computes what an `nn.MultiheadAttention` computes, and is called in the same way."""

    in_proj_bias = None  # torch's fast path reads this attribute and the next, and is off with these values
    _qkv_same_embed_dim = False

    def __init__(self, fused: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = fused.embed_dim, fused.num_heads, fused.head_dim
        self.dropout, self.batch_first = fused.dropout, fused.batch_first
        values = dict(fused.named_parameters())  # torch declares them all, and leaves out some
        weight, bias = values.get("in_proj_weight"), values.get("in_proj_bias")
        weights = [values[f"{x}_proj_weight"] for x in "qkv"] if weight is None else list(weight.chunk(3))
        biases = [None] * 3 if bias is None else list(bias.chunk(3))
        self.q_proj, self.k_proj, self.v_proj = (linear(weight, bias) for weight, bias in zip(weights, biases, strict=True))
        self.out_proj = linear(fused.out_proj.weight, fused.out_proj.bias)
        self.train(fused.training)

    def forward(
        self,
        query: Float[Tensor, "*B T D"],
        key: Float[Tensor, "*B S D"],
        value: Float[Tensor, "*B S D"],
        key_padding_mask: Shaped[Tensor, "*B S"] | None = None,
        need_weights: bool = True,
        attn_mask: Shaped[Tensor, "*BH T S"] | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Float[Tensor, "*B T D"], Float[Tensor, "*BH T S"] | None]:
        """Attended values and, with `need_weights`, the weights. Shapes are for `batch_first`; otherwise B and T change places."""
        batched, inputs = query.ndim == 3, (query, key, value)
        if not batched:
            inputs = query[None], key[None], value[None]
            key_padding_mask = None if key_padding_mask is None else key_padding_mask[None]
        elif not self.batch_first:
            inputs = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        layers = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (layer(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for layer, x in zip(layers, inputs, strict=True))
        mask, weights = _joined(attn_mask, key_padding_mask, q), None
        chance = self.dropout if self.training else 0.0
        if need_weights:
            products = q @ k.transpose(-1, -2) * self.head_dim**-0.5
            weights = F.dropout((products if mask is None else products + mask).softmax(-1), chance)
            heads = weights @ v
        else:
            heads = F.scaled_dot_product_attention(q, k, v, mask, chance)
        output: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights


def separable(module: nn.Module) -> bool:
    """True for attention that `Attention` can stand in for: no extra keys that are parameters or zeros."""
    return type(module) is nn.MultiheadAttention and module.bias_k is None and not module.add_zero_attn


def linear(weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None) -> nn.Linear:
    """A linear layer with copies of these values."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), bias.requires_grad)
    return layer


def _joined(attn_mask: Tensor | None, padding: Tensor | None, query: Tensor) -> Tensor | None:
    """Both masks as one that is added to the products of queries and keys."""
    masks = []
    if attn_mask is not None:
        masks.append(attn_mask if attn_mask.ndim == 2 else attn_mask.unflatten(0, (len(query), -1)))
    if padding is not None:
        masks.append(padding[:, None, None, :])
    added = [torch.zeros_like(m, dtype=query.dtype).masked_fill(m, -torch.inf) if m.dtype == torch.bool else m for m in masks]
    return sum(added[1:], start=added[0]) if added else None
