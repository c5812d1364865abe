"""Factors of weights: their algebra, and against the full singular value decomposition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model
from torch import nn

from autoglm_lab.compress.low_rank import (
    LowRankLinear,
    factorise,
    factorise_layers,
    rank_for_budget,
    rank_for_energy,
    record_inputs,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 12), st.integers(1, 12), st.data())
@settings(max_examples=40, deadline=None)
def test_the_algebra_of_factors(outputs, inputs, data):
    rank = data.draw(st.integers(1, min(outputs, inputs)))
    layer = LowRankLinear(normal(outputs, rank), normal(rank, inputs, seed=1), normal(outputs, seed=2))
    x = normal(3, inputs, seed=3)
    assert layer.rank == rank
    assert torch.allclose(layer(x), x @ layer.weight.T + layer.bias, atol=1e-4)
    values = torch.linalg.svdvals(layer.weight)[:rank]
    assert torch.allclose(layer.singular_values(), values, atol=1e-4)
    assert layer.norm() == pytest.approx(float(layer.weight.detach().norm()), rel=1e-4)
    assert torch.allclose(layer.truncate(rank).weight, layer.weight, atol=1e-4)


def test_truncating_is_the_best_approximation():
    linear = nn.Linear(20, 14)
    u, s, v = torch.linalg.svd(linear.weight, full_matrices=False)
    for rank in (1, 5, 14):
        best = u[:, :rank] * s[:rank] @ v[:rank]
        assert torch.allclose(factorise(linear, rank).weight, best, atol=1e-5)
        assert torch.allclose(factorise(linear, 14).truncate(rank).weight, best, atol=1e-5)
    whole = factorise(linear, 14)
    x = normal(4, 20)
    assert torch.allclose(whole(x), linear(x), atol=1e-5)


def test_activations_say_what_matters():
    linear = nn.Linear(24, 16)
    inputs = normal(400, 24) * torch.logspace(1, -2, 24)  # a few directions carry nearly everything
    blind, aware = factorise(linear, 4), factorise(linear, 4, inputs)
    with torch.no_grad():
        errors = [float((layer(inputs) - linear(inputs)).norm()) for layer in (blind, aware)]
    assert errors[1] < 0.5 * errors[0]
    assert (blind.weight - linear.weight).norm() < (aware.weight - linear.weight).norm()
    few = factorise(linear, 4, inputs[:3])  # fewer examples than inputs: damped, not singular
    assert torch.isfinite(few.weight).all()


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.05, 0.95))
def test_budgets_are_kept(outputs, inputs, ratio):
    rank = rank_for_budget(outputs, inputs, ratio)
    assert rank == 1 or rank * (outputs + inputs) <= ratio * outputs * inputs
    assert (rank + 1) * (outputs + inputs) > ratio * outputs * inputs


def test_energy_picks_the_rank():
    weight = torch.diag(torch.tensor([4.0, 3.0, 0.0, 0.0]))
    assert [rank_for_energy(weight, share) for share in (0.5, 0.64, 0.65, 1.0)] == [1, 1, 2, 2]


def test_a_model_gets_smaller_and_keeps_working(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 64), nn.GELU(), nn.Linear(64, 40), nn.LayerNorm(40), nn.Linear(40, 5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = normal(200, 40) @ normal(40, 40, seed=5) * torch.logspace(0, -2, 40)
    inputs = record_inputs(model, lambda m: m(x))
    assert {name: tuple(rows.shape) for name, rows in inputs.items()} == {"0": (200, 40), "2": (200, 64), "4": (200, 40)}
    small = factorise_layers(model, 0.4, select=lambda name: name != "4", activations=inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name in ("0", "2"):
        full, thin = model.get_submodule(name), small.get_submodule(name)
        assert thin.up.numel() + thin.down.numel() <= 0.4 * full.weight.numel()
    assert isinstance(small[4], nn.Linear)
    blind = factorise_layers(model, 0.4, select=lambda name: name != "4")
    with torch.no_grad():
        errors = [float((m(x) - model(x)).norm()) for m in (blind, small)]
    assert errors[1] < errors[0]
    save_model(small, str(tmp_path / "small.safetensors"))
    load_model(blind, str(tmp_path / "small.safetensors"))
    assert torch.allclose(blind(x), small(x), atol=1e-5)


def test_bad_input_is_named():
    linear = nn.Linear(6, 4)
    for rank in (0, 5):
        with pytest.raises(ValueError, match="ranks from 1 to 4"):
            factorise(linear, rank)
    with pytest.raises(ValueError, match="between 0 and 1"):
        rank_for_budget(4, 6, 1.0)
    with pytest.raises(ValueError, match="more than 0"):
        rank_for_energy(linear.weight, 0.0)
    with pytest.raises(ValueError, match="no linear layer"):
        factorise_layers(linear, 0.5, select=lambda name: False)
    model = nn.Sequential(linear)
    linear.weight.data[1, 1] = float("inf")
    with pytest.raises(ValueError, match="layer '0'"):
        factorise_layers(model, 0.5)
