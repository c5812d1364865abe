"""One exercise: a reference, inputs to try it on, and wrong versions that people write, each with the hint that helps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

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
}


@dataclass(frozen=True)
class Verdict:
    """What a check found. Shown in a notebook as one coloured line, elsewhere as text."""

    exercise: str
    passed: bool
    message: str

    def __str__(self) -> str:
        return f"{'Right' if self.passed else 'Not yet'} - {self.message}"

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"**{'✔ Right' if self.passed else '✘ Not yet'}** - {self.message}"


@dataclass(frozen=True)
class Exercise:
    """`reference` is right; `mistakes` are plausible wrong versions with their hints; `inputs` tell them all apart."""

    name: str
    reference: Function
    mistakes: tuple[tuple[Function, str], ...]
    inputs: tuple[tuple[Any, ...], ...]
    praise: str

    def examine(self, attempt: Any) -> Verdict:
        """Try the learner's function on every input and say what is wrong with it, if anything is."""
        if not callable(attempt):
            return Verdict(self.name, False, f"give the function itself, check({self.name!r}, my_function), not what it returns.")
        given = []
        for values in self.inputs:
            mine = copy.deepcopy(values)
            try:
                given.append(attempt(*mine))
            except NotImplementedError:
                return Verdict(self.name, False, "the function still waits to be written.")
            except Exception as problem:  # the learner's code may raise anything
                return Verdict(self.name, False, f"it raised {type(problem).__name__}: {problem} (for {_brief(values)}).")
            if not same(mine, values):
                return Verdict(self.name, False, f"it changed its own input {_brief(values)}; work on a copy.")
        if all(value is None or value is Ellipsis for value in given):
            return Verdict(self.name, False, "the function still waits to be written: it returns nothing.")
        wanted = [self.reference(*copy.deepcopy(values)) for values in self.inputs]
        if all(same(g, w) for g, w in zip(given, wanted, strict=True)):
            return Verdict(self.name, True, self.praise)
        return Verdict(self.name, False, self._hint(given, wanted))

    def _hint(self, given: list[Any], wanted: list[Any]) -> str:
        for wrong, hint in self.mistakes:
            if all(same(g, wrong(*copy.deepcopy(values))) for g, values in zip(given, self.inputs, strict=True)):
                return hint
        first = next(i for i, (g, w) in enumerate(zip(given, wanted, strict=True)) if not same(g, w))
        return f"for {_brief(self.inputs[first])} it gives {_brief(given[first])}, but {_brief(wanted[first])} is right."


def same(a: Any, b: Any) -> bool:
    """Equal as a learner would mean it: numbers and arrays to 1e-5, text and structure exactly."""
    if isinstance(a, dict) and isinstance(b, dict):
        return sorted(a) == sorted(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, str) or isinstance(b, str) or a is None or b is None:
        return bool(a == b) if isinstance(a, str) == isinstance(b, str) else False
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and not all(_number(v) for v in (*a, *b)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    try:
        left, right = np.asarray(a, float), np.asarray(b, float)
    except (TypeError, ValueError):
        return False
    return left.shape == right.shape and bool(np.allclose(left, right, atol=1e-5, equal_nan=True))


def _number(value: Any) -> bool:
    return bool(np.isscalar(value)) and not isinstance(value, str)


def _brief(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_brief(v) for v in value) + ")"
    if isinstance(value, np.ndarray) and value.size > 6:
        return f"an array {list(value.shape)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def exercises(chapter: str) -> dict[str, Exercise]:
    """The exercises of a chapter, by name. ValueError when there is no such chapter."""
    if chapter not in CHAPTERS:
        raise ValueError(f"there is no chapter {chapter!r} with exercises; there are {', '.join(CHAPTERS)}")
    found: dict[str, Exercise] = {e.name: e for e in import_module(f"autoglm_lab.checks.{CHAPTERS[chapter]}").EXERCISES}
    return found


def check(name: str, attempt: Any) -> Verdict:
    """Check an exercise, for example `check("02.gate", my_gate)`. ValueError when no exercise has this name."""
    chapter = exercises(name.split(".")[0])
    if name not in chapter:
        raise ValueError(f"there is no exercise {name!r}; chapter {name.split('.')[0]} has {', '.join(chapter)}")
    return chapter[name].examine(attempt)
