"""The processor's instruction sets, as its system names them."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path


@cache
def cpu_flags() -> tuple[str, ...]:
    """The processor's instruction sets in alphabetical order, by the names its system gives them; empty where it tells none."""
    try:
        if platform.system() == "Darwin":
            report = subprocess.run(["sysctl", "-a"], capture_output=True, text=True, timeout=10, check=True).stdout
            optional = [line.split(": ") for line in report.splitlines() if line.startswith("hw.optional.")]
            return tuple(sorted(name.rpartition(".")[2].lower() for name, value in optional if value == "1"))
        return flags_of(Path("/proc/cpuinfo").read_text("utf-8"))
    except (OSError, subprocess.SubprocessError):
        return ()


def flags_of(cpuinfo: str) -> tuple[str, ...]:
    """The instruction sets that a text such as `/proc/cpuinfo` lists for its first processor, in alphabetical order.

    >>> flags_of("Features : fp asimd aes")
    ('aes', 'asimd', 'fp')
    """
    words = next((line.partition(":")[2] for line in cpuinfo.splitlines() if line.lower().startswith(("flags", "features"))), "")
    return tuple(sorted(words.split()))
