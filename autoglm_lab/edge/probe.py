"""Counters of power, clock and heat of a machine: measured, closed to this user, or absent. Never a zero that means nothing.

A virtual machine has none of them. Tools that put a constant in their place turn a guess into a figure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["measured", "needs rights", "absent"]
PAUSE_S = 0.1  # between two readings of a counter of energy


@dataclass(frozen=True)
class Counter:
    """One counter of a machine: what it counts, where, its value now and a word on it. `value` is None unless it was measured."""

    what: str
    path: str
    state: State
    value: float | None = None
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Kind:
    """Files of one kind, and by what their numbers are multiplied to be in `unit`."""

    what: str
    pattern: str
    factor: float
    unit: str
    beside: str = ""  # a file in the same folder that says more


KINDS = (
    Kind("energy of the processor", "sys/class/powercap/*/energy_uj", 1e-6, "J", "name"),
    Kind("power of the battery", "sys/class/power_supply/*/power_now", 1e-6, "W", "status"),
    Kind("current of the battery", "sys/class/power_supply/*/current_now", 1e-6, "A", "status"),
    Kind("power sensor", "sys/class/hwmon/*/power*_input", 1e-6, "W", "name"),
    Kind("clock", "sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq", 1e-6, "GHz", "scaling_governor"),
    Kind("temperature", "sys/class/thermal/thermal_zone*/temp", 1e-3, "°C", "type"),
)


def probe(root: Path = Path("/"), sleep: Callable[[float], None] = time.sleep) -> list[Counter]:
    """Read every counter that this machine has under `root`; of a kind that it does not have, say so.

    A counter of energy is read twice: one that stands still counts nothing, and is absent.
    """
    counters: list[Counter] = []
    for kind in KINDS:
        paths = sorted(root.glob(kind.pattern))
        counters += [_read(kind, path, sleep) for path in paths] or [Counter(kind.what, f"/{kind.pattern}", "absent")]
    return counters


def energy_between(before_uj: int, after_uj: int, wraps_at_uj: int) -> float:
    """Joules between two readings of a counter that starts anew at `wraps_at_uj`, which it has done at most once.

    ValueError for readings outside the counter's range.

    >>> energy_between(900_000, 100_000, 1_000_000)
    0.2
    """
    if not (0 <= before_uj <= wraps_at_uj and 0 <= after_uj <= wraps_at_uj):
        raise ValueError(f"readings {before_uj} and {after_uj} are outside of a counter that ends at {wraps_at_uj} microjoules")
    return ((after_uj - before_uj) % wraps_at_uj if after_uj < before_uj else after_uj - before_uj) / 1e6


def _read(kind: Kind, path: Path, sleep: Callable[[float], None]) -> Counter:
    place = "/" + path.relative_to(path.anchor).as_posix()
    try:
        value = int(path.read_text())
        if kind.unit == "J":
            sleep(PAUSE_S)
            wraps_at = int((path.parent / "max_energy_range_uj").read_text())
            watts = energy_between(value, int(path.read_text()), wraps_at) / PAUSE_S
            if not watts:
                return Counter(kind.what, place, "absent", note="the counter stands still")
            return Counter(kind.what, place, "measured", watts, "W", _beside(kind, path))
    except PermissionError:
        return Counter(kind.what, place, "needs rights", note="only root may read it")
    except (OSError, ValueError) as error:
        return Counter(kind.what, place, "absent", note=f"unreadable: {' '.join(str(error).split())[:80]}")
    return Counter(kind.what, place, "measured", value * kind.factor, kind.unit, _beside(kind, path))


def _beside(kind: Kind, path: Path) -> str:
    try:
        return (path.parent / kind.beside).read_text().strip()
    except OSError:
        return ""
