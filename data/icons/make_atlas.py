"""Draw the icon atlas from unpacked npm icon packages: `python data/icons/make_atlas.py FOLDER`.

FOLDER holds one directory per package of `PACKAGES` (what `npm pack NAME@VERSION` unpacks to, renamed from `package`).
Writes one grey PNG per family, `index.json` and the licence texts beside this script; the same input gives the same
bytes. Needs `pip install resvg-py pillow numpy`.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

HERE = Path(__file__).resolve().parent
CELL, COLUMNS = 96, 8
FILL = 0.85  # share of the cell that the longer side of a glyph spans
MAX_ZOOM = 1.35  # small glyphs (a chevron, three dots) keep some of the air their designers gave them
SUPERSAMPLED = 4 * CELL

GLYPHS = (
    "settings",
    "clock",
    "message",
    "globe",
    "user",
    "folder",
    "mail",
    "calendar",
    "map_pin",
    "note",
    "cloud",
    "music",
    "play",
    "microphone",
    "cart",
    "eye",
    "utensils",
    "airplane",
    "book",
    "newspaper",
    "wifi",
    "bluetooth",
    "moon",
    "bell_off",
    "broadcast",
    "rotate",
    "battery",
    "flashlight",
    "search",
    "plus",
    "check",
    "send",
    "arrow_left",
    "home",
    "dots",
    "x",
    "chevron_right",
    "star",
    "image",
)


@dataclass(frozen=True)
class Family:
    """One look: where its files lie in its package, and what it calls our glyphs, in the order of `GLYPHS`."""

    package: str
    licence: str
    pattern: str  # path of a file inside the package, with {} for the name
    names: str
    held_out: bool = False


PHOSPHOR = """
    gear clock chat-circle globe user folder envelope calendar-blank map-pin note cloud music-notes
    play microphone shopping-cart eye fork-knife airplane-tilt book-open newspaper wifi-high bluetooth moon
    bell-slash broadcast arrow-clockwise battery-medium flashlight magnifying-glass plus check
    paper-plane-tilt arrow-left house
    dots-three x caret-right star image"""
IONICONS = """
    settings time chatbubble globe person folder mail calendar location document-text cloud musical-notes
    play mic cart eye restaurant airplane book newspaper wifi bluetooth moon
    notifications-off radio refresh battery-half flashlight search add checkmark send arrow-back home
    ellipsis-horizontal close chevron-forward star image"""

FAMILIES: dict[str, Family] = {
    "lucide": Family(
        "lucide-static@1.62.0",
        "ISC",
        "icons/{}.svg",
        """
        settings clock message-circle globe user folder mail calendar map-pin sticky-note cloud music
        play mic shopping-cart eye utensils plane book-open newspaper wifi bluetooth moon
        bell-off radio rotate-cw battery-medium flashlight search plus check send arrow-left house
        ellipsis x chevron-right star image""",
    ),
    "phosphor_bold": Family("@phosphor-icons/core@2.1.1", "MIT", "assets/bold/{}-bold.svg", PHOSPHOR),
    "phosphor_duotone": Family("@phosphor-icons/core@2.1.1", "MIT", "assets/duotone/{}-duotone.svg", PHOSPHOR),
    "bootstrap": Family(
        "bootstrap-icons@1.13.2",
        "MIT",
        "icons/{}.svg",
        """
        gear-fill clock-fill chat-fill globe2 person-fill folder-fill envelope-fill calendar-fill
        geo-alt-fill sticky-fill cloud-fill music-note-beamed
        play-fill mic-fill cart-fill eye-fill fork-knife airplane-fill book-fill newspaper wifi
        bluetooth moon-fill
        bell-slash-fill broadcast arrow-clockwise battery-half lightbulb-fill search plus-lg
        check-lg send-fill arrow-left house-fill
        three-dots x-lg chevron-right star-fill image-fill""",
    ),
    "mdi": Family(
        "@mdi/svg@7.4.47",
        "Apache-2.0",
        "svg/{}.svg",
        """
        cog clock message-text web account folder email calendar map-marker note-text cloud music
        play microphone cart eye silverware-fork-knife airplane book-open-variant newspaper wifi
        bluetooth moon-waning-crescent
        bell-off access-point rotate-right battery-50 flashlight magnify plus check send arrow-left home
        dots-horizontal close chevron-right star image""",
    ),
    "ionicons_sharp": Family("ionicons@8.1.0", "MIT", "dist/svg/{}-sharp.svg", IONICONS),
    "material": Family(
        "@material-symbols/svg-500@0.47.5",
        "Apache-2.0",
        "rounded/{}.svg",
        """
        settings schedule chat_bubble language person folder mail calendar_today location_on
        sticky_note_2 cloud music_note
        play_arrow mic shopping_cart visibility restaurant flight menu_book newspaper wifi bluetooth dark_mode
        notifications_off sensors refresh battery_android_4 flashlight_on search add check send arrow_back home
        more_horiz close chevron_right star image""",
    ),
    "tabler": Family(
        "@tabler/icons@3.51.0",
        "MIT",
        "icons/outline/{}.svg",
        """
        settings clock message-circle world user folder mail calendar map-pin note cloud music
        player-play microphone shopping-cart eye tools-kitchen-2 plane book news wifi bluetooth moon
        bell-off broadcast reload battery-2 bulb search plus check send arrow-left home
        dots x chevron-right star photo""",
        held_out=True,
    ),
}


def package_folder(root: Path, package: str) -> Path:
    """The folder of `package` under `root`, named as npm names its tarballs: @a/b@1 lies in a-b-1."""
    folder = root / package.removeprefix("@").replace("/", "-").replace("@", "-")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; unpack `npm pack {package}` there")
    return folder


def draw(svg: str) -> Image.Image:
    """The glyph as a mask (mode L, CELL x CELL): opaque is white, centred, scaled to FILL of the cell."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SUPERSAMPLED, height=SUPERSAMPLED)
    mask = Image.open(io.BytesIO(bytes(png))).convert("RGBA").getchannel("A")
    box = mask.getbbox()
    if box is None:
        raise ValueError("the drawing is empty")
    glyph = mask.crop(box)
    zoom = min(FILL * SUPERSAMPLED / max(glyph.size), MAX_ZOOM) * CELL / SUPERSAMPLED
    width, height = (max(1, round(side * zoom)) for side in glyph.size)
    cell = Image.new("L", (CELL, CELL))
    cell.paste(glyph.resize((width, height), Image.Resampling.LANCZOS), ((CELL - width) // 2, (CELL - height) // 2))
    return cell


def atlas(folder: Path, family: Family) -> Image.Image:
    """All glyphs of a family in one row-major grid."""
    names = family.names.split()
    if len(names) != len(GLYPHS):
        raise ValueError(f"{family.package} names {len(names)} glyphs, {len(GLYPHS)} are needed")
    grid = Image.new("L", (COLUMNS * CELL, -(-len(GLYPHS) // COLUMNS) * CELL))
    for place, name in enumerate(names):
        svg = (folder / family.pattern.format(name)).read_text("utf-8")
        row, column = divmod(place, COLUMNS)
        grid.paste(draw(svg), (column * CELL, row * CELL))
    # 16 greys are enough for an edge and halve the file.
    return Image.fromarray((np.round(np.asarray(grid) / 17) * 17).astype(np.uint8))


def main() -> None:
    """Draw all families and write the index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages are unpacked")
    root: Path = parser.parse_args().folder
    (HERE / "LICENSES").mkdir(exist_ok=True)
    for name, family in FAMILIES.items():
        folder = package_folder(root, family.package)
        atlas(folder, family).save(HERE / f"{name}.png", optimize=True)
        shutil.copyfile(folder / "LICENSE", HERE / "LICENSES" / f"{folder.name}.txt")
    facts = {
        name: {"licence": family.licence, "package": family.package, "held_out": family.held_out}
        for name, family in FAMILIES.items()
    }
    index = {"cell": CELL, "columns": COLUMNS, "glyphs": GLYPHS, "families": facts}
    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
