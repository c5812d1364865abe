"""Tiny random models of architectures that need more than linear layers and convolutions side by side."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as T
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, weight_norm

from tests.unit.pruned_models import GROUPED


class HeadsAndNeurons(nn.Module):
    """Attention and a feed-forward layer in one module, no norm between them, sizes spelled in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.n_head, self.width = 4, 32
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        self.up, self.down = nn.Linear(32, 48), nn.Linear(48, 32)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, x):
        shape = (*x.shape[:2], self.n_head, self.width // self.n_head)
        q, k, v = (layer(x).view(shape).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(*x.shape[:2], self.width))
        return self.head(self.norm(self.down(F.gelu(self.up(x)))))


class FusedSplit(nn.Module):
    """A fused projection cut at places that are attributes, whose parts are of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.sizes = 4, 2, 8, (32, 16, 16)
        self.qkv, self.o, self.norm, self.head = nn.Linear(32, 64), nn.Linear(32, 32), nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in self.qkv(x).split(self.sizes, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.head(self.norm(x + self.o(y.transpose(1, 2).flatten(2))))


class Chunks(nn.Module):
    """Two halves of one layer that go different ways."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.left, self.right = nn.Linear(8, 40), nn.Linear(20, 6), nn.Linear(20, 6)

    def forward(self, x):
        left, right = self.both(x).chunk(2, -1)
        return self.left(F.relu(left)) + self.right(right.tanh())


class LiteralSplit(nn.Module):
    """A split whose size stands in the code: what it cuts cannot shrink; the rest can."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.left, self.right = nn.Linear(8, 40), nn.Linear(20, 30), nn.Linear(20, 30)
        self.last = nn.Linear(30, 6)

    def forward(self, x):
        left, right = self.both(x).split(20, -1)
        return self.last(F.relu(self.left(left) + self.right(right)))


class UNetLike(nn.Module):
    """Down with strides, up with transposed convolutions, and a path beside."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 24, 3, 2, 1)
        self.norm, self.up = nn.InstanceNorm2d(24, affine=True), nn.ConvTranspose2d(24, 12, 2, 2)
        self.act, self.last = nn.PReLU(24), nn.Conv2d(24, 3, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(self.act(torch.cat([x, self.up(self.norm(self.down(x)))], 1)))


class GroupNormResNet(nn.Module):
    def __init__(self, groups: int = 8) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 32, 3, 2, 1), nn.GroupNorm(groups, 32)
        self.a, self.a_norm = nn.Conv2d(32, 32, 3, padding=1), nn.GroupNorm(groups, 32)
        self.b, self.b_norm = nn.Conv2d(32, 32, 3, padding=1), nn.GroupNorm(groups, 32, affine=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = F.relu(self.stem_norm(self.stem(x)))
        x = F.relu(x + self.b_norm(self.b(F.relu(self.a_norm(self.a(x))))))
        return self.head(x.mean((2, 3)))


class ResNeXtLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.narrow, self.norm = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32)
        self.grouped, self.wide, self.head = nn.Conv2d(32, 32, 3, padding=1, groups=8), nn.Conv2d(32, 16, 1), nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.wide(F.relu(self.grouped(F.relu(self.norm(self.narrow(x)))))))
        return self.head(x.mean((2, 3)))


class MobileNetLike(nn.Module):
    """Depthwise convolutions, one of them with two outputs for each input, and one transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep, self.point = (
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.Conv2d(16, 32, 3, padding=1, groups=16),
            nn.Conv2d(32, 24, 1),
        )
        self.back, self.act, self.head = nn.ConvTranspose2d(24, 24, 2, 2, groups=24), nn.PReLU(), nn.Linear(24, 5)

    def forward(self, x):
        return self.head(self.act(self.back(F.relu6(self.point(F.relu6(self.deep(F.relu6(self.stem(x)))))))).mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, layers: int = 2, both: bool = True, first: bool = True) -> None:
        super().__init__()
        self.first = first
        self.embed, self.into = nn.Embedding(50, 24), nn.Linear(24, 16)
        self.rnn = kind(16, 20, layers, batch_first=first, bidirectional=both)
        self.head = nn.Linear(20 * (1 + both), 5)

    def forward(self, ids):
        x = F.relu(self.into(self.embed(ids)))
        y, _ = self.rnn(x if self.first else x.transpose(0, 1))
        return self.head(y[:, -1] if self.first else y[-1])


class LastState(nn.Module):
    """A classifier on the last hidden state of every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(8, 20, 2, batch_first=True), nn.Linear(40, 5)

    def forward(self, x):
        return self.head(self.rnn(x)[1].transpose(0, 1).flatten(1))


class Encoder(nn.Module):
    def __init__(self, first: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=first)
        self.embed, self.encoder, self.head = nn.Linear(8, 32), nn.TransformerEncoder(layer, 2), nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)))


class CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, kdim=24, vdim=24, batch_first=True)
        self.up, self.down, self.norm = nn.Linear(32, 48), nn.Linear(48, 5), nn.LayerNorm(32)

    def forward(self, x, y):
        return self.down(F.relu(self.up(self.norm(x + self.attention(x, y, y)[0]))))


