"""Writes files and folders whole: a kill at any moment leaves the old one or the new one, and nothing that is not ours is lost.

Both are written under a private name beside their place and put there in one step. One writer at a time: a lock beside the place
says who. A folder carries a mark (`marks`); one with other contents and no mark is refused, and what somebody else put into a
marked one, or changed in it, is still there afterwards.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from autoglm_lab.marks import NotWrittenError, carry, check_ours, link, read_mark, write_mark

PATIENCE_S = 60.0
POLL_S = 0.05
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM}
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG}
_locks: dict[tuple[int, int, Path], int] = {}  # process, thread and place -> handle of the lock file


@contextmanager
def folder(path: Path | str, kind: str, *, cache: bool = False, patience_s: float = PATIENCE_S) -> Iterator[Path]:
    """Give an empty folder to write into; at the end it takes the place of `path`.

    `kind` names what the folder is ("bundle", "model", ...); a folder of another kind is not replaced. A `cache` belongs to us
    whole and carries no mark. A link stays a link. NotWrittenError as `check` says, when another writer needs more than
    `patience_s`, and when the disk is full.
    """
    place = _resolved(path)
    with _parent(place), lock(place, patience_s=patience_s):
        with _disk_errors(place):
            _recover(place)
        if not cache:
            check_ours(place, kind)
        with _disk_errors(place):
            part = Path(tempfile.mkdtemp(prefix=_prefix(place, "part"), dir=place.parent))
        try:
            with _disk_errors(place):
                part.chmod(place.stat().st_mode & 0o777 if place.is_dir() else 0o777 & ~_umask())
                yield part
                if not cache:
                    write_mark(part, kind)
                    carry(place, part)
                _switch(part, place)
        finally:
            _remove(part)


@contextmanager
def file(path: Path | str, *, patience_s: float = PATIENCE_S) -> Iterator[Path]:
    """Give the path of a file to write; at the end it takes the place of `path`. NotWrittenError as `folder`."""
    place = check_file(path)
    with _parent(place), lock(place, patience_s=patience_s):
        with _disk_errors(place):
            _recover(place)
        part = place.with_name(f"{_prefix(place, 'part')}{os.getpid()}{place.suffix}")  # NumPy and others look at the ending
        try:
            with _disk_errors(place):
                yield part
                if place.exists():
                    part.chmod(place.stat().st_mode & 0o777)
                part.replace(place)
        finally:
            _remove(part)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole, in UTF-8. NotWrittenError as `folder`."""
    with file(path) as part:
        part.write_text(text, "utf-8")


def update(path: Path, texts: Mapping[str, str]) -> None:
    """Write or replace some text files of a folder that carries our mark, all of them or none. NotWrittenError as `folder`."""
    with lock(path):
        mark = read_mark(path)
        if mark is None:
            raise NotWrittenError(f"{path} was not written by autoglm-lab; nothing there is touched")
        with folder(path, mark.kind) as part:
            for name in mark.files:
                if name not in texts and mark.has(path, name):
                    link(path / name, part / name)
            for name, text in texts.items():
                (part / name).write_text(text, "utf-8")


def claim(path: Path | str, kind: str) -> None:
    """Mark a folder as ours that is filled over a long time; one of ours stays as it is. NotWrittenError as `check` says."""
    place = _resolved(path)
    if read_mark(place) is None:
        with folder(place, kind):
            pass
    else:
        check(place, kind)


def check(path: Path | str, kind: str, *, needs_bytes: int = 0) -> None:
    """Check before slow work that `folder(path, kind)` will be able to write there.

    NotWrittenError unless the place is new, empty, or carries the mark of this kind, can be written to, and has `needs_bytes` free.
    """
    check_ours(_resolved(path), kind)
    check_room(path, needs_bytes)


def check_file(path: Path | str) -> Path:
    """Check before slow work that `file(path)` will be able to write there, and return the place that a link leads to.

    NotWrittenError for a folder, a device, and a place that cannot be written to.
    """
    place = _resolved(path)
    if place.is_dir():
        raise NotWrittenError(f"{path} is a folder; give the name of a file in it")
    if place.exists() and not place.is_file():
        raise NotWrittenError(f"{path} is a device or a pipe, which a file does not replace; give the name of a file")
    check_room(place.parent)
    return place


