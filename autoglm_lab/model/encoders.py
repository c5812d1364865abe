"""The two encoders: a small CNN for the screen, a stack of dilated convolutions for speech."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.glm.modeling_glm import GlmRMSNorm

from autoglm_lab.model.configuration import PhoneGLMConfig


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, batch norm, ReLU: the triple that an exporter folds into one."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two convolutions beside a straight path (He et al. 2016, basic block)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels)
        self.second = conv(channels, channels)[:2]

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The same shape as `x`."""
        return F.relu(x + self.second(self.first(x)))


class WideResidual(nn.Module):
    """A 9 x 9 depthwise and a 1 x 1 convolution beside a straight path: a far look for little arithmetic (as in ConvNeXt).

    Two of them let a cell see its whole row: a label on the left together with its switch on the right.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        depthwise = nn.Conv2d(channels, channels, 9, padding=4, groups=channels, bias=False)
        self.reach = nn.Sequential(depthwise, nn.BatchNorm2d(channels), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The same shape as `x`."""
        return F.relu(x + self.mix(self.reach(x)))


class ImageEncoder(nn.Module):
    """224 x 224 pixels to 14 x 14 cells in the shared space: each layer halves the sides and sees more at once."""

    def __init__(self, config: PhoneGLMConfig) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels = 3
        for width, blocks in zip(config.image_channels, config.image_blocks, strict=True):
            stages += [conv(channels, width, stride=2), *(Residual(width) for _ in range(blocks))]
            channels = width
        stages += [WideResidual(channels) for _ in range(config.image_wide_blocks)]
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(channels, config.hidden_size)
        self.norm = GlmRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, pixels: Float[Tensor, "B 3 224 224"]) -> Float[Tensor, "B P D"]:
        """Cells in reading order, each of unit root mean square."""
        maps: Tensor = self.stages((pixels - 0.5) * 4)
        cells: Tensor = self.norm(self.project(maps.flatten(2).transpose(1, 2)))
        return cells


class DilatedBlock(nn.Module):
    """A depthwise convolution that reaches far and a small feed-forward layer, each beside a straight path (as in ConvNeXt)."""

    def __init__(self, channels: int, dilation: int, eps: float) -> None:
        super().__init__()
        self.norm = GlmRMSNorm(channels, eps)
        self.depthwise = nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation, groups=channels)
        self.up = nn.Linear(channels, 2 * channels)
        self.down = nn.Linear(2 * channels, channels)

    def forward(self, x: Float[Tensor, "B F C"], mask: Float[Tensor, "B F 1"]) -> Float[Tensor, "B F C"]:
        """The same shape as `x`; nothing flows in from places where `mask` is 0."""
        reached: Tensor = self.depthwise((self.norm(x) * mask).transpose(1, 2)).transpose(1, 2)
        added: Tensor = self.down(F.gelu(self.up(reached)))
        return x + added


class AudioEncoder(nn.Module):
    """Log-mel frames (100 a second) to frames in the shared space (25 a second), each seeing about 1.2 s around it."""

    def __init__(self, config: PhoneGLMConfig) -> None:
        super().__init__()
        width = config.audio_channels
        self.first = nn.Conv1d(config.mel_bins, width, 5, stride=2, padding=2)
        self.second = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(DilatedBlock(width, (1, 2, 3)[i % 3], config.rms_norm_eps) for i in range(config.audio_blocks))
        self.project = nn.Linear(width, config.hidden_size)
        self.norm = GlmRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, mel: Float[Tensor, "B M 80"], mask: Bool[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B F D"], Bool[Tensor, "B F"]]:
        """Frames of unit root mean square, and which of them are sound rather than padding. F = ceil(M / 4)."""
        x = (mel * mask[..., None]).transpose(1, 2)
        x = F.gelu(self.first(x)) * mask[:, None, ::2]
        x = F.gelu(self.second(x)).transpose(1, 2)
        frame_mask = mask[:, ::4]
        for block in self.blocks:
            x = block(x, frame_mask[..., None].to(x.dtype))
        return self.norm(self.project(x)), frame_mask


def _fourier(places: Tensor, width: int, shortest: float) -> Tensor:
    """[..., width] sines and cosines of `places` in [0, 1], from one period down to `shortest`, unit root mean square.

    Two places have a large dot product exactly when they are close (Vaswani et al. 2017; Tancik et al. 2020).
    """
    periods = torch.logspace(math.log10(2.0), math.log10(shortest), width // 2)
    angles = 2 * math.pi * places[..., None] / periods
    return torch.cat((angles.sin(), angles.cos()), -1) * math.sqrt(2)


def moments(frames: Float[Tensor, "B F D"]) -> Float[Tensor, "F D"]:
    """Positions of the frames of sound in time: 25 a second, and the longest period takes eight seconds."""
    return _fourier(torch.arange(frames.shape[1], device=frames.device) / 100, frames.shape[-1], 0.05) * 0.5


def grid_positions(grid: int, width: int) -> Float[Tensor, "P D"]:
    """Position of each cell: its x in the first half of the vector, its y in the second."""
    middle = (torch.arange(grid) + 0.5) / grid
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return torch.cat((_fourier(x.flatten(), width // 2, 0.06), _fourier(y.flatten(), width // 2, 0.06)), -1)


def number_embeddings(count: int, width: int) -> Float[Tensor, "N D"]:
    """First embeddings of the numbers 0..999: the place that each names, in both halves, so that a cell points at its number."""
    place = _fourier((torch.arange(count) + 0.5) / count, width // 2, 0.06)
    return torch.cat((place, place), -1)
