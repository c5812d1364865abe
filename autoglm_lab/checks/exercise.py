"""One exercise: a reference, inputs to try it on, and wrong versions that people write, each with the hint that helps."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from autoglm_lab.checks.compare import as_html, brief, difference, same
from autoglm_lab.checks.limit import TimeLimitError, endless_loop, time_limit

Function = Callable[..., Any]
CHAPTERS = {
    "00": "start",
    "01": "architecture",
    "02": "fusion",
    "03": "pruning",
    "04": "distillation",
    "05": "quantization",
    "06": "qat",
    "07": "decoding",
    "08": "export",
    "09": "serving",
    "10": "device",
    "11": "budget",
    "12": "offloading",
    "13": "owner",
    "14": "board",
}


@dataclass(frozen=True)
class Verdict:
    """Result of a check. Shown in a notebook as one coloured line, elsewhere as text."""

    exercise: str
    passed: bool
    message: str

    def __str__(self) -> str:
        return f"{'Right' if self.passed else 'Not yet'} - {self.message}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # The class keeps MathJax from reading a pair of dollars as a formula.
        mark = "✔ Right" if self.passed else "✘ Not yet"
        return f'<p class="tex2jax_ignore"><strong>{mark}</strong> - {as_html(self.message)}</p>'


@dataclass(frozen=True)
class Exercise:
    """`reference` is right; `mistakes` are plausible wrong versions with their hints; `inputs` tell them all apart.

    `edges` are further inputs that a right answer has to master, where mistakes need not behave like themselves. `dtype` is that of
    the array to give, where it is part of the task.
    """

    name: str
    reference: Function
    mistakes: tuple[tuple[Function, str], ...]
    inputs: tuple[tuple[Any, ...], ...]
    praise: str
    edges: tuple[tuple[Any, ...], ...] = ()
    dtype: str | None = None

    def examine(self, attempt: Any, limit_s: float = 5.0) -> Verdict:
        """Try the learner's function on every input, `limit_s` seconds each, and say what is wrong with it, if anything is."""
        if not callable(attempt):
            return Verdict(self.name, False, f"give the function itself, check({self.name!r}, my_function), not what it returns.")
        results = []
        for values in self.inputs:
            result, fault = self._try(attempt, values, limit_s)
            if fault:
                return Verdict(self.name, False, fault)
            results.append(copy.deepcopy(result) if isinstance(result, list | dict | np.ndarray) else result)
        if all(result is None or result is Ellipsis for result in results):
            return Verdict(self.name, False, "the function still waits to be written: it returns nothing.")
        places = (self._wrong(values, result) for values, result in zip(self.inputs, results, strict=True))
        if place := next(filter(None, places), None):
            return Verdict(self.name, False, self._hint(results) or place)
        for values in self.edges:
            result, fault = self._try(attempt, values, limit_s)
            if fault := fault or self._wrong(values, result):
                return Verdict(self.name, False, fault)
        return Verdict(self.name, True, self.praise)

    def _try(self, attempt: Function, values: tuple[Any, ...], limit_s: float) -> tuple[Any, str | None]:
        """Result of one call and what went wrong in it, if anything did."""
        arguments = copy.deepcopy(values)
        result, fault = _call(attempt, arguments, limit_s)
        if fault is None and (change := self._changed(arguments, values)):
            fault = f"it changed its own input: {change}; work on a copy."
        return result, fault

    def _wrong(self, values: tuple[Any, ...], result: Any) -> str | None:
        place = difference(result, self.reference(*copy.deepcopy(values)), self.dtype)
        return f"for {brief(values)} {place}." if place else None

    def _hint(self, results: list[Any]) -> str | None:
        for wrong, hint in self.mistakes:
            if all(same(r, wrong(*copy.deepcopy(v))) for r, v in zip(results, self.inputs, strict=True)):
                return hint
        return None

    def _changed(self, after: tuple[Any, ...], before: tuple[Any, ...]) -> str | None:
        names = inspect.signature(self.reference).parameters
        for name, new, old in zip(names, after, before, strict=True):
            if place := difference(new, old):
                return f"in `{name}`, " + place.replace("it gives", "there is").replace("is right", "was there")
        return None


def _call(attempt: Function, arguments: tuple[Any, ...], limit_s: float) -> tuple[Any, str | None]:
    """Result of the learner's function, and a sentence where it has none."""
    inputs = brief(arguments)
    try:
        with time_limit(limit_s):
            return attempt(*arguments), None
    except NotImplementedError:
        return None, "the function still waits to be written."
    except TimeLimitError as error:
        loop = endless_loop(attempt, error)
        return None, f"it did not end within {limit_s:g} s (for {inputs})" + (f": {loop}." if loop else ".")
    except (Exception, SystemExit) as error:  # the learner's code may raise anything
        return None, f"it raised {type(error).__name__}: {_words(error)} (for {inputs})."


def _words(error: BaseException) -> str:
    try:
        text = "".join(c for c in " ".join(str(error).split()) if c.isprintable())
    except Exception:  # a message of the learner's own making that fails itself
        return "no message"
    return text if len(text) <= 200 else text[:197] + "..."


def exercises(chapter: str) -> dict[str, Exercise]:
    """The exercises of a chapter, by name. ValueError when there is no such chapter."""
    if chapter not in CHAPTERS:
        raise ValueError(f"there is no chapter {chapter!r} with exercises; there are {', '.join(CHAPTERS)}")
    by_name: dict[str, Exercise] = {e.name: e for e in import_module(f"autoglm_lab.checks.{CHAPTERS[chapter]}").EXERCISES}
    return by_name


def check(name: str, attempt: Any) -> Verdict:
    """Check an exercise, for example `check("02.gate", my_gate)`. ValueError when no exercise has this name."""
    chapter = exercises(name.split(".")[0])
    if name not in chapter:
        raise ValueError(f"there is no exercise {name!r}; chapter {name.split('.')[0]} has {', '.join(chapter)}")
    return chapter[name].examine(attempt)
