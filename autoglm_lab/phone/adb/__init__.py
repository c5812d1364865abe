"""`adb` from both sides: a real phone that the agent drives through it, and a command that answers for a simulated one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoglm_lab.phone.adb.real import AdbPhone, differ, seconds

__all__ = ["AdbPhone", "differ", "seconds"]


def __getattr__(name: str) -> Any:
    """Load what drives a real phone when it is asked for: the command that answers for a simulated one has to start fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.real"), name)
