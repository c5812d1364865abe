"""The icon atlas: glyphs of several families as grey masks, read once from data/icons.

Phones are drawn in the families of the atlas itself, one of which training never sees. Those in `practice` are for training alone.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from PIL import Image

from autoglm_lab.paths import data_dir


@lru_cache
def _index(part: str = "") -> dict[str, Any]:
    index: dict[str, Any] = json.loads((data_dir() / "icons" / part / "index.json").read_text("utf-8"))
    return index


def families(*, held_out: bool) -> list[str]:
    """Names of the icon families used in training, or of those kept out of it."""
    return [name for name, facts in _index()["families"].items() if facts["held_out"] is held_out]


def practice_families() -> list[str]:
    """Names of the icon families that only training draws, beside those of the phones."""
    return list(_index("practice")["families"])


@lru_cache
def _atlas(family: str) -> Image.Image:
    known = {name: part for part in ("practice", "") for name in _index(part)["families"]}
    if family not in known:
        raise ValueError(f"icon family {family!r} is unknown; known are {', '.join(_index()['families'])}")
    return Image.open(data_dir() / "icons" / known[family] / f"{family}.png").convert("L")


@lru_cache(maxsize=4096)
def glyph(family: str, name: str, size: int) -> Image.Image:
    """The mask (mode L, `size` x `size` pixels) of a glyph; ValueError when family or glyph is unknown."""
    if name not in _index()["glyphs"]:
        raise ValueError(f"glyph {name!r} is unknown; known are {', '.join(_index()['glyphs'])}")
    cell, columns = _index()["cell"], _index()["columns"]
    row, column = divmod(_index()["glyphs"].index(name), columns)
    box = (column * cell, row * cell, (column + 1) * cell, (row + 1) * cell)
    return _atlas(family).crop(box).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
