"""Facts about the machine that a measurement was made on."""

from __future__ import annotations

from autoglm_lab.runtime.processor import cpu_flags

FAST_MATHS = ("avx", "amx", "vnni", "fma", "asimd", "sve", "i8mm", "bf16", "feat_")


def fast_maths() -> tuple[str, ...]:
    """The flags that decide how fast matrices are multiplied: wide registers, 16-bit floats, 8-bit integers."""
    return tuple(flag for flag in cpu_flags() if flag.startswith(FAST_MATHS))
