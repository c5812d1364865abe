"""Pictures and sounds as they come in a request: unpacked, and refused when they are too large or none."""

from __future__ import annotations

import base64
import binascii
import io
import ipaddress
import re
import socket
from http.client import HTTPException
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from autoglm_lab.runtime.features import mono_16k
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.limits import Limits

PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_DATA_URL = re.compile(r"data:(?P<kind>[\w.+-]+/[\w.+-]+)?(?:;[\w.=+-]+)*;base64,", re.IGNORECASE)
DATA_URL_HEAD = 1_000  # characters before what is coded; nobody's type is longer, and no more is searched
FETCH_S = 5.0
DENSEST = 192_000  # samples a second, of all channels together


def open_picture(url: str, limits: Limits, param: str) -> Image.Image:
    """The picture in a data URL, or at an address whose host is allowed. ApiError 400, 413 or 415 says what is wrong."""
    scheme = url[:8].partition(":")[0].lower()
    if scheme in ("http", "https"):
        content = _fetch(url, limits, param)
    elif scheme == "data":
        start = _DATA_URL.match(url, 0, DATA_URL_HEAD)
        if start is None:
            raise ApiError(400, "a data URL has the form data:image/png;base64,...", param=param, code="invalid_image")
        if start["kind"] and not start["kind"].lower().startswith("image/"):
            raise ApiError(415, f"{start['kind']} is no picture; send PNG, JPEG or WebP", param=param, code="unsupported_media")
        content = unpacked(url[start.end() :], param)
    else:
        raise ApiError(400, "a picture is sent as a data URL: data:image/png;base64,...", param=param, code="invalid_image_url")
    return read_picture(content, limits, param)


def read_picture(content: bytes, limits: Limits, param: str) -> Image.Image:
    """The bytes of a picture, unpacked. Its size is read before it is unpacked, so that a bomb does not go off."""
    most = f"at most {limits.pixels:,} are unpacked, {limits.side:,} from side to side"
    try:
        picture = Image.open(io.BytesIO(content), formats=PICTURES)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ApiError(413, f"the picture has too many pixels; {most}", param=param, code="image_too_large") from None
    except Exception:  # broken files raise whatever their decoder stumbles over
        raise ApiError(
            415, "this is no picture that can be read; send PNG, JPEG or WebP", param=param, code="invalid_image"
        ) from None
    width, height = picture.size
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise ApiError(413, f"the picture has {width} x {height} pixels; {most}", param=param, code="image_too_large")
    try:
        picture.load()
        return _opaque(picture)
    except Exception as error:  # broken files raise whatever their decoder stumbles over
        raise ApiError(400, f"the picture is broken ({type(error).__name__})", param=param, code="invalid_image") from None


def _opaque(picture: Image.Image) -> Image.Image:
    """A picture without transparency, laid on white: as bytes it takes a fifth of the memory that it takes in floats."""
    if picture.mode in ("RGB", "I", "I;16", "F"):
        return picture
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(layer)
    return white.convert("RGB")


def open_sound(data: str, limits: Limits, param: str) -> NDArray[np.float32]:
    """A WAV file in base64 as a waveform of 16 kHz. ApiError 400, 413 or 415 says what is wrong."""
    content = unpacked(data, param)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.format not in ("WAV", "WAVEX", "FLAC"):
                raise ApiError(415, f"a sound in {file.format} is not read; send WAV", param=param, code="unsupported_media")
            seconds = file.frames / file.samplerate
            rate = file.samplerate
            if seconds > limits.audio_seconds or seconds * rate * file.channels > limits.audio_seconds * DENSEST or rate > DENSEST:
                raise ApiError(413, f"the sound has {seconds:.1f} s, {file.channels} channels and {rate} Hz; at most "
                                    f"{limits.audio_seconds:g} s and {DENSEST:,} samples a second are heard", param=param,
                               code="audio_too_long")  # fmt: skip
            samples = file.read(dtype="float32", always_2d=True)
    except ApiError:
        raise
    except Exception:  # as with pictures
        raise ApiError(415, "this is no sound that can be read; send WAV", param=param, code="invalid_audio") from None
    if not len(samples):
        raise ApiError(400, "the sound is empty", param=param, code="invalid_audio")
    try:
        return mono_16k(samples, rate)
    except ValueError as error:
        raise ApiError(400, f"the sound cannot be used: {error}", param=param, code="invalid_audio") from None


def unpacked(data: str, param: str) -> bytes:
    """What is written in base64. ApiError 400 where it is not."""
    try:
        return base64.b64decode(data.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "this is not written in base64", param=param, code="invalid_base64") from None


class _NoRedirect(HTTPRedirectHandler):
    """What is allowed is one address, not wherever it leads to."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _fetch(url: str, limits: Limits, param: str) -> bytes:
    host = urlsplit(url).hostname or ""
    if host not in limits.image_hosts:
        raise ApiError(400, "pictures are not fetched from other hosts; send a data URL", param=param, code="invalid_image_url")
    try:
        for *_, address in socket.getaddrinfo(host, None):
            if not ipaddress.ip_address(address[0]).is_global:
                raise ApiError(400, f"{host} is not a public address", param=param, code="invalid_image_url")
        with build_opener(_NoRedirect).open(Request(url), timeout=FETCH_S) as answer:
            content: bytes = answer.read(limits.body_bytes + 1)
    except (URLError, OSError, ValueError, HTTPException) as error:
        raise ApiError(400, f"the picture could not be fetched ({type(error).__name__})", param=param,
                       code="invalid_image_url") from None  # fmt: skip
    if len(content) > limits.body_bytes:
        raise ApiError(413, f"the picture has more than {limits.body_bytes:,} bytes", param=param, code="image_too_large")
    return content
