"""The table of claims: the rows that a reader's choice leaves, their order, counts by verdict, and a picture. No browser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from PIL import Image

from autoglm_lab.benchmarks.scoreboard.rows import Figure, Row, comparison
from autoglm_lab.benchmarks.verdicts import VERDICTS
from autoglm_lab.widgets.charts import canvas, drawn

CHAPTERS = {
    "A2": "01",
    "A4": "07",
    "A5": "07",
    "B1": "03",
    "B2": "03",
    "B3": "03",
    "B5": "04",
    "B6": "04",
    "B7": "05",
    "B8": "05",
    "B9": "06",
    "B10": "06",
    "C1": "08",
    "C6": "08",
    "C8": "08",
    "C9": "10",
    "D1": "09",
    "D4": "09",
    "D5": "09",
    "E1": "10",
    "E4": "11",
    "E5": "11",
    "E6": "11",
    "F1": "12",
    "F3": "12",
    "F4": "13",
    "F5": "13",
}
NO_CHAPTER = "none"
REASON = "reason"  # of a row that neither a figure nor arithmetic decides
HOWS = ("measured", "simulated", "arithmetic", REASON)
SHADES = ("#1a8573", "#316da5", "#a95d08", "#7957a6", "#6c7379")  # of the verdicts; as the bar of the page has them
PER_LINE = 20  # claims of one verdict in a line of the picture
MARGIN = 0.08  # of an interval's picture


@dataclass(frozen=True)
class Choice:
    """The reader's filters, of which an empty one lets everything pass; the column that sorts; and the key of the open row."""

    verdict: str = ""
    how: str = ""
    chapter: str = ""
    words: str = ""  # each of them stands somewhere in a row
    sort: str = "key"
    falling: bool = False
    open: str = ""


@dataclass(frozen=True)
class Table:
    """All rows, and the choice that a reader has made."""

    rows: tuple[Row, ...]
    choice: Choice = Choice()

    @property
    def visible_rows(self) -> tuple[Row, ...]:
        """The rows that pass all filters, sorted; where a column is equal, by key."""
        passed = sorted(filter(self._passes, self.rows), key=lambda row: row.key)
        return tuple(sorted(passed, key=SORTS[self.choice.sort], reverse=self.choice.falling))

    @property
    def tally(self) -> dict[str, int]:
        """Number of rows of each verdict among those that pass the other filters."""
        others = replace(self, choice=replace(self.choice, verdict=""))
        count = Counter(row.verdict for row in others.visible_rows)
        return {verdict: count[verdict] for verdict in VERDICTS}

    @property
    def open_row(self) -> Row | None:
        """The open row, if it is shown."""
        return next((row for row in self.visible_rows if row.key == self.choice.open), None)

    def data(self) -> dict[str, Any]:
        """Keys in their order, and counts, as plain JSON values."""
        return {"visible": [row.key for row in self.visible_rows], "tally": list(self.tally.items()), "of": len(self.rows)}

    def sentence(self) -> str:
        """Say how many claims are shown and how they are judged; of the open one, what it says."""
        choice = self.choice
        words = f"with the words {choice.words!r}" if choice.words.strip() else ""
        chapter = f"chapter {choice.chapter}" if choice.chapter else ""
        filters = ", ".join(filter(None, (choice.verdict, choice.how, chapter, words)))
        count = Counter(row.verdict for row in self.visible_rows)
        verdicts = ", ".join(f"{verdict} {count[verdict]}" for verdict in VERDICTS if count[verdict]) or "none"
        parts = [f"{len(self.visible_rows)} of {len(self.rows)} claims are shown{f' ({filters})' if filters else ''}: {verdicts}."]
        if any(row.is_measured_here for row in self.rows):
            parts.append(f"{comparison(self.rows)}.")
        if (row := self.open_row) is not None:
            parts.append(f"{row.key}, {row.claimed!r}: {row.verdict}; {row.reason}.")
        return " ".join(parts)

    def _passes(self, row: Row) -> bool:
        choice, text = self.choice, f"{row.key} {row.claimed} {row.reason} {row.part}".lower()
        return (
            choice.verdict in ("", row.verdict)
            and choice.how in ("", _how_of(row))
            and choice.chapter in ("", _chapter_of(row))
            and all(word in text for word in choice.words.lower().split())
        )


def _chapter_of(row: Row) -> str:
    """The chapter that a claim belongs to, such as "11"; "none" for one about another subject."""
    return CHAPTERS.get(row.part, NO_CHAPTER)


def _how_of(row: Row) -> str:
    """Kind of evidence for a claim: one of `HOWS`."""
    return row.how or REASON


def _here(row: Row) -> int:
    """Rank of a row: other verdicts first, then equal ones, then rows that were not measured here."""
    return 2 if row.same is None else int(row.same)


SORTS: dict[str, Callable[[Row], Any]] = {
    "key": lambda row: row.key,
    "chapter": _chapter_of,
    "claimed": lambda row: row.claimed.lower(),
    "verdict": lambda row: VERDICTS.index(row.verdict),
    "how": lambda row: HOWS.index(_how_of(row)),
    "here": _here,
}


