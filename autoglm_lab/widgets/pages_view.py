"""Pages of an engine's weights as strips of squares, in words and as a picture. No browser, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from autoglm_lab.evaluation.pages import ABSENT, CLEAN, PAGE, WRITTEN, in_squares
from autoglm_lab.phone.draw import font

SIGNS = {ABSENT: "-", CLEAN: "c", WRITTEN: "w"}
COLOURS = {"-": (233, 235, 240), "c": (59, 130, 196), "w": (201, 111, 10)}
INK, SOFT = (28, 30, 36), (104, 108, 118)
MB = 1e6


@dataclass(frozen=True)
class Strip:
    """One part of the memory: its name, and the state of each page."""

    name: str
    states: NDArray[np.uint8]

    def mb(self, state: int) -> float:
        """Megabytes in a state."""
        return float((self.states == state).sum() * PAGE / MB)

    @property
    def squares(self) -> str:
        """A letter for each 64 kB: written where any page is, else clean where half of them are, else absent."""
        shares = in_squares(self.states)
        return "".join("w" if dirty else "c" if clean >= 0.5 else "-" for _, clean, dirty in shares)

    def sentence(self) -> str:
        """Megabytes of the strip that are in memory, in words."""
        kinds = [f"{self.mb(state):.1f} MB {word}" for state, word in ((CLEAN, "clean"), (WRITTEN, "written")) if self.mb(state)]
        return f"{self.name}: {' and '.join(kinds) or 'nothing'} of {len(self.states) * PAGE / MB:.1f} MB"


@dataclass(frozen=True)
class Pages:
    """All strips at one moment, and what was done last."""

    strips: tuple[Strip, ...]
    done: str = "as they were found"

    def data(self) -> dict[str, Any]:
        """Strips as plain JSON values."""
        strips = [
            {
                "name": each.name,
                "squares": each.squares,
                "clean": round(each.mb(CLEAN), 1),
                "written": round(each.mb(WRITTEN), 1),
                "size": round(len(each.states) * PAGE / MB, 1),
            }
            for each in self.strips
        ]
        return {"strips": strips, "done": self.done}

    def sentence(self) -> str:
        """Say what was done, and what is in memory now."""
        return f"{self.done[:1].upper()}{self.done[1:]}. In memory: {'; '.join(each.sentence() for each in self.strips)}."


def picture(pages: Pages, wide: int = 84, side: int = 7) -> Image.Image:
    """Strips of squares under their names."""
    rows = [-(-len(each.squares) // wide) for each in pages.strips]
    image = Image.new("RGB", (wide * side + 32, 16 + sum(24 + row * side + 10 for row in rows)), "white")
    pen, y = ImageDraw.Draw(image), 12
    for each, row in zip(pages.strips, rows, strict=True):
        pen.text((16, y), each.sentence(), INK, font(13))
        y += 22
        for number, sign in enumerate(each.squares):
            x, top = 16 + side * (number % wide), y + side * (number // wide)
            pen.rectangle((x, top, x + side - 2, top + side - 2), COLOURS[sign])
        y += row * side + 12
    return image
