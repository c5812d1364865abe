"""State that all requests of a server share: the scheduler that computes the answers, the limits, the measurements."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from autoglm_lab.hosts import AllowedHosts
from autoglm_lab.runtime.reload import Mode, NothingLoadedError, Reloadable, needs_restart
from autoglm_lab.serve.access import AccessLog
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.keys import Keys
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.metrics import Metrics
from autoglm_lab.serve.pixels import PixelBudget
from autoglm_lab.serve.queue import Deliveries, Job, Scheduler, put_directly

Makes = Callable[[], Scheduler]
LOOK_S = 0.02  # between two looks whether the next scheduler is there
_OF_THIS_REQUEST: ContextVar[Limits | None] = ContextVar("limits", default=None)  # tasks and threads of a request see it too
EXCHANGING = "exchanging"  # code of the error while there is no scheduler


class Service:
    """A scheduler that can be exchanged under load, and the limits that hold for all requests."""

    def __init__(
        self,
        scheduler: Scheduler | Makes,
        limits: Limits | None = None,
        api_key: Mapping[str, str] | str | None = None,
        hosts: AllowedHosts | None = None,
        log: AccessLog | None = None,
        exchange: Mode = "available",
    ) -> None:
        """`api_key` is one that all clients send, or a key for each name of a client; `log` takes a line for each request.

        `exchange` is how another scheduler comes, see `Reloadable`. "small" loads the old one again if the new one fails, so it
        takes a function that makes a scheduler: ValueError for a scheduler.
        """
        if exchange == "small" and not callable(scheduler):
            raise ValueError("a small exchange may have to make the old scheduler again; give a function that makes it")
        self.hosts, self.keys, self.log = hosts or AllowedHosts(), Keys(api_key), log
        self._settings = Reloadable[Limits](lambda new: new, limits or Limits())
        self.metrics = Metrics()
        self.pixels = PixelBudget(self.limits.pixels_at_once)
        self._bytes_by_client = Counter[str]()  # bytes of requests that wait for their first word, by client
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed = False
        self._swapping, self._leaving = threading.Lock(), list[threading.Thread]()
        self._reloadable = Reloadable(self._connect, scheduler, free=self._leave, mode=exchange)

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Send events to the mailboxes of this loop from now on; None when it ends."""
        self._loop = loop
        self.scheduler.post = self._post

    @property
    def limits(self) -> Limits:
        """The limits of the request that is being answered (`settled`), or else those of the next one."""
        return _OF_THIS_REQUEST.get() or self._settings.now.value

    @contextmanager
    def settled(self) -> Iterator[Limits]:
        """One request: whatever is read anew meanwhile, its limits stay those that it began with."""
        with self._settings.lease() as generation:
            mine = _OF_THIS_REQUEST.set(generation.value)
            try:
                yield generation.value
            finally:
                _OF_THIS_REQUEST.reset(mine)

    def set_limits(self, new: Limits) -> None:
        """Other limits, from the next request on. ValueError, and nothing changes, where one needs a restart."""
        if fixed := needs_restart(self._settings.now.value, new):
            raise ValueError(f"{', '.join(fixed)} can only be changed by a restart; the settings stay as they are")
        self._settings.reload(new)

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler that computes the answers now. ApiError 503 while nothing does: a small exchange is under way."""
        if (scheduler := self._current) is None:
            raise _exchanging()
        return scheduler

    @property
    def _current(self) -> Scheduler | None:
        return self._reloadable.now.value

    def swap(self, scheduler: Scheduler | Makes) -> None:
        """Exchange the scheduler for another, or for what makes one, from the next request on; the old one ends what it has begun.

        No request fails. An error while the new one is made is raised here, and the old one goes on.
        """
        with self._swapping:
            self._reloadable.reload(scheduler)
            while self._leaving:
                self._leaving.pop().join()

    def submit(self, jobs: list[Job]) -> None:
        """Give jobs to the scheduler. ApiError as it has them, and 503 while there is none."""
        try:
            with self._reloadable.lease(patience_s=0.0) as generation:
                generation.value.submit(jobs)
        except (TimeoutError, NothingLoadedError):
            raise _exchanging() from None

    async def submit_soon(self, jobs: list[Job]) -> None:
        """Give jobs to the scheduler; while it is being exchanged wait for the next one, until the first deadline of them."""
        until = min(job.deadline for job in jobs)
        while True:
            try:
                return self.submit(jobs)
            except ApiError as error:
                if error.code != EXCHANGING or time.monotonic() > until:
                    raise
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """Answer what was taken, then end all threads of the scheduler."""
        if (scheduler := self._current) is not None:
            scheduler.close()

    def end(self) -> None:
        """Forget the scheduler, with all its weights: nobody is served any more."""
        self.is_closed = True
        self._reloadable.now.value = self._reloadable.now.source = None  # type: ignore[assignment]

    def _connect(self, source: Scheduler | Makes) -> Scheduler:
        scheduler = source() if callable(source) else source
        scheduler.metrics, scheduler.pixels = self.metrics, self.pixels
        self.name = scheduler.name
        if self._loop is not None:
            scheduler.post = self._post
        return scheduler

    def _leave(self, old: Scheduler) -> None:
        """Let a scheduler end what it has begun: here if the next one waits for that, else in a thread of its own."""
        if self._reloadable.mode == "small":
            return old.close()
        self._leaving.append(threading.Thread(target=old.close, name="leaving"))
        self._leaving[-1].start()

    @property
    def api_key(self) -> str | None:
        """A key that is let in, None where nobody is asked for one."""
        return self.keys.first

    @property
    def bytes_held(self) -> int:
        """Bytes of all requests that wait for their first word."""
        return self._bytes_by_client.total()

    def share(self, most: int) -> int:
        """Share of `most` for each holder of a key, at least 1."""
        return max(1, most // max(1, len(self.keys)))

    def hold(self, count: int, client: str = "") -> None:
        """Make room for so many more bytes of requests; a negative number gives it back. ApiError 429 when too many are there."""
        most = max(self.limits.body_bytes, self.share(self.limits.held_bytes))
        if count > 0 and (self.bytes_held + count > self.limits.held_bytes or self._bytes_by_client[client] + count > most):
            raise ApiError(429, f"requests of {self.bytes_held:,} bytes are being read; come again in a second", code="memory_full")
        self._bytes_by_client[client] += count
        if not self._bytes_by_client[client]:
            del self._bytes_by_client[client]

    def measure(self) -> None:
        """Bring the gauges up to date."""
        scheduler = self._current
        state = {"waiting": 0, "writing": 0} if scheduler is None else scheduler.state()
        self.metrics.waiting.set(state["waiting"])
        self.metrics.writing.set(state["writing"])

    def _post(self, deliveries: Deliveries) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody reads any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(put_directly, deliveries)


def _exchanging() -> ApiError:
    return ApiError(503, "the model is being exchanged; come again in a second", code=EXCHANGING)
