"""Nothing is left out in silence: operations say what they took, what they left and why, and refuse when it is too much."""

import importlib

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from transformers import BartConfig, BartModel, Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel

from autoglm_lab.compress.checkpoint import load, save, stored_bytes
from autoglm_lab.compress.coverage import Coverage, coverage_of, name_filter
from autoglm_lab.compress.low_rank import factorise_layers
from autoglm_lab.compress.qat import prepare
from autoglm_lab.compress.quantization import PackedLayer, Scheme, quantize, quantize_weights, relative_error
from autoglm_lab.compress.recipe import Recipe, apply
from autoglm_lab.compress.reconstruction import input_moments, refit_channels, refit_masked
from autoglm_lab.compress.sparsity import masks_by_layer, prune
from autoglm_lab.compress.structured import prune_structured

BYTE = Scheme(8, granularity="channel")
IDS = torch.arange(2, 12)[None]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.lstm, self.head = nn.Embedding(20, 16), nn.LSTM(16, 64), nn.Linear(64, 20)

    def forward(self, ids):
        return self.head(self.lstm(self.table(ids))[0])


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Bridged(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.bridge = nn.Linear(6, 32), nn.Linear(32, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.narrow(self.wide(x).relu()) + self.bridge(x)


def stack(count=12):
    return nn.ModuleDict({"layers": nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))})


def gemma():
    config = Gemma3TextConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    torch.manual_seed(0)
    return Gemma3ForCausalLM(config).eval()


def test_what_is_left_is_said_and_too_much_of_it_is_an_error(capsys):
    model = Recurrent().eval()
    with pytest.raises(ValueError, match=r"5\.9 % .*lstm: a LSTM is not known.*min_share"):
        prepare(model, BYTE)
    importlib.import_module("ipykernel")  # widgets load it in any program; that alone makes no notebook
    small = prepare(model, BYTE, min_share=0.05)
    (coverage,) = small.coverage
    assert coverage.taken == {"head": 20 * 64} and coverage.missed == {"lstm": 4 * 64 * (16 + 64)}
    printed = capsys.readouterr()
    assert str(coverage) in printed.err and not printed.out, "standard output belongs to the program"
    assert quantize_weights(model, BYTE, skip="lstm", quiet=True).coverage[0].share == 1
    assert not capsys.readouterr().err
    torch.manual_seed(0)
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2))
    for made in (prepare(gpt, BYTE, min_share=0), factorise_layers(gpt, 0.5, min_share=0), quantize_weights(gpt, BYTE)):
        assert "transformer.h.1.attn.c_attn" in made.coverage[0].taken, "its Conv1D are linear layers in the copy"
    assert quantize_weights(model, BYTE).coverage[0].share == 1, "and recurrent layers can be packed"
    with pytest.raises(ValueError, match="min_share is 2"):
        quantize_weights(model, BYTE, min_share=2)


def test_masks_channels_and_refits_are_covered_too(capsys):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(300, 6)
    masks = masks_by_layer(model, {"0": 0.5, "2": 0.5, "4": 0.0})
    (masked,) = prune(model, masks).coverage
    assert masked.taken == {"0": 192, "2": 256, "4": 24}
    fitted = refit_masked(model, masks, input_moments(model, lambda made: made(x), ["2", "4"]))
    assert fitted.coverage[1].taken == {"2": 256} and fitted.coverage[1].missed == {"0": 192}, "4 lost nothing"
    assert "refitted: 57.1 %" in capsys.readouterr().err

    with pytest.raises(
        ValueError, match=r"channels can go: 94\.1 % .*bridge: tied to what the model takes in.* At least 95% is wanted"
    ):
        prune_structured(Bridged(), (x[:1],), 0.5, min_share=0.95)
    pruned = prune_structured(model, (x[:1],), 0.5, quiet=True)
    assert pruned.model.coverage == (pruned.coverage,)
    known = input_moments(model, lambda made: made(x), ["4"])
    refitted = refit_channels(pruned.model, model, pruned.removed, known, quiet=True).coverage[1]
    assert refitted.taken == {"4": pruned.model[4].weight.numel()} and list(refitted.missed) == ["2"]
    assert "parameters it is for" not in capsys.readouterr().err
    calibration = [(x,)]
    both, _ = apply(model, Recipe(channels=0.3, sparsity=0.5, refit=True), (x[:1],), calibration=calibration, quiet=True)
    assert [entry.operation for entry in both.coverage] == ["channels can go", "refitted", "masked", "refitted"]


