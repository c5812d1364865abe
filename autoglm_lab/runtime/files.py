"""Read people's own pictures and sounds: checked before anything slow begins, refused in one clear sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from autoglm_lab.runtime.features import MAX_AUDIO_SECONDS, MAX_PIXELS, Array, mono_16k


def read_image(path: Path | str) -> Image.Image:
    """A picture file of any format Pillow knows. ValueError when it is missing, empty, damaged, or over 50 million pixels."""
    file = _existing(path, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(file)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{file.name} has {width} x {height} pixels; at most {MAX_PIXELS:,} are read")
        image.load()
    except Image.DecompressionBombError:
        raise ValueError(f"{file.name} is far too large a picture; at most {MAX_PIXELS:,} pixels are read") from None
    except UnidentifiedImageError:
        raise ValueError(f"{file.name} is not an image that can be read; give a PNG or JPEG file") from None
    except (OSError, SyntaxError) as problem:
        raise ValueError(f"{file.name} is a damaged image ({problem}); give a whole PNG or JPEG file") from None
    return image


def read_audio(path: Path | str) -> Array:
    """A sound file (WAV, FLAC, Ogg, MP3; any rate, depth and number of channels) as 16 kHz mono.

    ValueError when it is missing, empty, no sound, or longer than 30 seconds.
    """
    soundfile = _soundfile()
    file = _existing(path, "sound")
    try:
        facts = soundfile.info(file)
        if facts.frames == 0:
            raise ValueError(f"{file.name} holds no sound; record at least a tenth of a second")
        if facts.duration > MAX_AUDIO_SECONDS:
            raise ValueError(f"{file.name} lasts {facts.duration:.0f} s; at most {MAX_AUDIO_SECONDS:.0f} s are read")
        wave, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as problem:
        raise ValueError(f"{file.name} is not a sound that can be read ({problem.error_string}); give a WAV file") from None
    return mono_16k(np.asarray(wave)[:, :8], int(rate_hz))


def _existing(path: Path | str, what: str) -> Path:
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"there is no {what} file {str(path)!r}")
    if file.stat().st_size == 0:
        raise ValueError(f"{file.name} is empty (0 bytes); give a whole {what} file")
    return file


def _soundfile() -> Any:
    try:
        import soundfile
    except ImportError:
        raise ImportError("reading sound needs soundfile: pip install soundfile") from None
    return soundfile
