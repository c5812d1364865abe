"""Copied tokens know where they come from, and the heads that learn to look there are those of the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.tokenizer import people_pieces, train_tokenizer
from autoglm_lab.runtime.prompt import write_answer, write_command
from autoglm_lab.training.dataset import Batch, copied_places
from autoglm_lab.training.losses import quote_loss
from autoglm_lab.training.wish_set import draw_wish

TOKENIZER = train_tokenizer(people_pieces(), 4000, characters=True)
WISHES = [draw_wish(seed) for seed in range(400)]


def row(wish):
    said, meant = write_command(wish.text), write_answer("", wish.answer)
    prompt, answer = (TOKENIZER(text, return_offsets_mapping=True) for text in (said, meant))
    return prompt["input_ids"], answer["input_ids"], copied_places(wish, said, meant, prompt, answer)


def batch_of(rows) -> Batch:
    """The part of a batch that the loss reads."""
    longest = max(len(prompt) + len(answer) for prompt, answer, _ in rows)
    source = torch.full((len(rows), longest), -1)
    for number, (prompt, _, copied) in enumerate(rows):
        for to, there in copied.items():
            source[number, len(prompt) + to] = there
    blank = dict.fromkeys(Batch.__dataclass_fields__)
    return replace(Batch(**blank), source=source)  # type: ignore[arg-type]


def test_a_copied_token_is_the_one_that_it_comes_from():
    total = 0
    for wish in WISHES:
        prompt, answer, copied = row(wish)
        total += len(copied)
        assert bool(copied) <= bool(wish.free)
        for number, (to, there) in enumerate(copied.items()):
            assert number == 0 or answer[to] == prompt[there], "but for the first, before which a blank may stand"
    assert total > 300
    free = [wish for wish in WISHES if wish.free]
    assert np.mean([bool(row(wish)[2]) for wish in free]) > 0.6


def test_the_loss_is_that_of_the_models_own_attention():
    torch.manual_seed(0)
    config = PhoneGLMConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        gated_layers=(0,),
        image_channels=(4, 6, 8, 12),
        audio_channels=16,
        audio_blocks=1,
        vocab_size=len(TOKENIZER),
    )
    model = PhoneGLMForConditionalGeneration(config).eval()
    model.set_attn_implementation("eager")
    rows = [made for made in map(row, WISHES) if made[2]][:6]
    batch = batch_of(rows)
    ids = torch.zeros(batch.source.shape, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, (prompt, answer, _) in enumerate(rows):
        ids[number, : len(prompt) + len(answer)], mask[number, : len(prompt) + len(answer)] = torch.tensor(prompt + answer), 1
    seen: dict[int, torch.Tensor] = {}
    for number in (1, 2):
        model.layers[number].self_attn.register_forward_hook(lambda _, __, output, number=number: seen.update({number: output[1]}))
    states, _ = model.decode(ids, [{} for _ in model.gated_layers()], mask)
    source = batch.source
    looks: dict[int, list[float]] = {1: [], 2: []}  # in the second layer at what goes on, in the last at all
    for r, t in (source >= 0).nonzero().tolist():
        for number in (1, 2) if source[r, t] == source[r, t - 1] + 1 else (2,):
            looks[number] += [float(seen[number][r, head, t - 1, source[r, t]].log()) for head in (2, 3)]
    loss = quote_loss(model, [state.detach() for state in states], batch)
    assert float(loss.detach()) == pytest.approx(-np.mean(looks[1]) - np.mean(looks[2]), rel=1e-4)
    loss.backward()
    assert model.layers[-1].self_attn.q_proj.weight.grad is not None and model.layers[-1].mlp.down_proj.weight.grad is None
    assert model.layers[0].self_attn.q_proj.weight.grad is None, "states were given as they are"


def test_a_batch_without_anything_to_copy_costs_nothing():
    batch = batch_of([([1, 2], [3, 4], {})])
    config = PhoneGLMConfig(hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    states = [torch.ones(1, 4, 32, requires_grad=True)] * 5
    assert float(quote_loss(PhoneGLMForConditionalGeneration(config), states, batch).detach()) == 0.0
