"""A time limit for code that may never end.

In the main thread of Linux and macOS (a notebook's kernel, a test) an alarm of the system ends the code, even while it sleeps.
Elsewhere (another thread, Windows, Pyodide) a trace looks at the clock before each line; it cannot end a single call that waits.
Neither ends a loop that swallows every error with a bare `except`.
"""

from __future__ import annotations

import ast
import inspect
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TimeLimitError(BaseException):
    """The code ran longer than allowed; no `Exception`, so that `except Exception` in that code does not keep it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimitError inside the block once `seconds` have passed."""
    alarms = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    with _alarm(seconds) if alarms else _trace(seconds):
        yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TimeLimitError

    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, ring)
    remaining_s, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)  # once more where the first was swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if remaining_s:  # somebody else's alarm goes on
            signal.setitimer(signal.ITIMER_REAL, max(remaining_s - (time.monotonic() - began), 1e-3), interval)


@contextmanager
def _trace(seconds: float) -> Iterator[None]:
    ends = time.monotonic() + seconds

    def look(_frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any]:
        if time.monotonic() > ends:
            raise TimeLimitError
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)


def endless_loop(function: Callable[..., Any], error: BaseException) -> str:
    """Name the loop of `function` in which `error` was raised and what never changes in it; "" where no source is at hand."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    lines, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is code:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    try:
        source, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(source)))
    except (OSError, TypeError, SyntaxError):
        return ""
    here = lines[-1] - first + 1 if lines else 0
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.While) and n.lineno <= here <= (n.end_lineno or here)]
    if not loops:
        return ""
    loop = max(loops, key=lambda node: node.lineno)
    names = sorted(_names(loop.test, ast.Load) & set(code.co_varnames if code else ()) - _names(loop, ast.Store))
    constant = f"; nothing in it changes {' or '.join(f'`{name}`' for name in names)}" if names else ""
    return f"the loop `while {ast.unparse(loop.test)}` has no end{constant}"


def _names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}
