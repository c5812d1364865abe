"""Measures the board's parts one after the other into a folder; what is there already is not measured again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from autoglm_lab import atomic
from autoglm_lab.benchmarks.scoreboard.figures import merge
from autoglm_lab.benchmarks.scoreboard.parts import FULL, QUICK, WHOLE, Bundles, Part, Progress
from autoglm_lab.paths import data_dir, work_dir
from autoglm_lab.runtime.bundle import is_bundle, is_whole

KIND = "scoreboard"  # of the folder
Bar = Callable[[Iterable[Part]], Iterable[Part]]


@dataclass(frozen=True)
class Plan:
    """The parts of a run: those to measure, those whose results are there, and those that cannot be measured, with the reason."""

    todo: tuple[Part, ...]
    existing: tuple[Part, ...]
    missing: dict[str, str]  # title of the part -> reason
    bundles: Bundles

    @property
    def minutes(self) -> int:
        """About how long it takes on two cores, in whole minutes; 0 if nothing is to be done."""
        return math.ceil(sum(part.seconds for part in self.todo) / 60)

    def __str__(self) -> str:
        time = f"to measure, in about {self.minutes} min" if self.todo else "nothing to measure"
        todo, existing = (
            [f"{sign} {part.title}" for part in parts] for sign, parts in (("-", self.todo), ("- there:", self.existing))
        )
        return "\n".join([time, *todo, *existing, *(f"- left out: {title}; {why}" for title, why in self.missing.items())])


def kept_bundles(folder: Path | None = None) -> dict[str, Path]:
    """The bundles in a folder (default: the kept ones) that carry the name of a shipped report and are whole; none is written."""
    places = {
        path.stem: (folder or work_dir() / "bundles") / path.stem for path in (data_dir() / "reports" / "onnx").glob("*.json")
    }
    return {name: place for name, place in sorted(places.items()) if is_bundle(place) and is_whole(place)}


def plan(folder: Path, *, quick: bool = False, bundles: Bundles | None = None, parts: Sequence[Part] | None = None) -> Plan:
    """Say what a run will measure. A quick part is there already if its full one is.

    NotWrittenError (a ValueError) if the folder holds anything else.
    """
    atomic.check(folder, KIND)
    selection = (QUICK if quick else FULL) if parts is None else parts
    around = {} if quick else kept_bundles() if bundles is None else bundles
    existing = tuple(part for part in selection if _path(folder, part).exists() or (folder / _full_name(part)).exists())
    reasons = {part: _missing(part, around) for part in selection if part not in existing}
    todo = tuple(part for part, reason in reasons.items() if not reason)
    return Plan(todo, existing, {part.title: reason for part, reason in reasons.items() if reason}, around)


def measure(folder: Path, run: Plan, progress: Bar = iter, steps: Callable[[Part], Progress] = lambda part: iter) -> dict[str, Any]:
    """Measure the parts of a plan into the folder, and give all own figures that then lie there.

    `progress` goes over the parts, `steps` gives what goes over the steps of one. A result is written as soon as it is
    there, so that a run that was stopped goes on where it was. NotWrittenError as `plan`, ValueError as `read`.
    """
    atomic.claim(folder, KIND)
    for part in progress(run.todo):
        began = perf_counter()
        figures = part.measure(run.bundles, steps(part))
        result = {"part": part.name, "seconds": round(perf_counter() - began, 1), "figures": figures}
        atomic.write_text(_path(folder, part), json.dumps(result, indent=1) + "\n")
    return read(folder)


def read(folder: Path) -> dict[str, Any]:
    """Read all own figures of a folder; those of a full part replace the quick ones. ValueError for a file that is no result."""
    paths = [_path(folder, part) for part in (*QUICK, *FULL)]
    figures: dict[str, Any] = reduce(merge, (_figures(path) for path in paths if path.exists()), {})
    return figures


def _figures(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text("utf-8"))
        figures: dict[str, Any] = dict(result["figures"])
        if result["part"] != path.stem:
            raise ValueError(f"it is of {result['part']!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no result of a scoreboard ({error}); remove it, and it is measured again") from None
    return figures


def _missing(part: Part, bundles: Bundles) -> str:
    absent = [name for name in part.modules if find_spec(name) is None]
    if absent:
        return f"it needs {', '.join(absent)}: pip install 'autoglm-lab[edge]'"
    if part.needs_bundle and WHOLE not in bundles:
        return "it needs a bundle of the whole agent: python -m autoglm_lab.export.kept --recipe whole"
    return ""


def _path(folder: Path, part: Part) -> Path:
    return folder / f"{part.name}.json"


def _full_name(part: Part) -> str:
    return f"{part.name.removeprefix('quick_')}.json"
