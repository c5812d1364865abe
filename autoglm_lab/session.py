"""Resources that a notebook's cell opens: run again, the cell first closes what it opened before."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from autoglm_lab.memory import trim_heap

T = TypeVar("T")
_open: dict[str, ExitStack] = {}


def open_once(name: str, factory: Callable[..., AbstractContextManager[T]], *arguments: object, **options: object) -> T:
    """Enter `factory(*arguments, **options)` under a name and return what it gives; what was open under that name is closed first.

    A cell that starts a server holds one server, however often it is run. `close(name)` closes what is open. Raises what the
    factory raises; then nothing is open under the name.

    >>> from tempfile import TemporaryDirectory
    >>> first = open_once("room", TemporaryDirectory)
    >>> second = open_once("room", TemporaryDirectory)      # the first folder is gone now
    >>> close("room")
    """
    close(name)
    with ExitStack() as stack:
        value = stack.enter_context(factory(*arguments, **options))
        _open[name] = stack.pop_all()
    return value


def close(name: str) -> None:
    """Close what is open under this name, if anything is, and free its memory."""
    if name in _open:
        _open.pop(name).close()
        gc.collect()
        trim_heap()
