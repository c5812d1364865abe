"""An attacker's desk in a notebook. `attacker_view` attacks and draws."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.edge.privacy.personas import Traces
from autoglm_lab.edge.privacy.release import Release
from autoglm_lab.widgets import attacker_view as view
from autoglm_lab.widgets.base import LabWidget, source


class AttackerWidget(LabWidget):
    """See `autoglm_lab.widgets.attacker`."""

    _esm = source("attacker.js")
    _css = source("attacker.css")

    choices = traitlets.Dict().tag(sync=True)  # view.CHOICES
    limits = traitlets.Dict().tag(sync=True)  # view.LIMITS
    release = traitlets.Dict().tag(sync=True)  # of the app, as it is now
    desk = traitlets.Dict().tag(sync=True)  # view.Desk.data
    summary = traitlets.Unicode("").tag(sync=True)

    def __init__(self, people: Traces, release: Release, seed: int = 0) -> None:
        self._people, self._seed = people, seed
        self._desk = view.desk(people, release, seed)
        super().__init__(choices={name: list(values) for name, values in view.CHOICES.items()}, limits=dict(view.LIMITS))
        self._show()

    @property
    def top_1(self) -> float:
        """Share of the attacker's first guesses that are right."""
        return self._desk.top_1

    def set(self, **changes: Any) -> None:
        """Change choices of the `Release`, and attack again. ValueError for an unknown choice or value."""
        release = self._desk.release
        for name, value in changes.items():
            release = view.with_choice(release, name, value)
        self._desk = view.desk(self._people, release, self._seed)
        self._show()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: {"kind": "set", "name", "value"}."""
        if content.get("kind") != "set":
            raise ValueError(f"the page asked for {content.get('kind')!r}")
        self.set(**{str(content["name"]): content["value"]})

    def picture(self) -> Image.Image:
        """A bar for each person and for each use."""
        return view.picture(self._desk)

    def sentence(self) -> str:
        """Say what is published, how many the attacker names, and what use is left."""
        return self._desk.sentence()

    def _show(self) -> None:
        with self.hold_sync():
            self.release, self.desk, self.summary = asdict(self._desk.release), self._desk.data(), self.sentence()
