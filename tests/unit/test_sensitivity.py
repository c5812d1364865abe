"""Sensitivity: known answers on models made for them, and a scan that is never paid for twice."""

import json

import pytest
import torch
from torch import nn

from autoglm_lab.compress.quantization import Scheme, quantize
from autoglm_lab.compress.sensitivity import Sensitivity, gradient_sensitivity, scan
from autoglm_lab.compress.sparsity import magnitude_masks, prune


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def measured():
    """The loss against the model's own answers, and how often it was asked for."""
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
    wanted = model()(x).detach()

    def measure(candidate):
        measure.calls += 1
        with torch.no_grad():
            return float((candidate(x) - wanted).square().mean())

    measure.calls = 0
    return measure


def pruned(candidate, layer, share):
    others = tuple(name for name in ("0", "2") if name != layer)
    return prune(candidate, magnitude_masks(candidate, share, skip=others))


def test_a_scan_goes_on_where_it_was(tmp_path):
    cache, measure = tmp_path / "scan.json", measured()
    first = scan(model(), ["0"], [0.2, 0.8], pruned, measure, cache=cache)
    assert measure.calls == 3 and first.base == 0
    assert 0 < first.cost["0"][0.2] < first.cost["0"][0.8]
    both = scan(model(), ["0", "2"], [0.2, 0.8], pruned, measure, cache=cache)
    assert measure.calls == 5 and both.cost["0"] == first.cost["0"]
    assert len(json.loads(cache.read_text())) == 5
    assert {p.name for p in tmp_path.iterdir()} == {"scan.json"}


def test_an_interrupted_scan_keeps_what_it_has(tmp_path):
    measure = measured()

    def fails(candidate, layer, share):
        if layer == "2":
            raise KeyboardInterrupt
        return pruned(candidate, layer, share)

    with pytest.raises(KeyboardInterrupt):
        scan(model(), ["0", "2"], [0.5], fails, measure, cache=tmp_path / "scan.json")
    assert measure.calls == 2
    scan(model(), ["0", "2"], [0.5], pruned, measure, cache=tmp_path / "scan.json")
    assert measure.calls == 3


def test_fewer_bits_cost_more():
    def rounded(candidate, layer, bits):
        import copy

        changed = copy.deepcopy(candidate)
        weight = changed.get_submodule(layer).weight
        weight.data = quantize(weight, Scheme(int(bits))).dequantize()
        return changed

    row = scan(model(), ["0"], [8, 4, 2], rounded, measured()).cost["0"]
    assert row[8] < row[4] < row[2]


def test_budgets_spare_the_sensitive():
    found = Sensitivity(1.0, {"easy": {0.5: 1.01, 0.9: 1.05}, "hard": {0.5: 2.0, 0.9: 9.0}})
    assert found.ranking() == ["hard", "easy"]
    sizes = {"easy": 100, "hard": 100}
    assert found.budget(sizes, 0.4) == {"easy": 0.9, "hard": 0.0}
    assert found.budget(sizes, 0.6) == {"easy": 0.9, "hard": 0.5}
    with pytest.raises(ValueError, match="save 90%"):
        found.budget(sizes, 0.95)
    with pytest.raises(ValueError, match="sizes lacks hard"):
        found.budget({"easy": 1}, 0.1)


def test_gradients_find_the_channels_that_matter():
    network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1, bias=False))
    network[1].weight.data = torch.tensor([[5.0, 0.0, 0.1]])
    x = torch.ones(2, 4)
    norms = gradient_sensitivity(network, lambda m: m(x).sum(), ["0"])["0"]
    assert torch.allclose(norms / norms.max(), torch.tensor([1.0, 0.0, 0.02]))
    assert network[0].weight.grad is None
    lonely = nn.ModuleDict({"used": nn.Linear(2, 1), "idle": nn.Linear(2, 1)})
    with pytest.raises(ValueError, match="'idle' takes no part"):
        gradient_sensitivity(lonely, lambda m: m["used"](torch.ones(1, 2)).sum(), ["used", "idle"])


def test_an_empty_scan_is_refused():
    with pytest.raises(ValueError, match="layers and settings"):
        scan(model(), [], [0.5], pruned, measured())
