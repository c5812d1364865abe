"""What a measurement has to say about the machine it was made on."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path

FAST_MATHS = ("avx", "amx", "vnni", "fma", "asimd", "sve", "i8mm", "bf16", "feat_")


def fast_maths() -> tuple[str, ...]:
    """The flags that decide how fast matrices are multiplied: wide registers, 16-bit floats, 8-bit integers."""
    return tuple(flag for flag in cpu_flags() if flag.startswith(FAST_MATHS))


@cache
def cpu_flags() -> tuple[str, ...]:
    """The processor's instruction sets in alphabetical order, by the names its system gives them; empty where it tells none."""
    try:
        if platform.system() == "Darwin":
            told = subprocess.run(["sysctl", "-a"], capture_output=True, text=True, timeout=10, check=True).stdout
            optional = [line.split(": ") for line in told.splitlines() if line.startswith("hw.optional.")]
            return tuple(sorted(name.rpartition(".")[2].lower() for name, value in optional if value == "1"))
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except (OSError, subprocess.SubprocessError):
        return ()
    words = next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")
    return tuple(sorted(words.split()))
