"""Worker processes that end with the process that started them, even when that one is killed."""

from __future__ import annotations

import os
from multiprocessing import connection, parent_process
from threading import Thread


def end_with_parent() -> None:
    """Watch the parent from a thread of its own and end this process as soon as it is gone: an `initializer` for pools."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True, name="end-with-parent").start()
