"""Requests that wait and are worked on: one job for each answer, and a queue in which every client has its turn."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from autoglm_lab.runtime.prompt import TooLongError
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.metrics import Metrics
from autoglm_lab.serve.pixels import PixelBudget
from autoglm_lab.serve.reading import GenerationRequest
from autoglm_lab.serve.stream_parser import Piece, StreamParser


class Done(NamedTuple):
    """End of an answer: the reason ("stop" or "length"), and how many tokens were read, written, and thought.

    `goal` is what the command was understood as, by an engine that works by goals; where it is `unsure` a person should confirm it.
    """

    reason: str
    prompt_tokens: int
    tokens: int
    thought_tokens: int
    goal: str = ""
    unsure: bool = False


Event = Piece | Done | ApiError


class Mailbox(Protocol):
    """Any queue for a job's events."""

    def put_nowait(self, event: Event, /) -> None:
        """Add an event."""


@dataclass(eq=False)
class Job:
    """One answer on its way. The client's side reads `mailbox`, and sets `cancelled` when the client goes away."""

    asking: GenerationRequest
    mailbox: Mailbox
    client: str = ""
    deadline: float = float("inf")  # of `time.monotonic`
    cancelled: bool = False
    share: int | None = None  # jobs of its client that may wait; None: as many as there is room for
    began: float = field(default_factory=time.monotonic)
    first: float | None = None  # time of its first token
    parser: StreamParser = field(init=False)
    prompt_tokens: int = 0
    tokens: int = 0
    thought_tokens: int = 0
    goal: str = ""
    unsure: bool = False

    def __post_init__(self) -> None:
        self.parser = StreamParser(think=self.asking.think, stop=self.asking.stop)

    @property
    def given_up(self) -> bool:
        """True once the client disconnected or the deadline passed."""
        return self.cancelled or time.monotonic() > self.deadline

    def feed_bytes(self, content: bytes) -> list[Event]:
        """Add a token, as bytes; return its events, with the end if it was the last one."""
        thinks = self.parser.channel == "reasoning"
        return self._token_events(self.parser.feed_bytes(content), thinks)

    def feed(self, text: str) -> list[Event]:
        """Add a token, as text (half a character is an empty one); return its events as `spell` does."""
        thinks = self.parser.channel == "reasoning"
        return self._token_events(self.parser.feed(text), thinks)

    def _token_events(self, pieces: list[Piece], thinks: bool) -> list[Event]:
        self.tokens += 1
        self.first = self.first or time.monotonic()
        self.thought_tokens += thinks and self.parser.channel == "reasoning"  # the token that ends a thought is none of it
        events: list[Event] = [*pieces]
        if self.parser.ended:
            events.append(self.done("stop"))
        elif self.tokens >= self.asking.max_new_tokens:
            events += self.end("length")
        return events

    def end(self, reason: str) -> list[Event]:
        """End the answer for a reason; return the last events."""
        return [*self.parser.finish(), self.done(reason)]

    def done(self, reason: str) -> Done:
        """The last event of an answer."""
        self.parser.ended = True
        return Done(reason, self.prompt_tokens, self.tokens, self.thought_tokens, self.goal, self.unsure)


Deliveries = list[tuple[Job, Event]]
Post = Callable[[Deliveries], None]


def put_directly(deliveries: Deliveries) -> None:
    """Put events into the mailboxes of their jobs."""
    for job, event in deliveries:
        job.mailbox.put_nowait(event)


def failure(error: Exception) -> ApiError:
    """Error for the client: about its request (a ValueError or ApiError), or else about the engine."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValueError):
        code = "context_length_exceeded" if isinstance(error, TooLongError) else None
        return ApiError(400, str(error), param="messages", code=code)
    return breakdown(error)


def breakdown(error: Exception) -> ApiError:
    """Error 500 for the client, for a failure of the engine."""
    return ApiError(500, f"the engine failed ({type(error).__name__})", code="engine_failed")


def too_late() -> ApiError:
    """Make the error of an answer after its deadline: a new one each time, for a raised one keeps the frames it passed."""
    return ApiError(503, "the answer took longer than this server allows; come again later", code="deadline_exceeded")


class FairQueue:
    """Jobs that wait. Clients take turns, so that one with many requests does not keep the others waiting.

    ApiError 429 when `most` jobs wait already, 503 once it is closed.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: OrderedDict[str, deque[Job]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, jobs: Sequence[Job]) -> None:
        """Take jobs, all or none of them."""
        with self._changed:
            if self._closed:
                raise ApiError(503, "the server is closing", code="closing")
            if self._full(jobs):
                self._forget()
            if problem := self._full(jobs):
                raise ApiError(429, f"{problem}; come again in a second", code="queue_full")
            for job in jobs:
                self._waiting.setdefault(job.client, deque()).append(job)
            self._count += len(jobs)
            self._changed.notify(len(jobs))

    def _full(self, jobs: Sequence[Job]) -> str:
        """Say why there is no room for jobs of one client, or nothing. A client of whom nothing waits is not held to its share."""
        own = len(self._waiting.get(jobs[0].client, ())) if jobs else 0
        if self._count + len(jobs) > self.most:
            return f"{self._count} requests are waiting"
        if own and jobs[0].share is not None and own + len(jobs) > jobs[0].share:
            return f"{own} requests of yours are waiting"
        return ""

    def _forget(self) -> None:
        """Drop what nobody waits for any more."""
        waiting = {client: deque(job for job in jobs if not job.cancelled) for client, jobs in self._waiting.items()}
        self._waiting = OrderedDict((client, jobs) for client, jobs in waiting.items() if jobs)
        self._count = sum(map(len, self._waiting.values()))

    def get(self) -> Job | None:
        """The next job, when there is one; None once the queue is closed and empty."""
        with self._changed:
            while not self._count:
                if self._closed:
                    return None
                self._changed.wait()
            client, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[client] = jobs  # and go to the end of the line
            self._count -= 1
            return job

    def close(self) -> None:
        """Take nothing more; what waits is still handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@runtime_checkable
class Scheduler(Protocol):
    """Computes the answers of a server."""

    name: str
    post: Post
    metrics: Metrics
    pixels: PixelBudget

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs, all or none. ApiError 429 when too many wait, 503 when it is closing."""

    def close(self) -> None:
        """Answer what was taken, then end all threads."""

    def state(self) -> dict[str, int]:
        """Number of jobs that wait ("waiting"), and of those that are being written ("writing")."""


def threads(count: int, work: Callable[[], Any], name: str) -> list[threading.Thread]:
    """Start some threads of one kind."""
    started = [threading.Thread(target=work, name=f"{name}-{number}", daemon=True) for number in range(count)]
    for thread in started:
        thread.start()
    return started