def options(rows: Iterable[Row]) -> dict[str, list[str]]:
    """The values that each filter can have for these rows, and the columns."""
    each = list(rows)
    return {
        "verdict": list(VERDICTS),
        "how": [how for how in HOWS if how in map(_how_of, each)],
        "chapter": sorted({_chapter_of(row) for row in each}),
        "sort": [name for name in SORTS if name != "here" or any(row.is_measured_here for row in each)],
    }


def with_choice(table: Table, name: str, value: Any) -> Table:
    """The table after one choice, as a page sends it. ValueError for an unknown choice or value."""
    kinds = {field: type(default) for field, default in asdict(Choice()).items()}
    if name not in kinds:
        raise ValueError(f"{name!r} is no choice; there are {', '.join(kinds)}")
    if not isinstance(value, kinds[name]):
        raise ValueError(f"{name} is {value!r}; it is a {kinds[name].__name__}")
    allowed_values = options(table.rows) | {"open": [row.key for row in table.rows]}
    if value and name in allowed_values and value not in allowed_values[name]:
        raise ValueError(f"{name} is {value!r}; there are {', '.join(allowed_values[name])}")
    if name == "sort" and not value:
        raise ValueError(f"sort is empty; there are {', '.join(allowed_values['sort'])}")
    return replace(table, choice=replace(table.choice, **{name: value}))


def row_data(row: Row) -> dict[str, Any]:
    """A row as the page shows it: texts, and where the marks of its interval stand (0 to 1)."""
    return {
        "key": row.key,
        "chapter": _chapter_of(row),
        "claimed": row.claimed,
        "verdict": row.verdict,
        "how": _how_of(row),
        "reason": row.reason,
        "command": row.command,
        "here": row.verdict_here if row.is_measured_here else "",
        "origin": row.origin,
        "same": row.same,
        "reason_here": row.reason_here if row.reason_here != row.reason else "",
        "figure": _figure_words(row),
        "marks": marks(row),
    }


def _figure_words(row: Row) -> str:
    """The claimed number, the measured figure and the own one in words; empty where nothing was measured."""
    if row.figure is None:
        return ""
    claimed = "" if row.claimed_number is None else f"claimed {row.claimed_number:g}, "
    here = "" if row.figure_here is None else f", on this machine {row.figure_here}"
    return f"{row.figure.name}: {claimed}measured {row.figure}{here}"


def marks(row: Row) -> dict[str, Any]:
    """Places of the claimed number and of each interval (low, middle, high) on a line from 0 to 1; empty without a figure."""
    figures = {name: each for name, each in (("shipped", row.figure), ("here", row.figure_here)) if each is not None}
    if not figures:
        return {}
    claimed = [] if row.claimed_number is None else [row.claimed_number]
    numbers = [*claimed, *(number for each in figures.values() for number in _numbers(each))]
    low, high = min(numbers), max(numbers)
    room = (high - low) or abs(high) or 1.0

    def place(number: float) -> float:
        return round(MARGIN + (1 - 2 * MARGIN) * (number - low) / room, 4)

    return {name: [place(number) for number in _numbers(each)] for name, each in figures.items()} | {
        "claimed": [place(number) for number in claimed],
        "ends": [f"{low:g}", f"{high:g}"],
    }


def _numbers(figure: Figure) -> tuple[float, float, float]:
    return figure.low, figure.middle, figure.high


def picture(table: Table) -> Image.Image:
    """A box with its key for each claim, in a line or two for each verdict; pale where the filters hide it."""
    lines = _lines(table.rows)
    drawing, axes = canvas("Claims by their verdict", "", height=0.36 * len(lines) + 0.5)
    visible = {row.key for row in table.visible_rows}
    for place, (number, rows) in enumerate(lines):
        for column, row in enumerate(rows):
            alpha = 1.0 if row.key in visible else 0.2
            axes.barh(place, 0.92, left=column, height=0.84, color=SHADES[number], alpha=alpha)
            axes.text(column + 0.46, place, row.key[1:], ha="center", va="center", fontsize=8, color="white")
            if row.same is False:
                axes.barh(place, 0.92, left=column, height=0.84, fill=False, edgecolor="black", linewidth=1.5)
    names = [VERDICTS[number] if place == 0 or lines[place - 1][0] != number else "" for place, (number, _) in enumerate(lines)]
    axes.set_yticks(range(len(lines)), names)
    axes.set_xlim(0, PER_LINE)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.invert_yaxis()
    return drawn(drawing)


def _lines(rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
    """The claims of each verdict by key, `PER_LINE` to a line, with the number of the verdict."""
    ordered = sorted(rows, key=lambda row: row.key)
    lines = []
    for number, verdict in enumerate(VERDICTS):
        own = [row for row in ordered if row.verdict == verdict]
        lines += [(number, own[start : start + PER_LINE]) for start in range(0, max(1, len(own)), PER_LINE)]
    return lines
