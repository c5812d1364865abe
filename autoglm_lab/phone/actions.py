"""The action grammar of the public phone agent: one dataclass, one formatter, one strict parser.

>>> parse('do(action="Tap", element=[500,120])')
Action(name='Tap', element=(500, 120))
>>> format_action(Action("finish", message="done"))
'finish(message="done")'

Coordinates are integers 0..999 from the top left of the screen. What does not parse is a ValueError, never a success.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import NamedTuple

Point = tuple[int, int]

# name -> (fields it must have, fields it may have)
SIGNATURES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Tap": (("element",), ("message",)),
    "Double Tap": (("element",), ()),
    "Long Press": (("element",), ()),
    "Swipe": (("start", "end"), ()),
    "Type": (("text",), ()),
    "Launch": (("app",), ()),
    "Wait": (("duration",), ()),
    "Back": ((), ()),
    "Home": ((), ()),
    "Take_over": (("message",), ()),
    "finish": (("message",), ()),
    "Goal": (("text",), ()),  # what the agent understood; nothing that a phone does
}
PHONE_ACTIONS = tuple(name for name in SIGNATURES if name != "Goal")
POINTS = ("element", "start", "end")
ACTION_START = re.compile(r"do\(action=|finish\(message=")
_STRING = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
_ARGUMENT = re.compile(rf"(\w+)=({_STRING}|\[(?:0|[1-9]\d{{0,2}}),(?:0|[1-9]\d{{0,2}})\])")


@dataclass(frozen=True, repr=False)
class Action:
    """One thing the agent does. Raises ValueError when a field is missing, superfluous or out of range."""

    name: str
    element: Point | None = None
    start: Point | None = None
    end: Point | None = None
    text: str | None = None
    app: str | None = None
    duration: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if self.name not in SIGNATURES:
            raise ValueError(f"action {self.name!r} is unknown; known are {', '.join(SIGNATURES)}")
        needed, allowed = SIGNATURES[self.name]
        for field, value in self.arguments.items():
            if field not in needed + allowed:
                raise ValueError(f"{self.name} takes no {field!r}")
            if field in POINTS and not all(type(v) is int and 0 <= v <= 999 for v in value):
                raise ValueError(f"{field} of {self.name} is {value}; coordinates are integers from 0 to 999")
            if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise ValueError(f"{field} of {self.name} holds half a character (a lone surrogate): {value[:40]!a}")
        for field in needed:
            if getattr(self, field) is None:
                raise ValueError(f"{self.name} needs {field!r}")

    @property
    def arguments(self) -> dict[str, Point | str]:
        """The fields that are set, in the order in which they are written."""
        return {f.name: getattr(self, f.name) for f in fields(self)[1:] if getattr(self, f.name) is not None}

    def __repr__(self) -> str:
        parts = [repr(self.name)] if not self.arguments else [f"name={self.name!r}"]
        return f"Action({', '.join(parts + [f'{k}={v!r}' for k, v in self.arguments.items()])})"


class Answer(NamedTuple):
    """A model's answer: the thought before the action (may be empty) and the action."""

    thinking: str
    action: Action


def format_action(action: Action) -> str:
    """Write an action in the public grammar; `parse` reads it back unchanged."""

    def literal(value: Point | str) -> str:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"[{value[0]},{value[1]}]"

    arguments = [f"{k}={literal(v)}" for k, v in action.arguments.items()]
    if action.name == "finish":
        return f"finish({', '.join(arguments)})"
    return f"do({', '.join([f'action={json.dumps(action.name)}', *arguments])})"


def parse(text: str) -> Action:
    """Read exactly one action. Raises ValueError naming what is wrong; nothing may precede or follow the action."""
    match = re.fullmatch(r"(do|finish)\((.*)\)", text, flags=re.DOTALL)
    if not match:
        raise ValueError(f"not an action: {text[:80]!r}; an action is do(action=...) or finish(message=...) and nothing else")
    values: dict[str, str | Point] = {}
    rest = match[2]
    while rest:
        argument = _ARGUMENT.match(rest)
        if not argument:
            raise ValueError(f'cannot read {rest[:60]!r} in {text[:80]!r}; write name="text" or name=[x,y]')
        if argument[1] in values:
            raise ValueError(f"{argument[1]!r} is given twice in {text[:80]!r}")
        values[argument[1]] = _value(json.loads(argument[2]))
        rest = rest[argument.end() :]
        if rest and not (rest.startswith(", ") and len(rest) > 2):
            raise ValueError(f"unexpected {rest[:60]!r} in {text[:80]!r}; arguments are separated by ', '")
        rest = rest[2:]
    return _action(match[1], values, text)


def _value(literal: str | list[int]) -> str | Point:
    return literal if isinstance(literal, str) else (literal[0], literal[1])


def _action(head: str, values: dict[str, str | Point], text: str) -> Action:
    name = values.pop("action", None) if head == "do" else "finish"
    if head == "do" and (not isinstance(name, str) or name == "finish"):
        raise ValueError(f'{text[:80]!r} names no action; write do(action="Tap", ...)')
    for field, value in values.items():
        if field not in {f.name for f in fields(Action)[1:]}:
            raise ValueError(f"{field!r} is not an argument of any action (in {text[:80]!r})")
        if isinstance(value, str) == (field in POINTS):
            raise ValueError(f"{field!r} in {text[:80]!r} has the wrong type; points are [x,y], the rest is text")
    return Action(str(name), **values)  # type: ignore[arg-type]


def parse_answer(text: str) -> Answer:
    """Split a model's answer into its thought and its one action.

    The thought is what stands before the action, with or without <think> tags. Raises ValueError if no action ends the text.
    """
    starts = [m.start() for m in ACTION_START.finditer(text)]
    if not starts:
        raise ValueError(f"no action in {text[:80]!r}; an answer ends in do(action=...) or finish(message=...)")
    thinking = re.sub(r"</?think>", "", text[: starts[0]]).strip()
    return Answer(thinking, parse(text[starts[0] :].strip()))
