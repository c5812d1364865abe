"""Base of all widgets: their files, their static picture and sentence, and errors that show on the page."""

from __future__ import annotations

import contextvars
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import traitlets
from IPython.display import display
from PIL import Image

from autoglm_lab.widgets.pictures import small_png, still_html

try:
    from anywidget import AnyWidget
except ImportError as error:
    raise ImportError("the widgets need anywidget: pip install 'autoglm-lab[notebooks]'") from error

VIEW = "application/vnd.jupyter.widget-view+json"
ALIVE_S = 2.0
_STATIC = Path(__file__).parent / "static"


def source(*names: str) -> str:
    """The texts of these files in `static`, after what all widgets share (`common.js` or `common.css`)."""
    return "\n".join((_STATIC / name).read_text("utf-8") for name in (f"common{Path(names[0]).suffix}", *names))


class LabWidget(AnyWidget):
    """A widget that is live in a notebook, a PNG on a static page, and a sentence for readers who cannot see either.

    The page asks with messages `{"id": ..., "kind": ..., ...}`. Each is answered, in order, by setting `answered` to
    its id together with whatever it changed; what it raised stands in `message`. While Python works on one, the page gets a sign of
    life every two seconds, so that it can tell work from a kernel that died.

    A cell shows two outputs: the live view, and a picture that the live view hides. Saved and opened again without a kernel, only
    the picture is left.
    """

    still = traitlets.Unicode("").tag(sync=True)  # name of the picture that stands in for this widget
    message = traitlets.Unicode("").tag(sync=True)
    answered = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **values: Any) -> None:
        super().__init__(still=uuid.uuid4().hex[:12], **values)
        self.on_msg(self._answer_message)

    def picture(self) -> Image.Image:
        """Picture of what the widget shows now."""
        raise NotImplementedError

    def sentence(self) -> str:
        """Description of what the widget shows now, in words made from the same data."""
        raise NotImplementedError

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks."""
        raise NotImplementedError

    def _answer_message(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        with self.hold_sync():
            self.message = ""
            try:
                with self._signs_of_life():
                    self.handle(content)
            except Exception as error:  # an error in a call-back would otherwise vanish in the server's log
                self.message = f"{type(error).__name__}: {error}"
            self.answered = str(content.get("id", ""))

    @contextmanager
    def _signs_of_life(self) -> Iterator[None]:
        stop = threading.Event()

        def send() -> None:
            self.send({"alive": True})
            while not stop.wait(ALIVE_S):
                self.send({"alive": True})

        # The copied context tells the kernel's messages which request they belong to.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(send,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def outputs(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Data and metadata of the cell's two outputs: the live view, and the picture that stands in for it."""
        data, metadata = self._repr_mimebundle_() or ({}, {})
        words = self.sentence()
        live = {kind: value for kind, value in data.items() if kind == VIEW}
        html = still_html(small_png(self.picture()), words, self.still)
        return [({**live, "text/plain": words}, {**metadata, "still": self.still}), ({"text/html": html, "text/plain": words}, {})]

    def _ipython_display_(self) -> None:
        for data, metadata in self.outputs():
            display(data, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]
