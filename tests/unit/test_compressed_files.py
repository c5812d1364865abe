"""A compressed model comes back from disk as it was, whatever was done to it, and in whatever order."""

import json

import pytest
import torch
from torch import nn

from autoglm_lab.compress.checkpoint import WEIGHTS, load, save, stored_bytes, structure_of
from autoglm_lab.compress.dependency_graph import outputs
from autoglm_lab.compress.distillation import share_layers
from autoglm_lab.compress.low_rank import factorise_layers
from autoglm_lab.compress.qat import ACTIVATIONS, convert, prepare
from autoglm_lab.compress.quantization import Scheme, quantize_weights
from autoglm_lab.compress.structured import prune_structured
from autoglm_lab.marks import MARK
from tests.unit.pruned_models import make


def _pruned(model, example):
    return prune_structured(model, example, 0.3).model


def _low_rank(model, example):
    return factorise_layers(model, 0.5, select=lambda name: "mlp" in name or "fc" in name or "head" in name)


def _packed(model, example):
    return quantize_weights(model, Scheme(4, granularity="group", group_size=16))


def _trained(model, example):
    made = prepare(model, Scheme(3), inputs=ACTIVATIONS).train()
    outputs(made, example)
    return convert(made)


STEPS = {"pruned": _pruned, "low rank": _low_rank, "packed": _packed, "trained": _trained}
CHAINS = [
    ("pruned",),
    ("low rank",),
    ("packed",),
    ("trained",),
    ("pruned", "low rank"),
    ("pruned", "packed"),
    ("pruned", "trained"),
]


@pytest.mark.parametrize("name", ["Glm", "ViT"])
@pytest.mark.parametrize("chain", CHAINS, ids=" then ".join)
def test_it_comes_back_as_it_was(name, chain, tmp_path):
    model, example = make(name)
    made = model
    for step in chain:
        made = STEPS[step](made, example)
    made = made.eval()
    save(made, tmp_path / "small")
    fresh, _ = make(name)
    for parameter in fresh.parameters():
        nn.init.normal_(parameter)
    again = load(fresh, tmp_path / "small").eval()
    with torch.no_grad():
        for mine, right in zip(outputs(again, example), outputs(made, example), strict=True):
            torch.testing.assert_close(mine, right, rtol=0, atol=1e-6)  # memory may lie differently
    assert structure_of(again) == structure_of(made)
    assert stored_bytes(again) == stored_bytes(made) < stored_bytes(model)


def test_shared_layers_stay_shared(tmp_path):
    model, example = make("Llama")
    shared = share_layers(model, {1: 0}, stack="model.layers")
    save(shared, tmp_path / "shared")
    again = load(make("Llama")[0], tmp_path / "shared").eval()
    assert sum(p.numel() for p in again.parameters()) == sum(p.numel() for p in shared.parameters())
    assert again.model.layers[1].mlp.up_proj.weight is again.model.layers[0].mlp.up_proj.weight
    with torch.no_grad():
        torch.testing.assert_close(outputs(again, example)[0], outputs(shared, example)[0], rtol=0, atol=0)


def test_saving_again_replaces_the_whole_folder(tmp_path):
    model, example = make("ResNet-like")
    save(model, tmp_path / "small")
    save(_pruned(model, example), tmp_path / "small")
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == [MARK, WEIGHTS, "structure.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert json.loads((tmp_path / "small" / "structure.json").read_text())["sizes"]


def test_bad_input_is_named(tmp_path):
    model, example = make("ResNet-like")
    save(model, tmp_path / "whole")
    with pytest.raises(ValueError, match="another model"):
        load(nn.Sequential(nn.Linear(2, 2)), tmp_path / "whole")
    with pytest.raises(ValueError, match="the full model only"):
        load(_pruned(model, example), tmp_path / "whole")
    with pytest.raises(FileNotFoundError, match=r"holds no structure\.json"):
        load(model, tmp_path)
