"""Features of pictures and sound: 224 x 224 RGB in [0, 1], and log-mel frames at 16 kHz. Numpy only.

The processor, the engines and the exported graph all use these definitions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

IMAGE_SIDE = 224
SAMPLE_RATE_HZ = 16_000
HIGHEST_HZ = 8000.0  # of the mel filters
MEL_BINS = 80
FFT_SAMPLES = 400  # 25 ms windows
HOP_SAMPLES = 160  # 10 ms steps
MAX_PIXELS = 50_000_000
MAX_AUDIO_SECONDS = 30.0
DYNAMIC_RANGE = 8.0  # decades of power kept below the loudest value
QUIET_PRODUCT = 2**18  # multiply-accumulates up to which OpenBLAS works alone
QUIETEST_REFERENCE = -4.0  # log10 power; below it a clip counts as silence and is not amplified


def image_features(image: Any) -> Array:
    """Any picture as [3, 224, 224] float32 in [0, 1].

    `image` is a PIL image of any size and mode, or an array [height, width], [height, width, 1..4] of uint8 or of floats in
    [0, 1]. Transparency is laid on white. The sides are scaled independently, so 0..999 coordinates survive.
    Raises ValueError for empty pictures, wrong shapes, values outside the range, and more than 50 million pixels.
    """
    pixels, white = _rgb(image)
    height, width, _ = pixels.shape
    small = _narrow(_shrunk(pixels.reshape(height, -1), height), width).reshape(IMAGE_SIDE, IMAGE_SIDE, 3)
    out = np.empty((3, IMAGE_SIDE, IMAGE_SIDE), np.float32)
    np.multiply(small.transpose(2, 0, 1), np.float32(1 / white), out=out)
    return np.clip(out, 0, 1, out=out)


def calm_product(left: Array, right: Array, out: Array | None = None) -> Array:
    """Compute `left @ right` in pieces for which OpenBLAS starts no threads: they would spin on beside those of the runtime.

    It is written to `out`, if there is one.
    """
    rows, inner = left.shape
    columns = right.shape[1]
    if out is None:
        out = np.empty((rows, columns), np.float32)
    if rows * inner * columns <= QUIET_PRODUCT:
        np.matmul(left, right, out=out)
        return out
    high = max(2, min(rows, QUIET_PRODUCT // (inner * columns)))  # one row alone is another routine, which starts threads sooner
    wide = max(2, QUIET_PRODUCT // (inner * high))
    for top in range(0, rows, high):
        for first in range(0, columns, wide):
            np.matmul(left[top : top + high], right[:, first : first + wide], out=out[top : top + high, first : first + wide])
    return out


def _shrunk(lines: NDArray[Any], count: int) -> Array:
    """`count` lines resized to 224, four at a time: each is a sum over the few old ones that its filter reaches, not over all.

    Bytes become floats only here, as many as fit in a cache.
    """
    weights, bands = _resize_matrix(count, IMAGE_SIDE)
    out = np.empty((IMAGE_SIDE, lines.shape[1]), np.float32)
    reach = [(bands[row][0], bands[row + 3][1]) for row in range(0, IMAGE_SIDE, 4)]
    near = np.empty((max(last - first for first, last in reach), lines.shape[1]), np.float32)
    for place, (first, last) in enumerate(reach):
        near[: last - first] = lines[first:last]
        rows = slice(4 * place, 4 * place + 4)
        calm_product(weights[rows, first:last], near[: last - first], out[rows])
    return out


def _narrow(lines: Array, count: int) -> Array:
    """Lines of `count` pixels of three colours resized to 224 pixels, four at a time."""
    out = np.empty((IMAGE_SIDE, 3 * IMAGE_SIDE), np.float32)
    for place, (first, last, weights) in enumerate(_pixel_bands(count)):
        calm_product(lines[:, first:last], weights, out[:, 12 * place : 12 * place + 12])
    return out


@lru_cache(maxsize=32)
def _pixel_bands(count: int) -> list[tuple[int, int, Array]]:
    """Bands of four pixels of a short line: the values of a long line they need, and the weights of these for their colours."""
    weights, bands = _resize_matrix(count, IMAGE_SIDE)
    reach = [(bands[row][0], bands[row + 3][1]) for row in range(0, IMAGE_SIDE, 4)]
    colours = np.eye(3, dtype=np.float32)
    return [
        (3 * first, 3 * last, np.kron(weights[4 * place : 4 * place + 4, first:last].T, colours))
        for place, (first, last) in enumerate(reach)
    ]


def _rgb(image: Any) -> tuple[NDArray[Any], float]:
    """Pixels as [height, width, 3] from 0 to white, and white: of bytes it is 255, so that few values are divided later."""
    if hasattr(image, "convert"):
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"the image has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} pixels are read")
        if image.mode in ("I", "I;16", "F"):  # 16-bit greys
            image = np.asarray(image, np.float32) / 65535
        elif image.mode == "RGB":
            image = np.asarray(image)
        else:
            image = np.asarray(image.convert("RGBA"))
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        raise ValueError(f"an image has shape [height, width] or [height, width, 1 to 4 channels], got {list(pixels.shape)}")
    white = 255.0 if pixels.dtype == np.uint8 else 1.0
    if white == 255 and pixels.shape[2] == 3:
        return pixels, white
    scaled = pixels.astype(np.float32)
    if white == 1 and (not np.isfinite(scaled).all() or scaled.min() < 0 or scaled.max() > 1.0001):
        raise ValueError("pixel values have to be uint8, or floats between 0 and 1")
    if scaled.shape[2] in (2, 4):
        opaque = scaled[..., -1:] / white
        scaled = scaled[..., :-1] * opaque + white * (1 - opaque)
    return np.asarray(np.broadcast_to(scaled, (*scaled.shape[:2], 3)), np.float32), white


@lru_cache(maxsize=32)
def _resize_matrix(source: int, target: int) -> tuple[Array, list[tuple[int, int]]]:
    """[target, source] weights of a triangle filter that is widened when shrinking (antialiased bilinear, as in Pillow).

    Returned with them, for each row: where its weights begin and end.
    """
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centres[:, None]) / reach
    weights = np.maximum(0, 1 - distance)
    bands = [(int(row.nonzero()[0][0]), int(row.nonzero()[0][-1]) + 1) for row in weights]
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32), bands


def gaussian_blur(pixels: Array, sigma: float) -> Array:
    """[3, side, side] blurred by a Gaussian of `sigma` pixels of the 224-pixel input; 0 leaves it as it is."""
    if sigma < 0:
        raise ValueError(f"sigma is {sigma}; a blur has zero or more pixels")
    if sigma == 0:
        return pixels
    side = pixels.shape[-1]
    place = np.arange(side)
    weights = np.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return np.asarray(weights @ pixels @ weights.T, np.float32)


def mono_16k(wave: Any, rate_hz: int) -> Array:
    """Sound as [samples] float32 at 16 kHz.

    `wave` is [samples] or [samples, channels], integers or floats in [-1, 1]. Raises ValueError for no samples, more than 30
    seconds, other shapes, or a rate outside 4 to 192 kHz.
    """
    sound = np.asarray(wave)
    if sound.ndim not in (1, 2) or (sound.ndim == 2 and not 1 <= sound.shape[1] <= 8):
        raise ValueError(f"sound has shape [samples] or [samples, 1 to 8 channels], got {list(sound.shape)}")
    if not 4_000 <= rate_hz <= 192_000:
        raise ValueError(f"the sampling rate is {rate_hz} Hz; rates from 4,000 to 192,000 Hz are read")
    if sound.shape[0] == 0:
        raise ValueError("the sound has no samples")
    if sound.shape[0] > MAX_AUDIO_SECONDS * rate_hz:
        raise ValueError(f"the sound lasts {sound.shape[0] / rate_hz:.0f} s; at most {MAX_AUDIO_SECONDS:.0f} s are read")
    if np.issubdtype(sound.dtype, np.unsignedinteger):  # 8-bit WAV is unsigned
        sound = sound.astype(np.float32) / (np.iinfo(sound.dtype).max / 2 + 0.5) - 1
    elif np.issubdtype(sound.dtype, np.integer):
        sound = sound.astype(np.float32) / -float(np.iinfo(sound.dtype).min)
    sound = sound.astype(np.float32)
    if not np.isfinite(sound).all():
        raise ValueError("the sound holds values that are not finite")
    return _resample(sound.mean(1) if sound.ndim == 2 else sound, rate_hz)


def _resample(wave: Array, rate_hz: int) -> Array:
    """Windowed-sinc resampling to 16 kHz, in blocks so that memory stays small."""
    if rate_hz == SAMPLE_RATE_HZ:
        return wave
    ratio = rate_hz / SAMPLE_RATE_HZ
    cutoff = min(1.0, 1 / ratio)
    reach = int(np.ceil(16 / cutoff))
    padded = np.pad(wave, reach + 1)
    count = max(1, round(len(wave) / ratio))
    out = np.empty(count, np.float32)
    for start in range(0, count, 8192):
        places = np.arange(start, min(count, start + 8192)) * ratio
        first = np.floor(places).astype(int)[:, None] + np.arange(-reach, reach + 1)
        offset = places[:, None] - first
        weights = cutoff * np.sinc(cutoff * offset) * np.cos(np.pi * offset / (2 * (reach + 1))) ** 2
        out[start : start + 8192] = (padded[first + reach + 1] * weights).sum(1)
    return out


def to_mel(hz: Array | float) -> Array:
    """Frequencies [N] in mels."""
    return np.asarray(2595 * np.log10(1 + np.asarray(hz) / 700))


def to_hz(mel: Array) -> Array:
    """Mels [N] as frequencies."""
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


@lru_cache(maxsize=1)
def mel_filters() -> Array:
    """[201, 80] triangular filters, even in mels from 0 to 8 kHz, each of unit area."""
    edges = to_hz(np.linspace(0, to_mel(HIGHEST_HZ), MEL_BINS + 2))
    bins = np.linspace(0, SAMPLE_RATE_HZ / 2, FFT_SAMPLES // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2])), np.float32)


def log_mel(wave: Array) -> Array:
    """16 kHz sound [samples] as [frames, 80] log-mel frames of 10 ms, independent of the recording's level.

    Powers are taken in decades below the loudest value of the clip (at most eight) and mapped to [-1, 1].
    """
    if wave.ndim != 1 or wave.size == 0:
        raise ValueError(f"log_mel needs one channel with samples, got shape {list(wave.shape)}")
    padded = np.pad(np.asarray(wave, np.float32), FFT_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES]
    window = np.hanning(FFT_SAMPLES + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    decades = np.log10(np.maximum(calm_product(power.astype(np.float32), mel_filters()), 1e-10))
    reference = max(float(decades.max()), QUIETEST_REFERENCE)
    return np.asarray(np.maximum(decades - reference, -DYNAMIC_RANGE) / (DYNAMIC_RANGE / 2) + 1, np.float32)
