"""The board: a row for each claim, judged by the shipped figures and once more by own ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from autoglm_lab.benchmarks.scoreboard.figures import Figures, merge, subtract
from autoglm_lab.benchmarks.verdicts import EDGE, VERDICTS, Verdict
from autoglm_lab.benchmarks.verdicts_articles import ARTICLES, read_figures
from autoglm_lab.benchmarks.verdicts_network import NETWORK
from autoglm_lab.paths import data_dir

Origin = Literal["here", "in part", "shipped", "no figure"]
ALL_VERDICTS: tuple[Verdict, ...] = tuple(sorted((*ARTICLES, *EDGE, *NETWORK), key=lambda verdict: verdict.key))
# The number of a claim in the unit of the figure that was measured for it, where it has one.
CLAIMED = {"K07": 420.0, "K29": 72.0, "K34": 27.0, "K35": 15.0, "K36": 27.0, "K49": 87.0, "K64": 3.4}


@dataclass(frozen=True)
class Figure:
    """A measured figure with its interval: the mean over `runs` seeds or the median of as many runs."""

    name: str
    middle: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, row: dict[str, str]) -> Figure | None:
        """The figure of a row of `data/claims.csv`; None where it has none."""
        if not row["measured"]:
            return None
        middle, low, high = (float(row[name]) for name in ("measured", "measured_low", "measured_high"))
        return cls(row["figure"], middle, low, high, int(row["runs"]))

    def __str__(self) -> str:
        return f"{self.middle:g} ({self.low:g} to {self.high:g}, n = {self.runs})"


@dataclass(frozen=True)
class Row:
    """One claim and how it is judged. `origin` says where the figures behind `verdict_here` come from.

    "here": all of them were measured on this machine; "in part": some were; "shipped": none was; "no figure": a reason or
    arithmetic decides. In the last two cases the verdict here is the shipped one. `figure_here` is None where that very figure is
    still the shipped one.
    """

    key: str
    part: str
    claimed: str
    how: str
    command: str
    claimed_number: float | None  # in the unit of the figure
    verdict: str
    reason: str
    figure: Figure | None
    origin: Origin
    verdict_here: str
    reason_here: str
    figure_here: Figure | None

    @property
    def is_measured_here(self) -> bool:
        """True if at least one of its figures was measured on this machine."""
        return self.origin in ("here", "in part")

    @property
    def same(self) -> bool | None:
        """True if own figures give the shipped verdict; None where none was measured."""
        return self.verdict == self.verdict_here if self.is_measured_here else None

    def data(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        return asdict(self) | {"same": self.same, "is_measured_here": self.is_measured_here}


def board(own: Figures | None = None, shipped: Figures | None = None) -> list[Row]:
    """Judge every claim, in the order of their keys; `own` are figures as `measuring.read` gives them.

    KeyError for figures that lack one that a verdict needs.
    """
    figures = read_figures(data_dir() / "reports") if shipped is None else shipped
    return [_row(verdict, figures, own or {}) for verdict in ALL_VERDICTS]


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Number of rows of each shipped verdict, in the order of `VERDICTS`."""
    tally = Counter(row.verdict for row in rows)
    return {verdict: tally[verdict] for verdict in VERDICTS}


def comparison(rows: Iterable[Row]) -> str:
    """Say how many claims were judged again, and which of them came out otherwise."""
    again = [row for row in rows if row.is_measured_here]
    others = [f"{row.key} ({row.verdict} -> {row.verdict_here})" for row in again if not row.same]
    return f"{len(again)} claims judged again with figures of this machine; " + (
        f"another verdict: {', '.join(others)}" if others else "every verdict is the same"
    )


def _row(verdict: Verdict, shipped: Figures, own: Figures) -> Row:
    before, here = verdict.row(shipped), verdict.row(merge(shipped, own))
    figure, figure_here = Figure.of(before), Figure.of(here)
    return Row(
        verdict.key,
        verdict.part,
        verdict.claimed,
        before["how"],
        before["command"],
        CLAIMED.get(verdict.key),
        before["verdict"],
        before["reason"],
        figure,
        _origin(verdict, shipped, own),
        here["verdict"],
        here["reason"],
        None if figure_here == figure else figure_here,
    )


def _origin(verdict: Verdict, shipped: Figures, own: Figures) -> Origin:
    """Find out which figures a verdict reads, by taking them away."""
    if _judges(verdict, {}):
        return "no figure"
    if _judges(verdict, own):
        return "here"
    return "shipped" if _judges(verdict, subtract(shipped, own)) else "in part"


def _judges(verdict: Verdict, figures: Figures) -> bool:
    try:
        verdict.row(figures)
    except KeyError:
        return False
    return True