class Tied(nn.Module):
    """Two layers of one weight, and others of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 4)
        self.c.weight = self.b.weight

    def forward(self, x):
        return self.d(F.relu(self.c(F.relu(self.b(F.relu(self.a(x)))))))


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))


def _masked() -> nn.Module:
    model = _mlp()
    prune.l1_unstructured(model[2], "weight", 0.3)
    model(torch.randn(1, 8))
    return model


def _normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    model = _mlp()
    norm(model[2])
    model(torch.randn(1, 8))
    return model


def _compiled_inside() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), torch.compile(_mlp(), backend="eager"))


T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0,
      "pad_token_id": 0, "use_cache": False}  # fmt: skip


def _ids() -> torch.Tensor:
    return torch.randint(1, 50, (2, 6))


SMALL = {"vocab_size": 64, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
PICTURE = (torch.randn(2, 3, 16, 16),)
SEQUENCE = (torch.randn(2, 6, 8),)


def _words() -> dict[str, Any]:
    return {"input_ids": _ids(), "use_cache": False}


def _pairs() -> dict[str, Any]:
    return {"input_ids": _ids(), "decoder_input_ids": _ids()}


BOTH = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in
        {"layers": 2, "attention_heads": 4, "ffn_dim": 48}.items()}  # fmt: skip
GPT2 = {"vocab_size": 64, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
DISTIL = {"vocab_size": 64, "dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 48}
OPT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "word_embed_proj_dim": 32,
}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
HUGGING = {
    "GPT-2": (lambda: T.GPT2LMHeadModel(T.GPT2Config(**GPT2)), lambda: {"input_ids": _ids()}),
    "T5": (lambda: T.T5ForConditionalGeneration(T.T5Config(**T5)), _pairs),
    "T5 gated": (lambda: T.T5ForConditionalGeneration(T.T5Config(**T5, **GATED)), _pairs),
    "Phi-3": (lambda: T.Phi3ForCausalLM(T.Phi3Config(**GROUPED, eos_token_id=1, bos_token_id=1)), _words),
    "Distilbert": (lambda: T.DistilBertModel(T.DistilBertConfig(**DISTIL)), lambda: {"input_ids": _ids()}),
    "BART": (lambda: T.BartModel(T.BartConfig(vocab_size=64, d_model=32, **BOTH)), _words),
    "OPT": (lambda: T.OPTForCausalLM(T.OPTConfig(**OPT)), _words),
    "GPT-NeoX": (lambda: T.GPTNeoXForCausalLM(T.GPTNeoXConfig(**SMALL)), _words),
    "Gemma": (lambda: T.GemmaForCausalLM(T.GemmaConfig(**GROUPED, head_dim=16)), _words),
}
TORCH = {
    "heads and neurons": (HeadsAndNeurons, lambda: (torch.randn(2, 6, 32),)),
    "fused split": (FusedSplit, lambda: (torch.randn(2, 6, 32),)),
    "chunks": (Chunks, lambda: (torch.randn(2, 8),)),
    "literal split": (LiteralSplit, lambda: (torch.randn(2, 8),)),
    "U-Net-like": (UNetLike, lambda: PICTURE),
    "GroupNorm": (GroupNormResNet, lambda: PICTURE),
    "ResNeXt-like": (ResNeXtLike, lambda: PICTURE),
    "MobileNet-like": (MobileNetLike, lambda: PICTURE),
    "LSTM": (Recurrent, lambda: (_ids(),)),
    "GRU": (lambda: Recurrent(nn.GRU, 1, False, False), lambda: (_ids(),)),
    "last state": (LastState, lambda: SEQUENCE),
    "TransformerEncoder": (Encoder, lambda: SEQUENCE),
    "TransformerEncoder, sequence first": (lambda: Encoder(False), lambda: (torch.randn(6, 3, 8),)),
    "cross attention": (CrossAttention, lambda: (torch.randn(2, 6, 32), torch.randn(2, 5, 24))),
    "tied": (Tied, lambda: (torch.randn(2, 8),)),
    "torch prune": (_masked, lambda: (torch.randn(2, 8),)),
    "weight_norm": (lambda: _normed(weight_norm), lambda: (torch.randn(2, 8),)),
    "weight_norm, parametrized": (lambda: _normed(parametrizations.weight_norm), lambda: (torch.randn(2, 8),)),
    "compiled": (lambda: torch.compile(_mlp(), backend="eager"), lambda: (torch.randn(2, 8),)),
    "compiled inside": (_compiled_inside, lambda: (torch.randn(2, 8),)),
}
STRANGE = HUGGING | TORCH
COARSE = {"fused split": 0.46, "last state": 0.53}  # shares that can be had: of two groups of heads one goes, or none


def strange(name: str) -> tuple[nn.Module, Any]:
    """A model in evaluation mode and an example; norms have seen something, so that they are no identity."""
    torch.manual_seed(0)
    build, example = STRANGE[name]
    model = build()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm) and module.weight is not None:
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model.eval(), example()
