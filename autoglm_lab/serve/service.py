"""What all requests of a server share: what computes the answers, the limits, the measurements."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from autoglm_lab.hosts import AllowedHosts
from autoglm_lab.serve.access import AccessLog
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.jobs import Job, Scheduler, Told
from autoglm_lab.serve.keys import Keys
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.pixels import PixelBudget


class Service:
    """A scheduler that can be exchanged under load, and the limits that hold for all requests."""

    def __init__(
        self, scheduler: Scheduler, limits: Limits | None = None, api_key: Mapping[str, str] | str | None = None,
        hosts: AllowedHosts | None = None, log: AccessLog | None = None,
    ) -> None:  # fmt: skip
        """`api_key` is one that all clients send, or a key for each name of a client; `log` takes a line for each request."""
        self.hosts, self.keys, self.log = hosts or AllowedHosts(), Keys(api_key), log
        self.scheduler, self.limits = scheduler, limits or Limits()
        self.metrics = scheduler.metrics
        self.pixels = scheduler.pixels = PixelBudget(self.limits.pixels_at_once)
        self._held = Counter[str]()  # bytes of requests that wait for their first word, by client
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """From now on events go to mailboxes of this loop; None when it ends."""
        self._loop = loop
        self.scheduler.post = self._post

    def swap(self, scheduler: Scheduler) -> None:
        """Another engine from the next request on; what the old one has begun it still ends. No request fails."""
        scheduler.metrics, scheduler.pixels, scheduler.post = self.metrics, self.pixels, self._post
        old, self.scheduler = self.scheduler, scheduler
        old.close()

    def submit(self, jobs: list[Job]) -> None:
        """Give jobs to the scheduler; if it was just exchanged, to the one that came."""
        scheduler = self.scheduler
        try:
            scheduler.submit(jobs)
        except ApiError as error:
            if error.code != "closing" or scheduler is self.scheduler:
                raise
            self.scheduler.submit(jobs)

    @property
    def api_key(self) -> str | None:
        """A key that is let in, None where nobody is asked for one."""
        return self.keys.first

    @property
    def held(self) -> int:
        """Bytes of all requests that wait for their first word."""
        return self._held.total()

    def share(self, most: int) -> int:
        """How much of something each holder of a key gets, at least 1."""
        return max(1, most // max(1, len(self.keys)))

    def hold(self, count: int, client: str = "") -> None:
        """Make room for so many more bytes of requests; a negative number gives it back. ApiError 429 when too many are there."""
        most = max(self.limits.body_bytes, self.share(self.limits.held_bytes))
        if count > 0 and (self.held + count > self.limits.held_bytes or self._held[client] + count > most):
            raise ApiError(429, f"requests of {self.held:,} bytes are being read; come again in a second", code="memory_full")
        self._held[client] += count
        if not self._held[client]:
            del self._held[client]

    def measure(self) -> None:
        """Bring the gauges up to date."""
        state = self.scheduler.state()
        self.metrics.waiting.set(state["waiting"])
        self.metrics.writing.set(state["writing"])

    def _post(self, told: Told) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody reads any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(_deliver, told)


def _deliver(told: Told) -> None:
    for job, event in told:
        job.mailbox.put_nowait(event)
