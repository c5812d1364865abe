"""Many answers at once: threads see, hear and read the prompts; one thread writes, a token of every answer in each step."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from autoglm_lab.runtime.constraints import Pick, chooser
from autoglm_lab.runtime.engine import GREEDY
from autoglm_lab.runtime.onnx_engine import OnnxEngine, States, Step
from autoglm_lab.runtime.rows import Rows
from autoglm_lab.runtime.spelling import Speller
from autoglm_lab.serve.limits import PIXELS_AT_ONCE
from autoglm_lab.serve.metrics import Metrics
from autoglm_lab.serve.pixels import PixelBudget
from autoglm_lab.serve.queue import Deliveries, Event, FairQueue, Job, Post, breakdown, failure, put_directly, threads, too_late

PATIENCE_S = 0.03


class Read(NamedTuple):
    """An answer that can be written: its prompt was read, its first tokens picked, of which the step has not read the last."""

    job: Job
    states: States
    step: Step
    pick: Pick
    tokens: list[int]


class Row(NamedTuple):
    """An answer that is being written: what was read of it lies in the batch."""

    job: Job
    pick: Pick
    tokens: list[int]  # picked and not delivered yet; the batch has not read the last


class BatchingScheduler:
    """Continuous batching for a bundle that was exported with `rows`.

    `workers` threads prepare answers, each on one core; then one thread writes up to `most` of them together, on `cores`. A step
    costs little more for many answers than for one, so while others are being read it waits for them, `patience_s` at most:
    answers take longer to begin with, and many more are given. Drafts are read with the prompt. `engine_options` say how the
    bundle is opened: `speculate`, `mapped` and `lazy`, as in `OnnxEngine`.
    FileNotFoundError for a bundle without that graph.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        most: int = 16,
        workers: int = 2,
        cores: int = 2,
        patience_s: float = PATIENCE_S,
        queue: int = 64,
        name: str = "autoglm-lab",
        metrics: Metrics | None = None,
        **engine_options: Any,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}; one at least has to read")
        self.engine = OnnxEngine(folder, threads=1, **engine_options)
        self.name, self.metrics = name, metrics or Metrics()
        self.post: Post = put_directly
        self.pixels = PixelBudget(PIXELS_AT_ONCE)
        session = self.engine.open_session("rows", cores)
        self._rows, self._speller = Rows(session, most, self.engine.bundle.places), Speller(self.engine.tokenizer)
        self._queue, self._ready, self._changed = FairQueue(queue), deque[Read](), threading.Condition()
        self._active: list[Row] = []
        self._readers = threads(workers, self._read, "reader")
        self._reading, self._busy = workers, 0  # readers there are, and those that have something to read
        self.patience_s, self._stepped = patience_s, 0.0
        self._writers = threads(1, self._write, "writer")

    def submit(self, jobs: Sequence[Job]) -> None:
        """See `Scheduler.submit`."""
        self._queue.put(jobs)

    def state(self) -> dict[str, int]:
        """See `Scheduler.state`."""
        return {"waiting": len(self._queue) + len(self._ready), "writing": len(self._active)}

    def close(self) -> None:
        """See `Scheduler.close`."""
        self._queue.close()
        for thread in [*self._readers, *self._writers]:
            thread.join()

    def _read(self) -> None:
        """Loop of a reader thread: encode picture and sound, read the prompt, pick the first token."""
        while (job := self._queue.get()) is not None:
            with self._changed:
                self._busy += 1
            try:
                outcome = [too_late()] if job.given_up else self._prepared(job)
            except Exception as error:  # a request must not end the thread that all others wait for
                outcome = [failure(error)]
            if not isinstance(outcome, Read):
                self.post([(job, event) for event in outcome])
            with self._changed:
                self._busy -= 1
                self._changed.wait_for(lambda: len(self._ready) < self._rows.most)  # what is read takes memory
                if isinstance(outcome, Read):
                    self._ready.append(outcome)
                self._changed.notify_all()
        with self._changed:
            self._reading -= 1
            self._changed.notify_all()

    def _prepared(self, job: Job) -> Read | list[Event]:
        """Read the prompt, or give all events where the command alone is answered: the agent declines."""
        with self.pixels.lease() as take:
            # tokens are picked here, not by the engine
            request = self.engine.encode(replace(job.asking.opened(take, self.engine.memory), sampling=GREEDY))
        if request.states is None:
            events = [event for piece in self.engine.write(request) for event in job.feed(piece)]
            return events if job.parser.ended else events + job.end("stop")
        job.prompt_tokens = len(request.ids)
        if request.understood is not None:
            job.goal, job.unsure = request.understood.goal, request.understood.unsure
        drafts = [] if request.state is None else request.state.draft(request.max_new_tokens - 1)
        step = self.engine.new_step(request.states, len(request.ids) + len(drafts))
        pick: Pick = job.asking.sampling.picker()
        pick = chooser(request.constraint, pick)
        return Read(job, request.states, step, pick, step.write(request.ids, drafts, pick))

    def _write(self) -> None:
        """Loop of the writer thread: let answers into the batch, write a token of each, let those out that have ended."""
        while self._let_in():
            deliveries: Deliveries = []
            try:
                tokens = self._spell(deliveries)
                if tokens:
                    self.metrics.batch.observe(len(tokens))
                    scores = self._rows.step(tokens)
                    self._active = [row._replace(tokens=[row.pick(scores[at])]) for at, row in enumerate(self._active)]
            except Exception as error:  # it goes to all that were written together
                deliveries += [(row.job, breakdown(error)) for row in self._active]
                for at in reversed(range(len(self._active))):
                    self._leave(at)
            if deliveries:
                self.post(deliveries)

    def _let_in(self) -> bool:
        """Take what was read into the batch, waiting where there is nothing to write. False when there never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._active or self._ready or not self._reading)
            until = self._stepped + self.patience_s - time.monotonic()
            self._changed.wait_for(lambda: not self._company_comes(), timeout=max(0.0, until))
            while self._ready and len(self._active) < self._rows.most:
                answer = self._ready.popleft()
                try:
                    self._rows.join(answer.states, answer.step.cache, answer.step.total)
                    self._active.append(Row(answer.job, answer.pick, answer.tokens))
                except Exception as error:  # one that does not fit must not end the thread that writes for all others
                    self.post([(answer.job, breakdown(error))])
            self._changed.notify_all()
            self._stepped = time.monotonic()
            return bool(self._active or self._ready or self._reading)

    def _company_comes(self) -> bool:
        """True if more prompts are being read, and the batch has room for them."""
        return self._busy > 0 and len(self._active) + len(self._ready) < self._rows.most

    def _spell(self, deliveries: Deliveries) -> list[int]:
        """Add the events of the picked tokens to `deliveries`; ended answers leave. Return the last tokens of the others."""
        for at in reversed(range(len(self._active))):
            job, _, tokens = self._active[at]
            late = job.given_up  # read once: the clock goes on
            events: list[Event] = [too_late()] if late else []
            for token in [] if late else tokens:
                events += job.end("stop") if token == self.engine.bundle.end else job.feed_bytes(self._speller.bytes(token))
                if job.parser.ended:
                    break
            deliveries += [(job, event) for event in events]
            if late or job.parser.ended:
                self._leave(at)
        return [row.tokens[-1] for row in self._active]

    def _leave(self, at: int) -> None:
        last = self._rows.leave(at)
        self._active[at] = self._active[last]
        self._active.pop()
