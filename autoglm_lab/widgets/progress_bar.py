"""A progress bar for work that does not report its progress."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, seconds: int) -> Iterator[None]:
    """Show a bar that moves while the `with` block works, and is full when it ends.

    `seconds` are about those that the work takes; where it takes longer, the bar waits at its last second.
    """
    from tqdm.auto import tqdm

    stop = threading.Event()
    with tqdm(total=seconds, desc=what, unit="s") as bar:

        def move() -> None:
            while not stop.wait(1):
                bar.update(bar.n < seconds - 1)

        # The copied context tells the kernel to which cell the bar belongs.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(move,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        bar.update(seconds - bar.n)
