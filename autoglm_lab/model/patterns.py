"""Sparse causal attention: a window, and strides. Scores outside the pattern are not computed.

A mask over the full matrix would hide the rest and still pay for it. Here no tensor of T x T numbers is ever made.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

Pattern = Literal["dense", "window", "strided"]


def attend(
    query: Float[Tensor, "*B T D"],
    key: Float[Tensor, "*B T D"],
    value: Float[Tensor, "*B T E"],
    pattern: Pattern = "dense",
    reach: int | None = None,
) -> Float[Tensor, "*B T E"]:
    """Causal attention of every token to those that a pattern lets it see.

    "window" sees the last `reach` tokens, itself included, and costs T * reach. "strided" sees these and every `reach`-th token
    before them (Child et al. 2019); with the default reach, the square root of T, it costs T * sqrt(T). ValueError for an
    unknown pattern, a window without a reach, or a reach below 1.
    """
    _check(query.shape[-2], pattern, reach)
    if pattern == "dense":
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    tokens = query.shape[-2]
    reach = math.isqrt(tokens - 1) + 1 if reach is None else reach
    ends = (0, 0, 0, -tokens % reach)  # whole blocks; what is added lies in the future of every token
    query = query * query.shape[-1] ** -0.5
    query, key, value = (F.pad(x, ends).unflatten(-2, (-1, reach)) for x in (query, key, value))  # [*B, blocks, reach, D]
    near_key, near_value = (torch.cat((_block_before(x), x), -2) for x in (key, value))  # [*B, blocks, 2 reach, D]
    scores = (query @ near_key.transpose(-1, -2)).masked_fill_(~_near(query.shape[-3], reach, query.device), -torch.inf)
    if pattern == "strided":
        # tokens a stride apart stand below each other: a column for each place in a block
        across, down = query.transpose(-2, -3), key.transpose(-2, -3)  # [*B, reach, blocks, D]
        before = torch.ones(across.shape[-2], across.shape[-2], dtype=torch.bool, device=query.device).tril(-1)
        far = (across @ down.transpose(-1, -2)).masked_fill_(~before, -torch.inf).transpose(-2, -3)  # [*B, blocks, reach, blocks]
        scores = torch.cat((scores, far), -1)
    weights = scores.softmax(-1)
    context = weights[..., : 2 * reach] @ near_value
    if pattern == "strided":
        context = context + (weights[..., 2 * reach :].transpose(-2, -3) @ value.transpose(-2, -3)).transpose(-2, -3)
    answer: Tensor = context.flatten(-3, -2)[..., :tokens, :]
    return answer


def allowed(tokens: int, pattern: Pattern = "dense", reach: int | None = None) -> Bool[Tensor, "T T"]:
    """Mask of a pattern: True where a token (row) sees another (column), to show and to compare with. ValueError as in `attend`.

    >>> allowed(5, "strided", 2).int().tolist()[4]
    [1, 0, 1, 1, 1]
    """
    _check(tokens, pattern, reach)
    back = torch.arange(tokens)[:, None] - torch.arange(tokens)
    if pattern == "dense":
        return back >= 0
    reach = math.isqrt(tokens - 1) + 1 if reach is None else reach
    window = (back >= 0) & (back < reach)
    return window if pattern == "window" else window | ((back >= 0) & (back % reach == 0))


def _check(tokens: int, pattern: str, reach: int | None) -> None:
    if pattern not in get_args(Pattern):
        raise ValueError(f"pattern is {pattern!r}; there are {', '.join(get_args(Pattern))}")
    if tokens < 1:
        raise ValueError("there are no tokens to attend to")
    if pattern == "window" and reach is None:
        raise ValueError("a window needs a reach: the number of tokens it sees")
    if reach is not None and reach < 1:
        raise ValueError(f"reach is {reach}; a token sees at least itself")


def _block_before(blocks: Float[Tensor, "*B N R D"]) -> Float[Tensor, "*B N R D"]:
    return F.pad(blocks, (0, 0, 0, 0, 1, -1))


def _near(blocks: int, reach: int, device: torch.device) -> Bool[Tensor, "N R 2R"]:
    """Mask of its own block and the one before: a token sees the last `reach` up to itself; before the first block is nothing."""
    back = torch.arange(reach, device=device)[:, None] + reach - torch.arange(2 * reach, device=device)
    mask = ((back >= 0) & (back < reach)).repeat(blocks, 1, 1)
    mask[0, :, :reach] = False
    return mask
