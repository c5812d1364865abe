"""Attention over the screen in a notebook: the page switches between heads, `attention_view` has the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.widgets.attention_view import AttentionMaps, Names, layers_picture
from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.pictures import png


class AttentionWidget(LabWidget):
    """See `autoglm_lab.widgets.attention`. Page and Python both set what is shown: `layer`, `head` (-1: mean), `token`."""

    _esm = source("attention.js")
    _css = source("attention.css")

    screen = traitlets.Bytes(b"").tag(sync=True)  # PNG
    weights = traitlets.Bytes(b"").tag(sync=True)  # 16 bit each, see AttentionMaps.packed
    shape = traitlets.List(traitlets.Int()).tag(sync=True)  # layers, heads, tokens, cells
    tokens = traitlets.List(traitlets.Unicode()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)  # one for each cell
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    token = traitlets.Int(0).tag(sync=True)

    def __init__(self, screenshot: Image.Image, tokens: Sequence[str], weights: Any, *, names: Names | None = None) -> None:
        self.maps = AttentionMaps.of(tokens, weights, names)
        self.screenshot = screenshot
        layer, head, token = self.maps.peak
        super().__init__(
            screen=png(screenshot),
            weights=self.maps.packed(),
            shape=list(self.maps.weights.shape),
            tokens=self.maps.tokens,
            names=self.maps.names,
            layer=layer,
            head=head,
            token=token,
        )

    @traitlets.validate("layer", "head", "token")
    def _check_index(self, proposal: dict[str, Any]) -> int:
        indices = {name: getattr(self, name) for name in ("layer", "head", "token")} | {proposal["trait"].name: proposal["value"]}
        self.maps.cells(**indices)  # raises ValueError outside of the shape
        return int(proposal["value"])

    def picture(self) -> Image.Image:
        """All layers of the chosen head and token, side by side."""
        return layers_picture(self.maps, self.screenshot, self.head, self.token)

    def sentence(self) -> str:
        """The strongest cell of the chosen layer, head and token."""
        return self.maps.sentence(self.layer, self.head, self.token)
