"""Checks of chapter 09."""

from __future__ import annotations

import json

from autoglm_lab.checks.exercise import Exercise


def said(stream: str) -> str:
    """The text of an answer that came as server-sent events."""
    text = ""
    for event in stream.split("\n\n"):
        if not event.startswith("data: ") or event == "data: [DONE]":
            continue
        for choice in json.loads(event.removeprefix("data: "))["choices"]:
            text += choice["delta"].get("content") or ""
    return text


def _only_last(stream: str) -> str:
    pieces = [said(f"{event}\n\n") for event in stream.split("\n\n")]
    return next((piece for piece in reversed(pieces) if piece), "")


def _spaced(stream: str) -> str:
    return " ".join(piece for piece in (said(f"{event}\n\n") for event in stream.split("\n\n")) if piece)


def _lines(stream: str) -> str:
    return "\n".join(piece for piece in (said(f"{event}\n\n") for event in stream.split("\n\n")) if piece)


def _with_thoughts(stream: str) -> str:
    return said(stream.replace('"reasoning_content"', '"content"'))


def throughput(read_ms: float, tokens: int, step_ms: float, rows: int, cores: int) -> float:
    """Answers a second, when `rows` of them are read side by side on `cores`, and then written together."""
    return 1000 * rows / (rows * read_ms / cores + tokens * step_ms)


def _one_core(read_ms: float, tokens: int, step_ms: float, rows: int, cores: int) -> float:
    return throughput(read_ms, tokens, step_ms, rows, 1)


def _alone(read_ms: float, tokens: int, step_ms: float, rows: int, cores: int) -> float:
    return throughput(read_ms, tokens, rows * step_ms, rows, cores)


def _one_answer(read_ms: float, tokens: int, step_ms: float, rows: int, cores: int) -> float:
    return throughput(read_ms, tokens, step_ms, rows, cores) / rows


def _milliseconds(read_ms: float, tokens: int, step_ms: float, rows: int, cores: int) -> float:
    return throughput(read_ms, tokens, step_ms, rows, cores) / 1000


def _read_once(read_ms: float, tokens: int, step_ms: float, rows: int, cores: int) -> float:
    return 1000 * rows / (read_ms / cores + tokens * step_ms)


def _event(**delta: str) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}, ensure_ascii=False) + "\n\n"


_END = 'data: {"choices": [], "usage": {"total_tokens": 9}}\n\ndata: [DONE]\n\n'
EXERCISES = (
    Exercise(
        "09.stream",
        said,
        (
            (_only_last, "that is the last piece only: every event holds what is new, not all so far."),
            (_spaced, "pieces follow each other without a space: the spaces are inside."),
            (_lines, "pieces follow each other without a new line."),
            (_with_thoughts, "that holds the thoughts as well: only `content` is asked for."),
        ),
        (
            (_event(role="assistant") + _event(content='do(action="') + ": still writing\n\n" + _event(content='Home")') + _END,),
            (_event(role="assistant") + _event(reasoning_content="打开") + _event(content="完成") + _event(content="。") + _END,),
        ),
        "so little is behind the words that appear one by one.",
        edges=((_event(content="a data: line, ") + _event(content="[DONE] or not\n\n") + _event(content="end") + _END,),),
    ),
    Exercise(
        "09.throughput",
        throughput,
        (
            (_one_core, "what is read side by side is shared out over the cores."),
            (_alone, "a step writes a token of every row at once: its time counts once, not for each row."),
            (_one_answer, "that is for a single row; all rows are answers."),
            (_milliseconds, "that is for each millisecond; a second has a thousand."),
            (_read_once, "every answer has a screen of its own to be read."),
        ),
        ((20.0, 10, 4.0, 16, 2), (30.0, 8, 1.5, 2, 2), (12.5, 40, 6.0, 8, 4)),
        "what is shared gets cheaper in company; what is not sets the limit.",
    ),
)
