"""Examine a device before anything is installed on it: what was found, and what would help."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

Verdict = Literal["pass", "warn", "fail"]

ABIS = ("x86_64", "amd64", "aarch64", "arm64")  # 64-bit machines that ONNX Runtime has wheels for
PYTHON = (3, 11)
PACKAGES = ("numpy", "onnxruntime", "tokenizers", "pillow")
INTEGER_FLAGS = ("vnni", "dotprod", "asimddp", "i8mm", "amx_int8")  # instructions that add products of 8-bit numbers
WIDE_FLAGS = ("avx2", "avx512f", "asimd", "neon", "AdvSIMD")
RUNTIME_BYTES = 90_000_000  # Python, numpy and ONNX Runtime with a bundle's graphs open, less the weights themselves
MB, GB = 10**6, 10**9


@dataclass(frozen=True)
class Machine:
    """The resources of a machine. Sizes in bytes; `memory` is what the process may use, `free_memory` what nobody uses now."""

    system: str
    abi: str
    libc: str
    python: tuple[int, int]
    cores: int
    flags: tuple[str, ...]
    memory: int
    free_memory: int
    free_storage: int
    versions: dict[str, str | None]
    busy_ports: tuple[int, ...] = ()

    @classmethod
    def here(cls, flags: Iterable[str] = (), folder: Path = Path(), ports: Iterable[int] = ()) -> Machine:
        """This machine; `flags` are the processor's instruction sets, `folder` is where something will be stored."""
        memory = psutil.virtual_memory()
        limit = _container_limit()
        return cls(
            platform.system(),
            platform.machine(),
            " ".join(platform.libc_ver()).strip(),
            sys.version_info[:2],
            os.cpu_count() or 1,
            tuple(flags),
            min(memory.total, limit),
            min(memory.available, limit),
            shutil.disk_usage(folder).free,
            {name: _version(name) for name in PACKAGES},
            tuple(port for port in ports if _busy(port)),
        )


@dataclass(frozen=True)
class Needs:
    """Storage and memory that a model needs, in bytes, with the arithmetic behind each figure in words."""

    name: str
    storage: int
    memory: int
    arithmetic: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:4}  {self.what:14} {self.found}" + (f"; {self.remedy}" if self.remedy else "")


