"""Memory of a process, in four figures: resident, peak, private and shared out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Bytes of a process. None where the system does not tell.

    `private` is what no file holds (anonymous pages: private dirty, without files that are still on their way to the disk);
    `shared_out` (PSS) counts pages that several processes share in parts, `of_files` are pages of files, which the
    system takes away when it needs room.
    """

    resident: int
    peak: int | None = None
    private: int | None = None
    of_files: int | None = None
    shared_out: int | None = None


def memory_now(pid: int | str = "self") -> Memory:
    """Read the memory of a process now, from Linux's `smaps_rollup`; elsewhere only what psutil tells.

    ValueError when there is no such process, or it is somebody else's.
    """
    folder = Path("/proc") / str(pid)
    try:
        rollup, status = ((folder / name).read_text() for name in ("smaps_rollup", "status"))
    except (FileNotFoundError, ProcessLookupError):
        if not Path("/proc/self/smaps_rollup").exists():
            return _from_psutil(pid)
        raise ValueError(f"there is no process {pid}") from None
    except PermissionError:
        raise ValueError(f"process {pid} is somebody else's; its memory cannot be read") from None
    resident, shared_out = _kb(rollup, "Rss"), _kb(rollup, "Pss")
    private = _kb(rollup, "Anonymous")
    return Memory(resident, _kb(status, "VmHWM"), private, resident - private, shared_out)


def _kb(text: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"the system's record of this process has no {name}")
    return 1024 * int(match[1])


def _from_psutil(pid: int | str) -> Memory:
    import psutil

    try:
        return Memory(int(psutil.Process(None if pid == "self" else int(pid)).memory_info().rss))
    except psutil.NoSuchProcess:
        raise ValueError(f"there is no process {pid}") from None
