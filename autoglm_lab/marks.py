"""The mark of a folder that this package wrote: its kind, and size and SHA-256 of each file, so that nobody else's are lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

T = TypeVar("T")
ATTEMPTS = 5  # for reading a folder that is written meanwhile
MARK = ".autoglm-lab.json"
KEPT = ".yours"  # added to the name of a file that somebody changed, when a new one takes its place


class NotWrittenError(ValueError):
    """Raised when a place cannot be written to, or holds what is not ours; the message says why. Everything is as it was."""


@dataclass(frozen=True)
class Mark:
    """Contents of a folder when it was written."""

    kind: str
    files: dict[str, tuple[int, str]]  # path below the folder -> bytes, SHA-256

    def has(self, folder: Path, name: str) -> bool:
        """True if the file is one of ours, as it was written."""
        path = folder / name
        if name not in self.files or path.is_symlink() or not path.is_file():
            return False
        return path.stat().st_size == self.files[name][0] and digest(path) == self.files[name][1]


def read_mark(folder: Path) -> Mark | None:
    """Read the mark of a folder, None without one. NotWrittenError when it is damaged."""
    try:
        facts = json.loads((folder / MARK).read_text("utf-8"))
        files = {str(name): (int(file["bytes"]), str(file["sha256"])) for name, file in facts["files"].items()}
        return Mark(str(facts["kind"]), files)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
        raise NotWrittenError(f"{folder / MARK} is damaged ({type(error).__name__}); give another folder") from None


def write_mark(folder: Path, kind: str) -> None:
    """Mark a folder and all that is in it as ours."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest(path)}
    (folder / MARK).write_text(json.dumps({"kind": kind, "files": files}, indent=1) + "\n", "utf-8")


def verify(folder: Path, names: tuple[str, ...]) -> None:
    """Compare files of a folder with its mark; other files, and a folder without a mark, are not looked at.

    FileNotFoundError for one that is missing, ValueError for one that was changed, or lies there and is not listed.
    """
    mark = read_mark(folder)
    if mark is None:
        return
    for name in sorted(names):
        if name not in mark.files:
            if os.path.lexists(folder / name):
                raise ValueError(f"{name} of {folder.name} was added after it was written; take it away, or make the folder anew")
        elif not (folder / name).is_file():
            raise FileNotFoundError(f"{folder.name} holds no {name}; copy the whole folder again")
        elif not mark.has(folder, name):
            raise ValueError(f"{name} of {folder.name} was changed after it was written; copy the folder again, or make it anew")


def read_whole(folder: Path, names: tuple[str, ...], read: Callable[[], T]) -> T:
    """Verify files of a folder, and return what `read` makes of them.

    They are of one version: where another one takes the folder's place meanwhile, that one is verified and read anew. Errors as
    `verify` and `read`; ValueError for a folder that is written again and again.
    """
    for _ in range(ATTEMPTS):
        before = _version(folder)
        try:
            verify(folder, names)
            value = read()
        except Exception:
            if _version(folder) == before:
                raise
        else:
            if _version(folder) == before:
                return value
    raise ValueError(f"{folder.name} is written again and again; wait until that has ended")


def _version(folder: Path) -> tuple[int, int] | None:
    """Identify what a writer put there, by its mark; None without one."""
    try:
        facts = (folder / MARK).stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def check_ours(folder: Path, kind: str) -> None:
    """Raise NotWrittenError unless a folder is missing, empty, or carries our mark of this kind."""
    if not folder.is_dir():
        if folder.exists():
            raise NotWrittenError(f"{folder} is a file; give a folder")
        return
    if Path.cwd().is_relative_to(folder.resolve()):
        raise NotWrittenError(f"{folder} is the folder you are in, or above it; name a folder of its own")
    mark, names = read_mark(folder), sorted(entry.name for entry in folder.iterdir())
    if mark is None and names:
        contents = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise NotWrittenError(
            f"{folder} holds {contents} and was not written by autoglm-lab; nothing there is touched, give a new or an empty folder"
        )
    if mark is not None and mark.kind != kind:
        raise NotWrittenError(f"{folder} holds a {mark.kind}, which a {kind} does not replace; give another folder")


def carry(old: Path, new: Path) -> None:
    """Link into `new` the files of `old` that we did not write, or that were changed since; taken names get a longer one."""
    mark = read_mark(old) if old.is_dir() else None
    if mark is None:
        return
    for above, folders, names in os.walk(old, onerror=_raise):
        here = Path(above).relative_to(old)
        for name in names + [name for name in folders if (Path(above) / name).is_symlink()]:
            relative = here / name
            if relative.as_posix() != MARK and not mark.has(old, relative.as_posix()):
                link(old / relative, _free(new, relative))
        if not folders and not names:
            (new / here).mkdir(parents=True, exist_ok=True)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links; a symbolic link stays one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _raise(error: OSError) -> NoReturn:
    raise error


def _free(folder: Path, relative: Path) -> Path:
    """Find the name under which a file is kept: its own, unless a new file has it."""
    place = folder
    for depth, name in enumerate(relative.parts, start=1):
        place = place / name
        while os.path.lexists(place) and (depth == len(relative.parts) or place.is_symlink() or not place.is_dir()):
            place = place.with_name(place.name + KEPT)
    return place