class Examination(tuple[Finding, ...]):
    """The findings about one machine; in a notebook a table."""

    __slots__ = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all lines."""
        verdicts = {line.verdict for line in self}
        return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass"

    def __repr__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_markdown_(self) -> str:
        signs = {"pass": "✔", "warn": "!", "fail": "✘"}
        head = ["| | What | Found | What would help |", "| --- | --- | --- | --- |"]
        return "\n".join(head + [f"| {signs[f.verdict]} {f.verdict} | {f.what} | {f.found} | {f.remedy} |" for f in self])


def bundle_needs(name: str, size: int, cache_bytes_per_token: int, tokens: int = 512) -> Needs:
    """Compute the needs of a bundle of `size` bytes. Storage counts twice: a new bundle is written beside the old one."""
    cache = f"{tokens} tokens x {cache_bytes_per_token:,} bytes of cache"
    memory = RUNTIME_BYTES + size + cache_bytes_per_token * tokens
    return Needs(
        name,
        2 * size,
        memory,
        (
            f"storage: 2 x {size / MB:.1f} MB, the old and the new bundle",
            f"memory: {RUNTIME_BYTES / MB:.0f} MB runtime + {size / MB:.1f} MB weights + {cache} = {memory / MB:.0f} MB",
        ),
    )


def model_needs(
    name: str, *, parameters: float, bits: float, layers: int, key_value_heads: int, head_dim: int, tokens: int
) -> Needs:
    """Compute the needs of a large model from its shape: weights of `bits` each, and a 16-bit cache for `tokens` tokens.

    Scales of groups count as bits: 4-bit weights in groups of 32 with a 16-bit scale have 4.5. ValueError for sizes below 1.

    >>> model_needs("9 B", parameters=9e9, bits=4.5, layers=40, key_value_heads=2, head_dim=128, tokens=25_480).memory // 10**8
    61
    """
    if min(parameters, bits, layers, key_value_heads, head_dim, tokens) < 1:
        raise ValueError("a model has parameters, bits, layers, heads and tokens; each of these is at least 1")
    weights = int(parameters * bits / 8)
    token = 2 * 2 * layers * key_value_heads * head_dim
    memory = weights + token * tokens + RUNTIME_BYTES
    return Needs(
        name,
        weights,
        memory,
        (
            f"storage: {parameters / 1e9:g} billion weights x {bits:g} bits / 8 = {weights / GB:.1f} GB",
            f"cache of a token: key and value x 2 bytes x {layers} layers x {key_value_heads} heads x {head_dim} = {token:,} bytes",
            f"memory: {weights / GB:.1f} GB + {tokens:,} tokens x {token:,} bytes + runtime = {memory / GB:.1f} GB",
        ),
    )


def examine(machine: Machine, needs: Needs | None = None, port: int | None = None) -> Examination:
    """Go through everything that decides whether an agent can run on a machine, and how fast."""
    lines = [_abi(machine), _python(machine), *_packages(machine), _cores(machine), *_instructions(machine)]
    if needs is not None:
        less = "or take fewer bits"
        lines.append(_size("memory", needs.memory, machine.free_memory, machine.memory, f"close other programs, {less}"))
        lines.append(_size("storage", needs.storage, machine.free_storage, machine.free_storage, f"delete something, {less}"))
    if port is not None:
        busy = port in machine.busy_ports
        lines.append(
            Finding(
                "port",
                "fail" if busy else "pass",
                f"{port} is {'taken' if busy else 'free'}",
                f"choose another one, for example {port + 1}" if busy else "",
            )
        )
    return Examination(lines)


def _abi(machine: Machine) -> Finding:
    system = " ".join(part for part in (machine.system, machine.abi, machine.libc) if part)
    if machine.abi.lower() not in ABIS:
        return Finding("ABI", "fail", system, f"a 64-bit system is needed: {', '.join(ABIS)}")
    if machine.system == "Linux" and not machine.libc.startswith("glibc"):
        return Finding("ABI", "fail", system, "wheels are built for glibc; on Termux use a glibc userland such as proot-distro")
    return Finding("ABI", "pass", system)


def _python(machine: Machine) -> Finding:
    current, required = (".".join(map(str, version)) for version in (machine.python, PYTHON))
    if machine.python < PYTHON:
        return Finding("Python", "fail", current, f"install {required} or newer")
    return Finding("Python", "pass", current)


def _packages(machine: Machine) -> list[Finding]:
    return [
        Finding(name, "fail" if version is None else "pass", version or "missing", "" if version else f"pip install {name}")
        for name, version in machine.versions.items()
    ]


def _cores(machine: Machine) -> Finding:
    few = machine.cores < 2
    return Finding("cores", "warn" if few else "pass", str(machine.cores), "answers take about twice as long on one" if few else "")


def _instructions(machine: Machine) -> list[Finding]:
    if not machine.flags:
        return [Finding("instructions", "warn", "the system does not tell", "measure instead: autoglm-lab bench")]
    wide = [flag for flag in WIDE_FLAGS if any(flag in name for name in machine.flags)]
    integer = sorted({name for name in machine.flags for flag in INTEGER_FLAGS if flag in name})
    return [
        Finding("wide registers", "pass" if wide else "warn", ", ".join(wide) or "none", "" if wide else "floats will be slow"),
        Finding(
            "integer maths",
            "pass" if integer else "warn",
            ", ".join(integer) or "none",
            "" if integer else "8 bits save memory here, but little time",
        ),
    ]


def _size(what: str, needed: int, free: int, whole: int, remedy: str) -> Finding:
    sizes = f"{needed / GB:.2f} GB needed, {free / GB:.2f} GB free"
    if needed > whole:
        return Finding(what, "fail", f"{sizes} of {whole / GB:.2f} GB", remedy)
    if needed > free:
        return Finding(what, "warn", sizes, remedy)
    return Finding(what, "pass", sizes)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _busy(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _container_limit() -> int:
    """Memory that the container may use, in bytes; without one, more than any machine has."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text("utf-8").strip()
    except OSError:
        return 2**62
    return int(limit) if limit.isdigit() else 2**62


# figures of the public AutoGLM-Phone-9B: its decoder is that of GLM-4.1V-9B
PHONE_9B: dict[str, Any] = {"parameters": 9e9, "layers": 40, "key_value_heads": 2, "head_dim": 128, "tokens": 25_480}
