"""Tiny random models of many kinds, each with an example, for the tests of structured pruning."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as T
from torch import nn
from torch.nn import functional as F
from transformers.models.whisper.modeling_whisper import WhisperEncoder

DECODER = {
    "vocab_size": 64, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "pad_token_id": 0,
}  # fmt: skip
GROUPED = DECODER | {"num_key_value_heads": 2}


class Block(nn.Module):
    """Two convolutions beside a straight path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.a_norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.b, self.b_norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(x + self.b_norm(self.b(F.relu(self.a_norm(self.a(x))))))


class ResNetLike(nn.Module):
    """Residual blocks, a depthwise convolution, and a classifier on flattened maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm, self.one = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), Block(8)
        self.down, self.two = nn.Conv2d(8, 12, 3, 2, 1), Block(12)
        self.depthwise, self.head = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Linear(12 * 16, 5)

    def forward(self, x):
        x = self.one(F.relu(self.stem_norm(self.stem(x))))
        return self.head(self.depthwise(self.two(F.relu(self.down(x)))).flatten(1))


def _ids() -> dict[str, Any]:
    return {"input_ids": torch.randint(1, 64, (2, 5)), "use_cache": False}


def _vit() -> nn.Module:
    return T.ViTForImageClassification(T.ViTConfig(hidden_size=64, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                                                   image_size=32, patch_size=8))  # fmt: skip


def _whisper() -> nn.Module:
    return WhisperEncoder(T.WhisperConfig(d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=48,
                                          num_mel_bins=20, max_source_positions=50))  # fmt: skip


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "Glm": (lambda: T.GlmForCausalLM(T.GlmConfig(**GROUPED, head_dim=16)), _ids),
    "Glm4": (lambda: T.Glm4ForCausalLM(T.Glm4Config(**GROUPED, head_dim=16)), _ids),
    "Llama": (lambda: T.LlamaForCausalLM(T.LlamaConfig(**GROUPED)), _ids),
    "Qwen2": (lambda: T.Qwen2ForCausalLM(T.Qwen2Config(**GROUPED)), _ids),
    "Bert": (lambda: T.BertModel(T.BertConfig(**DECODER, max_position_embeddings=32)), lambda: {"input_ids": _ids()["input_ids"]}),
    "ViT": (_vit, lambda: {"pixel_values": torch.randn(2, 3, 32, 32)}),
    "Whisper encoder": (_whisper, lambda: {"input_features": torch.randn(2, 20, 100)}),
    "ResNet-like": (ResNetLike, lambda: (torch.randn(2, 3, 16, 16),)),
}


def make(name: str) -> tuple[nn.Module, Any]:
    """A model in evaluation mode and an example; batch norms have seen something, so that they are no identity."""
    torch.manual_seed(0)
    build, example = MODELS[name]
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias)
    return model.eval(), example()