def check_room(path: Path | str, needs_bytes: int = 0) -> None:
    """Check that something of `needs_bytes` can be written at `path`: NotWrittenError for a read-only place or a full disk."""
    near = _resolved(path)
    while not near.exists():
        near = near.parent
    if not near.is_dir():
        raise NotWrittenError(f"{path} cannot be written: {near} is a file")
    if not os.access(near, os.W_OK | os.X_OK):
        raise NotWrittenError(f"{near} is read-only; give a place that can be written to")
    free = shutil.disk_usage(near).free
    if free < needs_bytes:
        raise NotWrittenError(f"the disk of {near} has {free / 1e6:,.0f} MB free, {needs_bytes / 1e6:,.0f} MB are needed")


@contextmanager
def lock(path: Path | str, *, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Be the only writer of `path`; a thread may take its own lock again inside.

    NotWrittenError names the process that writes, when it needs more than `patience_s`.
    """
    place = _resolved(path)
    key = (os.getpid(), threading.get_ident(), place)
    if key in _locks:
        yield
        return
    guard = place.with_name(f".{place.name}.lock")
    with _parent(place), _disk_errors(place):
        handle = _locked(guard, place, time.monotonic() + patience_s)
    _locks[key] = handle
    try:
        yield
    finally:
        del _locks[key]
        with suppress(OSError):
            guard.unlink()  # while it is still ours: who waits sees that the name is gone and makes a new one
        os.close(handle)


def _locked(guard: Path, place: Path, until: float) -> int:
    while True:
        handle = os.open(guard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            writer = os.pread(handle, 20, 0).decode("ascii", "replace")
            os.close(handle)
            if time.monotonic() >= until:
                raise NotWrittenError(
                    f"process {writer or 'unknown'} is writing {place}; wait until it has ended, or give another place"
                ) from None
            time.sleep(POLL_S)
            continue
        with suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == guard.stat().st_ino:
                os.truncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
                return handle
        os.close(handle)


def _resolved(path: Path | str) -> Path:
    return Path(os.path.realpath(path))


def _prefix(place: Path, ending: str) -> str:
    return f".{place.name}.{ending}-"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _parent(place: Path) -> Iterator[None]:
    """Make the folder around a place; take back what was made when nothing is put there."""
    fresh = [above for above in place.parents if not above.exists()]
    try:
        with _disk_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for above in fresh:
            with suppress(OSError):
                above.rmdir()
        raise


@contextmanager
def _disk_errors(place: Path) -> Iterator[None]:
    """Raise an error of the disk as a NotWrittenError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise _refusal(place, error.errno) from None
    except ValueError:
        raise
    except Exception:
        if shutil.disk_usage(place.parent).free < 1 << 20:  # writers in other languages have errors of their own
            raise _refusal(place, errno.ENOSPC) from None
        raise


def _refusal(place: Path, number: int) -> NotWrittenError:
    return NotWrittenError(f"{place} cannot be written: {os.strerror(number)}; nothing was changed there")


def _recover(place: Path) -> None:
    """Finish or clear away what a writer that was killed left; under the lock nobody else's can be there."""
    for entry in list(place.parent.iterdir()):
        if entry.name.startswith(_prefix(place, "old")) and not os.path.lexists(place):
            entry.rename(place)
        elif entry.name.startswith((_prefix(place, "part"), _prefix(place, "old"))):
            _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _switch(part: Path, place: Path) -> None:
    """Put the new folder into its place in one step, and clear away the old one."""
    if not place.exists() or not any(place.iterdir()):
        part.rename(place)
    elif _exchange(part, place):
        _remove(part)
    else:  # a kill between these two is mended by the next writer
        old = place.with_name(f"{_prefix(place, 'old')}{os.getpid()}")
        place.rename(old)
        try:
            part.rename(place)
        except BaseException:
            old.rename(place)
            raise
        _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    system, names = ctypes.CDLL(None, use_errno=True), (os.fsencode(one), os.fsencode(other))
    if sys.platform == "darwin":
        failed = system.renamex_np(*names, 2)
    elif hasattr(system, "renameat2"):
        failed = system.renameat2(-100, names[0], -100, names[1], 2)
    else:
        return False
    number = ctypes.get_errno()
    if failed and number not in _NO_EXCHANGE:
        raise OSError(number, os.strerror(number), str(other))
    return not failed
