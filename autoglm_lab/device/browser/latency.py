"""Times that phones send: what is taken of them, and how much."""

from __future__ import annotations

import json
import math
from threading import Lock
from typing import Any

STAGES = ("understand", "features", "image", "audio", "prefill", "decode", "total")
MAX_BODY_BYTES, MAX_NAME = 4_000, 80
MAX_DEVICES, MAX_TIMES = 16, 64  # devices, and times kept of each; an older one makes room


class Latencies(list[dict[str, Any]]):
    """`{"device": text, "ms": {stage: number}}` of each answer, oldest first, for at most 16 devices and 64 answers of each."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()

    def add(self, latency: dict[str, Any]) -> None:
        """Take one more. ValueError for one device too many."""
        with self._lock:
            devices = {one["device"] for one in self}
            if latency["device"] not in devices and len(devices) >= MAX_DEVICES:
                raise ValueError(f"times of {MAX_DEVICES} devices are kept, and there are so many")
            same = [at for at, one in enumerate(self) if one["device"] == latency["device"]]
            if len(same) >= MAX_TIMES:
                del self[same[0]]
            self.append(latency)


def read_latency(content: bytes) -> dict[str, Any]:
    """Read what a phone sends: `{"device": text, "ms": {stage: number}}`. ValueError for anything else."""
    try:
        latency = json.loads(content)
    except (ValueError, RecursionError):
        latency = None
    if not isinstance(latency, dict) or set(latency) != {"device", "ms"} or not isinstance(latency["ms"], dict):
        raise ValueError('times are sent as {"device": "...", "ms": {"total": 12.3}}')
    device, ms = latency["device"], latency["ms"]
    if not isinstance(device, str) or not 0 < len(device) <= MAX_NAME or not device.isprintable():
        raise ValueError(f"device is a name of 1 to {MAX_NAME} letters")
    if not set(ms) <= set(STAGES) or "total" not in ms or not all(map(_milliseconds, ms.values())):
        raise ValueError(f"stages are {', '.join(STAGES)}, each a number of milliseconds, total among them")
    return {"device": device, "ms": {stage: float(value) for stage, value in ms.items()}}


def _milliseconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6 and math.isfinite(value)
