"""Pruning by magnitude, against torch's own, and what it must never do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as reference

from autoglm_lab.compress.sparsity import Masks, compressed_bytes, magnitude_masks, masks_by_layer, prunable, prune, sparsity_of


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6, 40), nn.Linear(40, 5))


@given(st.floats(0.01, 0.99), st.sampled_from(["global", "layer", "scaled"]))
@settings(max_examples=25, deadline=None)
def test_the_asked_share_goes_and_it_is_the_smallest(share, scope):
    model = network()
    try:
        masks = magnitude_masks(model, share, scope=scope)
    except ValueError as error:
        if "no weight of" in str(error) and scope != "layer":  # a share of each layer's own never empties one
            return
        raise
    small = prune(model, masks)
    total = sum(weight.numel() for weight in prunable(model).values())
    assert abs(masks.sparsity - share) <= (len(masks.keep) if scope == "layer" else 1) / total
    for name, keep in masks.keep.items():
        weight = dict(model.named_parameters())[name].detach().abs()
        if keep.any() and not keep.all():
            assert weight[keep].min() >= weight[~keep].max()
        assert torch.equal(dict(small.named_parameters())[name] != 0, keep)


def test_agrees_with_torch():
    ours, theirs = network(), network()
    small = prune(ours, magnitude_masks(ours, 0.6, scope="global"))
    parts = [(module, "weight") for module in theirs if isinstance(module, nn.Conv2d | nn.Linear)]
    reference.global_unstructured(parts, pruning_method=reference.L1Unstructured, amount=0.6)
    for mine, (module, _) in zip([m for m in small if isinstance(m, nn.Conv2d | nn.Linear)], parts, strict=True):
        assert torch.equal(mine.weight, module.weight)


def test_the_model_itself_is_left_alone_and_vectors_stay_whole():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = prune(model, magnitude_masks(model, 0.9, skip=("4",)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    shares = sparsity_of(small)
    assert set(shares) == {"0.weight", "3.weight", "4.weight"} and shares["4.weight"] == 0
    assert torch.equal(small[1].weight, model[1].weight) and torch.equal(small[3].bias, model[3].bias)


def test_in_units_of_its_own_size_a_layer_of_small_weights_loses_no_more():
    model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.Linear(100, 100, bias=False))
    torch.manual_seed(0)
    nn.init.normal_(model[0].weight)
    nn.init.normal_(model[1].weight, std=0.01)
    alone, together = (magnitude_masks(model, 0.5, scope=scope).keep for scope in ("scaled", "global"))
    assert together["1.weight"].float().mean() < 0.1, "one threshold takes nearly every small weight"
    assert all(keep.float().mean() == pytest.approx(0.5, abs=0.03) for keep in alone.values())
    factors = model[0].weight.detach().abs() / model[0].weight.detach().square().mean().sqrt()
    assert factors[alone["0.weight"]].min() >= factors[~alone["0.weight"]].max()
    with pytest.raises(ValueError, match="scope is 'parts'; there are global, layer, scaled"):
        magnitude_masks(model, 0.5, scope="parts")


def test_no_layer_is_emptied_and_the_default_spares_small_ones():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 100, bias=False), nn.Linear(100, 100, bias=False))
    nn.init.normal_(model[0].weight)
    nn.init.normal_(model[1].weight, std=1e-5)
    with pytest.raises(ValueError, match=r"no weight of '1\.weight' would stay.*take 'scaled'"):
        magnitude_masks(model, 0.8, scope="global")
    assert all(keep.float().mean() == pytest.approx(0.2, abs=0.02) for keep in magnitude_masks(model, 0.8).keep.values())
    with pytest.raises(ValueError, match=r"no weight of '0\.weight'"):
        masks_by_layer(nn.Sequential(nn.Linear(2, 2)), {"0": 0.9})
    with pytest.raises(ValueError, match="skip 'layer' names nothing"):
        magnitude_masks(model, 0.5, skip="layer")


def test_equal_weights_lose_exactly_the_share():
    model = nn.Linear(10, 10, bias=False)
    nn.init.ones_(model.weight)
    assert magnitude_masks(model, 0.37).sparsity == pytest.approx(0.37)


def test_masks_hold_zeros_down_while_training():
    model = network()
    masks = magnitude_masks(model, 0.8)
    masks.apply(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(2, 3, 3, 3)).square().sum().backward()
        optimizer.step()
        masks.apply(model)
    assert sum(s * w.numel() for s, w in zip(sparsity_of(model).values(), prunable(model).values(), strict=True)) >= 0.8 * 100
    with pytest.raises(KeyError):
        Masks({"absent": torch.ones(2, dtype=torch.bool)}).apply(model)


def test_zeros_pay_in_a_compressed_file_only():
    model = nn.Linear(200, 200)
    small = prune(model, magnitude_masks(model, 0.8))
    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in model.parameters())
    assert compressed_bytes(small) < 0.5 * compressed_bytes(model)


def test_each_layer_may_lose_a_share_of_its_own():
    model = network()
    masks = masks_by_layer(model, {"3": 0.5, "4.weight": 0.0, "0": 0.9})
    zeros = sparsity_of(prune(model, masks))
    assert zeros == pytest.approx({"0.weight": 0.9, "3.weight": 0.5, "4.weight": 0.0}, abs=0.01)
    alone = magnitude_masks(model, 0.5, scope="layer").keep["3.weight"]
    assert torch.equal(masks.keep["3.weight"], alone)
    for shares, reason in (({"9": 0.5}, "no weight to prune called '9'"), ({"3": 1.0}, r"share of .3. is 1\.0"), ({}, "empty")):
        with pytest.raises(ValueError, match=reason):
            masks_by_layer(model, shares)


def test_bad_input_is_named():
    for share in (0, 1, -0.1, 1.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            magnitude_masks(network(), share)
    with pytest.raises(ValueError, match="no weight to prune"):
        magnitude_masks(nn.LayerNorm(3), 0.5)
    model = network()
    model[3].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"'3\.weight'"):
        magnitude_masks(model, 0.5)
