"""Governors that race in a notebook. `governors_view` computes the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.edge.power import Governor, Job, PowerTable
from autoglm_lab.widgets import governors_view as view
from autoglm_lab.widgets.base import LabWidget, source


class GovernorsWidget(LabWidget):
    """See `autoglm_lab.widgets.governors`."""

    _esm = source("governors.js")
    _css = source("governors.css")

    race = traitlets.Dict().tag(sync=True)  # view.Race.data
    awake = traitlets.Float(0.0).tag(sync=True)
    summary = traitlets.Unicode("").tag(sync=True)

    def __init__(self, jobs: Iterable[Job], table: PowerTable, rules: Mapping[str, Callable[[], Governor]] | None = None) -> None:
        self._jobs, self._table, self._rules = tuple(jobs), table, rules
        self._race = view.race(self._jobs, table, 0.0, self._rules)
        super().__init__()
        self._show()

    @property
    def winner(self) -> str:
        """The rule that takes least among those that are in time; no rule where none is."""
        return self._race.winner

    def winner_at(self, power: float) -> str:
        """The winner with so much more power while the processor works; the lanes stay as they are. Errors as `set_awake`."""
        return view.race(self._jobs, self._table, power, self._rules).winner

    def set_awake(self, power: float) -> None:
        """Let the rest of the phone take so much more while the processor works. ValueError for a negative number."""
        self._race = view.race(self._jobs, self._table, power, self._rules)
        self._show()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: {"kind": "awake", "power"}."""
        if content.get("kind") != "awake":
            raise ValueError(f"the page asked for {content.get('kind')!r}")
        self.set_awake(float(content["power"]))

    def picture(self) -> Image.Image:
        """The energy of each lane, and who came late."""
        return view.picture(self._race)

    def sentence(self) -> str:
        """Say who wins, and how each rule stands."""
        return self._race.sentence()

    def _show(self) -> None:
        with self.hold_sync():
            self.race, self.awake, self.summary = self._race.data(), self._race.awake, self.sentence()
