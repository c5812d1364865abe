"""The table of claims in a notebook. `scoreboard_view` filters, sorts and draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.benchmarks.scoreboard.rows import Row
from autoglm_lab.widgets import scoreboard_view as view
from autoglm_lab.widgets.base import LabWidget, source


class ScoreboardWidget(LabWidget):
    """See `autoglm_lab.widgets.scoreboard`."""

    _esm = source("scoreboard.js")
    _css = source("scoreboard.css")

    rows: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)  # view.row_data of each
    options = traitlets.Dict().tag(sync=True)  # view.options
    choice = traitlets.Dict().tag(sync=True)  # view.Choice
    table = traitlets.Dict().tag(sync=True)  # view.Table.data
    summary = traitlets.Unicode("").tag(sync=True)

    def __init__(self, rows: Sequence[Row]) -> None:
        if not rows:
            raise ValueError("there are no rows; `board()` of benchmarks.scoreboard.rows gives them")
        self._table = view.Table(tuple(rows))
        super().__init__(rows=[view.row_data(row) for row in rows], options=view.options(rows))
        self._show()

    @property
    def visible(self) -> list[str]:
        """The keys of the claims that are shown, in their order."""
        return [row.key for row in self._table.visible_rows]

    def set(self, **changes: Any) -> None:
        """Change the filters `verdict`, `how`, `chapter` and `words`, `sort` and `falling`, or the `open` row.

        ValueError for an unknown choice or value.
        """
        table = self._table
        for name, value in changes.items():
            table = view.with_choice(table, name, value)
        self._table = table
        self._show()

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: {"kind": "set", "changes": {name: value}}."""
        if content.get("kind") != "set":
            raise ValueError(f"the page asked for {content.get('kind')!r}")
        self.set(**{str(name): value for name, value in dict(content["changes"]).items()})

    def picture(self) -> Image.Image:
        """A box for each claim, by verdict."""
        return view.picture(self._table)

    def sentence(self) -> str:
        """Say how many claims are shown and how they are judged."""
        return self._table.sentence()

    def _show(self) -> None:
        with self.hold_sync():
            self.choice, self.table, self.summary = asdict(self._table.choice), self._table.data(), self.sentence()
