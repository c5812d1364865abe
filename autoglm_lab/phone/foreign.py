"""Screens that belong to no phone of this world: documents, photographs, charts, web pages, other makers' settings, patterns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from autoglm_lab.phone.draw import Colour, font, hsv
from autoglm_lab.phone.free_text import free_text

SIDE = 360, 800  # pixels in which they are drawn
Paint = Callable[[ImageDraw.ImageDraw, np.random.Generator], None]


def foreign_screen(rng: np.random.Generator, size: tuple[int, int], *, held_out: bool = False, kind: str = "") -> Image.Image:
    """A picture of `size` pixels, of a kind drawn by chance from those of training or from the `held_out` ones."""
    kinds = HELD_OUT if held_out else TRAINING
    kind = kind or sorted(kinds)[int(rng.integers(len(kinds)))]
    image = Image.new("RGB", SIDE, _paper(rng))
    if kind == "photograph":
        image = _photograph(rng)
    elif kind == "noise":
        image = _noise(rng)
    else:
        (kinds.get(kind) or {**TRAINING, **HELD_OUT}[kind])(ImageDraw.Draw(image), rng)
    if rng.random() < 0.3:  # a strip of buttons below, as phones with three buttons have
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, 760, *SIDE), (10, 10, 12) if rng.random() < 0.5 else (245, 245, 245))
        for x in (80, 180, 280):
            pen.ellipse((x - 9, 771, x + 9, 789), outline=(128, 128, 128), width=2)
    return image.resize(size, Image.Resampling.BILINEAR)


def _paper(rng: np.random.Generator) -> Colour:
    return hsv(float(rng.uniform(0, 360)), float(rng.uniform(0, 0.08)), float(rng.choice([0.08, 0.14, 0.93, 0.97, 1.0])))


def _ink(rng: np.random.Generator) -> Colour:
    return hsv(float(rng.uniform(0, 360)), float(rng.uniform(0, 0.9)), float(rng.uniform(0.35, 0.75)))


def _words(rng: np.random.Generator, longest: int = 6) -> str:
    return free_text("zh" if rng.random() < 0.4 else "en", rng, longest)


def _write(pen: ImageDraw.ImageDraw, x: float, y: float, words: str, height: int, ink: Colour) -> None:
    pen.text((x, y), words[:40], ink, font(height), anchor="lm")


def _document(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    ink, height = _ink(rng), int(rng.integers(9, 17))
    _write(pen, 24, 50, _words(rng), height + 8, ink)
    y = 90.0
    while y < 780:
        if rng.random() < 0.12:
            y += height * 1.5
            continue
        _write(pen, 24, y, " ".join(_words(rng) for _ in range(3)), height, ink)
        y += height * float(rng.uniform(1.4, 1.6))


def _web(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rounded_rectangle((12, 12, 348, 44), 14, _ink(rng))
    _write(pen, 30, 28, "www." + _words(rng, 1) + ".com", 13, (250, 250, 250))
    y = 60
    while y < 760:
        block = int(rng.integers(4))
        height = int(rng.integers(40, 160))
        if block == 0:
            pen.rectangle((0, y, 360, y + height), _ink(rng))
        elif block == 1:
            for row in range(height // 20):
                _write(pen, 16, y + 10 + 20 * row, _words(rng, 8), 12, _ink(rng))
        elif block == 2:
            for left in (16, 128, 240):
                pen.rectangle((left, y, left + 104, y + height - 20), _ink(rng))
                _write(pen, left, y + height - 8, _words(rng, 2), 10, _ink(rng))
        else:
            pen.rounded_rectangle((16, y, 150, y + 34), 6, _ink(rng))
            _write(pen, 26, y + 17, _words(rng, 1), 12, (255, 255, 255))
        y += height + 12


def _settings(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A page of settings as other makers draw it: cards, chevrons, sometimes switches."""
    ink, card = _ink(rng), hsv(0, 0, float(rng.choice([0.2, 0.9, 1.0])))
    _write(pen, 20, 60, _words(rng, 3), int(rng.integers(20, 32)), ink)
    row, y = int(rng.integers(38, 70)), 100.0
    while y < 760:
        rows = int(rng.integers(1, 6))
        pen.rounded_rectangle((12, y, 348, y + rows * row), 14, card)
        for number in range(rows):
            middle = y + (number + 0.5) * row
            if rng.random() < 0.7:
                pen.ellipse((24, middle - 11, 46, middle + 11), _ink(rng))
            _write(pen, 58, middle - 6, _words(rng, 3), 13, ink)
            _write(pen, 58, middle + 10, _words(rng, 4), 9, (140, 140, 140))
            if rng.random() < 0.35:
                pen.rounded_rectangle((300, middle - 8, 334, middle + 8), 8, _ink(rng))
            else:
                pen.line(((326, middle - 5), (331, middle), (326, middle + 5)), (150, 150, 150), 2)
        y += rows * row + 16


