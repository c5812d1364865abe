"""Attacks on what writes folders: `python -m tests.beside.attacks_folders`. Prints counts; each of the faults should be 0.

Two writers at once, kills at random moments and after every single step of a switch, a disk that fills up (needs root, to mount
one). A reader looks at the folder all the while and counts what is neither the old nor the new one.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from autoglm_lab import atomic
from autoglm_lab.marks import MARK, NotWrittenError, verify

NAMES = [f"{number}.bin" for number in range(8)]
STEPS = ("write_mark", "carry", "_switch", "_exchange", "_remove", "Path.rename", "Path.mkdir", "check_ours", "_recover")


def write(place: Path, content: str) -> None:
    """Write a folder of eight files of 20 kB that all say the same."""
    with atomic.folder(place, "model") as part:
        for name in NAMES:
            (part / name).write_text(content * 20_000)


def versions(place: Path) -> set[str]:
    """First letters of the files of a folder, and "missing" for those that are not there."""
    texts = {(place / name).read_text()[:1] if (place / name).is_file() else "missing" for name in NAMES}
    verify(place, tuple(NAMES))
    return texts


def two_writers(place: Path, runs: int) -> dict[str, int]:
    """Start two processes at a time that write the same folder."""
    context = get_context("spawn")
    faults = {"runs": runs, "mixed": 0, "failed": 0, "left over": 0}
    each = [context.Process(target=_many, args=(place, letter, runs)) for letter in "ab"]
    for process in each:
        process.start()
    while any(process.is_alive() for process in each):
        faults["mixed"] += _mixed(place)
    faults["failed"] = sum(process.exitcode != 0 for process in each)
    faults["mixed"] += len(versions(place)) != 1
    faults["left over"] = len(list(place.parent.iterdir())) - 1
    return faults


def _many(place: Path, letter: str, runs: int) -> None:
    for _ in range(runs):
        write(place, letter)


def _mixed(place: Path) -> int:
    """1 when one version of a folder, opened once, holds files of two."""
    try:
        handle = os.open(place, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        texts = set()
        for name in NAMES:
            with open(os.open(name, os.O_RDONLY, dir_fd=handle)) as file:
                texts.add(file.read()[:1])
        return int(len(texts) != 1)
    except FileNotFoundError:
        return 0  # a version that has just been cleared away
    finally:
        os.close(handle)


def kills(place: Path, runs: int, exchange: bool) -> dict[str, int]:
    """Kill a writer at random moments, and after each step of its way; somebody's notes lie in the folder."""
    counts = {"runs": 0, "killed": 0, "neither old nor new": 0, "missing": 0, "notes lost": 0, "left over": 0}
    write(place, "o")
    (place / "notes.txt").write_text("mine")
    began = time.perf_counter()
    subprocess.run(_writer(place, None, exchange), check=True)
    whole_s = time.perf_counter() - began
    for number in range(runs):
        step = STEPS[number % (2 * len(STEPS))] if number % (2 * len(STEPS)) < len(STEPS) else None
        process = subprocess.Popen(_writer(place, step, exchange), stderr=subprocess.DEVNULL)
        if step is None:
            time.sleep(random.uniform(0.3, 1.0) * whole_s)
            process.kill()
        counts["runs"] += 1
        counts["killed"] += process.wait() == -signal.SIGKILL
        if not place.exists() and exchange:
            counts["missing"] += 1
        elif place.exists():
            counts["neither old nor new"] += versions(place) not in ({"o"}, {"n"})
        write(place, "o")  # the next writer clears up
        counts["neither old nor new"] += versions(place) != {"o"}
        counts["notes lost"] += (place / "notes.txt").read_text() != "mine"
        counts["left over"] += len(list(place.parent.iterdir())) - 1
        assert {path.name for path in place.iterdir()} == {MARK, "notes.txt", *NAMES}
    return counts


def _writer(place: Path, step: str | None, exchange: bool) -> list[str]:
    code = f"""
import os, signal
from pathlib import Path
from autoglm_lab import atomic
from tests.beside.attacks_folders import write
def die(module, name):
    inner = getattr(module, name)
    def deadly(*a, **k):
        inner(*a, **k)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(module, name, deadly)
if not {exchange}:
    atomic._exchange = lambda one, other: False
step = {step!r}
if step:
    die(atomic.Path if step.startswith("Path.") else atomic, step.rpartition(".")[2])
write(Path({str(place)!r}), "n")
"""
    return [sys.executable, "-c", code]


def full_disk() -> dict[str, int]:
    """Fill a disk of 2 MB: the old folder stays, nothing is left over, the error is ours. Empty without the right to mount."""
    counts = {"runs": 0, "old lost": 0, "left over": 0, "other errors": 0}
    with tempfile.TemporaryDirectory() as mount:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], capture_output=True, check=False).returncode:
            return {}
        try:
            place = Path(mount) / "x"
            write(place, "o")
            for size in range(100_000, 4_000_000, 200_000):
                counts["runs"] += 1
                try:
                    with atomic.folder(place, "model") as part:
                        for name in NAMES:
                            (part / name).write_bytes(bytes(size // 8))
                    write(place, "o")
                except NotWrittenError:
                    counts["old lost"] += versions(place) != {"o"}
                except Exception:
                    counts["other errors"] += 1
                counts["left over"] += len(list(place.parent.iterdir())) - 1
        finally:
            subprocess.run(["umount", mount], check=True)
    return counts


def main() -> None:
    """Run all of them."""
    options = argparse.ArgumentParser(prog="python -m tests.beside.attacks_folders")
    options.add_argument("--runs", type=int, default=200)
    runs = options.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        print("two writers       ", two_writers(Path(folder) / "writers" / "x", runs), flush=True)
        print("kills, exchange   ", kills(Path(folder) / "kills" / "x", runs, True), flush=True)
        print("kills, two renames", kills(Path(folder) / "renames" / "x", runs, False), flush=True)
        print("full disk         ", full_disk() or "needs the right to mount a disk", flush=True)


if __name__ == "__main__":
    main()
