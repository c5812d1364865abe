"""Draws a phone's screen at any size, with Pillow."""

from __future__ import annotations

import colorsys
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.catalog import APPS, App, named
from autoglm_lab.phone.icons import glyph
from autoglm_lab.phone.screens import Element, elements
from autoglm_lab.phone.state import Look, State

Colour = tuple[int, int, int]
DEFAULT_SIZE = (540, 1200)  # width, height in pixels
MOST_LETTERS = 200  # no screen shows more in a line, in its smallest letters


def draw(state: State, size: tuple[int, int] = DEFAULT_SIZE) -> Image.Image:
    """The screen as an RGB picture of `size` (width, height) pixels. ValueError when a side is under 64 pixels."""
    if min(size) < 64:
        raise ValueError(f"size is {size}; both sides need at least 64 pixels")
    canvas = Canvas(state, size)
    for item in elements(state):
        _PAINT[item.kind](canvas, item)
    return canvas.image


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour from degrees and two fractions."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value)
    return int(red * 255), int(green * 255), int(blue * 255)


def one_line(words: str) -> str:
    """Prepare a text for drawing as one line.

    Paragraph separators, which the layout engine refuses within a line, become spaces; letters past the edge of any screen go.
    """
    return "".join(" " if unicodedata.bidirectional(letter) == "B" else letter for letter in words[:MOST_LETTERS])


@lru_cache(maxsize=64)
def font(pixels: int) -> ImageFont.FreeTypeFont:
    """The font that comes with the lab, which has Latin and Chinese."""
    return ImageFont.truetype(str(data_dir() / "fonts" / "NotoSansSC-Regular.otf"), pixels)


class Canvas:
    """A picture, the scale from thousandths to pixels, and the colours of the phone's theme."""

    def __init__(self, state: State, size: tuple[int, int]) -> None:
        self.look: Look = state.look
        self.dark = state.dark
        self.width, self.height = size
        self.page = hsv(self.look.hue, 0.08, 0.13) if self.dark else hsv(self.look.hue, 0.03, 0.98)
        self.ink = (235, 235, 240) if self.dark else (25, 25, 30)
        self.faint = (70, 72, 80) if self.dark else (222, 224, 230)
        self.accent = hsv(self.look.hue, 0.65, 0.85)
        self.image = Image.new("RGB", size, self.page)
        self.pen = ImageDraw.Draw(self.image)

    def box(self, item: Element, inset: float = 0.0) -> tuple[int, int, int, int]:
        """The element's box in pixels, shrunk by `inset` pixels on each side."""
        left, top, right, bottom = item.box
        wide, high = self.width / 1000, self.height / 1000
        return (
            round(left * wide + inset),
            round(top * high + inset),
            round(right * wide - inset),
            round(bottom * high - inset),
        )

    def panel(self, box: tuple[int, int, int, int], fill: Colour, radius: float) -> None:
        """Draw a filled rectangle with round corners; nothing when it has no area."""
        left, top, right, bottom = box
        if right > left and bottom > top:
            self.pen.rounded_rectangle(box, min(radius, (right - left) / 2, (bottom - top) / 2), fill)

    def text(self, x: float, y: float, words: str, height: float, fill: Colour, anchor: str = "lm", room: float = 0) -> None:
        """Draw words `height` thousandths of the screen's width high, cut to `room` pixels where that is given."""
        face = font(max(6, round(height * self.width / 1000)))
        words = one_line(words)
        if room:
            words = words[: max(1, bisect_right(range(1, len(words) + 1), room, key=lambda count: face.getlength(words[:count])))]
        self.pen.text((x, y), words, fill, face, anchor=anchor)

    def glyph(self, name: str, x: float, y: float, pixels: float, fill: Colour) -> None:
        """Draw a glyph of the phone's icon family, centred on (x, y)."""
        size = max(4, round(pixels))
        self.image.paste(fill, (round(x - size / 2), round(y - size / 2)), glyph(self.look.family, name, size))


