"""Pictures as PNG bytes: whole ones for the page, small ones for the notebook file."""

from __future__ import annotations

import base64
import html
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


def still_html(png: bytes, words: str, name: str = "") -> str:
    """A picture with its alternative text as HTML: the one form in which JupyterLab and nbconvert read it out.

    With a `name` it stands in for a live widget (`data-still`), and hides what JupyterLab writes for one whose kernel is gone: that
    is an output without any element in it, right before this one.
    """
    image = f'<img alt="{html.escape(words)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    if not name:
        return image
    view = "> .lm-Panel.jp-OutputArea-output"
    dead = f".jp-OutputArea-child:has({view}):not(:has({view} *)):has(+ .jp-OutputArea-child [data-still])"
    return f'<div data-still="{name}"><style>{dead} {{ display: none; }}</style>{image}</div>'


class Still:
    """A picture that a cell shows together with its words."""

    def __init__(self, image: Image.Image, words: str) -> None:
        if not words.strip():
            raise ValueError("a picture needs words: say what it shows")
        self.image, self.words = image, words

    def _repr_html_(self) -> str:
        return still_html(small_png(self.image), self.words)

    def __repr__(self) -> str:
        return self.words
