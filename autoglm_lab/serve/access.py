"""A log of requests without their contents: who asked when for what kind of thing, how it ended, how long it took."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"})


class AccessLog:
    """Writes a line of JSON for each request. A full disk costs the line, never the request."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def write(self, who: str, method: str, path: str, status: int, began: float, bytes_in: int, bytes_out: int) -> None:
        """Note one request that has ended. `path` is one that the server knows, status 0 a client that went away before."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": who,
            "method": method if method in METHODS else "other",
            "path": path,
            "status": status,
            "ms": round(1000 * (time.monotonic() - began), 1),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
        }
        with suppress(OSError, ValueError):
            self.out.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.out.flush()
