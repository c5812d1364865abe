"""One answer after the other, or a few side by side in threads: how any engine serves."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from autoglm_lab.runtime.engine import Engine, ask, memory_length
from autoglm_lab.serve.limits import PIXELS_AT_ONCE
from autoglm_lab.serve.metrics import Metrics
from autoglm_lab.serve.pixels import PixelBudget
from autoglm_lab.serve.queue import FairQueue, Job, Post, failure, put_directly, threads, too_late


class SequentialScheduler:
    """Answers with `workers` threads, each of which writes one answer at a time, for any engine."""

    def __init__(
        self, engine: Engine, *, workers: int = 1, queue: int = 64, name: str = "autoglm-lab", metrics: Metrics | None = None
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers is {workers}; one at least has to write")
        self.engine, self.name, self.metrics = engine, name, metrics or Metrics()
        self.post: Post = put_directly
        self.pixels = PixelBudget(PIXELS_AT_ONCE)
        self._queue, self._writing, self._counting = FairQueue(queue), 0, Lock()
        self._threads = threads(workers, self._work, "turns")

    def submit(self, jobs: Sequence[Job]) -> None:
        """See `Scheduler.submit`."""
        self._queue.put(jobs)

    def state(self) -> dict[str, int]:
        """See `Scheduler.state`."""
        return {"waiting": len(self._queue), "writing": self._writing}

    def close(self) -> None:
        """See `Scheduler.close`."""
        self._queue.close()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if job.given_up:
                self.post([(job, too_late())])
                continue
            with self._counting:
                self._writing += 1
            try:
                self._answer(job)
            except Exception as error:  # a request must not end the thread that all others wait for
                self.post([(job, failure(error))])
            finally:
                with self._counting:
                    self._writing -= 1

    def _answer(self, job: Job) -> None:
        with self.pixels.lease() as take:
            stream = ask(self.engine, job.asking.opened(take, memory_length(self.engine)))
        job.prompt_tokens, job.goal, job.unsure = stream.prompt_tokens, stream.goal, stream.unsure
        for text in stream:
            late = job.given_up  # read once: the clock goes on
            self.post([(job, event) for event in ([too_late()] if late else job.feed(text))])
            if late or job.parser.ended:
                return
        self.post([(job, event) for event in job.end("stop")])