def _wallpaper(canvas: Canvas, item: Element) -> None:
    rng = np.random.default_rng([canvas.look.seed, 3])
    value = 0.28 if canvas.dark else 0.82
    corners = np.array(
        [
            [hsv(canvas.look.hue + rng.uniform(-60, 60), rng.uniform(0.15, 0.5), value * rng.uniform(0.75, 1.1)) for _ in range(2)]
            for _ in range(2)
        ],
        np.uint8,
    )
    canvas.image.paste(Image.fromarray(corners).resize(canvas.image.size, Image.Resampling.BICUBIC))
    for _ in range(int(rng.integers(0, 4))):
        x, y, r = (
            rng.uniform(0, 1) * canvas.width,
            rng.uniform(0, 1) * canvas.height,
            rng.uniform(0.1, 0.5) * canvas.width,
        )
        canvas.pen.ellipse((x - r, y - r, x + r, y + r), hsv(canvas.look.hue + rng.uniform(-90, 90), 0.3, value * 0.9))


def _icon_colours(look: Look, app: App, dark: bool) -> tuple[Colour, Colour]:
    """Background and glyph colour of an app's icon: brand colours, one tint for all, or colours that say nothing."""
    if look.icon_colour == "mono":
        plate = hsv(look.hue, 0.25, 0.35) if dark else hsv(look.hue, 0.08, 1.0)
        return plate, hsv(look.hue, 0.35, 0.95) if dark else hsv(look.hue, 0.75, 0.45)
    rng = np.random.default_rng([look.seed, 4, APPS.index(app)])
    hue = app.hue if look.icon_colour == "brand" else float(rng.uniform(0, 360))
    if rng.random() < 0.3:  # light plate, coloured glyph
        return hsv(hue, 0.06, 0.98), hsv(hue, 0.85, 0.65)
    return hsv(hue, 0.7, 0.75), (255, 255, 255)


def _icon(canvas: Canvas, item: Element) -> None:
    look, app = canvas.look, named(item.concept)
    assert isinstance(app, App)
    left, top, right, bottom = canvas.box(item)
    side = min((right - left) * look.icon_size, (bottom - top) * 0.72)
    x, y = (left + right) / 2, top + (bottom - top) * 0.42
    plate, ink = _icon_colours(look, app, canvas.dark)
    square = (round(x - side / 2), round(y - side / 2), round(x + side / 2), round(y + side / 2))
    radius = {"circle": side / 2, "squircle": side * 0.26, "square": side * 0.08, "bare": 0}[look.icon_shape]
    if look.icon_shape == "bare":
        ink = (245, 245, 250) if canvas.dark else hsv(app.hue, 0.5, 0.25)
    else:
        canvas.panel(square, plate, radius)
    canvas.glyph(app.glyph, x, y, side * (0.95 if look.icon_shape == "bare" else 0.66), ink)
    if look.labels:
        fill = (250, 250, 250) if canvas.dark else (20, 20, 25)
        canvas.text(x, y + side / 2 + 0.025 * canvas.width, item.text, 46, fill, "mm", right - left)


def _status(canvas: Canvas, item: Element) -> None:
    y = canvas.height * 0.018
    canvas.text(canvas.width * 0.04, y, item.text, 30, canvas.ink)
    canvas.glyph("battery", canvas.width * 0.95, y, canvas.width * 0.05, canvas.ink)


