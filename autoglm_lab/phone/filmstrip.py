"""A run of the agent as one picture: the screens it saw, where it touched them, what it thought."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from autoglm_lab.phone.actions import Action, Point
from autoglm_lab.phone.draw import font

INK, SOFT, LINE, PAPER = (28, 30, 36), (104, 108, 118), (206, 209, 216), (255, 255, 255)
MARK = (236, 72, 84)
MARGIN, GAP = 24, 26
SMOOTH = 4  # marks are drawn this many times too large and shrunk, because Pillow's pen has hard edges


@dataclass(frozen=True)
class Frame:
    """One step: the screen the agent saw, the action it chose (None: its answer was no action) and its thought."""

    screenshot: Image.Image
    action: Action | None
    thinking: str = ""


def caption(action: Action | None) -> str:
    """An action in a few words; "no action" for None.

    >>> caption(Action("Tap", element=(430, 120)))
    'Tap (430,120)'
    >>> caption(Action("finish", message="done"))
    'finish "done"'
    """
    if action is None:
        return "no action"
    words = [f"({v[0]},{v[1]})" if isinstance(v, tuple) else f'"{v}"' for v in action.arguments.values()]
    return " ".join([action.name, " → ".join(words)]).strip()


def filmstrip(frames: Sequence[Frame], height: int = 420) -> Image.Image:
    """Screens side by side, each `height` pixels high, with its tap or swipe marked and the words below it.

    Raises ValueError when there are no frames or `height` is under 120 pixels.
    """
    if not frames:
        raise ValueError("frames is empty; a filmstrip needs at least one frame")
    if height < 120:
        raise ValueError(f"height is {height}; a screen needs at least 120 pixels to be read")
    screens = [_panel(frame, height) for frame in frames]
    size = max(12, height // 30)
    face, line = font(size), round(size * 1.5)
    texts = [_words(frame, screen.width, face) for frame, screen in zip(frames, screens, strict=True)]
    below = max(len(action) + len(thought) for action, thought in texts) * line + size
    wide = 2 * MARGIN + sum(screen.width for screen in screens) + GAP * (len(screens) - 1)
    strip = Image.new("RGB", (wide, 2 * MARGIN + height + below), PAPER)
    pen = ImageDraw.Draw(strip)
    x = MARGIN
    for screen, (action, thought) in zip(screens, texts, strict=True):
        strip.paste(screen, (x, MARGIN), screen)
        y = MARGIN + height + size
        for words, fill in [(words, INK) for words in action] + [(words, SOFT) for words in thought]:
            pen.text((x, y), words, fill, face)
            y += line
        x += screen.width + GAP
    return strip


def marked(screenshot: Image.Image, action: Action | None) -> Image.Image:
    """The screenshot with a ring where the action taps or an arrow where it swipes; unchanged for other actions."""
    big = (screenshot.width * SMOOTH, screenshot.height * SMOOTH)
    layer = Image.new("RGBA", big, (*MARK, 0))
    pen = ImageDraw.Draw(layer)
    if action is None:
        return screenshot.convert("RGB")
    if action.element is not None:
        _ring(pen, _pixel(action.element, big), big[0])
    elif action.start is not None and action.end is not None:
        _arrow(pen, _pixel(action.start, big), _pixel(action.end, big), big[0])
    layer = layer.resize(screenshot.size, Image.Resampling.LANCZOS)
    return Image.alpha_composite(screenshot.convert("RGBA"), layer).convert("RGB")


def wrap(text: str, face: ImageFont.FreeTypeFont, room: float, lines: int) -> list[str]:
    """Break `text` into at most `lines` lines of `room` pixels: Latin between words, Chinese anywhere."""
    rows = [""]
    for piece in re.findall(r"[\x21-\x7e]+\s*|\s+|.", text, flags=re.DOTALL):
        for part in [piece] if face.getlength(piece.rstrip()) <= room else list(piece):
            if face.getlength((rows[-1] + part).rstrip()) > room and rows[-1]:
                rows.append("")
            rows[-1] += part if rows[-1] else part.lstrip()
    rows = [row.rstrip() for row in rows if row.strip()]
    if len(rows) > lines:
        rows = rows[:lines]
        while rows[-1] and face.getlength(rows[-1] + "…") > room:
            rows[-1] = rows[-1][:-1]
        rows[-1] += "…"
    return rows


def _words(frame: Frame, room: int, face: ImageFont.FreeTypeFont) -> tuple[list[str], list[str]]:
    return wrap(caption(frame.action), face, room, 3), wrap(frame.thinking, face, room, 4)


def _panel(frame: Frame, height: int) -> Image.Image:
    """The marked screen, scaled, with round corners and a hair line around it (RGBA)."""
    width = max(1, round(frame.screenshot.width * height / frame.screenshot.height))
    small = frame.screenshot.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    panel = marked(small, frame.action)
    big, radius = (width * SMOOTH, height * SMOOTH), width * SMOOTH // 14
    shape = Image.new("L", big, 0)
    ImageDraw.Draw(shape).rounded_rectangle((0, 0, big[0] - 1, big[1] - 1), radius, 255)
    edge = Image.new("L", big, 0)
    ImageDraw.Draw(edge).rounded_rectangle((0, 0, big[0] - 1, big[1] - 1), radius, 0, 255, SMOOTH)
    panel.paste(LINE, mask=edge.resize(panel.size, Image.Resampling.LANCZOS))
    panel.putalpha(shape.resize(panel.size, Image.Resampling.LANCZOS))
    return panel


def _pixel(point: Point, size: tuple[int, int]) -> tuple[float, float]:
    return (point[0] + 0.5) * size[0] / 1000, (point[1] + 0.5) * size[1] / 1000


def _ring(pen: ImageDraw.ImageDraw, at: tuple[float, float], width: int) -> None:
    x, y = at
    for radius, fill, outline, line in (
        (0.085, (*MARK, 60), (255, 255, 255, 255), 0.020),
        (0.080, None, (*MARK, 255), 0.012),
    ):
        r = radius * width
        pen.ellipse((x - r, y - r, x + r, y + r), fill, outline, round(line * width))
    dot = 0.014 * width
    pen.ellipse((x - dot, y - dot, x + dot, y + dot), (*MARK, 255))


def _arrow(pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], width: int) -> None:
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    for colour, line in (((255, 255, 255, 255), 0.034), ((*MARK, 255), 0.020)):
        half, head = line * width / 2, 0.06 * width + line * width
        pen.line((*start, *end), colour, round(2 * half))
        pen.ellipse((start[0] - half, start[1] - half, start[0] + half, start[1] + half), colour)
        tip = (end[0] + math.cos(angle) * half * 1.6, end[1] + math.sin(angle) * half * 1.6)
        wings = [(tip[0] - math.cos(angle + turn) * head, tip[1] - math.sin(angle + turn) * head) for turn in (0.55, -0.55)]
        pen.polygon([tip, *wings], colour)
