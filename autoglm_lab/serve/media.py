"""Pictures and sounds as they come in a request: unpacked, and refused when they are too large or none."""

from __future__ import annotations

import base64
import binascii
import io
import re
import zlib

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from autoglm_lab.runtime.features import mono_16k
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.fetch import fetch
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.pixels import Take

PICTURES = {"PNG": rb"\x89PNG\r\n\x1a\n", "JPEG": rb"\xff\xd8\xff", "WEBP": rb"RIFF.{4}WEBP"}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG, by its colour type
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # x, y, steps
WAVES = {1, 3, 6, 7}  # codings in a WAV file that need no decoder of their own: integers, floats, two logarithmic ones
EXTENSIBLE, GUID = 0xFFFE, bytes.fromhex("000000001000800000aa00389b71")  # the coding stands in a longer head, before these
_DATA_URL = re.compile(r"data:(?P<kind>[\w.+-]+/[\w.+-]+)?(?:;[\w.=+-]+)*;base64,", re.IGNORECASE)
DATA_URL_HEAD = 1_000  # characters before what is coded; nobody's type is longer, and no more is searched
PADDING = bytes(range(7, 255, 11)) * 8  # any bytes that are no mark: none of them is 255
MAX_SCANS = 64  # of a JPEG, each of which goes over the whole picture; a progressive one has about ten
DENSEST = 192_000  # samples a second, of all channels together


def _free(_: int) -> None:
    """No bound."""


def open_picture(url: str, limits: Limits, param: str, take: Take = _free) -> Image.Image:
    """The picture in a data URL, or at an address whose host is allowed. ApiError 400, 413 or 415 says what is wrong."""
    scheme = url[:8].partition(":")[0].lower()
    if scheme in ("http", "https"):
        content = fetch(url, limits.image_hosts, limits.body_bytes, param)
    elif scheme == "data":
        start = _DATA_URL.match(url, 0, DATA_URL_HEAD)
        if start is None:
            raise ApiError(400, "a data URL has the form data:image/png;base64,...", param=param, code="invalid_image")
        if start["kind"] and not start["kind"].lower().startswith("image/"):
            raise ApiError(415, f"{start['kind']} is no picture; send PNG, JPEG or WebP", param=param, code="unsupported_media")
        content = unpacked(url[start.end() :], param)
    else:
        raise ApiError(400, "a picture is sent as a data URL: data:image/png;base64,...", param=param, code="invalid_image_url")
    return read_picture(content, limits, param, take)


def read_picture(content: bytes, limits: Limits, param: str, take: Take = _free) -> Image.Image:
    """The bytes of a picture, unpacked. Its kind and size are read before it is unpacked, so that a bomb does not go off.

    `take` is asked for its pixels first, and may let it wait. ApiError 400, 413 or 415 says what is wrong.
    """
    most = f"at most {limits.pixels:,} are unpacked, {limits.side:,} from side to side"
    kinds = [kind for kind, start in PICTURES.items() if re.match(start, content, re.DOTALL)]
    try:
        picture = Image.open(io.BytesIO(content), formats=kinds)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ApiError(413, f"the picture has too many pixels; {most}", param=param, code="image_too_large") from None
    except Exception:  # broken files raise whatever their decoder stumbles over
        raise ApiError(
            415, "this is no picture that can be read; send PNG, JPEG or WebP", param=param, code="invalid_image"
        ) from None
    width, height = picture.size
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise ApiError(413, f"the picture has {width} x {height} pixels; {most}", param=param, code="image_too_large")
    take(width * height)
    try:
        if kinds == ["JPEG"] and content.count(b"\xff\xda") > MAX_SCANS:
            raise ValueError("the picture has too many scans")
        picture.load()
        if picture.format == "PNG":
            _check_whole(picture, content)
        if picture.format == "JPEG":
            _check_whole_jpeg(content)
        return _opaque(picture)
    except Exception as error:  # broken files raise whatever their decoder stumbles over
        raise ApiError(400, f"the picture is broken ({type(error).__name__})", param=param, code="invalid_image") from None


