"""Metrics of a server for Prometheus: queue length, rows in a step, time to first token, tokens per second."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 12, 16, 24, 32)
SPEEDS = (10, 30, 100, 200, 300, 500, 1000, 2000)


class Metrics:
    """The measurements of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "autoglm"}
        self.requests = Counter("requests", "requests by path and status", ["path", "status"], **own)
        self.waiting = Gauge("queue_length", "answers that wait for their turn", **own)
        self.writing = Gauge("rows", "answers that are being written", **own)
        self.batch = Histogram("batch_rows", "rows in a step of the decoder", buckets=ROWS, **own)
        self.first = Histogram("time_to_first_token_seconds", "from the request to its first token", buckets=SECONDS, **own)
        self.whole = Histogram("answer_seconds", "from the request to the end of its answer", buckets=SECONDS, **own)
        self.speed = Histogram("tokens_per_second", "of one answer, after its first token", buckets=SPEEDS, **own)
        self.read = Counter("prompt_tokens", "tokens read", **own)
        self.written = Counter("completion_tokens", "tokens written", **own)

    def text(self) -> bytes:
        """The measurements, in the format that Prometheus reads."""
        return generate_latest(self.registry)
