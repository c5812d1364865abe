"""Pictures and sound to numbers, as graphs: `runtime.features` for hosts that have no numpy, a page in a browser for one."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from autoglm_lab.export.module import onnx_module
from autoglm_lab.runtime.features import (
    DYNAMIC_RANGE,
    FFT_SAMPLES,
    HOP_SAMPLES,
    IMAGE_SIDE,
    QUIETEST_REFERENCE,
    image_features,
    log_mel,
    mel_filters,
)

ALLOWED = 1e-4  # distance from `runtime.features`
PICTURES = ((1, 1), (3, 700), (224, 224), (800, 360), (1999, 37))  # height and width
SOUNDS = (1, 159, 160, 4_000, 16_001)  # samples
COARSE = 40  # samples


class PixelsGraph(nn.Module):
    """A picture of any size, as a canvas holds it, to the pixels that the model sees."""

    def forward(self, rgba: UInt8[Tensor, "height width 4"]) -> Float[Tensor, "1 3 224 224"]:
        """See `runtime.features.image_features`: transparency is laid on white, each side is resized by a triangle filter."""
        planes = rgba.permute(2, 0, 1).to(torch.float32)  # a colour after the other: runs as long as the picture, not of 3 numbers
        opaque = planes[3:] / 255
        rgb = (planes[:3] - 255) * opaque + 255
        small = nn.functional.interpolate(rgb[None], (IMAGE_SIDE, IMAGE_SIDE), mode="bilinear", antialias=True)
        return (small / 255).clamp(0, 1)


class MelGraph(nn.Module):
    """Sound of 16 kHz to log-mel frames: the Fourier transform of each window is a product with cosines and sines.

    Their table is a tenth of a small bundle, so the graph holds those of every `COARSE`-th sample and of the `COARSE` samples
    after it, and adds their angles. (ONNX has an operator for this, STFT; that of ONNX Runtime 1.31 errs by up to 2e-3.)
    """

    coarse: Tensor
    fine: Tensor
    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        turns = np.arange(FFT_SAMPLES // 2 + 1)[:, None] * (2 * np.pi / FFT_SAMPLES)
        for name, samples in (("coarse", np.arange(0, FFT_SAMPLES, COARSE)), ("fine", np.arange(COARSE))):
            self.register_buffer(
                name, torch.tensor(np.stack((np.cos(turns * samples), np.sin(turns * samples))).astype(np.float32))
            )
        self.register_buffer("window", torch.tensor(np.hanning(FFT_SAMPLES + 1)[:-1].astype(np.float32)))
        self.register_buffer("filters", torch.tensor(mel_filters()))

    def forward(self, wave: Float[Tensor, "1 samples"]) -> Float[Tensor, "1 frames 80"]:
        """See `runtime.features.log_mel`."""
        (cos_far, sin_far), (cos_near, sin_near) = self.coarse[..., None], self.fine[:, :, None]
        cosines = cos_far * cos_near - sin_far * sin_near
        sines = sin_far * cos_near + cos_far * sin_near
        waves = torch.cat((cosines, sines)).flatten(1) * self.window
        padded = nn.functional.pad(wave[:, None], (FFT_SAMPLES // 2,) * 2)
        real, imaginary = nn.functional.conv1d(padded, waves[:, None], stride=HOP_SAMPLES).transpose(1, 2).chunk(2, -1)
        decades = torch.log10(((real**2 + imaginary**2) @ self.filters).clamp(min=1e-10))
        reference = decades.amax((1, 2), keepdim=True).clamp(min=QUIETEST_REFERENCE)
        return (decades - reference).clamp(min=-DYNAMIC_RANGE) / (DYNAMIC_RANGE / 2) + 1


def feature_graphs() -> dict[str, bytes]:
    """`pixels` and `mel` as ONNX files, compared with `runtime.features` at several sizes. ValueError when they differ."""
    graphs = dict(_traced())
    rng = np.random.default_rng(0)
    picture = {size: rng.integers(0, 256, (*size, 4), dtype=np.uint8) for size in PICTURES}
    sound = {count: rng.normal(0, 0.1, count).astype(np.float32) for count in SOUNDS}
    for size, rgba in picture.items():
        _same("pixels", f"a picture of {size[1]} x {size[0]}", graphs, rgba, image_features(rgba)[None])
    for count, wave in sound.items():
        _same("mel", f"{count} samples", graphs, wave[None], log_mel(wave)[None])
    return graphs


@cache
def _traced() -> dict[str, bytes]:
    """Both graphs, traced once in a process: they hold nothing of a model."""
    sides, samples = {0: "height", 1: "width"}, {1: "samples"}
    rgba, wave = torch.zeros(9, 7, 4, dtype=torch.uint8), torch.zeros(1, 1_601)
    pixels = onnx_module(PixelsGraph(), {"rgba": rgba}, dynamic={"rgba": sides}, outputs=["pixel_values"], check=False)
    mel = onnx_module(MelGraph(), {"wave": wave}, dynamic={"wave": samples}, outputs=["input_features"], check=False)
    return {"pixels": pixels, "mel": mel}


def _same(graph: str, case: str, graphs: dict[str, bytes], inputs: NDArray[np.generic], right: NDArray[np.float32]) -> None:
    session = onnxruntime.InferenceSession(graphs[graph], providers=["CPUExecutionProvider"])
    features = session.run(None, {session.get_inputs()[0].name: inputs})[0]
    if features.shape != right.shape or not np.abs(features - right).max() <= ALLOWED:
        raise ValueError(f"the {graph} graph does not give the features of {case}: {np.abs(features - right).max():.1e} apart")
