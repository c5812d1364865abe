"""Two phones that write the same note over a line that can be cut: beads for writes, by dots or by clocks. No browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from autoglm_lab.edge.sync.by_clock import ClockStore, Stamp
from autoglm_lab.edge.sync.framing import pack
from autoglm_lab.edge.sync.store import Store
from autoglm_lab.edge.sync.version_vector import Dot
from autoglm_lab.widgets.charts import COLOURS, INK, canvas, drawn

KEY = "note"
NAMES = ("A", "B")
EVERY_S = 20  # between two events
MOST_EVENTS, MOST_LETTERS, MOST_SKEW_S = 60, 40, 300.0


@dataclass(frozen=True)
class Edit:
    """A text that is written on one of the phones, over all that it shows."""

    phone: int
    text: str


@dataclass(frozen=True)
class Choice:
    """One of several values on a phone, by its bead: it is written again, over all of them."""

    phone: int
    bead: int


@dataclass(frozen=True)
class Line:
    """The line, from now on up or cut."""

    is_up: bool


Event = Edit | Choice | Line
# A note that both know, and then two that do not know of each other.
STORY: tuple[Event, ...] = (Edit(0, "milk"), Line(False), Edit(0, "milk, eggs"), Edit(1, "milk, bread"))


@dataclass(frozen=True)
class Bead:
    """A write: its author, its text, its label (A1, A2, B1, ...) and its name, a dot or a time of the author's clock."""

    phone: int
    text: str
    label: str
    name: str


@dataclass(frozen=True)
class PhoneState:
    """One phone: the beads that it shows, those on its thread with the state of each, and its vector or clock in words."""

    values: tuple[int, ...]
    thread: tuple[tuple[int, str], ...]  # (bead, "current", "beside", "replaced" or "gone")
    label: str

    @property
    def is_conflict(self) -> bool:
        """True when the user has to choose."""
        return any(state == "beside" for _, state in self.thread)


