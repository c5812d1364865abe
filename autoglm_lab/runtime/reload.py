"""Exchange a model or its settings while they are used: no request is lost, and one generation answers each from start to end."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_origin, get_type_hints

T = TypeVar("T")
Mode = Literal["available", "small"]


class NothingLoadedError(RuntimeError):
    """Neither the new source of a small exchange nor the old one could be loaded."""


@dataclass
class Generation(Generic[T]):
    """One load of a value, and how many use it. `retired` ones are let go when the last use ends."""

    number: int
    value: T
    source: Any
    leases: int = 0
    retired: bool = False


class Reloadable(Generic[T]):
    """A value that was loaded from a source and can be loaded from another one while it is used.

    `load(source)` makes it, `free(value)` is called once nobody uses an old one any more. Mode "available" loads the new one first
    and answers all the time, with both in memory; "small" waits until nobody uses the old one, frees it, then loads: requests wait.
    """

    def __init__(
        self, load: Callable[[Any], T], source: Any, *, free: Callable[[T], None] | None = None, mode: Mode = "available"
    ) -> None:
        if mode not in ("available", "small"):
            raise ValueError(f'mode is {mode!r}; it is "available" or "small"')
        self._load, self._free, self.mode = load, free, mode
        self._turn = threading.Condition()
        self._one_reload = threading.Lock()
        self._closed = False  # new leases wait while a small exchange is under way
        self._empty = False  # neither the new source of a small exchange nor the old one could be loaded
        self._now = Generation(1, load(source), source)

    @property
    def generation(self) -> int:
        """The number of the one that answers now, from 1."""
        return self._now.number

    @property
    def now(self) -> Generation[T]:
        """The generation that answers now, without a lease: to look at. Its value is None while a small exchange is under way."""
        return self._now

    @contextmanager
    def lease(self, patience_s: float = 30.0) -> Iterator[Generation[T]]:
        """Use what is loaded now; it stays whole and alive until the end, whatever is reloaded meanwhile.

        TimeoutError when a small exchange takes longer than `patience_s`.
        """
        with self._turn:
            if not self._turn.wait_for(lambda: not self._closed, patience_s):
                raise TimeoutError(f"the exchange is not done after {patience_s:g} s; ask again later")
            if self._empty:
                raise NothingLoadedError("neither the new source nor the old one could be loaded; reload from a whole one")
            mine = self._now
            mine.leases += 1
        try:
            yield mine
        finally:
            with self._turn:
                mine.leases -= 1
                gone = mine.retired and not mine.leases
                self._turn.notify_all()
            if gone:
                self._let_go(mine)

    def reload(self, source: Any, patience_s: float = 30.0) -> int:
        """Load from a source and answer with it from now on; returns the number of its generation.

        What `load` raises comes out here, and the old one goes on answering; a small exchange loads the old source again for that.
        Should that fail as well, nothing is left that answers: each lease is a NothingLoadedError until a reload succeeds.
        TimeoutError when the old one is used for longer than `patience_s` in a small exchange: nothing has changed then.
        """
        with self._one_reload:
            return self._exchange_small(source, patience_s) if self.mode == "small" else self._exchange(source)

    def _exchange(self, source: Any) -> int:
        value = self._load(source)
        with self._turn:
            old, self._now = self._now, Generation(self._now.number + 1, value, source)
            old.retired = True
            gone = not old.leases
        if gone:
            self._let_go(old)
        return self._now.number

    def _exchange_small(self, source: Any, patience_s: float) -> int:
        with self._turn:
            self._closed = True
            if not self._turn.wait_for(lambda: self._now.leases == 0, patience_s):
                self._open()
                raise TimeoutError(f"the old one is still used after {patience_s:g} s; nothing was changed")
            old = self._now
        try:
            if not self._empty:
                self._let_go(old)
            self._empty = True
            try:
                self._now = Generation(old.number + 1, self._load(source), source)
            except BaseException:
                self._now = Generation(old.number, self._load(old.source), old.source)
                self._empty = False
                raise
            self._empty = False
        finally:
            with self._turn:
                self._open()
        return self._now.number

    def _open(self) -> None:
        self._closed = False
        self._turn.notify_all()

    def _let_go(self, old: Generation[T]) -> None:
        value, old.value = old.value, None  # type: ignore[assignment]  # whoever kept the generation keeps no model with it
        if self._free is not None:
            self._free(value)


S = TypeVar("S")


def read_settings(path: Path, kind: type[S], base: S | None = None) -> S:
    """Read settings, a frozen dataclass, from a JSON file: all of them or none. What the file does not name is as in `base`.

    A set of texts is written as a list. ValueError, with the name of the file and of what is wrong in it, for a half-written file,
    unknown names, missing ones (without `base`), values of another type, and what the dataclass itself refuses.
    """
    settings, hints = {each.name: each for each in fields(kind)}, get_type_hints(kind)  # type: ignore[arg-type]
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}; the settings stay as they are") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} holds no settings but a {type(values).__name__}; write names and values")
    if unknown := sorted(set(values) - set(settings)):
        raise ValueError(f"{path.name}: {', '.join(unknown)} is unknown; there are {', '.join(settings)}")
    missing = [n for n, each in settings.items() if n not in values and each.default is MISSING and each.default_factory is MISSING]
    if missing and base is None:
        raise ValueError(f"{path.name}: {', '.join(missing)} is missing")
    for name, value in values.items():
        hint = hints[name]
        if get_origin(hint) is frozenset:
            if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
                raise ValueError(f"{path.name}: {name} is {value!r}; it has to be a list of texts")
            values[name] = frozenset(value)
            continue
        right = (int, float) if hint is float else hint
        if not isinstance(value, right) or (isinstance(value, bool) and hint is not bool):
            raise ValueError(f"{path.name}: {name} is {value!r}; it has to be of type {hint.__name__}")
    try:
        return kind(**values) if base is None else replace(base, **values)  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from None


def needs_restart(old: S, new: S) -> list[str]:
    """The names of changed settings that only a restart can change: fields with `metadata={"restart": True}`."""
    changed = (each for each in fields(old) if getattr(old, each.name) != getattr(new, each.name))  # type: ignore[arg-type]
    return [each.name for each in changed if each.metadata.get("restart")]


class Watch:
    """Looks at a file again and again, and calls `changed(path)` when its content is another.

    Content and not its date: an atomic rename, a copy and an editor all look alike. What `changed` raises is kept in `failed`,
    passed to `complain`, and not tried again before the content changes once more. ValueError for a time that is not positive.
    """

    def __init__(
        self,
        path: Path,
        changed: Callable[[Path], Any],
        *,
        every_s: float = 1.0,
        complain: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        if not every_s > 0:
            raise ValueError(f"every_s is {every_s}; it is a number of seconds above zero")
        self.path = path
        self.failed: Exception | None = None
        self._changed, self._complain, self._every_s = changed, complain, every_s
        self._last_digest = self._digest()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name=f"watch {path.name}")

    def look(self) -> bool:
        """Look once; True when the content had changed and was taken."""
        digest = self._digest()
        if digest is None or digest == self._last_digest:
            return False
        self._last_digest = digest
        try:
            self._changed(self.path)
        except Exception as error:
            self.failed = error
            self._complain(error)
            return False
        self.failed = None
        return True

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(self._every_s):
            self.look()

    def _digest(self) -> bytes | None:
        try:
            return hashlib.sha256(self.path.read_bytes()).digest()
        except OSError:
            return None  # between two renames, or not there yet
