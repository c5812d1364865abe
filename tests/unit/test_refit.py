"""Weights set by least squares, against numpy's solver, and what they must leave alone."""

import numpy as np
import pytest
import torch
from torch import nn

from autoglm_lab.compress.dependency_graph import outputs
from autoglm_lab.compress.recipe import Recipe, apply
from autoglm_lab.compress.reconstruction import change, input_moments, read_by, refit, refit_channels, refit_masked
from autoglm_lab.compress.sparsity import Masks, magnitude_masks, prune
from autoglm_lab.compress.structured import prune_structured, together
from tests.unit.pruned_models import MODELS, make


def test_agrees_with_numpy_row_by_row():
    torch.manual_seed(0)
    x, weight, keep = torch.randn(200, 12), torch.randn(7, 12), torch.rand(7, 12) < 0.4
    x[:, 3] = x[:, 1] + 0.1 * torch.randn(200)
    fitted = refit(weight, (x.double().T @ x.double()), keep, damping=0)  # whose sums are exact on every processor
    for row, mask, mine in zip(weight, keep, fitted, strict=True):
        best = np.linalg.lstsq(x[:, mask].double().numpy(), (x @ row).double().numpy(), rcond=None)[0]
        assert np.allclose(mine[mask].numpy(), best, atol=1e-4)
        assert not mine[~mask].any()


@pytest.mark.parametrize("damping", [0.0, 1e-3, 1.0])
def test_what_stays_whole_stays_as_it_was(damping):
    torch.manual_seed(0)
    x, weight = torch.randn(50, 6), torch.randn(4, 6)
    assert torch.allclose(refit(weight, x.T @ x, torch.ones(4, 6, dtype=torch.bool), damping=damping), weight, atol=1e-5)


def test_inputs_that_never_speak_keep_their_weights():
    weight, keep = torch.tensor([[2.0, 3.0, 5.0]]), torch.tensor([[True, True, False]])
    assert torch.allclose(refit(weight, torch.zeros(3, 3), keep), torch.tensor([[2.0, 3.0, 0.0]]))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 4), (2, 5, 6)),
        (nn.Conv2d(3, 4, 3, 2, 1), (2, 3, 9, 8)),
        (nn.Conv2d(3, 4, (3, 1), dilation=2), (2, 3, 9, 8)),
        (nn.Conv1d(3, 4, 5, 2, 2, dilation=2), (2, 3, 21)),
    ],
)
def test_a_layer_is_the_sum_over_what_it_reads(layer, shape):
    x = torch.randn(shape)
    wanted = layer(x) if isinstance(layer, nn.Linear) else layer(x).movedim(1, -1)
    assert torch.allclose(read_by(layer, x) @ layer.weight.flatten(1).T + layer.bias, wanted.flatten(0, -2), atol=1e-5)


def test_few_rows_for_many_inputs_are_not_learned_by_heart():
    torch.manual_seed(0)
    mixing = torch.randn(24, 96) + 0.3 * torch.eye(24, 96)
    layer = nn.Linear(96, 32, bias=False)
    half = torch.ones(96, dtype=torch.bool).index_fill_(0, torch.arange(0, 96, 2), False).expand(32, -1)
    few, many, new = (torch.randn(count, 24) @ mixing + torch.randn(count, 96) for count in (48, 4000, 1000))
    unseen = new.T @ new
    weight, plain = layer.weight.detach(), change(layer.weight.detach() * half, layer.weight.detach(), unseen)
    by_heart = refit(weight, few.T @ few, half, damping=1e-6)
    assert change(by_heart, weight, unseen) > plain, "48 rows for as many inputs that stay, believed, are worse than nothing"
    for rows, best in ((few, 1.01), (many, 0.8)):
        moments = input_moments(layer, lambda model, rows=rows: model(rows))
        fitted = refit(weight, moments[""], half, held_out=moments.held_out[""])
        assert change(fitted, weight, unseen) < best * plain
        assert torch.allclose(moments[""], rows.T @ rows, rtol=1e-4, atol=1e-2)


def test_examples_and_not_their_rows_are_held_out():
    layer, x = nn.Linear(3, 2), torch.randn(8, 5, 3)
    moments = input_moments(layer, lambda model: (model(x[:3]), model(x[3:])))
    held = x[1::4].flatten(0, 1)
    assert torch.allclose(moments.held_out[""], held.T @ held, atol=1e-4)
    alone = input_moments(layer, lambda model: model(x[:1])).held_out[""]
    assert torch.allclose(alone, x[0, 1::4].T @ x[0, 1::4], atol=1e-5)


def test_a_refit_that_serves_nothing_is_refused():
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(64, 64))
    masks = magnitude_masks(whole, 0.5, scope="layer")
    with pytest.raises(ValueError, match=r"refit serves no layer.*give more examples"):
        refit_masked(whole, masks, input_moments(whole, lambda model: model(torch.randn(1, 64))))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 12, 3, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 32),
        nn.ReLU(),
        nn.Linear(32, 5),
    ).eval()


