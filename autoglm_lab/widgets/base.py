"""What the widgets share: their files, their static picture and sentence, and errors that show on the page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.widgets.pictures import small_png

try:
    from anywidget import AnyWidget
except ImportError as error:
    raise ImportError("the widgets need anywidget: pip install 'autoglm-lab[notebooks]'") from error

_STATIC = Path(__file__).parent / "static"


def source(*names: str) -> str:
    """The texts of these files in `static`, after what all widgets share (`common.js` or `common.css`)."""
    return "\n".join((_STATIC / name).read_text("utf-8") for name in (f"common{Path(names[0]).suffix}", *names))


class LabWidget(AnyWidget):
    """A widget that is live in a notebook, a PNG on a static page, and a sentence for who cannot see either.

    The page asks with messages `{"id": ..., "kind": ..., ...}`. Each is answered, in order, by setting `answered` to
    its id together with whatever it changed; what it raised stands in `message`.
    """

    message = traitlets.Unicode("").tag(sync=True)
    answered = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.on_msg(self._asked)

    def picture(self) -> Image.Image:
        """What the widget shows now, as a picture."""
        raise NotImplementedError

    def sentence(self) -> str:
        """What the widget shows now, in words made from the same data."""
        raise NotImplementedError

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks."""
        raise NotImplementedError

    def _asked(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        with self.hold_sync():
            self.message = ""
            try:
                self.handle(content)
            except Exception as error:  # an error in a call-back would otherwise vanish in the server's log
                self.message = f"{type(error).__name__}: {error}"
            self.answered = str(content.get("id", ""))

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if bundle is not None else ({}, {})
        words = self.sentence()
        picture = base64.b64encode(small_png(self.picture())).decode()
        return {**data, "image/png": picture, "text/plain": words}, {**metadata, "image/png": {"alt": words}}
