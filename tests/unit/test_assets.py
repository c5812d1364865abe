"""Icons and font: the index tells the truth, and everything the catalogue names can be drawn."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from autoglm_lab.paths import data_dir
from autoglm_lab.phone import phrasing
from autoglm_lab.phone.catalog import APPS, CONTACTS, CONTROLS, FREE_WORDS, LANGS, SETTINGS
from autoglm_lab.phone.icons import families, glyph, practice_families
from autoglm_lab.phone.state import Look

INDEX = json.loads((data_dir() / "icons" / "index.json").read_text("utf-8"))
PRACTICE = json.loads((data_dir() / "icons" / "practice" / "index.json").read_text("utf-8"))
ATLASES = (*INDEX["families"], *PRACTICE["families"])
SCREEN_GLYPHS = {"arrow_left", "home", "dots", "x", "chevron_right", "star", "image"}


def test_every_glyph_of_the_catalogue_is_in_the_index():
    named = {thing.glyph for group in (APPS, SETTINGS, CONTACTS, CONTROLS) for thing in group}
    assert named | SCREEN_GLYPHS <= set(INDEX["glyphs"])
    assert len(INDEX["glyphs"]) == len(set(INDEX["glyphs"]))


def test_the_held_out_family_is_apart():
    assert families(held_out=True) == ["tabler"]
    assert len(families(held_out=False)) >= 6
    held_out_packages = {INDEX["families"][name]["package"] for name in families(held_out=True)}
    assert not held_out_packages & {INDEX["families"][name]["package"] for name in families(held_out=False)}
    assert not held_out_packages & {facts["package"] for facts in PRACTICE["families"].values()}


def test_families_for_practice_are_on_no_phone_that_is_drawn_by_chance():
    assert len(practice_families()) >= 10 and PRACTICE["glyphs"] == INDEX["glyphs"]
    assert not set(practice_families()) & {Look.random(seed).family for seed in range(200)}
    assert Look.random(3, family=practice_families()[0]).family == practice_families()[0]


@pytest.mark.parametrize("family", ATLASES)
def test_every_glyph_is_drawn_inside_its_cell(family):
    for name in INDEX["glyphs"]:
        mask = np.asarray(glyph(family, name, INDEX["cell"]))
        assert mask.max() > 200, name
        assert 0.01 < (mask > 60).mean() < 0.75, name
        assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == mask[:, -1].max() == 0, name


@pytest.mark.parametrize("family", ATLASES)
def test_no_two_glyphs_of_a_family_look_the_same(family):
    pictures = [np.asarray(glyph(family, name, 24), dtype=float).ravel() for name in INDEX["glyphs"]]
    assert len(np.unique(np.stack(pictures), axis=0)) == len(pictures)


def test_every_family_carries_its_licence():
    for facts in (*INDEX["families"].values(), *PRACTICE["families"].values()):
        name = facts["package"].removeprefix("@").replace("/", "-").replace("@", "-")
        assert (data_dir() / "icons" / "LICENSES" / f"{name}.txt").stat().st_size > 500


def test_the_font_draws_every_word():
    path = data_dir() / "fonts" / "NotoSansSC-Regular.otf"
    assert path.stat().st_size < 2e6
    font = ImageFont.truetype(path, 24)

    def drawn(text):
        picture = Image.new("L", (40, 40))
        ImageDraw.Draw(picture).text((4, 2), text, font=font, fill=255)
        return picture.tobytes()

    texts = [u.text for lang in LANGS for u in phrasing.utterances(lang)]
    texts += [word for lang in LANGS for word in FREE_WORDS[lang]]
    texts += [p for kinds in phrasing.PHRASINGS.values() for lang in LANGS for p in kinds[lang]]
    missing = drawn("\U0010fffd")
    blank_or_missing = {c for c in set("".join(texts)) - {" "} if drawn(c) in (missing, drawn(" "))}
    assert not blank_or_missing