def pictures(count=64, seed=1):
    """Smooth ones, so that neighbouring pixels foretell each other."""
    small = torch.randn(count, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(small, (5, 5), mode="bilinear")


def error(model, whole, x):
    with torch.no_grad():
        return float((model(x) - whole(x)).square().mean())


def test_a_masked_network_answers_more_as_before_also_on_pictures_it_has_not_seen():
    whole = network()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    masks = magnitude_masks(whole, 0.6, scope="layer")
    plain = prune(whole, masks)
    fitted = refit_masked(whole, masks, input_moments(whole, lambda model: model(pictures(512))))
    assert error(fitted, whole, pictures(seed=2)) < 0.5 * error(plain, whole, pictures(seed=2))
    for name, keep in masks.keep.items():
        assert not fitted.get_parameter(name)[~keep].any()
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())


def test_a_shared_weight_is_only_masked():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    masks = Masks({"0.weight": torch.rand(4, 4) < 0.5})
    fitted = refit_masked(model, masks, input_moments(model, lambda network: network(torch.randn(9, 4))))
    assert torch.equal(fitted[0].weight, prune(model, masks)[0].weight)


def test_a_neuron_that_another_repeats_is_not_missed():
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():  # every second neuron repeats the one before, more quietly
        whole[0].weight.copy_(whole[0].weight.sign())
        whole[0].weight[1::2], whole[0].bias[1::2] = whole[0].weight[::2] / 2, whole[0].bias[::2] / 2
        whole[2].weight.copy_(whole[2].weight.sign())
    x = torch.randn(40, 4)
    pruned = prune_structured(whole, (x[:1],), 0.5, of="channels")
    assert {channel for group in pruned.removed for channel in group.parts["0", "out"]} == {1, 3, 5}
    fitted = refit_channels(pruned.model, whole, pruned.removed, input_moments(whole, lambda model: model(x)))
    assert error(pruned.model, whole, x) > 1e-3
    assert error(fitted, whole, x) < 1e-4 * error(pruned.model, whole, x)


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_a_smaller_network_answers_more_as_before(ratio):
    whole = network()
    example = (pictures(),)
    pruned = prune_structured(whole, example, ratio)
    fitted = refit_channels(pruned.model, whole, pruned.removed, input_moments(whole, lambda model: model(pictures(512))))
    assert error(fitted, whole, pictures(seed=2)) < 0.6 * error(pruned.model, whole, pictures(seed=2))
    assert {n: p.shape for n, p in fitted.named_parameters()} == {n: p.shape for n, p in pruned.model.named_parameters()}


@pytest.mark.parametrize("fields", [{"channels": 0.4}, {"sparsity": 0.7}, {"rank": 0.4, "rank_layers": "5"}])
def test_a_recipe_refits(fields):
    whole, example = network(), (pictures(1),)
    calibration = [(pictures(256, seed),) for seed in (3, 4)]
    plain, _ = apply(whole, Recipe(**fields), example)
    fitted, _ = apply(whole, Recipe(refit=True, **fields), example, calibration=iter(calibration))
    assert error(fitted, whole, pictures(seed=2)) < 0.8 * error(plain, whole, pictures(seed=2))


def test_a_recipe_that_refits_wants_examples():
    with pytest.raises(ValueError, match="refit needs calibration"):
        apply(network(), Recipe(refit=True, sparsity=0.5), (pictures(1),))
    with pytest.raises(ValueError, match="no examples"):
        input_moments(network(), lambda model: None)


@pytest.mark.parametrize("name", MODELS)
def test_every_reader_of_a_strangers_network_comes_nearer_to_what_it_said(name):
    model, example = make(name)
    done = prune_structured(model, example, 0.4)
    gone = together(done.removed)
    moments = input_moments(model, lambda network: outputs(network, example), {layer for layer, side in gone if side == "in"})
    fitted = refit_channels(done.model, model, done.removed, dict(moments))  # to all of them: the model is judged by the same
    assert all(torch.isfinite(answer).all() for answer in outputs(fitted, example))
    for layer in moments:
        weight = model.get_parameter(f"{layer}.weight").detach()
        rows, columns = (
            [c for c in range(weight.shape[axis]) if c not in gone.get((layer, side), ())] for axis, side in ((0, "out"), (1, "in"))
        )
        changes = []
        for changed in (fitted, done.model):
            mine = torch.zeros_like(weight[rows])
            mine[:, columns] = changed.get_parameter(f"{layer}.weight").detach()
            off = (mine - weight[rows]).flatten(1).double()
            changes.append(float((off @ moments[layer].double() * off).sum()))
        assert changes[0] < changes[1], f"{layer} is no nearer"
