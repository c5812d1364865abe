"""Distillation: the losses against the library's, students that start as their teacher, layers that share weights."""

import pytest
import torch
import transformers as T
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from autoglm_lab.compress.distillation import (
    FeatureLoss,
    Temperature,
    distillation_loss,
    drop_layers,
    kl_divergence,
    share_layers,
    soft_cross_entropy,
)


def llama(layers=4):
    torch.manual_seed(0)
    return T.LlamaForCausalLM(
        T.LlamaConfig(
            vocab_size=32,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    ).eval()


@given(st.floats(0.5, 10), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_soft_losses_agree_with_the_library(temperature, seed):
    torch.manual_seed(seed)
    student, teacher = torch.randn(6, 11), torch.randn(6, 11)
    target = (teacher / temperature).softmax(-1)
    library = F.cross_entropy(student / temperature, target) * temperature**2
    torch.testing.assert_close(soft_cross_entropy(student, teacher, temperature), library)
    entropy = torch.distributions.Categorical(probs=target).entropy().mean() * temperature**2
    torch.testing.assert_close(kl_divergence(student, teacher, temperature), library - entropy, rtol=1e-4, atol=1e-5)


def test_both_soft_losses_pull_the_same_way():
    torch.manual_seed(1)
    teacher = torch.randn(4, 7)
    first = torch.randn(4, 7, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    soft_cross_entropy(first, teacher, 4.0).backward()
    kl_divergence(second, teacher, 4.0).backward()
    torch.testing.assert_close(first.grad, second.grad)
    assert kl_divergence(teacher, teacher) == pytest.approx(0, abs=1e-5)


def test_a_higher_temperature_keeps_the_size_of_the_gradient():
    torch.manual_seed(2)
    teacher = torch.randn(32, 50)
    sizes = []
    for temperature in (1.0, 4.0, 16.0):
        student = torch.zeros(32, 50, requires_grad=True)
        kl_divergence(student, teacher, temperature).backward()
        sizes.append(float(student.grad.norm()))
    assert max(sizes) < 2 * min(sizes)


def test_the_mixture_ignores_what_has_no_label():
    torch.manual_seed(3)
    student, teacher, labels = torch.randn(2, 3, 5), torch.randn(2, 3, 5), torch.tensor([[1, -100, 4], [-100, -100, 0]])
    there = labels != -100
    hard = F.cross_entropy(student.flatten(0, 1), labels.flatten())
    for alpha in (0.0, 0.7, 1.0):
        wanted = alpha * kl_divergence(student[there], teacher[there], 3.0) + (1 - alpha) * hard
        torch.testing.assert_close(distillation_loss(student, teacher, labels, alpha=alpha, temperature=3.0), wanted)


def test_the_teacher_gets_no_gradient():
    teacher, student = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    (distillation_loss(student, teacher, torch.tensor([0, 1, 2])) + FeatureLoss([4], [4])([student], [teacher])).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_features_of_another_width_are_projected():
    torch.manual_seed(4)
    loss = FeatureLoss([3, 5], [5, 5])
    teacher = [torch.randn(8, 5), torch.randn(8, 5)]
    student = [torch.randn(8, 3), teacher[1].clone()]
    first = F.mse_loss(student[0] @ loss.projections[0].weight.T, teacher[0]) / teacher[0].square().mean()
    torch.testing.assert_close(loss(student, teacher), first / 2)
    assert len(list(loss.parameters())) == 1


def test_a_schedule_goes_from_start_to_end():
    assert [Temperature(5, 1).at(x) for x in (-1, 0, 0.5, 1, 2)] == [5, 5, 3, 1, 1]


def test_a_student_keeps_the_chosen_layers():
    teacher = llama()
    student = drop_layers(teacher, [0, 3], stack="model.layers")
    assert student.config.num_hidden_layers == 2
    assert teacher.config.num_hidden_layers == len(teacher.model.layers) == 4
    assert torch.equal(student.model.layers[1].mlp.up_proj.weight, teacher.model.layers[3].mlp.up_proj.weight)
    ids = torch.randint(1, 32, (1, 6))
    whole = student(input_ids=ids, use_cache=False).logits
    first = student(input_ids=ids[:, :4], use_cache=True)
    rest = student(input_ids=ids[:, 4:], past_key_values=first.past_key_values).logits
    torch.testing.assert_close(rest, whole[:, 4:], rtol=1e-4, atol=1e-5)
    assert len(student.generate(ids, max_new_tokens=3, do_sample=False)[0]) <= 9


def test_distilling_brings_the_student_nearer_to_the_teacher():
    teacher = llama()
    with torch.no_grad():
        teacher.lm_head.weight.mul_(30)  # a teacher that is sure of what it says
    student = drop_layers(teacher, [0, 2], stack="model.layers").train()
    ids = torch.randint(1, 32, (16, 12))
    with torch.no_grad():
        wanted = teacher(input_ids=ids).logits
        before = float(kl_divergence(student(input_ids=ids).logits.flatten(0, 1), wanted.flatten(0, 1)))
    optimizer = torch.optim.AdamW(student.parameters(), 3e-3)
    for _ in range(40):
        loss = distillation_loss(student(input_ids=ids).logits, wanted, wanted.argmax(-1), alpha=0.9)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = float(kl_divergence(student(input_ids=ids).logits.flatten(0, 1), wanted.flatten(0, 1)).detach())
    assert after < 0.2 * before


def test_shared_layers_are_stored_once_and_compute_alike(tmp_path):
    model = llama()
    shared = share_layers(model, {1: 0, 3: 2}, stack="model.layers")
    each = sum(p.numel() for p in model.model.layers[0].parameters())
    count = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in shared.parameters()) == count - 2 * each
    plain = llama()
    plain.model.layers[1].load_state_dict(plain.model.layers[0].state_dict())
    plain.model.layers[3].load_state_dict(plain.model.layers[2].state_dict())
    ids = torch.randint(1, 32, (1, 6))
    with torch.no_grad():
        torch.testing.assert_close(shared(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert len(shared.generate(ids, max_new_tokens=3, do_sample=False)[0]) <= 9


def test_bad_input_is_named():
    scores, labels = torch.randn(2, 5), torch.tensor([1, 2])
    with pytest.raises(ValueError, match="share a vocabulary"):
        kl_divergence(scores, torch.randn(2, 6))
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        distillation_loss(scores, scores, labels, alpha=1.5)
    with pytest.raises(ValueError, match="no place to learn"):
        distillation_loss(scores, scores, torch.tensor([-100, -100]))
    with pytest.raises(ValueError, match="larger than 0"):
        Temperature(0, 1)
    with pytest.raises(ValueError, match="in pairs"):
        FeatureLoss([3], [3, 4])
    with pytest.raises(ValueError, match="no ModuleList"):
        drop_layers(nn.Sequential(nn.Linear(2, 2)), [0])
    for keep in ([], [0, 0], [2, 1], [0, 9]):
        with pytest.raises(ValueError, match="rising numbers from 0 to 3"):
            drop_layers(llama(), keep, stack="model.layers")
    for same in ({1: 1}, {1: 7}, {2: 1, 1: 0}):
        with pytest.raises(ValueError, match="cannot share"):
            share_layers(llama(), same, stack="model.layers")
