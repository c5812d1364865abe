"""Multiply-accumulates by operator, against numbers that a hand computes."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from autoglm_lab.compress.low_rank import factorise
from autoglm_lab.compress.quantization import Scheme, quantize_weights
from autoglm_lab.compress.structured import layer_macs as old_place
from autoglm_lab.compress.structured import prune_structured
from autoglm_lab.compress.work import layer_macs

FOUR = Scheme(4, granularity="channel")


class Functional(nn.Module):
    """A weight that no layer holds."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(3, 8))

    def forward(self, x):
        return torch.einsum("bti,oi->bto", x, self.matrix) + F.linear(x, self.matrix)


class Heads(nn.Module):
    """Attention written out by hand, or with PyTorch's operator: two heads of 4."""

    def __init__(self, fused):
        super().__init__()
        self.qkv, self.fused = nn.Linear(8, 24), fused

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = F.scaled_dot_product_attention(q, k, v) if self.fused else (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return mixed.transpose(1, 2).flatten(2)


class Mixer(nn.Module):
    """A product with a table of the model's own, whose work depends on channels that can go."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 64), nn.Linear(64, 4)
        self.register_buffer("table", torch.randn(32, 32))

    def forward(self, x):
        return self.down(self.table @ self.up(x).relu())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down, self.lstm = nn.Linear(16, 32), nn.Linear(32, 16), nn.LSTM(16, 64, batch_first=True)

    def forward(self, x):
        return self.lstm(self.down(self.up(x).relu()))[0]


X = torch.randn(2, 5, 8)  # two rows of five places


@pytest.mark.parametrize(
    ("model", "x", "macs"),
    [
        (nn.Linear(8, 3), X, 10 * 8 * 3),
        (nn.Linear(8, 3, bias=False), X[0, 0], 8 * 3),
        (Conv1D(3, 8), X, 10 * 8 * 3),
        (nn.Bilinear(8, 8, 3), (X, X), 10 * 3 * 64),
        (nn.Conv1d(5, 6, 3), X, 2 * 6 * 6 * 5 * 3),
        (nn.Conv2d(4, 8, 3, groups=4), torch.randn(2, 4, 5, 5), 2 * 9 * 8 * 9),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), torch.randn(2, 4, 5, 5), 2 * 25 * 4 * 3 * 9),
        (nn.LSTM(8, 16), X, 10 * 4 * 16 * 24),
        (nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True), X, 10 * 2 * 64 * (24 + 48)),
        (nn.GRU(8, 16), X, 10 * 3 * 16 * 24),
        (nn.MultiheadAttention(8, 2, batch_first=True), (X, X, X), 10 * 8 * 32),
        (nn.TransformerEncoderLayer(8, 2, 32, batch_first=True), X, 10 * (8 * 32 + 2 * 8 * 32)),
        (factorise(nn.Linear(8, 6), 2), X, 10 * 2 * (8 + 6)),
        (quantize_weights(nn.Sequential(nn.Linear(8, 6), nn.ReLU()), FOUR), X, 10 * 8 * 6),
        (quantize_weights(nn.Sequential(nn.Conv1d(5, 6, 3)), FOUR), X, 2 * 6 * 6 * 5 * 3),
        (Functional(), X, 2 * 10 * 8 * 3),
        (Heads(fused=False), X, 10 * 8 * 24),
        (nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4), nn.GELU()), torch.tensor([[1, 2]]), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_work_is_what_a_hand_computes(model, x, macs):
    modes = [module.train(place % 2 == 0).training for place, module in enumerate(model.modules())]
    fast, state = torch.backends.mha.get_fastpath_enabled(), {k: v.clone() for k, v in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sum(layer_macs(model, x if isinstance(x, tuple) else (x,)).values()) == macs
    assert [module.training for module in model.modules()] == modes and torch.backends.mha.get_fastpath_enabled() == fast
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("fused", [True, False])
def test_products_of_activations_count_where_they_are_asked_for(fused):
    model = nn.Sequential(Heads(fused))
    assert layer_macs(model, (X,)) == {"0.qkv": 10 * 8 * 24}
    assert layer_macs(model, (X,), activations=True) == {"0.qkv": 10 * 8 * 24, "0": 2 * 2 * 2 * 5 * 5 * 4}
    layer = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True)
    assert layer_macs(layer, (X,), activations=True)["self_attn"] == 10 * 8 * 32 + 2 * 2 * 2 * 5 * 5 * 4
    assert old_place is layer_macs


def test_a_compiled_model_is_counted_as_it_was_written():
    compiled = torch.compile(nn.Sequential(nn.Linear(8, 3)))
    assert sum(layer_macs(compiled, (X,)).values()) == 10 * 8 * 3


def test_half_precision_and_layers_used_twice():
    layer = nn.Linear(8, 8)
    assert sum(layer_macs(nn.Sequential(layer, layer), (X,)).values()) == 2 * 10 * 64
    assert sum(layer_macs(nn.LSTM(8, 16).bfloat16(), (X.bfloat16(),)).values()) == 10 * 4 * 16 * 24


def test_where_a_model_fails_is_named():
    with pytest.raises(ValueError, match="fails in layer '1'"):
        layer_macs(nn.Sequential(nn.Linear(8, 4), nn.Linear(5, 2)), (X,))


def test_what_pruning_reached_is_counted_on_the_finished_network(capsys):
    torch.manual_seed(0)
    done = prune_structured(Mixer(), (torch.randn(1, 32, 4),), 0.15)
    assert done.reached == pytest.approx(0.15, rel=0.05) and done.reached == done.saved["macs"] and done.ratio == 0.15
    assert f"{100 * done.reached:.1f} % of the macs gone" in capsys.readouterr().err and done.coverage.taken.keys() == {
        "up",
        "down",
    }


def test_a_ratio_that_cannot_be_had_is_refused():
    model, example = Recurrent(), (torch.randn(1, 6, 16),)
    # what the LSTM gives is what the model gives, so only its inputs can go
    with pytest.raises(ValueError, match=r"50\.0% of the macs was asked for, and 21\.2% is the nearest that can go"):
        prune_structured(model, example, 0.5)
    for ratio in (0.03, 0.1, 0.2):
        assert prune_structured(model, example, ratio, quiet=True).reached == pytest.approx(ratio, rel=0.05)
