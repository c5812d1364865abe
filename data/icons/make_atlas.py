"""Draw the icon atlas from unpacked npm icon packages: `python data/icons/make_atlas.py FOLDER`.

FOLDER holds one directory per package of `PACKAGES` (what `npm pack NAME@VERSION` unpacks to, renamed from `package`).
Writes one grey PNG per family, `index.json` and the licence texts beside this script, what is in `PRACTICE` in the folder of that
name; the same input gives the same bytes. Needs `pip install resvg-py pillow numpy`.
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


# Families that training alone sees, so that no thing is known by one drawing of it. Where one has no such glyph (`-`),
# that of lucide stands in its place.
PRACTICE: dict[str, Family] = {
    "feather": Family(
        "feather-icons@4.29.2",
        "MIT",
        "dist/icons/{}.svg",
        """
        settings clock message-circle globe user folder mail calendar map-pin file-text cloud music play mic
        shopping-cart eye - - book-open - wifi bluetooth moon bell-off radio rotate-cw battery - search plus
        check send arrow-left home more-horizontal x chevron-right star image""",
    ),
    "heroicons": Family(
        "heroicons@2.2.0",
        "MIT",
        "24/outline/{}.svg",
        """
        cog-6-tooth clock chat-bubble-oval-left globe-alt user folder envelope calendar map-pin document-text
        cloud musical-note play microphone shopping-cart eye - - book-open newspaper wifi - moon bell-slash
        signal arrow-path battery-50 light-bulb magnifying-glass plus check paper-airplane arrow-left home
        ellipsis-horizontal x-mark chevron-right star photo""",
    ),
    "iconoir": Family(
        "iconoir@7.12.1",
        "MIT",
        "icons/regular/{}.svg",
        """
        settings clock chat-bubble-empty globe user folder mail calendar map-pin notes cloud music-double-note
        play microphone cart eye cutlery airplane book journal-page wifi bluetooth half-moon bell-off
        antenna-signal refresh battery-50 light-bulb-on search plus check send arrow-left home more-horiz xmark
        nav-arrow-right star media-image""",
    ),
    "carbon": Family(
        "@carbon/icons@11.89.0",
        "Apache-2.0",
        "svg/32/{}.svg",
        """
        settings time chat earth user folder email calendar location document cloud music play microphone
        shopping--cart view restaurant plane book - wifi bluetooth moon notification--off radio renew
        battery--half flash search add checkmark send arrow--left home overflow-menu--horizontal close
        chevron--right star image""",
    ),
    "octicons": Family(
        "@primer/octicons@19.42.0",
        "MIT",
        "build/svg/{}-24.svg",
        """
        gear clock comment globe person file-directory mail calendar location note cloud - play - - eye - - book
        - - - moon bell-slash broadcast sync - light-bulb search plus check paper-airplane arrow-left home
        kebab-horizontal x chevron-right star image""",
    ),
    "bootstrap_outline": Family(
        "bootstrap-icons@1.13.2",
        "MIT",
        "icons/{}.svg",
        """
        gear clock chat globe person folder envelope calendar geo-alt sticky cloud music-note play mic cart eye
        fork-knife airplane book newspaper wifi bluetooth moon bell-slash broadcast arrow-repeat battery-half
        lightbulb search plus check send arrow-left house three-dots x chevron-right star image""",
    ),
    "ionicons_outline": Family(
        "ionicons@8.1.0",
        "MIT",
        "dist/svg/{}-outline.svg",
        """
        settings time chatbubble globe person folder mail calendar location document-text cloud musical-notes
        play mic cart eye restaurant airplane book newspaper wifi bluetooth moon notifications-off radio refresh
        battery-half flashlight search add checkmark send arrow-back home ellipsis-horizontal close
        chevron-forward star image""",
    ),
    "mdi_outline": Family(
        "@mdi/svg@7.4.47",
        "Apache-2.0",
        "svg/{}.svg",
        """
        cog-outline clock-outline message-outline earth account-outline folder-outline email-outline
        calendar-blank-outline map-marker-outline note-outline cloud-outline music-note-outline play-outline
        microphone-outline cart-outline eye-outline silverware airplane-takeoff book-outline
        newspaper-variant-outline wifi bluetooth moon-waxing-crescent bell-off-outline radio-tower autorenew
        battery-outline lightbulb-outline magnify plus check send-outline arrow-left home-outline
        dots-horizontal close chevron-right star-outline image-outline""",
    ),
    "material_sharp": Family(
        "@material-symbols/svg-500@0.47.5",
        "Apache-2.0",
        "sharp/{}-fill.svg",
        """
        settings_applications schedule forum public account_circle folder_open drafts event pin_drop description
        cloud queue_music play_circle mic shopping_basket visibility lunch_dining flight_takeoff auto_stories
        news wifi bluetooth bedtime notifications_off sensors refresh battery_android_4 flashlight_on search add
        check send arrow_back home more_horiz close chevron_right star image""",
    ),
    "phosphor_light": Family(
        "@phosphor-icons/core@2.1.1",
        "MIT",
        "assets/light/{}-light.svg",
        """
        gear-six alarm chat-teardrop globe-simple user-circle folder-simple envelope-simple calendar
        map-pin-line note-blank cloud music-note play-circle microphone shopping-cart-simple eye fork-knife
        airplane-in-flight book newspaper-clipping wifi-high bluetooth moon bell-slash broadcast arrow-clockwise
        battery-medium flashlight magnifying-glass plus check paper-plane-tilt arrow-left house dots-three x
        caret-right star image""",
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


def atlas(root: Path, family: Family) -> Image.Image:
    """All glyphs of a family in one row-major grid."""
    names = family.names.split()
    if len(names) != len(GLYPHS):
        raise ValueError(f"{family.package} names {len(names)} glyphs, {len(GLYPHS)} are needed")
    grid = Image.new("L", (COLUMNS * CELL, -(-len(GLYPHS) // COLUMNS) * CELL))
    for place, name in enumerate(names):
        if name == "-":
            source, name = FAMILIES["lucide"], FAMILIES["lucide"].names.split()[place]
        else:
            source = family
        svg = (package_folder(root, source.package) / source.pattern.format(name)).read_text("utf-8")
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
    write(root, FAMILIES, HERE)
    write(root, PRACTICE, HERE / "practice")


def write(root: Path, families: dict[str, Family], out: Path) -> None:
    """Draw families into `out`, with their index, and keep their licences."""
    out.mkdir(exist_ok=True)
    for name, family in families.items():
        atlas(root, family).save(out / f"{name}.png", optimize=True)
        folder = package_folder(root, family.package)
        shutil.copyfile(folder / "LICENSE", HERE / "LICENSES" / f"{folder.name}.txt")
    facts = {
        name: {"licence": family.licence, "package": family.package, "held_out": family.held_out}
        for name, family in families.items()
    }
    index = {"cell": CELL, "columns": COLUMNS, "glyphs": GLYPHS, "families": facts}
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