def test_each_parameter_is_taken_or_left_once():
    model = gemma()
    for made in (quantize_weights(model, BYTE, skip="model.layers.0"), factorise_layers(model, 0.5), prepare(model, BYTE)):
        coverage = made.coverage[-1]
        assert sum(coverage.taken.values()) + sum(coverage.left.values()) == sum(p.numel() for p in model.parameters())
        assert coverage.share == 1 and set(coverage.left) == set(coverage.reasons)
    two = quantize_weights(factorise_layers(model, 0.5, select=lambda name: "mlp" in name), BYTE)
    assert [c.operation for c in two.coverage] == ["factors with 50% of the numbers", "packed in 8 bits"]
    assert Coverage("nothing", {}).share == 1


def test_subclasses_of_layers_keep_what_they_compute_and_their_tie(tmp_path):
    model = gemma()
    small = quantize_weights(model, BYTE)
    table = small.model.embed_tokens
    assert isinstance(table, PackedLayer) and small.lm_head.weight_codes is table.weight_codes
    assert torch.allclose(table(IDS), table.weight[IDS] * 32**0.5, rtol=1e-2), "Gemma scales what it looks up"
    assert relative_error(model(IDS).logits, small(IDS).logits) < 0.05
    assert stored_bytes(small) < 0.3 * sum(4 * p.numel() for p in model.parameters()), "the tied table was stored twice"
    save(small, tmp_path / "small")
    assert torch.equal(load(gemma(), tmp_path / "small")(IDS).logits, small(IDS).logits)
    config = BartConfig(
        vocab_size=99,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        pad_token_id=0,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
    )
    bart = BartModel(config).eval()
    packed = quantize_weights(bart, BYTE)
    assert packed.encoder.embed_tokens.weight_codes is packed.decoder.embed_tokens.weight_codes
    assert relative_error(bart(IDS).last_hidden_state, packed(IDS).last_hidden_state) < 0.05


def test_a_class_with_a_forward_of_its_own_has_no_stand_in():
    model, x = nn.Sequential(nn.Linear(8, 64), Doubled(64, 4)), torch.randn(3, 8)
    small = quantize_weights(model, BYTE)
    assert torch.allclose(small(x), model(x), atol=0.05) and isinstance(small[1], Doubled)
    with pytest.raises(ValueError, match="1: its class Doubled computes something of its own"):
        prepare(model, BYTE)
    assert isinstance(prepare(model, BYTE, min_share=0.5)[1], Doubled)


def test_weights_that_are_computed_are_worked_out_first():
    torch.manual_seed(0)
    model = nn.Sequential(weight_norm(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 4))
    wanted = quantize(model[0].weight, BYTE).dequantize()
    small = quantize_weights(model, BYTE)
    assert torch.allclose(small[0].weight, wanted, rtol=1e-3, atol=1e-4) and small.coverage[0].share == 1
    x = torch.randn(5, 8)
    assert torch.allclose(prepare(model, Scheme(8), learned=False)(x), small(x), atol=0.05)
    assert hasattr(model[0], "parametrizations"), "the model was changed"


def test_a_pattern_is_made_of_whole_names():
    inside = name_filter(stack(), ["layers.1"])
    assert inside("layers.1") and inside("layers.1.weight") and not inside("layers.10") and not inside("layers.11.weight")
    small = quantize_weights(stack(), BYTE, skip=("layers.1",))
    assert [name for name, layer in small.layers.named_children() if isinstance(layer, nn.Linear)] == ["1"]
    every = name_filter(gemma(), "*.mlp")
    assert every("model.layers.1.mlp.up_proj") and not every("model.layers.1.self_attn.q_proj")
    with pytest.raises(ValueError, match=r"skip 'layer\.1' names nothing in this model; near it are 'layers\.1'"):
        quantize_weights(stack(), BYTE, skip=("layers.0", "layer.1"))
    example = (torch.randn(1, 4),)
    with pytest.raises(ValueError, match="bits: skip 'lyers' names nothing"):
        apply(nn.Sequential(*stack().layers), Recipe("x", bits=4, keep=("lyers",)), example)


def test_several_names_of_one_parameter_count_once():
    model = nn.ModuleDict({"a": nn.Linear(4, 6, bias=False), "b": nn.Linear(4, 6, bias=False)})
    model.b.weight = model.a.weight
    assert coverage_of("x", model, ["b"]).taken == {"b": 24} and coverage_of("x", model, []).missed == {"a": 24}


@pytest.mark.parametrize("half", [False, True])
def test_bytes_are_those_of_the_file(tmp_path, half):
    model, example = gemma(), {"input_ids": IDS, "use_cache": False}
    made, report = apply(model, Recipe("four", bits=4), example, half=half)
    save(made, tmp_path / "four", half=half)
    file = (tmp_path / "four" / "model.safetensors").read_bytes()
    assert report.bytes == len(file) - 8 - int.from_bytes(file[:8], "little"), "the file less its head of names"
