"""Pictures as PNG bytes: whole ones for the page, small ones for the notebook file."""

from __future__ import annotations

import io

from PIL import Image


def png(image: Image.Image, max_height: int = 1200) -> bytes:
    """The picture as PNG, scaled down where it is higher than `max_height` pixels."""
    if image.height > max_height:
        width = max(1, round(image.width * max_height / image.height))
        image = image.resize((width, max_height), Image.Resampling.LANCZOS)
    return _encoded(image)


def small_png(image: Image.Image) -> bytes:
    """The picture as a PNG of 256 colours, about a third of the size."""
    return _encoded(image.convert("RGB").quantize(256))


def _encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=False)
    return file.getvalue()
