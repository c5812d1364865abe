"""Covers what is private in a screenshot: the phone knows its elements, so nothing has to be recognised in the picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from PIL import Image, ImageDraw

from autoglm_lab.phone.catalog import CONTACTS
from autoglm_lab.phone.screens import Element

COVER = (128, 128, 128)  # one colour for all: a blur or a mean of the pixels would tell about them
# Kinds of elements that show messages, what somebody looks for, and when somebody gets up. Names are known by their concept.
PRIVATE = frozenset(("bubble", "field", "big_field", "result", "alarm", "notice"))
_PEOPLE = frozenset(contact.id for contact in CONTACTS)

IsPrivate = Callable[[Element], bool]


def is_private(element: Element) -> bool:
    """True for an element that shows a name, a message, a query or a time of a person."""
    return element.kind in PRIVATE or element.concept in _PEOPLE


def redact(screenshot: Image.Image, elements: Iterable[Element], private: IsPrivate = is_private) -> Image.Image:
    """A copy of a screenshot with the private ones of its `elements` covered.

    Boxes are in thousandths of the screen and are rounded outwards, so that no edge of a letter stays.
    """
    picture = screenshot.copy()
    pen = ImageDraw.Draw(picture)
    wide, high = picture.width / 1000, picture.height / 1000
    for element in elements:
        if private(element):
            left, top, right, bottom = element.box
            corners = math.floor(left * wide), math.floor(top * high), math.ceil(right * wide), math.ceil(bottom * high)
            pen.rectangle(corners, COVER)
    return picture
