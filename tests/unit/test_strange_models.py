"""Architectures of many kinds lose half of what they are, and answer as with the same channels masked."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from autoglm_lab.compress import lazy
from autoglm_lab.compress.attention import Attention
from autoglm_lab.compress.channels import channel_axis
from autoglm_lab.compress.checkpoint import save
from autoglm_lab.compress.dependency_graph import outputs, trace
from autoglm_lab.compress.low_rank import factorise_layers
from autoglm_lab.compress.plain import is_plain, plain
from autoglm_lab.compress.qat import ACTIVATIONS, calibrate, prepare
from autoglm_lab.compress.quantization import PackedRecurrent, Scheme, quantize_weights
from autoglm_lab.compress.resize import together
from autoglm_lab.compress.structured import masked, prune_structured
from tests.unit.strange_models import COARSE, HUGGING, STRANGE, Encoder, HeadsAndNeurons, Recurrent, strange

RECURRENT = ("LSTM", "GRU", "last state")  # what they read of their own last step is inside them


def silenced(model, groups):
    """A copy of the plain model in which hooks, not weights, let nothing through the channels of groups."""
    copied = plain(model)
    for (layer, side), channels in together(groups).items():
        module = copied.get_submodule(layer)
        if side == "in":

            def silence(layer, inputs, channels=channels):
                axis = channel_axis(layer)
                return inputs[0].movedim(axis, -1).index_fill(-1, torch.tensor(channels), 0).movedim(-1, axis)

            module.register_forward_pre_hook(silence)
    return copied


@pytest.mark.parametrize("name", STRANGE)
def test_half_of_it_goes_and_it_answers_as_the_masked_model(name, tmp_path):
    model, example = strange(name)
    measure, ratio = "macs" if name in HUGGING else "parameters", COARSE.get(name, 0.5)
    done = prune_structured(model, example, ratio, of=measure, quiet=True)
    assert done.saved[measure] == pytest.approx(ratio, rel=0.05)
    counted = 1 - sum(p.numel() for p in done.model.parameters()) / sum(p.numel() for p in plain(model).parameters())
    assert counted == pytest.approx(done.saved["parameters"]) and counted > 0.05
    mask = (masked if name in RECURRENT else silenced)(model, done.removed)
    with torch.no_grad():
        whole = outputs(plain(model), example)
        for mine, right, full in zip(outputs(done.model, example), outputs(mask, example), whole, strict=True):
            torch.testing.assert_close(mine, right, rtol=0, atol=1e-6 * max(1.0, float(right.abs().max())))
            assert mine.shape == full.shape
        assert not torch.allclose(outputs(mask, example)[0], whole[0]), "the mask does something"
    save(done.model, tmp_path / "small")
    save(model, tmp_path / "whole")
    small, full = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "whole"))
    assert small < full * (1 - 0.8 * counted), "and the file is smaller"


@pytest.mark.parametrize("name", STRANGE)
def test_a_plain_model_computes_what_the_model_computes_and_leaves_it_alone(name):
    model, example = strange(name)
    with torch.no_grad():
        before = outputs(model, example)
        changed = plain(model)
        for mine, right in zip(outputs(changed, example), before, strict=True):
            torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-5)
        for mine, right in zip(outputs(model, example), before, strict=True):
            assert torch.equal(mine, right)
    assert is_plain(changed)


def test_layers_that_are_to_stay_stay():
    model, example = strange("GPT-2")
    done = prune_structured(model, example, 0.2, ignore=["transformer.h.0.mlp", "*.attn"])
    first, second = done.model.transformer.h
    assert first.mlp.c_fc.out_features == 128 and first.attn.num_heads == 4
    assert second.mlp.c_fc.out_features < 128 and second.attn.num_heads == 4
    with pytest.raises(ValueError, match=r"transformer\.h\.7"):
        prune_structured(model, example, 0.2, ignore=["transformer.h.7"])


def test_what_cannot_shrink_is_spared_by_name_and_the_rest_is_pruned():
    model, example = strange("literal split")
    done = prune_structured(model, example, 0.5, of="parameters")
    assert list(done.spared) == ["both"] and "at `" in done.spared["both"]
    assert done.model.both.out_features == 40 and done.model.last.in_features < 30
    only = trace(model, example)
    with pytest.raises(ValueError, match="'both' is left whole"):
        prune_structured(model, example, 0.5, groups=[group for group in only if group.family[0][0] == "both"])


def test_heads_and_neurons_are_counted_apart():
    model, example = HeadsAndNeurons().eval(), (torch.randn(2, 6, 32),)
    neurons = [group for group in trace(model, example) if group.family[0][0] == "up"]
    done = prune_structured(model, example, 0.1, groups=neurons)
    assert done.model.n_head == 4 and done.model.width == 32
    heads = [group for group in trace(model, example) if group.family[0][0] == "q"]
    done = prune_structured(model, example, 0.28, groups=heads)
    assert done.model.n_head == done.model.width // 8 < 4


def test_a_count_in_a_configuration_that_layers_share_changes_for_one_layer_alone():
    model, example = strange("Phi-3")
    done = prune_structured(model, example, 0.13, ignore=["model.layers.1", "*.mlp"])
    first, second = (layer.self_attn for layer in done.model.model.layers)
    assert first.config.num_attention_heads == 2 and second.config.num_attention_heads == done.model.config.num_attention_heads == 4


def test_tied_layers_shrink_together():
    model, example = strange("tied")
    done = prune_structured(model, example, 0.5, of="parameters")
    assert done.model.b.weight is done.model.c.weight and done.model.b.in_features == done.model.c.out_features < 32


@pytest.mark.parametrize("batch_first", [True, False])
def test_rounding_takes_effect_in_a_transformer_that_torch_would_run_past_its_layers(batch_first):
    model, x = Encoder(batch_first).eval(), torch.randn(3, 6, 8)
    made = prepare(model, Scheme(2), inputs=ACTIVATIONS, quiet=True).eval()
    calibrate(made, [(x,)])
    ranges = [float(module.high - module.low) for module in made.modules() if hasattr(module, "high")]
    assert len(ranges) == 2 + 2 * 6 and min(ranges) > 0, "every layer was run"
    rounded = quantize_weights(model, Scheme(2), quiet=True)
    with torch.no_grad():
        for changed in (made, rounded):
            assert not torch.allclose(changed(x), model(x), atol=0.05)
        torch.testing.assert_close(quantize_weights(model, Scheme(8), quiet=True)(x), model(x), rtol=0, atol=0.05)


@pytest.mark.parametrize("mask", ["none", "padding", "both", "per head"])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("weights", [None, True, False], ids=["no weights", "mean weights", "weights"])
def test_attention_is_that_of_torch(mask, batch_first, weights):
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(16, 4, batch_first=batch_first).eval()
    nn.init.normal_(fused.in_proj_bias)
    x, y = torch.randn(3, 5, 16), torch.randn(3, 6, 16)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 4:] = True
    masks = {
        "none": {},
        "padding": {"key_padding_mask": padding},
        "both": {"key_padding_mask": padding, "attn_mask": torch.ones(5, 6, dtype=torch.bool).triu(3)},
        "per head": {"attn_mask": torch.randn(12, 5, 6)},
    }[mask]
    if not batch_first:
        x, y = x.transpose(0, 1), y.transpose(0, 1)
    options = {"need_weights": weights is not None, "average_attn_weights": bool(weights)} | masks
    with torch.no_grad():
        mine, right = Attention(fused)(x, y, y, **options), fused(x, y, y, **options)
        alone = Attention(fused)(x[:, 0], y[:, 0], y[:, 0]), fused(x[:, 0], y[:, 0], y[:, 0])
    torch.testing.assert_close(mine[0], right[0])
    assert (mine[1] is None) == (right[1] is None)
    if mine[1] is not None:
        torch.testing.assert_close(mine[1], right[1])
    torch.testing.assert_close(alone[0][0], alone[1][0])


def test_a_model_that_reads_the_type_of_a_weight_does_not_work_it_out(monkeypatch):
    model, example = strange("T5")
    calls = []
    for changed in (factorise_layers(model, 0.5, quiet=True), quantize_weights(model, Scheme(8), quiet=True)):
        layer = changed.encoder.block[0].layer[1].DenseReluDense.wo
        weight = layer.weight
        assert weight.dtype == torch.float32 and weight.shape == (32, 48) and isinstance(weight, torch.Tensor) and len(weight) == 32
        with monkeypatch.context() as patch:
            patch.setattr(lazy, "_made", calls.append)
            outputs(changed, example)
        assert not calls, "its code asks for the type at every call"
        assert torch.equal(weight @ torch.eye(48), layer.weight + 0)


def test_masks_and_norms_of_torch_are_worked_out_and_a_hook_of_ones_own_is_refused():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    prune.l1_unstructured(model[0], "weight", 0.5)
    parametrizations.spectral_norm(model[2])
    x = torch.randn(2, 8)
    model.eval()(x)
    packed = quantize_weights(model, Scheme(8), quiet=True)
    torch.testing.assert_close(packed(x), model(x), rtol=0, atol=0.05)
    assert float((packed[0].weight == 0).float().mean()) >= 0.5
    other = nn.Sequential(nn.Linear(8, 4))
    weight = other[0].weight.detach()
    del other[0].weight
    other[0].weight = weight
    with pytest.raises(ValueError, match=r"layer '0' computes its weight .* remove_parametrizations or prune\.remove"):
        quantize_weights(other, Scheme(8), quiet=True)


def test_recurrent_layers_are_packed(tmp_path):
    model, ids = Recurrent(nn.GRU, 2, True).eval(), torch.randint(0, 50, (3, 7))
    packed = quantize_weights(model, Scheme(8), quiet=True)
    assert isinstance(packed.rnn, PackedRecurrent)
    with torch.no_grad():
        torch.testing.assert_close(packed(ids), model(ids), rtol=0, atol=0.05)
        assert not torch.equal(packed(ids), model(ids))
    before = copy.deepcopy(packed)
    torch.testing.assert_close(before(ids), packed(ids))
    small = sum(value.numel() * value.element_size() for value in packed.state_dict().values())
    assert small < 0.4 * sum(value.numel() * 4 for value in model.state_dict().values())
