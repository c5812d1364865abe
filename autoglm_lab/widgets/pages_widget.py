"""The pages of an engine's weights, live. `pages_view` computes the picture, `evaluation.pages` reads the system."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from PIL import Image

from autoglm_lab.evaluation.pages import NOT_TOLD, FileMapping, mappings, press
from autoglm_lab.runtime.mapped import WEIGHTS
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.widgets import pages_view as view
from autoglm_lab.widgets.base import LabWidget, source

OWN_BYTES = 4 << 20  # that this process writes, to compare with
PARTS = {"image": "what sees", "audio": "what hears", "step": "what writes"}


class PagesWidget(LabWidget):
    """See `autoglm_lab.widgets.pages`."""

    _esm = source("pages.js")
    _css = source("pages.css")

    strips = traitlets.Dict().tag(sync=True)  # view.Pages.data
    summary = traitlets.Unicode("").tag(sync=True)

    def __init__(self, engine: OnnxEngine, image: Image.Image | None = None, task: str = "open Settings") -> None:
        if not hasattr(mmap, "MAP_PRIVATE"):
            raise ValueError(NOT_TOLD)
        self._engine, self._image, self._task = engine, image, task
        self._own = mmap.mmap(-1, OWN_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._own.write(b"\1" * OWN_BYTES)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._own))
        self._own_pages = FileMapping("", begin, begin + OWN_BYTES)
        if engine.weights_folder is None:
            raise ValueError("this engine's weights are not mapped; open it with OnnxEngine(folder, mapped=True)")
        self._now = self._look("as they were found")
        super().__init__()
        self._show()

    @property
    def clean_mb(self) -> float:
        """Megabytes of mapped weights that are in memory."""
        return float(sum(strip["clean"] for strip in self.strips["strips"]))

    def ask(self, seen: bool = True) -> None:
        """Let the engine answer, with a screen or without; pages that it needs are loaded. ValueError without a picture to see."""
        if seen and self._image is None:
            raise ValueError("there is no picture to see; give pages(engine, image)")
        answer = self._engine.answer(self._task, self._image if seen else None).answer
        self._now = self._look(f"answered {'with a screen' if seen else 'without a screen'} in {answer.ms['total']:.0f} ms")
        self._show()

    def press(self, share: float = 1.0) -> None:
        """Let the system take away this share of the pages. ValueError outside 0 to 1."""
        press((*(each for parts in self._parts().values() for each in parts), self._own_pages), share)
        self._now = self._look(f"pressed {share:.0%} of the memory")
        self._show()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: {"kind": "ask", "seen"}, {"kind": "press", "share"} or {"kind": "look"}."""
        match content.get("kind"):
            case "ask":
                self.ask(bool(content["seen"]))
            case "press":
                self.press(float(content["share"]))
            case "look":
                self._now = self._look("looked")
                self._show()
            case other:
                raise ValueError(f"the page asked for {other!r}")

    def picture(self) -> Image.Image:
        """The strips as they are."""
        return view.picture(self._now)

    def sentence(self) -> str:
        """Say what was done, and what is in memory."""
        return self._now.sentence()

    def _parts(self) -> dict[str, list[FileMapping]]:
        """The mapped parts of each graph, of this engine alone."""
        parts, place = mappings(WEIGHTS), Path(str(self._engine.weights_folder)).resolve()
        return {name: [each for each in parts if Path(each.path).parent == place / name] for name in PARTS}

    def _look(self, event: str) -> view.Pages:
        strips = [
            view.Strip(PARTS[name], np.concatenate([each.states() for each in parts]))
            for name, parts in self._parts().items()
            if parts
        ]
        return view.Pages((*strips, view.Strip("written by this process", self._own_pages.states())), event)

    def _show(self) -> None:
        with self.hold_sync():
            self.strips, self.summary = self._now.data(), self.sentence()
