"""The table of layers that operations know, found by trying each operation on each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, fields

from torch import nn
from transformers.pytorch_utils import Conv1D

from autoglm_lab.compress.channels import channel_layers
from autoglm_lab.compress.low_rank import factorise_layers
from autoglm_lab.compress.qat import prepare
from autoglm_lab.compress.quantization import Scheme, quantize_weights

SAMPLES: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(8, 8),
    "Embedding": lambda: nn.Embedding(8, 8),
    "Conv1d": lambda: nn.Conv1d(8, 8, 3),
    "Conv2d": lambda: nn.Conv2d(8, 8, 3),
    "Conv3d": lambda: nn.Conv3d(8, 8, 3),
    "Conv2d, depthwise": lambda: nn.Conv2d(8, 8, 3, groups=8),
    "Conv2d, grouped": lambda: nn.Conv2d(8, 8, 3, groups=2),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(8, 8, 3),
    "BatchNorm2d": lambda: nn.BatchNorm2d(8),
    "LayerNorm": lambda: nn.LayerNorm(8),
    "GroupNorm": lambda: nn.GroupNorm(2, 8),
    "MultiheadAttention": lambda: nn.MultiheadAttention(8, 2),
    "LSTM": lambda: nn.LSTM(8, 8),
    "GRU": lambda: nn.GRU(8, 8),
    "Bilinear": lambda: nn.Bilinear(8, 8, 8),
    "Conv1D of transformers": lambda: Conv1D(8, 8),
}
BYTE = Scheme(8, granularity="channel")


@dataclass(frozen=True)
class KnownLayer:
    """A kind of layer and what can be done to it."""

    kind: str
    channels: bool  # whole channels can go, where nothing that they reach forbids it
    rank: bool  # its matrix can be two factors
    bits: bool  # its weights can be packed as integers
    training: bool  # it can train with rounded weights


def known_layers() -> list[KnownLayer]:
    """The kinds of layers that `prune_structured`, `factorise_layers`, `quantize_weights` and `prepare` take whole.

    Any other kind is left as it is and named in a result's `coverage`; zeros of single weights (`magnitude_masks`) are for
    all. Subclasses count as their kind; one with a forward of its own is packed and not replaced.

    >>> known_layers()[0]
    KnownLayer(kind='Linear', channels=True, rank=True, bits=True, training=True)
    """
    return [
        KnownLayer(
            kind,
            channels=bool(channel_layers(nn.Sequential(make()))),
            rank=_takes(make(), lambda model: factorise_layers(model, 0.5, quiet=True)),
            bits=_takes(make(), lambda model: quantize_weights(model, BYTE, quiet=True)),
            training=_takes(make(), lambda model: prepare(model, BYTE, quiet=True)),
        )
        for kind, make in SAMPLES.items()
    ]


def layer_table() -> str:
    """`known_layers` as lines of text, one for each kind.

    >>> print(layer_table().splitlines()[1])
    Linear                  yes       yes   yes   yes
    """
    columns = [field.name for field in fields(KnownLayer)]
    rows = [columns, *([kind, *("yes" if can else "-" for can in abilities)] for kind, *abilities in map(astuple, known_layers()))]
    return "\n".join(f"{kind:<24}{channels:<10}{rank:<6}{bits:<6}{training}" for kind, channels, rank, bits, training in rows)


def _takes(layer: nn.Module, operation: Callable[[nn.Module], nn.Module]) -> bool:
    try:
        operation(nn.Sequential(layer))
    except ValueError:
        return False
    return True