def _check_whole(picture: Image.Image, content: bytes) -> None:
    """ValueError for a PNG that ends before its last row. Pillow leaves missing rows zero and says nothing.

    Its bytes are counted only where something may be missing: the last row is zero, or rows do not come in order.
    """
    head = content.index(b"IHDR") + 4
    width, height = (int.from_bytes(content[head + at : head + at + 4]) for at in (0, 4))
    depth, colour, interlaced = content[head + 8], content[head + 9], content[head + 12]
    if not interlaced and any(picture.crop((0, height - 1, width, height)).tobytes()):
        return
    bits, passes = depth * CHANNELS[colour], ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(len(range(x, width, across)), len(range(y, height, down))) for x, y, across, down in passes]
    missing = sum(rows * (1 + (bits * columns + 7) // 8) for columns, rows in sizes if columns)
    unpack, at = zlib.decompressobj(), 8
    while missing > 0 and at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        packed = content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while missing > 0 and packed:
            missing -= len(unpack.decompress(packed, 65_536))
            packed = unpack.unconsumed_tail
        at += 12 + length
    if missing > 0:
        raise ValueError("the picture ends before its last row")


def _check_whole_jpeg(content: bytes) -> None:
    """ValueError for a JPEG whose data ends before its last block, although the mark of the end stands behind it.

    What comes after the last block changes nothing. So a few bytes are put before the end: where blocks are missing, the decoder
    takes these for them. Both are unpacked at an eighth of their size, one pixel for a block. A progressive picture is whole here
    as soon as all of it is seen coarsely.
    """
    end = content.rfind(b"\xff\xd9")
    pixels = []
    for data in (content, content[:end] + PADDING + content[end:]):
        picture = Image.open(io.BytesIO(data), formats=["JPEG"])
        picture.draft(None, (1, 1))
        pixels.append(picture.tobytes())
    if end < 0 or pixels[0] != pixels[1]:
        raise ValueError("the picture ends before its last block")


def _opaque(picture: Image.Image) -> Image.Image:
    """A picture without transparency, laid on white: as bytes it takes a fifth of the memory that it takes in floats."""
    if picture.mode in ("RGB", "I", "I;16", "F"):
        return picture
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture if picture.mode in ("RGBA", "LA") else picture.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(layer, mask=layer.getchannel("A"))
    return white


def open_sound(data: str, limits: Limits, param: str) -> NDArray[np.float32]:
    """A WAV file in base64 as a waveform [samples] of 16 kHz. ApiError 400, 413 or 415 says what is wrong."""
    content = unpacked(data, param)
    if not content.startswith(b"fLaC") and _wave_coding(content) not in WAVES:
        raise ApiError(415, "this is no sound that can be read; send WAV", param=param, code="invalid_audio")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            seconds = file.frames / file.samplerate
            rate = file.samplerate
            if seconds > limits.audio_seconds or seconds * rate * file.channels > limits.audio_seconds * DENSEST or rate > DENSEST:
                raise ApiError(
                    413,
                    f"the sound has {seconds:.1f} s, {file.channels} channels and {rate} Hz; at most "
                    f"{limits.audio_seconds:g} s and {DENSEST:,} samples a second are heard",
                    param=param,
                    code="audio_too_long",
                )
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


def _wave_coding(content: bytes) -> int | None:
    """The number of the coding in a WAV file, before any decoder has seen it; None if it is no such file."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    at = 12
    for _ in range(64):  # chunks that may come before the one that says it
        kind, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if kind == b"fmt ":
            coding = int.from_bytes(content[at + 8 : at + 10], "little")
            if coding != EXTENSIBLE:
                return coding
            inner = content[at + 32 : at + 34]
            return int.from_bytes(inner, "little") if content[at + 34 : at + 48] == GUID else None
        at += 8 + length + length % 2
    return None


def unpacked(data: str, param: str) -> bytes:
    """Decode base64. ApiError 400 for anything else."""
    try:
        return base64.b64decode(data.encode("ascii").translate(None, b" \t\r\n"), validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(400, "this is not written in base64", param=param, code="invalid_base64") from None
