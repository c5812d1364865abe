"""A tolerant reader for the answers of models that were not trained on this grammar: it says what it forgave.

>>> read_tolerantly("<think>there</think><answer>do(action='Tap', element=[500, 120]).</answer>")[1]
Action(name='Tap', element=(500, 120))

What `parse_answer` reads is read by it, with nothing forgiven, unless the action stands in a thought without an end. Of all else an
answer has to hold exactly one action, at its end: actions that a thought only speaks of are not done, and no value is made valid
that is not.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from autoglm_lab.phone.actions import ACTION_START, PHONE_ACTIONS, POINTS, Action, Point, parse_answer

FIELDS = ("action", *POINTS, "text", "app", "duration", "message", "instruction")
REFUSED = ("Note", "Call_API")  # in the public prompt, and more than a phone can do
WHICH = "which of the things on the screen is meant?"
LONGEST, MOST = 20_000, 20  # characters that are read, and layers around an action and places where it may begin
_HEAD = re.compile(r"(?<![A-Za-z0-9_])(do|finish)\s*\(\s*(?=\w+\s*=|\))")
_FIRST_OF_LINE = re.compile(rf"^(?:[ \t`>*-]|\d+[.)])*{_HEAD.pattern}", re.MULTILINE)
_ANSWER = re.compile(r"<answer>(?=(?:\s|`|python|<\|begin_of_box\|>)*(?:do|finish)\s*\()")
_NAME = re.compile(rf"({'|'.join(FIELDS)})\s*=\s*")
_POINT = re.compile(r"\[\s*(0|[1-9]\d{0,3})\s*,\s*(0|[1-9]\d{0,3})\s*\]", re.ASCII)
_NEXT = re.compile(rf"\s*,\s*(?=(?:{'|'.join(FIELDS)})\s*=)")
_END = re.compile(r"\s*\)\Z")
_ESCAPE = re.compile(r"""\\(?:(["'\\/bfnrt])|u([0-9a-fA-F]{4}))""")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# what may stand after an action and before it: the words that forgive it, and how it looks
_AFTER = (
    ("a box", re.compile(r"<\|end_of_box\|>\Z")),
    ("a tag", re.compile(r"</answer>\Z")),
    ("a token", re.compile(r"<\|\w{1,30}\|>\Z")),
    ("a code fence", re.compile(r"(?:```|`)\Z")),
    ("a full stop", re.compile(r"(?<=[)`])[.。]\Z")),
)
_BEFORE = (
    ("a box", re.compile(r"<\|begin_of_box\|>\Z")),
    ("a tag", re.compile(r"<answer>\Z")),
    ("a code fence", re.compile(r"(?:```\w{0,20}|`)\Z")),
)


class TolerantAnswer(NamedTuple):
    """The thought, the action, and in words what was overlooked to read it (empty for an answer in the grammar)."""

    thinking: str
    action: Action
    irregularities: tuple[str, ...]


def read_tolerantly(text: str) -> TolerantAnswer:
    """Read what another model answered. ValueError says why it is no action, and names those that this phone cannot do."""
    try:
        strict = TolerantAnswer(*parse_answer(text), ())
    except ValueError:
        if len(text) > LONGEST:
            raise ValueError(f"an answer of {len(text):,} characters is not read; at most {LONGEST:,} are") from None
    else:
        before = ACTION_START.split(text, maxsplit=1)[0]
        if before.rfind("<think>") > max(before.rfind("</think>"), before.rfind("<answer>")):
            raise _no_end(text)
        return strict
    thought, body, is_answer = _split(text)
    pardons = ["a tag"] if is_answer else []
    body = _unwrap(body, _AFTER, pardons)
    problem = ValueError(f"no action in {text[:80]!a}; an answer ends in do(action=...) or finish(message=...)")
    for head in list(_HEAD.finditer(body))[: -MOST - 1 : -1]:
        try:
            values, more = _arguments(body[head.start() :])
        except ValueError as error:
            problem = error
            continue
        action, before = _to_action(values, more), body[: head.start()]
        if _FIRST_OF_LINE.search(before) or _HEAD.search(before if is_answer else before.rpartition("\n")[2]):
            raise ValueError(f"more than one action in {body[:80]!a}; an answer has exactly one")
        if _HEAD.search(thought) or _HEAD.search(before):
            more.append("an action that the thought speaks of")
        before = _unwrap(before, _BEFORE, pardons)
        thinking = re.sub(r"</?(?:think|answer)>", "", f"{thought}\n{before}").strip()
        return TolerantAnswer(thinking, action, tuple(dict.fromkeys([*pardons, *more])) or ("blanks",))
    raise problem


def _split(text: str) -> tuple[str, str, bool]:
    """Split off the thought; say whether a tag marks the rest as the answer. ValueError for a thought without an end."""
    before, tag, rest = text.partition("<answer>")
    thought, end_of_thought, body = before.rpartition("</think>")
    body += tag + rest
    mark = _ANSWER.search(body)
    if mark:
        return f"{thought}\n{body[: mark.start()]}", body[mark.end() :], True
    if "<think>" in body:
        raise _no_end(text)
    return thought, body, bool(end_of_thought)


def _no_end(text: str) -> ValueError:
    return ValueError(f"the thought has no end in {text[:80]!a}; an answer ends in do(action=...) or finish(message=...)")


def _unwrap(body: str, wraps: tuple[tuple[str, re.Pattern[str]], ...], pardons: list[str]) -> str:
    """Take what stands at the end of `body` off, layer by layer, and note it."""
    for _ in range(MOST):
        body = body.strip()
        layer = next(((name, match) for name, pattern in wraps if (match := pattern.search(body))), None)
        if layer is None:
            break
        pardons.append(layer[0])
        body = body[: layer[1].start()]
    return body


def _arguments(body: str) -> tuple[dict[str, str | Point], list[str]]:
    """Read the arguments of one action that fills all of `body`, "finish" as an `action` too, and what was overlooked in them."""
    head = _HEAD.match(body)
    assert head is not None
    values: dict[str, str | Point] = {}
    pardons: list[str] = []
    rest = body[head.end() :]
    while not re.fullmatch(r"\s*\)", rest):
        name = _NAME.match(rest)
        if not name or name[1] in values:
            raise ValueError(f'cannot read {rest[:60]!a} in {body[:80]!a}; write name="text" or name=[x,y], each once')
        values[name[1]], rest = _value(name[1], rest[name.end() :], pardons)
        if (comma := _NEXT.match(rest)) is not None:
            rest = rest[comma.end() :]
        elif not _END.match(rest):
            raise ValueError(f"unexpected {rest[:60]!a} in {body[:80]!a}; arguments are separated by ', '")
    action = "finish" if head[1] == "finish" and "action" not in values else values.get("action")
    if not isinstance(action, str) or not re.fullmatch("[A-Za-z_ ]{1,20}", action) or (head[1] == "do") is (action == "finish"):
        raise ValueError(f'{body[:80]!a} names no action; write do(action="Tap", ...)')
    return {**values, "action": action}, pardons


def _value(field: str, rest: str, pardons: list[str]) -> tuple[str | Point, str]:
    """Read one value from the front of `rest`, and what follows it."""
    if field in POINTS:
        point = _POINT.match(rest)
        if point is None:
            raise ValueError(f"{field} is no point in {rest[:60]!a}; write [x,y] with whole numbers from 0 to 999")
        if point[0] != f"[{int(point[1])},{int(point[2])}]":
            pardons.append("blanks in a point")
        return (int(point[1]), int(point[2])), rest[point.end() :]
    quote = rest[:1]
    if quote not in ('"', "'") or not quote:
        raise ValueError(f'{field} is no text in {rest[:60]!a}; write {field}="..."')
    for end in range(1, len(rest)):
        if rest[end] == quote and (_NEXT.match(rest, end + 1) or _END.match(rest, end + 1)):
            inside = rest[1:end]
            if (len(inside) - len(inside.rstrip("\\"))) % 2 == 0:
                return _text(inside, quote, pardons), rest[end + 1 :]
    raise ValueError(f"the text of {field} has no end in {rest[:60]!a}; nothing but a bracket or another argument follows it")


def _text(inside: str, quote: str, pardons: list[str]) -> str:
    """Take a text out of its quotes, with its escapes as the letters that they stand for."""
    if re.search(r"(?:do|finish)\s*\(\s*(?:action|message)\s*=", inside):
        raise ValueError(f"an action within a text: {inside[:60]!a}; an answer has exactly one, and a text escapes its quotes")
    if quote == "'":
        pardons.append("single quotes")
    if quote in _ESCAPE.sub("", inside):
        pardons.append("unescaped quotes in a text")
    if re.search(r"[\x00-\x1f]", inside):
        pardons.append("raw line breaks in a text")
    if "\\" in _ESCAPE.sub("", inside):
        pardons.append("a backslash that escapes nothing")
    text = _ESCAPE.sub(lambda m: chr(int(m[2], 16)) if m[2] else _LETTERS.get(m[1], m[1]), inside)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # \ud83d\ude00 is one letter, as in JSON


def _to_action(values: dict[str, str | Point], pardons: list[str]) -> Action:
    """Make the action, refused by its name where it is not one of a phone."""
    name = str(values.pop("action"))
    if name in REFUSED:
        raise ValueError(f"{name} is not something that this phone can do; it can {', '.join(PHONE_ACTIONS)}")
    if name == "Interact":
        pardons.append("Interact is done as Take_over")
        name, values = "Take_over", {"message": WHICH, **values}
    if name == "Type_Name":
        pardons.append("Type_Name is done as Type")
        name = "Type"
    if "instruction" in values:
        raise ValueError(f"{name} takes no 'instruction'")
    return Action(name, **values)  # type: ignore[arg-type]
