"""One record for every variant of a model: how big it is, how fast, and what it still can do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from autoglm_lab.paths import data_dir

SMALLER = ("bytes", "parameters", "macs", "answer_ms")  # of these less is better; of `success` more


@dataclass(frozen=True)
class Report:
    """Measurements of one variant; None for each that was not made."""

    name: str
    bytes: int | None = None  # what ships: weights and scales
    parameters: int | None = None
    macs: int | None = None  # multiply-accumulates of layers, for one example
    success: float | None = None  # share of tasks, steps or answers that were right
    ci95: tuple[float, float] | None = None  # of success
    n: int | None = None  # how many were tried
    answer_ms: float | None = None  # median time of a whole answer
    answer_ms_spread: tuple[float, float] | None = None  # 5th and 95th percentile
    whole_ms: float | None = None  # median time of the model it was made from, measured in turns with it
    first_token_ms: float | None = None  # median time to the first token of an answer
    whole_first_token_ms: float | None = None
    forward_ms: float | None = None  # median time of one forward pass of the example whose MACs are counted
    whole_forward_ms: float | None = None
    threads: int | None = None
    cpu_flags: tuple[str, ...] | None = None
    steps: int | None = None  # of training, after it was made small
    rate: float | None = None  # peak learning rate of that training
    alone: bool = False  # trained without the model it was made from as a teacher
    thoughts: float | None = None  # weight of that teacher's inner features in the loss
    flags: str = ""  # further options of the command that trained it
    runtime: str = ""  # what it ran in, if not PyTorch
    note: str = ""

    @property
    def training(self) -> str:
        """Training in words; empty without any.

        >>> Report("four", steps=300, rate=0.0015, alone=True).training
        '300 training steps at 0.0015, alone'
        """
        if not self.steps:
            return ""
        taught = ", alone" if self.alone else "" if self.thoughts is None else f", thoughts {self.thoughts:g}"
        return f"{self.steps} training steps at {self.rate:g}{taught}{f', {self.flags}' * bool(self.flags)}"

    def __str__(self) -> str:
        """Measurements in a line.

        >>> print(Report("four", bytes=9_000_000, success=0.975, ci95=(0.9634, 0.983), n=1000, answer_ms=80.0, whole_ms=90.0))
        four: 97.5 % of 1,000 right (96.3 to 98.3), 9.0 MB, 80 ms an answer beside 90 ms
        """
        low, high = self.ci95 or (0.0, 1.0)
        parts = (
            None if self.success is None else f"{self.success:.1%} of {self.n:,} right ({100 * low:.1f} to {100 * high:.1f})",
            None if self.bytes is None else f"{self.bytes / 1e6:.1f} MB",
            None if self.answer_ms is None else f"{self.answer_ms:.0f} ms an answer",
            self.runtime and f"in {self.runtime}",
            self.training or None,
            self.note,
        )
        beside = "" if self.whole_ms is None else f" beside {self.whole_ms:.0f} ms"
        phrases = (part + beside * part.endswith("an answer") for part in parts if part)
        return f"{self.name}: {', '.join(phrases)}".replace("%", " %")

    def to_json(self) -> str:
        """The record as JSON, without what was not measured."""
        values = {name: value for name, value in asdict(self).items() if value is not None and value is not False and value != ""}
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The record that `to_json` wrote. ValueError for broken JSON or fields that a record does not have."""
        facts = strict_object(text, {field.name for field in fields(cls)}, "a report")
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
        return cls(**values)


def strict_object(text: str, known: set[str], what: str) -> dict[str, Any]:
    """A JSON object with no fields but `known` ones. ValueError says where JSON breaks off or which field is unknown."""
    try:
        facts = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    if not isinstance(facts, dict):
        raise ValueError(f"{what} is a JSON object, not {type(facts).__name__}")
    unknown = sorted(set(facts) - known)
    if unknown:
        raise ValueError(f"{what} has no field {', '.join(map(repr, unknown))}; there are {', '.join(sorted(known))}")
    return facts


def read_reports(folder: Path | None = None) -> dict[str, Report]:
    """The reports in a folder (default: the shipped ones) by the names of their files. FileNotFoundError if there are none."""
    place = data_dir() / "reports" if folder is None else folder
    reports = {path.stem: Report.from_json(path.read_text("utf-8")) for path in sorted(place.glob("*.json"))}
    if not reports:
        raise FileNotFoundError(f"there are no reports in {place.name!r}; measure recipes with `autoglm-lab compress --tasks`")
    return reports


def _dominates(a: Report, b: Report, by: Sequence[str]) -> bool:
    """True if `a` is nowhere worse than `b` and somewhere better. ValueError where one of the measures is missing."""
    better = False
    for name in by:
        mine, theirs = (_value(report, name) for report in (a, b))
        if mine > theirs:
            return False
        better = better or mine < theirs
    return better


def _value(report: Report, name: str) -> float:
    value = getattr(report, name)
    if value is None:
        raise ValueError(f"{name!r} was not measured of {report.name!r}")
    return float(value) if name in SMALLER else -float(value)


def pareto_front(reports: Iterable[Report], by: Sequence[str] = ("bytes", "answer_ms", "success")) -> list[Report]:
    """The reports that no other beats in every measure, in their order.

    >>> a, b, c = Report("a", bytes=1, success=0.5), Report("b", bytes=2, success=0.4), Report("c", bytes=3, success=0.9)
    >>> [report.name for report in pareto_front([a, b, c], ("bytes", "success"))]
    ['a', 'c']
    """
    candidates = list(reports)
    return [mine for mine in candidates if not any(_dominates(other, mine, by) for other in candidates)]


def within(reports: Iterable[Report], *, megabytes: float | None = None, milliseconds: float | None = None) -> Report:
    """The report with the most success among those that fit; the smaller one when two are alike.

    ValueError when none fits: it names the one that comes nearest.
    """
    candidates = list(reports)
    fits = [
        report
        for report in candidates
        if (megabytes is None or (report.bytes or 0) <= megabytes * 1e6)
        and (milliseconds is None or (report.answer_ms or 0) <= milliseconds)
    ]
    if not fits:
        if not candidates:
            raise ValueError("there is no report to choose from")
        least = min(candidates, key=lambda report: report.bytes or 0)
        raise ValueError(f"nothing fits; the smallest is {least.name!r} with {(least.bytes or 0) / 1e6:.1f} MB")
    return max(pareto_front(fits, ("bytes", "success")), key=lambda report: report.success or 0.0)
