"""Choice of a bundle for a chip: abilities are read from the device, needs from a table, and measurements choose.

Makers and model names decide nothing: the same chip comes with other systems, and a name says neither which instructions there are
nor whether the system lets a program use them.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

from autoglm_lab import atomic
from autoglm_lab.device.preflight import RUNTIME_BYTES
from autoglm_lab.runtime.processor import cpu_flags, flags_of

Answer = TypeVar("Answer")


class Capability(NamedTuple):
    """A feature of a device: the words in which systems tell it, and what it is good for."""

    name: str
    names: tuple[str, ...]
    good_for: str


CAPABILITIES = (
    Capability("64-bit", ("arm64-v8a", "aarch64", "arm64", "x86_64", "amd64"), "every bundle: ONNX Runtime has no 32-bit wheels"),
    Capability("byte products", ("asimddp", "dotprod", "avx512_vnni", "avx_vnni", "avxvnni"), "bundles of 8-bit integers"),
    Capability("byte matrices", ("i8mm", "amx_int8"), "the same, with fewer instructions"),
    Capability("16-bit floats", ("asimdhp", "fphp", "avx512_fp16"), "float bundles of half the size"),
)


@dataclass(frozen=True)
class Device:
    """Abilities of a device, in names of `CAPABILITIES`, and the bytes of memory that are free on it."""

    name: str
    can: frozenset[str]
    free_bytes: int

    @classmethod
    def here(cls) -> Device:
        """Read this machine."""
        return cls("this machine", _can([platform.machine(), *cpu_flags()]), psutil.virtual_memory().available)

    @classmethod
    def of_texts(cls, getprop: Mapping[str, str], cpuinfo: str, meminfo: str) -> Device:
        """Read the texts of a device: its properties, `/proc/cpuinfo` and `/proc/meminfo`.

        Words that nobody knows are ignored; where the list of ABIs is missing, the older property counts. ValueError when the
        memory is not told, or nothing says which instructions there are.
        """
        abis = getprop.get("ro.product.cpu.abilist") or getprop.get("ro.product.cpu.abi", "")
        features = flags_of(cpuinfo)
        free = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo, re.MULTILINE)
        if not abis or not features:
            raise ValueError("the device tells no ABI or no processor features; is this `getprop` and /proc/cpuinfo of a device?")
        if free is None:
            raise ValueError("the device's /proc/meminfo tells no free memory (MemAvailable)")
        words = [*abis.replace(",", " ").split(), *features]
        return cls(getprop.get("ro.product.board", "a device"), _can(words), 1024 * int(free[1]))

    @classmethod
    def of_file(cls, path: Path) -> Device:
        """Read a file with these three texts. ValueError, with its name, when it holds something else."""
        try:
            texts = json.loads(path.read_text("utf-8"))
            return cls.of_texts({str(k): str(v) for k, v in texts["getprop"].items()}, str(texts["cpuinfo"]), str(texts["meminfo"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path.name} describes no device: {str(error) or type(error).__name__}") from None

    @classmethod
    def over_adb(cls, shell: Callable[[str], str]) -> Device:
        """Read a phone; `shell` runs a command on it and returns what it printed."""
        pairs = re.findall(r"^\[([^\]]+)\]: \[([^\]]*)\]", shell("getprop"), re.MULTILINE)
        return cls.of_texts(dict(pairs), shell("cat /proc/cpuinfo"), shell("cat /proc/meminfo"))


def _can(words: Iterable[str]) -> frozenset[str]:
    words = {word.lower() for word in words}
    return frozenset(each.name for each in CAPABILITIES if not words.isdisjoint(each.names))


@dataclass(frozen=True)
class Candidate:
    """A bundle as a choice: what it needs, and its measured report."""

    name: str
    needs: frozenset[str]
    bytes: int
    answer_ms: float
    success: float


def candidates(folder: Path) -> list[Candidate]:
    """The bundles that have a report in a folder such as `data/reports/onnx`. ValueError for a report that lacks a figure."""
    bundles = []
    for path in sorted(folder.glob("*.json")):
        try:
            report = json.loads(path.read_text("utf-8"))
            integers = report["bytes"] < 1.2 * report["parameters"]  # a byte a weight or less
            needs = frozenset({"64-bit", "byte products"} if integers else {"64-bit"})
            answer_ms, success = float(report["answer_ms"]), float(report["success"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name} is no report of a bundle: {error}") from None
        bundles.append(Candidate(path.stem, needs, int(report["bytes"]), answer_ms, success))
    return bundles


@dataclass(frozen=True)
class Choice:
    """The bundle that was taken, None where none can run, and the reason in one line for every candidate."""

    bundle: str | None
    reasons: dict[str, str]


def choose(bundles: Sequence[Candidate], device: Device, least_success: float = 0.97) -> Choice:
    """The quickest bundle, by its report, of those that a device can run and that succeed often enough.

    A feature more can only add candidates, so it never makes the choice slower.
    """
    able, reasons = [], {}
    for bundle in bundles:
        missing = sorted(bundle.needs - device.can)
        memory = RUNTIME_BYTES + bundle.bytes
        if missing:
            reasons[bundle.name] = f"needs {', '.join(missing)}"
        elif memory > device.free_bytes:
            reasons[bundle.name] = f"needs {memory / 1e6:.0f} MB, {device.free_bytes / 1e6:.0f} are free"
        elif bundle.success < least_success:
            reasons[bundle.name] = f"right in {bundle.success:.1%} of the steps, {least_success:.1%} are asked"
        else:
            able.append(bundle)
            reasons[bundle.name] = f"can run: {bundle.answer_ms:.1f} ms where it was measured"
    best = min(able, key=lambda bundle: (bundle.answer_ms, bundle.bytes, bundle.name), default=None)
    if best is not None:
        reasons[best.name] = f"taken: the quickest that can run, {best.answer_ms:.1f} ms where it was measured"
    return Choice(None if best is None else best.name, reasons)


class Crashes:
    """File of the backends that took the whole process down: written before each try, and erased when it came back.

    A fault that kills a process leaves no exception, only the line that says what was tried.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def known(self) -> frozenset[str]:
        """The backends that were tried and never came back. A file with anything else in it counts as empty."""
        try:
            names = json.loads(self.path.read_text("utf-8"))
        except (OSError, ValueError):
            return frozenset()
        return frozenset(map(str, names)) if isinstance(names, list) else frozenset()

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """Note that a backend is tried; forget it when the block ends, in whatever way Python sees it end."""
        self._write(self.known | {name})
        try:
            yield
        finally:
            self._write(self.known - {name})

    def forget(self) -> None:
        """Let every backend be tried again, after an update of the system, say."""
        self._write(frozenset())

    def _write(self, names: frozenset[str]) -> None:
        atomic.write_text(self.path, json.dumps(sorted(names)) + "\n")


def first_that_agrees(
    backends: Mapping[str, Callable[[], Answer]], agrees: Callable[[Answer], bool], crashes: Crashes
) -> tuple[str, dict[str, str]]:
    """Try backends in order; the first that answers as it should is taken. Also why each one before it was not.

    What took the process down before is not tried again. RuntimeError, with every reason, when none is left.
    """
    reasons: dict[str, str] = {}
    for name, answer in backends.items():
        if name in crashes.known:
            reasons[name] = "took the process down when it was tried"
            continue
        try:
            with crashes.trying(name):
                text = answer()
        except Exception as error:
            reasons[name] = f"{type(error).__name__}: {error}"
            continue
        if agrees(text):
            return name, reasons
        reasons[name] = "answers something else"
    raise RuntimeError("no backend is left: " + "; ".join(f"{name} {why}" for name, why in reasons.items()))
