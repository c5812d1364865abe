"""Rows decoded in groups of like length give what the whole rectangle gives, in fewer places."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from autoglm_lab.training import objective
from autoglm_lab.training.length_groups import GROUP_TOKENS, copying_groups, length_groups, spread_memories
from autoglm_lab.training.losses import copy_loss, step_losses


@given(st.lists(st.integers(1, 120), max_size=60))
def test_groups_hold_each_row_once_and_never_cost_more_than_one_rectangle(lengths):
    groups = length_groups(lengths)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    area = sum(len(group) * max(lengths[row] for row in group) for group in groups)
    assert len(groups) < 2 or area + GROUP_TOKENS <= len(lengths) * max(lengths)


@pytest.fixture(scope="module")
def world(few):
    """A few scenes, and an untrained small model whose gates differ."""
    data, model = few[0], copy.deepcopy(few[1])
    for name, parameter in model.named_parameters():
        if "gate_proj" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return data, model


def in_one_rectangle(model, batch, memories, *, all_looks=False):
    """The plain way: each row as long as the longest, and a sound for each, heard or not."""
    mine = spread_memories(memories, batch, torch.arange(len(batch.ids)))
    return model.decode(batch.inputs, mine, batch.attention_mask, output_attentions=True)


@pytest.mark.parametrize("all_look", [False, True])
def test_losses_and_gradients_are_those_of_one_rectangle(world, monkeypatch, all_look):
    data, model = world
    batch = data.batch(0, 3, 0, 8, 3)
    assert 0 < int((batch.audio_present > 0).sum()) < len(batch.ids), "typed and spoken rows"

    def measured():
        model.zero_grad()
        losses = step_losses(model, batch, data.concepts, teacher=model, thoughts=True, all_look=all_look, price_prompt=True)
        losses.total(align=0.3, point=0.3, gate=0.02).backward()
        return losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    mine, gradients = measured()
    monkeypatch.setattr(objective, "decode_in_groups", in_one_rectangle)
    plain, expected = measured()
    assert gradients.keys() == expected.keys()
    for name in ("answer", "gate", "point", "soft", "thoughts", "point_right", "answer_right"):
        assert float(getattr(mine, name)) == pytest.approx(float(getattr(plain, name)), rel=1e-4, abs=1e-6), name
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, expected[name], atol=1e-5 + 1e-4 * float(expected[name].abs().max())), name


def test_a_batch_without_any_sound_is_decoded_too(world):
    data, model = world
    batch = data.batch(0, 3, 0, 8, 3)
    batch.audio_present.zero_()
    losses = step_losses(model, batch, data.concepts)
    assert torch.isfinite(losses.answer) and float(losses.gate) > 0


def test_practice_in_copying_costs_what_it_did_in_one_rectangle(world):
    data, model = world
    practice = next(
        b.copying
        for b in (data.batch(0, step, 0, 2, 2, copies=12) for step in range(20))
        if len(copying_groups(b.copying.attention_mask)) > 1
    )
    states, _ = model.decode(practice.ids, model.remember(None, None, len(practice.ids)), practice.attention_mask)
    wanted = practice.copied[:, 1:]
    expected = F.cross_entropy(model.head(states[-1][:, :-1][wanted]), practice.ids[:, 1:][wanted])
    assert float(copy_loss(model, practice)) == pytest.approx(float(expected), rel=1e-5)
