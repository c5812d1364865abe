"""Integers against torch's own quantiser, and the properties that any quantiser has."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model
from torch import nn
from transformers import GlmConfig, GlmForCausalLM

from autoglm_lab.compress import files
from autoglm_lab.compress.checkpoint import stored_bytes
from autoglm_lab.compress.layers import linear_layers
from autoglm_lab.compress.quantization import (
    PackedLinear,
    PackedWeight,
    Scheme,
    pack,
    packed_layer,
    quantize,
    quantize_weights,
    relative_error,
    unpack,
)

GRANULARITIES = ("tensor", "channel", "group")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def schemes():
    return st.builds(Scheme, st.integers(2, 8), st.booleans(), st.sampled_from(GRANULARITIES), st.integers(2, 40))


@given(schemes(), st.integers(1, 9), st.integers(1, 70), st.floats(0.01, 100), st.floats(-3, 3))
@settings(max_examples=60, deadline=None)
def test_rounding_is_off_by_half_a_step_at_most(scheme, channels, inputs, scale, shift):
    x = normal(channels, inputs) * scale + shift
    found = quantize(x, scheme)
    assert found.codes.min() >= scheme.limits[0] and found.codes.max() <= scheme.limits[1]
    back = found.dequantize()
    assert back.shape == x.shape
    steps = found.scale.max() * (0.5 if scheme.symmetric else 1.0)  # a rounded zero point moves the range by up to half a step
    assert (back - x).abs().max() <= steps * (1 + 1e-4)
    again = quantize(back, scheme)
    if scheme.symmetric:
        assert torch.allclose(again.dequantize(), back, atol=1e-5 * float(x.abs().max()))


@pytest.mark.parametrize("symmetric", [True, False])
def test_agrees_with_torch(symmetric):
    x = normal(6, 50)
    found = quantize(x, Scheme(8, symmetric, "channel"))
    reference = torch.fake_quantize_per_channel_affine(
        x, found.scale[:, 0], found.zero_point[:, 0].to(torch.int32), 0, *found.scheme.limits
    )
    assert torch.allclose(found.dequantize(), reference, atol=1e-6)


def test_finer_scales_and_more_bits_err_less():
    x = normal(16, 96) * torch.logspace(-1, 1, 16)[:, None]
    x[:, 5] *= 6  # an outlier in every row
    by_granularity = [relative_error(x, quantize(x, Scheme(4, True, g)).dequantize()) for g in GRANULARITIES]
    assert by_granularity[0] > by_granularity[1] > by_granularity[2]
    by_bits = [relative_error(x, quantize(x, Scheme(bits)).dequantize()) for bits in range(2, 9)]
    assert by_bits == sorted(by_bits, reverse=True)
    shifted = x.abs()
    fitted, centred = (quantize(shifted, Scheme(4, symmetric)).dequantize() for symmetric in (False, True))
    assert relative_error(shifted, fitted) < relative_error(shifted, centred)


@pytest.mark.parametrize("symmetric", [True, False])
def test_ranges_that_cut_outliers(symmetric):
    x = normal(1, 4000)
    x[0, 0] = 40.0
    scheme = Scheme(4, symmetric, "tensor")
    errors = {m: relative_error(x[:, 1:], quantize(x, scheme, m).dequantize()[:, 1:]) for m in ("minmax", "percentile", "mse")}
    assert errors["percentile"] < errors["minmax"] and errors["mse"] < errors["minmax"]
    whole = {m: relative_error(x, quantize(x, scheme, m).dequantize()) for m in ("minmax", "mse")}
    assert whole["mse"] <= whole["minmax"]
    assert quantize(x, scheme, "percentile").clipped >= 1 / 4000 > quantize(x, scheme).clipped


@given(st.sampled_from([2, 4, 8]), st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_packing_is_lossless(bits, codes):
    codes = torch.tensor(codes) * (2**bits - 1) // 3
    packed = pack(codes, bits)
    assert len(packed) == -(-len(codes) * bits // 8)
    assert torch.equal(unpack(packed, bits, len(codes)), codes.to(torch.int32))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_a_packed_layer_is_the_rounded_layer(bits, symmetric):
    layer, scheme = nn.Linear(50, 7), Scheme(bits, symmetric, "group", 16)
    packed = PackedLinear(layer.weight, layer.bias, scheme)
    x = normal(3, 50)
    rounded = quantize(layer.weight, scheme).dequantize()
    assert torch.allclose(packed(x), nn.functional.linear(x, rounded, layer.bias), atol=5e-3)


def test_what_ships_has_the_size_it_claims():
    weight = normal(64, 128)
    scheme = Scheme(4, True, "group", 32)
    found, packed = quantize(weight, scheme), PackedWeight(weight, scheme)
    assert found.stored_bytes == 64 * 128 // 2 + 2 * 64 * 4
    assert packed.packed.numel() == 64 * 128 // 2
    assert packed.packed.numel() * 8 / weight.numel() == 4


def tiny_glm(tie):
    config = GlmConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=tie,
    )
    torch.manual_seed(0)
    return GlmForCausalLM(config).eval()


def test_a_model_keeps_its_answers_and_its_file(tmp_path):
    model = tiny_glm(tie=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = quantize_weights(model, Scheme(8, granularity="channel"), skip=("lm_head",))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the model was changed"
    ids = torch.arange(2, 12)[None]
    logits, rounded = model(ids).logits, small(ids).logits
    assert relative_error(logits, rounded) < 0.05 and not torch.equal(logits, rounded)
    save_model(small, str(tmp_path / "small.safetensors"))
    other = quantize_weights(tiny_glm(tie=False), Scheme(8, granularity="channel"), skip=("lm_head",))
    for value in other.state_dict().values():
        value.zero_()
    load_model(other, str(tmp_path / "small.safetensors"))
    assert torch.equal(other(ids).logits, rounded)


def test_a_tied_head_is_no_linear_layer_of_its_own():
    names = [name for name, _ in linear_layers(tiny_glm(tie=True))]
    assert "lm_head" not in names and len(names) == 2 * 6
    assert "lm_head" in [name for name, _ in linear_layers(tiny_glm(tie=False))]


def test_a_tied_head_and_its_embedding_share_one_packed_weight(tmp_path):
    model = tiny_glm(tie=True)
    small = quantize_weights(model, Scheme(8, granularity="group", group_size=16))
    assert small.lm_head.weight_codes is small.model.embed_tokens.weight_codes
    ids = torch.arange(2, 12)[None]
    table = small.model.embed_tokens.weight_codes()
    assert torch.allclose(small.model.embed_tokens(ids), table[ids]) and relative_error(model.lm_head.weight, table) < 0.01
    assert stored_bytes(small) < 0.3 * sum(4 * p.numel() for p in model.parameters())
    files.save(small, tmp_path / "small")
    again = files.load(tiny_glm(tie=True), tmp_path / "small")
    assert again.lm_head.weight_codes is again.model.embed_tokens.weight_codes
    assert torch.equal(again(ids).logits, small(ids).logits)


@pytest.mark.parametrize("scheme", [Scheme(4, True, "group", 8), Scheme(3, False, "channel"), Scheme(2, True, "tensor")])
def test_rows_of_a_packed_table_are_those_of_the_whole(scheme):
    packed = PackedWeight(normal(11, 21), scheme, "mse")
    numbers = torch.tensor([[3, 0], [10, 3]])
    assert torch.equal(packed.channels(numbers), packed()[numbers])


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv1d(6, 6, 5, stride=2, padding=2), (2, 6, 20)),
        (nn.Conv2d(4, 8, 3, padding="same", dilation=2, bias=False), (2, 4, 9, 9)),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 9, 9)),
    ],
)
def test_a_packed_convolution_is_the_rounded_one(conv, shape):
    scheme, x = Scheme(4, True, "group", 16), normal(*shape)
    packed = packed_layer(conv, scheme)
    found = quantize(conv.weight, scheme)
    rounded = copy.deepcopy(conv)
    rounded.weight.data = found.dequantize()
    assert torch.allclose(packed(x), rounded(x), atol=5e-3)
    if conv.groups == 8:
        assert found.codes.shape == (8, 9), "nine weights are no group of sixteen, and are not padded to one"
    with pytest.raises(ValueError, match="reflect"):
        packed_layer(nn.Conv1d(2, 2, 3, padding=1, padding_mode="reflect"), scheme)


def test_bad_input_is_named():
    for bad, words in (({"bits": 1}, "2 to 8"), ({"granularity": "row"}, "'tensor'"), ({"group_size": 1}, "at least two")):
        with pytest.raises(ValueError, match=words):
            Scheme(**bad)
    with pytest.raises(ValueError, match="minmax, percentile, mse"):
        quantize(normal(2, 2), method="median")
    with pytest.raises(ValueError, match="empty"):
        quantize(torch.zeros(0, 3))
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="layer '1'"):
        quantize_weights(model, Scheme())
    with pytest.raises(ValueError, match="no layer is left"):
        quantize_weights(nn.Sequential(nn.ReLU()), Scheme())
    with pytest.raises(ValueError, match="no layer is left"):
        quantize_weights(model, Scheme(), skip=("0", "1"))