def _grid(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A gallery, a keypad or a calculator: boxes in rows."""
    columns = int(rng.integers(2, 6))
    side, y = 340 / columns, float(rng.uniform(20, 260))
    if y > 120:
        _write(pen, 24, y / 2, str(int(rng.integers(10**6))), 40, _ink(rng))
    same = _ink(rng)
    while y < 780:
        for column in range(columns):
            left = 10 + column * side
            box = (left + 3, y + 3, left + side - 3, y + side - 3)
            pen.rounded_rectangle(box, float(rng.choice([0, 8, side / 2 - 3])), same if rng.random() < 0.6 else _ink(rng))
            if rng.random() < 0.5:
                _write(pen, left + side / 2 - 5, y + side / 2, str(int(rng.integers(10))), max(10, int(side / 3)), (240, 240, 240))
        y += side


def _dialog(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, 360, 800), hsv(float(rng.uniform(0, 360)), 0.2, 0.35))
    top = float(rng.uniform(180, 420))
    pen.rounded_rectangle((30, top, 330, top + 220), 18, (250, 250, 250))
    _write(pen, 52, top + 36, _words(rng, 3), 20, (20, 20, 20))
    for row in range(4):
        _write(pen, 52, top + 72 + 22 * row, _words(rng, 6), 12, (90, 90, 90))
    for left in (52, 200):
        pen.rounded_rectangle((left, top + 172, left + 100, top + 204), 10, _ink(rng))


def _game(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, 360, 800), _ink(rng))
    for _ in range(int(rng.integers(10, 40))):
        x, y, r = rng.uniform(0, 360), rng.uniform(0, 800), rng.uniform(8, 60)
        shape = int(rng.integers(3))
        if shape == 0:
            pen.ellipse((x - r, y - r, x + r, y + r), _ink(rng))
        elif shape == 1:
            pen.rectangle((x - r, y - r, x + r, y + r), _ink(rng))
        else:
            pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], _ink(rng))
    _write(pen, 20, 30, f"{int(rng.integers(10**5))}", 24, (255, 255, 255))


def _chart(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _write(pen, 24, 40, _words(rng, 4), 20, _ink(rng))
    for top in (90, 430):
        bottom = top + 280
        pen.line(((40, top), (40, bottom), (340, bottom)), (120, 120, 120), 2)
        values = rng.uniform(0.1, 1, int(rng.integers(4, 12)))
        step = 290 / len(values)
        points = [(45 + (i + 0.5) * step, bottom - float(value) * 260) for i, value in enumerate(values)]
        if rng.random() < 0.5:
            pen.line(points, _ink(rng), 4)
        else:
            for x, y in points:
                pen.rectangle((x - step / 3, y, x + step / 3, bottom), _ink(rng))


def _map(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, 360, 800), (232, 236, 228))
    for _ in range(5):
        x, y = rng.uniform(0, 360), rng.uniform(0, 800)
        colour = (190, 222, 180) if rng.random() < 0.6 else (170, 205, 235)
        pen.rectangle((x, y, x + rng.uniform(40, 160), y + rng.uniform(40, 160)), colour)
    for _ in range(int(rng.integers(8, 18))):
        ends = [(float(rng.uniform(-20, 380)), float(rng.uniform(-20, 820))) for _ in range(2)]
        pen.line(ends, (255, 255, 255) if rng.random() < 0.7 else (250, 205, 110), int(rng.integers(3, 12)))
    for _ in range(6):
        _write(pen, float(rng.uniform(0, 260)), float(rng.uniform(0, 800)), _words(rng, 2), 11, (90, 90, 90))


def _table(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    columns, row = int(rng.integers(3, 6)), int(rng.integers(20, 34))
    ink = _ink(rng)
    for y in range(40, 790, row):
        for column in range(columns):
            left = 8 + column * 344 / columns
            pen.rectangle((left, y, left + 344 / columns, y + row), outline=(150, 150, 150))
            _write(pen, left + 4, y + row / 2, str(int(rng.integers(10**5))) if column else _words(rng, 1)[:8], row // 2, ink)


def _terminal(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, 360, 800), (12, 14, 18))
    ink, y = hsv(float(rng.uniform(0, 360)), 0.6, 0.9), 30.0
    for _ in range(int(rng.integers(6, 44))):
        _write(pen, 8 + 12 * int(rng.integers(4)), y, _words(rng, 5), 11, ink if rng.random() < 0.7 else (210, 210, 210))
        y += 17


def _player(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A cover, a title, how far the song has come, and buttons in a row."""
    pen.rectangle((0, 0, 360, 800), hsv(float(rng.uniform(0, 360)), 0.4, float(rng.uniform(0.15, 0.9))))
    left, top = float(rng.uniform(20, 70)), float(rng.uniform(60, 180))
    pen.rounded_rectangle((left, top, 360 - left, top + 360 - 2 * left), float(rng.choice([0, 12, 120])), _ink(rng))
    _write(pen, left, 500, _words(rng, 3), 22, (245, 245, 245))
    _write(pen, left, 530, _words(rng, 3), 13, (200, 200, 200))
    pen.line(((left, 580), (360 - left, 580)), (160, 160, 160), 4)
    pen.ellipse([*(centre := (float(rng.uniform(left, 340 - left)), 574.0)), centre[0] + 12, centre[1] + 12], (250, 250, 250))
    for x, r in ((60, 12), (115, 16), (180, 30), (245, 16), (300, 12)):
        pen.polygon([(x - r, 660 - r), (x - r, 660 + r), (x + r, 660)], (245, 245, 245))


def _lock(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """A locked phone: the time in large figures, notes below it, and the dots of a code."""
    pen.rectangle((0, 0, 360, 800), _ink(rng))
    for _ in range(int(rng.integers(0, 8))):
        x, y, r = rng.uniform(0, 360), rng.uniform(0, 800), rng.uniform(40, 220)
        pen.ellipse((x - r, y - r, x + r, y + r), _ink(rng))
    _write(pen, float(rng.uniform(40, 120)), 150, f"{int(rng.integers(24)):02d}:{int(rng.integers(60)):02d}", 64, (250, 250, 250))
    for row in range(int(rng.integers(0, 4))):
        pen.rounded_rectangle((16, 260 + 84 * row, 344, 332 + 84 * row), 18, (235, 235, 240))
        _write(pen, 34, 284 + 84 * row, _words(rng, 3), 14, (30, 30, 30))
        _write(pen, 34, 308 + 84 * row, _words(rng, 5), 11, (90, 90, 90))
    for x in range(110, 251, 28):
        pen.ellipse((x - 6, 690, x + 6, 702), outline=(250, 250, 250), width=2)


def _sketch(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    """Drawing and writing by hand."""
    for _ in range(int(rng.integers(3, 16))):
        start, ink = rng.uniform((0, 0), SIDE), _ink(rng)
        way = start + np.cumsum(np.cumsum(rng.normal(0, 2.5, (int(rng.integers(8, 60)), 2)), 0), 0)
        pen.line([(float(x), float(y)) for x, y in way], ink, int(rng.integers(1, 9)), joint="curve")


def _photograph(rng: np.random.Generator) -> Image.Image:
    """Draw light and dark at all scales, as photographs have them."""
    sky = np.zeros((SIDE[1], SIDE[0], 3))
    for scale in (3, 6, 12, 25, 50):
        rough = Image.fromarray(rng.integers(0, 256, (scale * 2, scale, 3), dtype=np.uint8))
        sky += np.asarray(rough.resize(SIDE, Image.Resampling.BICUBIC), float) / scale**0.5
    sky = (sky - sky.min()) / (sky.max() - sky.min()) * rng.uniform(0.5, 1) * 255
    image = Image.fromarray(sky.astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 3))))


def _noise(rng: np.random.Generator) -> Image.Image:
    cell = int(rng.choice([4, 20, 60]))  # finer grains are snow, which says that the picture is spoilt, not that it is foreign
    rough = rng.integers(0, 256, (SIDE[1] // cell, SIDE[0] // cell, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize(SIDE, Image.Resampling.NEAREST)


def _nothing(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    raise NotImplementedError("photographs and noise are not drawn with a pen")


TRAINING: dict[str, Paint] = {
    "document": _document,
    "web": _web,
    "settings": _settings,
    "grid": _grid,
    "dialog": _dialog,
    "game": _game,
    "terminal": _terminal,
    "player": _player,
    "lock": _lock,
    "sketch": _sketch,
    "photograph": _nothing,
    "noise": _nothing,
}
HELD_OUT: dict[str, Paint] = {"chart": _chart, "map": _map, "table": _table}
