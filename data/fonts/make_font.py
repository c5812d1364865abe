"""Cut the font of the phone world out of Noto Sans CJK: `python data/fonts/make_font.py NotoSansCJK-Regular.ttc`.

Debian carries the collection and its licence in `fonts-noto-cjk`. Needs `pip install fonttools`, run from the
repository root.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FACE = "Noto Sans CJK SC"
OUT = HERE / "NotoSansSC-Regular.otf"


def gb2312_level_1() -> set[str]:
    """The 3755 commonest characters: rows 16 to 55 of GB 2312, the last row five short."""
    cells = ((row, cell) for row in range(16, 56) for cell in range(1, 95 if row < 55 else 90))
    return {bytes((row + 0xA0, cell + 0xA0)).decode("gb2312") for row, cell in cells}


def characters() -> set[str]:
    """Every character the world may have to draw."""
    ascii_printable = {chr(code) for code in range(0x20, 0x7F)}
    punctuation = set("·—–‘’“”…•→←↑↓°×÷±€£¥©®✓、。〈〉《》「」『』【】〔〕〜￥　") | {chr(code) for code in range(0xFF01, 0xFF5F)}
    vocabulary = {
        character
        for name in ("catalog.py", "phrasing.py")
        for character in (ROOT / "autoglm_lab" / "phone" / name).read_text("utf-8")
        if character.isprintable()
    }
    return gb2312_level_1() | ascii_printable | punctuation | vocabulary


def face(collection: Path) -> TTFont:
    """The simplified-Chinese proportional face of the collection."""
    for font in TTCollection(collection).fonts:
        if font["name"].getDebugName(1) == FACE:
            return font
    raise ValueError(f"{collection} holds no face called {FACE!r}")


def main() -> int:
    """Cut the face down to `characters()`; 1 if the collection lacks one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    font = face(parser.parse_args().collection)
    options = subset.Options(layout_features=["kern", "locl", "ccmp"], hinting=False, name_IDs=["*"])
    options.notdef_outline = True
    options.recalc_timestamp = False
    cutter = subset.Subsetter(options)
    wanted = characters()
    cutter.populate(unicodes=[ord(character) for character in wanted])
    cutter.subset(font)
    missing = wanted - {chr(code) for code in font.getBestCmap()}
    subset.save_font(font, str(OUT), options)
    print(f"{OUT.name}: {len(wanted) - len(missing)} characters, {OUT.stat().st_size / 1e6:.2f} MB; missing {missing}")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
