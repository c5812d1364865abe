"""Start a training run from a model that is there, although its vocabulary or some of its layers differ."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration


def transplant(
    old: PhoneGLMForConditionalGeneration,
    old_tokenizer: PreTrainedTokenizerFast,
    new: PhoneGLMForConditionalGeneration,
    new_tokenizer: PreTrainedTokenizerFast,
) -> list[str]:
    """Copy into `new` every weight of `old` that has the same name and shape; returns the names of those that stay as they were.

    Rows of the token table go by token: a token that `old` does not have becomes the mean of those that it is written with there.
    ValueError when the two have hidden states of different width.
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
    new.load_state_dict(mine)
    return fresh


def _table(
    theirs: torch.Tensor, old_tokenizer: PreTrainedTokenizerFast, mine: torch.Tensor, new_tokenizer: PreTrainedTokenizerFast
) -> torch.Tensor:
    """The token table [V, D] of the new vocabulary from that of the old one."""
    known, table = old_tokenizer.get_vocab(), mine.clone()
    for token, row in new_tokenizer.get_vocab().items():
        ids = [known[token]] if token in known else old_tokenizer.encode(new_tokenizer.decode([row]))
        if ids:
            table[row] = theirs[ids].mean(0)
    return table