@dataclass(frozen=True)
class TwoPhones:
    """All beads, both phones, and the beads that the last event sent over the line with their bytes before the seal."""

    beads: tuple[Bead, ...]
    phones: tuple[PhoneState, ...]
    travels: tuple[tuple[int, int], ...]  # (bead, phone that it goes to)
    message_bytes: int
    is_up: bool
    skew_s: float | None  # of the second phone's clock; None by dots

    @property
    def losses(self) -> tuple[int, ...]:
        """The beads that are gone, though nobody replaced them knowingly."""
        return tuple(sorted({bead for phone in self.phones for bead, state in phone.thread if state == "gone"}))

    def data(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        phones = [
            {
                "name": f"Phone {NAMES[n]}",
                "label": phone.label,
                "values": list(phone.values),
                "conflict": phone.is_conflict,
                "thread": [[bead, state] for bead, state in phone.thread],
            }
            for n, phone in enumerate(self.phones)
        ]
        return {
            "beads": [vars(bead) for bead in self.beads],
            "phones": phones,
            "travels": [list(travel) for travel in self.travels],
            "bytes": self.message_bytes,
            "up": self.is_up,
            "clocks": self.skew_s is not None,
            "skew": self.skew_s or 0.0,
            "losses": list(self.losses),
        }

    def sentence(self) -> str:
        """Say what each phone shows and knows, and what is gone."""
        parts = ["The line is up." if self.is_up else "The line is cut."]
        parts += [self._phone_in_words(n) for n in range(len(self.phones))]
        texts = " and ".join(f"'{self.beads[bead].text}'" for bead in self.losses)
        return " ".join([*parts, f"Gone by clocks, though nobody chose that: {texts}."] if texts else parts)

    def _phone_in_words(self, n: int) -> str:
        phone = self.phones[n]
        texts = " beside ".join(f"'{self.beads[bead].text}'" for bead in phone.values) or "nothing"
        return f"Phone {NAMES[n]} ({phone.label}) shows {texts}{'; choose one' if phone.is_conflict else ''}."


class _World(Protocol):
    """Stores of both phones, by one of the two methods."""

    def write(self, phone: int, number: int, text: str, second: float) -> str: ...

    def exchange(self) -> tuple[list[tuple[int, int]], int]: ...

    def state(self, phone: int) -> PhoneState: ...


class _Dots:
    def __init__(self) -> None:
        self._stores = (Store(0, [1]), Store(1, [0]))
        self._numbers: dict[Dot, int] = {}

    def write(self, phone: int, number: int, text: str, second: float) -> str:
        dot = self._stores[phone].resolve(self._stores[phone].get(KEY), text.encode())
        self._numbers[dot] = number
        return f"{NAMES[phone]}{dot.counter}"

    def exchange(self) -> tuple[list[tuple[int, int]], int]:
        travels, n_bytes = list[tuple[int, int]](), 0
        for target, source in ((1, 0), (0, 1)):
            changes = self._stores[source].changes_since(self._stores[target].vector)
            news = [version.dot for entry in changes.entries for version in entry.versions]
            news = [dot for dot in news if dot not in self._stores[target].vector]
            travels += [(self._numbers[dot], target) for dot in news]
            n_bytes += len(pack(changes)) if news else 0
            self._stores[target].merge(changes)
        return travels, n_bytes

    def state(self, phone: int) -> PhoneState:
        store = self._stores[phone]
        reading = store.get(KEY)
        values = tuple(self._numbers[version.dot] for version in reading.versions)
        state = "beside" if reading.is_conflict else "current"
        beads = [number for dot, number in self._numbers.items() if dot in store.vector]
        thread = tuple((number, state if number in values else "replaced") for number in sorted(beads))
        vector = ", ".join(f"{NAMES[replica]}:{counter}" for replica, counter in store.vector.counters.items())
        return PhoneState(values, thread, f"knows {vector or 'nothing'}")


class _Clocks:
    def __init__(self, skew_s: float) -> None:
        self._stores = (ClockStore(0), ClockStore(1))
        self._skews_s = (0.0, -skew_s)
        self._numbers: dict[Stamp, int] = {}
        self._predecessors: set[int] = set()
        self._threads: tuple[list[int], list[int]] = ([], [])

    def _current(self, phone: int) -> int | None:
        current = self._stores[phone].values.get(KEY)
        return None if current is None else self._numbers[current[0]]

    def write(self, phone: int, number: int, text: str, second: float) -> str:
        if (before := self._current(phone)) is not None:
            self._predecessors.add(before)
        clock_s = second + self._skews_s[phone]
        self._numbers[self._stores[phone].put(KEY, text.encode(), 1000 * clock_s)] = number
        self._threads[phone].append(number)
        return f"{NAMES[phone]} at {clock_s:+.0f} s"

    def exchange(self) -> tuple[list[tuple[int, int]], int]:
        travels = []
        for target, source in ((1, 0), (0, 1)):
            before = self._current(target)
            self._stores[target].merge(self._stores[source])
            after = self._current(target)
            if after is not None and after != before:
                travels.append((after, target))
                self._threads[target].extend([] if after in self._threads[target] else [after])
        return travels, 0

    def state(self, phone: int) -> PhoneState:
        current = self._current(phone)
        thread = [
            (number, "current" if number == current else "replaced" if number in self._predecessors else "gone")
            for number in sorted(self._threads[phone])
        ]
        clock = f"clock {-self._skews_s[phone]:.0f} s behind" if self._skews_s[phone] else "clock right"
        return PhoneState(() if current is None else (current,), tuple(thread), clock)


def play(events: Sequence[Event], skew_s: float | None = None) -> TwoPhones:
    """Play all events: by dots, or with `skew_s` by clocks, of which the second phone's is that much behind.

    ValueError for a phone that is not there, a text that is empty or above 40 letters, a bead that its phone does not show, a skew
    outside 0 to 300 s, or more than 60 events.
    """
    if len(events) > MOST_EVENTS:
        raise ValueError(f"there are {len(events)} events, {MOST_EVENTS} are the most; begin again")
    if skew_s is not None and not 0 <= skew_s <= MOST_SKEW_S:
        raise ValueError(f"the skew is {skew_s} s; it lies between 0 and {MOST_SKEW_S:.0f}")
    world: _World = _Dots() if skew_s is None else _Clocks(skew_s)
    beads, travels, n_bytes, is_up = list[Bead](), list[tuple[int, int]](), 0, True
    for place, event in enumerate(events):
        if isinstance(event, Line):
            is_up = event.is_up
        else:
            text = _text(event, beads, world)
            label = f"{NAMES[event.phone]}{1 + sum(bead.phone == event.phone for bead in beads)}"
            beads.append(Bead(event.phone, text, label, world.write(event.phone, len(beads), text, EVERY_S * place)))
        travels, n_bytes = world.exchange() if is_up else ([], 0)
    return TwoPhones(tuple(beads), tuple(map(world.state, (0, 1))), tuple(travels), n_bytes, is_up, skew_s)


def _text(event: Edit | Choice, beads: Sequence[Bead], world: _World) -> str:
    if event.phone not in (0, 1):
        raise ValueError(f"phone {event.phone} is none; there are 0 and 1")
    if isinstance(event, Choice):
        if not 0 <= event.bead < len(beads):
            raise ValueError(f"bead {event.bead} is none; there are {len(beads)}")
        return beads[event.bead].text
    if not 1 <= len(event.text.strip()) <= MOST_LETTERS:
        raise ValueError(f"a note has 1 to {MOST_LETTERS} letters, not {len(event.text.strip())}")
    return event.text.strip()


def picture(now: TwoPhones) -> Image.Image:
    """A thread for each phone with its beads: full where they stand, open where they were replaced, crossed where they are gone."""
    figure, axes = canvas("The note on two phones", "writes, in their order", height=2.6)
    for n, phone in enumerate(now.phones):
        axes.axhline(-n, color=INK, linewidth=0.8)
        for bead, state in phone.thread:
            colour, mark = COLOURS[now.beads[bead].phone], "X" if state == "gone" else "o"
            axes.plot(bead, -n, mark, markersize=14, color=colour, markerfacecolor="white" if state == "replaced" else colour)
            if state != "replaced":
                axes.text(bead, -n + 0.22, now.beads[bead].text, ha="center", fontsize=9, color=INK)
    axes.set_yticks([0, -1], [f"Phone {name}\n{phone.label}" for name, phone in zip(NAMES, now.phones, strict=True)])
    axes.set_xticks(range(len(now.beads)), [bead.name for bead in now.beads])
    axes.set_xlim(-0.7, max(1, len(now.beads)) - 0.3)
    axes.set_ylim(-1.5, 0.6)
    return drawn(figure)