def _big_clock(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.text((left + right) / 2, (top + bottom) / 2, item.text, 180, (255, 255, 255) if canvas.dark else (30, 30, 40), "mm")


def _dot(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    x, y, r = (left + right) / 2, (top + bottom) / 2, canvas.width * (0.016 if item.on else 0.009)
    canvas.pen.ellipse((x - r, y - r, x + r, y + r), (255, 255, 255) if item.on else (150, 150, 155))


def _background(canvas: Canvas, item: Element) -> None:
    canvas.pen.rectangle(canvas.box(item), canvas.page)


def _header(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.pen.rectangle((left, top, right, bottom), hsv(canvas.look.hue, 0.25, 0.25 if canvas.dark else 0.92))
    x = 0.14 if item.on or item.glyph else 0.05
    if item.glyph:
        canvas.glyph(item.glyph, canvas.width * 0.08, (top + bottom) / 2, (bottom - top) * 0.6, canvas.accent)
    canvas.text(canvas.width * x, (top + bottom) / 2, item.text, 62, canvas.ink)


def _title(canvas: Canvas, item: Element) -> None:
    left, top, _, bottom = canvas.box(item)
    canvas.text(left, (top + bottom) / 2, item.text, 105, canvas.ink)


def _toggle(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    y, unit = (top + bottom) / 2, canvas.width / 1000
    canvas.glyph(item.glyph, left + 85 * unit, y, 95 * unit, canvas.accent)
    canvas.text(left + 165 * unit, y, item.text, 62, canvas.ink)
    track = (round(right - 200 * unit), round(y - 42 * unit), round(right - 50 * unit), round(y + 42 * unit))
    canvas.panel(track, (40, 175, 90) if item.on else (140, 142, 150), 42 * unit)
    knob = track[2] - 42 * unit if item.on else track[0] + 42 * unit
    canvas.pen.ellipse((knob - 34 * unit, y - 34 * unit, knob + 34 * unit, y + 34 * unit), (255, 255, 255))


def _scrollbar(canvas: Canvas, item: Element) -> None:
    canvas.panel(canvas.box(item), canvas.faint, canvas.width * 0.01)


def _contact(canvas: Canvas, item: Element) -> None:
    left, top, _, bottom = canvas.box(item)
    y, unit = (top + bottom) / 2, canvas.width / 1000
    hue = sum(map(ord, item.concept)) * 47
    canvas.pen.ellipse((left + 35 * unit, y - 62 * unit, left + 160 * unit, y + 62 * unit), hsv(hue + canvas.look.hue, 0.5, 0.75))
    canvas.text(left + 97 * unit, y, item.text[0], 70, (255, 255, 255), "mm")
    canvas.text(left + 200 * unit, y - 28 * unit, item.text, 62, canvas.ink)
    canvas.text(left + 200 * unit, y + 45 * unit, item.glyph, 38, (130, 132, 140))


def _bubble(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.panel((left, top, right, bottom), (120, 215, 120) if item.on else canvas.faint, canvas.width * 0.03)
    ink = (15, 40, 15) if item.on else canvas.ink
    canvas.text(left + canvas.width * 0.03, (top + bottom) / 2, item.text, 48, ink, room=right - left - canvas.width * 0.05)


def _field(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.panel((left, top, right, bottom), canvas.faint, canvas.width * 0.05)
    x = left + canvas.width * 0.04
    if item.glyph:
        canvas.glyph(item.glyph, x + canvas.width * 0.02, (top + bottom) / 2, canvas.width * 0.065, (140, 142, 150))
        x += canvas.width * 0.08
    canvas.text(x, (top + bottom) / 2, item.text, 52, canvas.ink, room=right - x - canvas.width * 0.02)
    if item.on and not item.text:
        canvas.pen.rectangle(
            (x, top + (bottom - top) * 0.2, x + canvas.width * 0.006, bottom - (bottom - top) * 0.2), canvas.accent
        )


def _big_field(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.panel((left, top, right, bottom), canvas.faint, canvas.width * 0.03)
    canvas.text((left + right) / 2, (top + bottom) / 2, item.text, 170, canvas.ink, "mm", right - left)


def _pill(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.panel((left, top, right, bottom), canvas.accent if item.on else canvas.faint, canvas.width * 0.04)
    fill = (255, 255, 255) if item.on else (140, 142, 150)
    canvas.text((left + right) / 2, (top + bottom) / 2, item.text, 56, fill, "mm")


def _round(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    x, y, r = (left + right) / 2, (top + bottom) / 2, min(right - left, bottom - top) / 2
    canvas.pen.ellipse((x - r, y - r, x + r, y + r), canvas.accent)
    canvas.glyph(item.glyph, x, y, r * 1.2, (255, 255, 255))


def _button(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.glyph(item.glyph, (left + right) / 2, (top + bottom) / 2, canvas.width * 0.075, canvas.ink)


def _keyboard(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.pen.rectangle((left, top, right, bottom), canvas.faint)
    key = hsv(canvas.look.hue, 0.05, 0.35 if canvas.dark else 1.0)
    high = (bottom - top) / 4.4
    for row, letters in enumerate(("qwertyuiop", "asdfghjkl", "zxcvbnm", " ")):
        wide = (right - left) / 10 if letters != " " else (right - left) / 2
        start = left + (right - left - wide * len(letters)) / 2
        for place, letter in enumerate(letters):
            x, y = start + place * wide, top + high * (row + 0.15)
            canvas.panel((round(x + wide * 0.08), round(y), round(x + wide * 0.92), round(y + high * 0.85)), key, 6)
            canvas.text(x + wide / 2, y + high * 0.42, letter, 40, canvas.ink, "mm")


def _alarm(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.panel((left, top, right, bottom), canvas.faint, canvas.width * 0.03)
    canvas.text(left + canvas.width * 0.05, (top + bottom) / 2, item.text, 130, canvas.ink)
    canvas.glyph("clock", right - canvas.width * 0.1, (top + bottom) / 2, canvas.width * 0.1, canvas.accent)


def _card(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.panel((left, top, right, bottom), canvas.faint, canvas.width * 0.03)
    shade = hsv(canvas.look.hue + 40, 0.15, 0.4 if canvas.dark else 0.8)
    middle, pad = (top + bottom) / 2, canvas.width * 0.03
    if item.on:
        canvas.panel((round(left + pad), round(top + pad), round(left + (right - left) * 0.35), round(bottom - pad)), shade, pad)
    x = left + (right - left) * (0.4 if item.on else 0.06)
    for line in range(2):
        y = middle + (line - 0.7) * canvas.height * 0.03
        canvas.panel((round(x), round(y), round(right - pad * (2 + 3 * line)), round(y + canvas.height * 0.012)), shade, 4)


def _result(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.text(left, top + (bottom - top) * 0.25, item.text, 50, canvas.accent, room=right - left)
    for line in (0.55, 0.75):
        y = top + (bottom - top) * line
        canvas.panel((left, round(y), round(right - (line - 0.5) * 200), round(y + canvas.height * 0.01)), canvas.faint, 4)


def _notice(canvas: Canvas, item: Element) -> None:
    left, top, right, bottom = canvas.box(item)
    canvas.panel((left, top, right, bottom), (50, 52, 58) if not canvas.dark else (225, 226, 230), canvas.width * 0.04)
    fill = (250, 250, 250) if not canvas.dark else (20, 20, 25)
    canvas.text((left + right) / 2, (top + bottom) / 2, item.text, 48, fill, "mm", right - left)


_PAINT: dict[str, Callable[[Canvas, Element], None]] = {
    "wallpaper": _wallpaper,
    "icon": _icon,
    "status": _status,
    "big_clock": _big_clock,
    "dot": _dot,
    "background": _background,
    "header": _header,
    "title": _title,
    "toggle": _toggle,
    "scrollbar": _scrollbar,
    "contact": _contact,
    "bubble": _bubble,
    "field": _field,
    "big_field": _big_field,
    "pill": _pill,
    "round": _round,
    "button": _button,
    "keyboard": _keyboard,
    "alarm": _alarm,
    "card": _card,
    "result": _result,
    "notice": _notice,
}
