"""What all requests of a server share: what computes the answers, the limits, the measurements."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from autoglm_lab.hosts import AllowedHosts
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.jobs import Job, Scheduler, Told
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.pixels import PixelBudget


class Service:
    """A scheduler that can be exchanged under load, and the limits that hold for all requests."""

    def __init__(
        self, scheduler: Scheduler, limits: Limits | None = None, api_key: str | None = None, hosts: AllowedHosts | None = None
    ) -> None:
        self.hosts = hosts or AllowedHosts()
        self.scheduler, self.limits, self.api_key = scheduler, limits or Limits(), api_key
        self.metrics = scheduler.metrics
        self.pixels = scheduler.pixels = PixelBudget(self.limits.pixels_at_once)
        self.held = 0  # bytes of requests that wait for their first word
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

    def hold(self, count: int) -> None:
        """Make room for so many more bytes of requests; a negative number gives it back. ApiError 429 when too many are there."""
        if count > 0 and self.held + count > self.limits.held_bytes:
            raise ApiError(429, f"requests of {self.held:,} bytes are being read; come again in a second", code="memory_full")
        self.held += count

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
