"""Two phones and scissors for their line, in a notebook. `two_phones_view` computes the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.widgets import two_phones_view as view
from autoglm_lab.widgets.base import LabWidget, source


class TwoPhonesWidget(LabWidget):
    """See `autoglm_lab.widgets.two_phones`."""

    _esm = source("two_phones.js")
    _css = source("two_phones.css")

    state = traitlets.Dict().tag(sync=True)  # view.TwoPhones.data, and the number of events
    summary = traitlets.Unicode("").tag(sync=True)

    def __init__(self, events: Sequence[view.Event] = view.STORY, skew_s: float = 60.0) -> None:
        self._first, self._events, self._uses_clocks, self._skew_s = tuple(events), tuple(events), False, skew_s
        view.play(self._events, skew_s)
        self._now = view.play(self._events)
        super().__init__()
        self._show()

    def write(self, phone: int, text: str) -> None:
        """Write a note on a phone, 0 or 1, over all that it shows. ValueError as `view.play`."""
        self._add(view.Edit(phone, text))

    def cut(self) -> None:
        """Cut the line."""
        self._add(view.Line(False))

    def connect(self) -> None:
        """Mend the line; what each phone lacks is sent."""
        self._add(view.Line(True))

    def choose(self, phone: int, bead: int) -> None:
        """Choose one of the values that stand side by side on a phone. ValueError for another bead, or where none do."""
        state = self._now.phones[phone]
        if not state.is_conflict or bead not in state.values:
            raise ValueError(f"bead {bead} is not to be chosen on phone {phone}; it shows {list(state.values)}")
        self._add(view.Choice(phone, bead))

    def use_clocks(self, on: bool = True) -> None:
        """Let the higher time on the writer's clock win, or again keep what stands side by side; the same writes either way."""
        self._replace(self._events, on, self._skew_s)

    def set_skew(self, seconds: float) -> None:
        """Put the second phone's clock back by so many seconds, 0 to 300. ValueError for others."""
        self._replace(self._events, self._uses_clocks, seconds)

    def restart(self) -> None:
        """Begin again with the first events."""
        self._replace(self._first, self._uses_clocks, self._skew_s)

    @property
    def values(self) -> list[list[str]]:
        """The texts that each phone shows."""
        return [[self._now.beads[bead].text for bead in phone.values] for phone in self._now.phones]

    @property
    def losses(self) -> list[str]:
        """The texts that are gone, though nobody replaced them knowingly."""
        return [self._now.beads[bead].text for bead in self._now.losses]

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: write, line, choose, clocks, skew or restart."""
        kind = content.get("kind")
        if kind == "write":
            self.write(int(content["phone"]), str(content["text"]))
        elif kind == "line":
            self._add(view.Line(bool(content["up"])))
        elif kind == "choose":
            self.choose(int(content["phone"]), int(content["bead"]))
        elif kind == "clocks":
            self.use_clocks(bool(content["on"]))
        elif kind == "skew":
            self.set_skew(float(content["seconds"]))
        elif kind == "restart":
            self.restart()
        else:
            raise ValueError(f"the page asked for {kind!r}")

    def picture(self) -> Image.Image:
        """The threads of both phones with their beads."""
        return view.picture(self._now)

    def sentence(self) -> str:
        """Say what each phone shows and knows, and what is gone."""
        return self._now.sentence()

    def _add(self, event: view.Event) -> None:
        self._replace((*self._events, event), self._uses_clocks, self._skew_s)

    def _replace(self, events: tuple[view.Event, ...], uses_clocks: bool, skew_s: float) -> None:
        clocks = view.play(events, skew_s)  # raises for impossible events, whichever is shown
        self._now = clocks if uses_clocks else view.play(events)
        self._events, self._uses_clocks, self._skew_s = events, uses_clocks, skew_s
        self._show()

    def _show(self) -> None:
        with self.hold_sync():
            self.state = {**self._now.data(), "skew": self._skew_s, "events": len(self._events)}
            self.summary = self.sentence()
