"""A server under load, followed live. What is shown is computed in `server_view`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.benchmarks.http_load import Load, ask, bodies
from autoglm_lab.serve.server import Url
from autoglm_lab.widgets import server_view as view
from autoglm_lab.widgets.base import LabWidget, source

EVERY_S = 0.05


class ServerWidget(LabWidget):
    """See `autoglm_lab.widgets.server`."""

    _esm = source("server.js")
    _css = source("server.css")

    shown = traitlets.Dict().tag(sync=True)  # server_view.data
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, url: Url, clients: Sequence[int] = (1, 4, 16), answers: int = 64) -> None:
        if not isinstance(url, Url):
            raise ValueError(f"{url!r} is only an address; give what `serve.running` gave, which knows its server")
        if not clients or min(clients) < 1 or answers < 1:
            raise ValueError(f"clients are {list(clients)} and answers {answers}; both are numbers from 1")
        self.url, self.answers = url, answers
        self.runs = {count: view.Run(count) for count in clients}
        self.samples: list[view.Sample] = []
        self._bodies: list[bytes] = []
        super().__init__()
        self._show()

    def guess(self, clients: int, answers_per_s: float) -> None:
        """Note your guess of answers a second with so many clients. ValueError for another number of them, or a negative guess."""
        if not 0 <= answers_per_s < 1e6:
            raise ValueError(f"the guess is {answers_per_s}; it is a number of answers a second, 0 or more")
        self.runs[clients] = replace(self._run_of(clients), guess=answers_per_s)
        self._show()

    def load(self, clients: int | None = None) -> None:
        """Let so many clients ask at once (or each number of them in turn); the page follows the server meanwhile."""
        if self.url.service.is_closed:
            raise ConnectionError("this server was closed; run the cell that starts it, and this one, again")
        for count in self.runs if clients is None else [self._run_of(clients).clients]:
            self._bodies = self._bodies or bodies(16)
            key = self.url.service.api_key or "EMPTY"
            with ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own already
                requests = ask(self.url, self._bodies, count, max(self.answers, 2 * count), key)
                load, most = self._watched(thread.submit(asyncio.run, requests))
            self.runs[count] = replace(self.runs[count], answers_per_s=load.answers_per_s, p95_ms=load.p95_ms, most_rows=most)
            self._show()

    def picture(self) -> Image.Image:
        """The queue and the batch over time."""
        return view.picture(self.samples, list(self.runs.values()))

    def sentence(self) -> str:
        """Every run in words."""
        return view.sentence(list(self.runs.values()))

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: load or guess."""
        if content.get("kind") == "load":
            self.load(content.get("clients"))
        elif content.get("kind") == "guess":
            self.guess(int(content["clients"]), float(content["answers"]))
        else:
            raise ValueError(f"the page sent {content}, which asks for nothing known")

    def _watched(self, future: Future[Load]) -> tuple[Load, int]:
        """Sample the server until the load is over; returns the result of the load, and the most rows at once."""
        began, before, last_report, most = time.perf_counter(), self._tokens(), 0.0, 0
        start = self.samples[-1].seconds + 1 if self.samples else 0.0
        last = began
        while not future.done():
            time.sleep(EVERY_S)
            now, tokens, state = time.perf_counter(), self._tokens(), self.url.service.scheduler.state()
            most = max(most, state["writing"])
            speed, before, last = (tokens - before) / (now - last), tokens, now
            self.samples.append(view.Sample(start + now - began, state["waiting"], state["writing"], speed))
            if now - last_report > 4 * EVERY_S:
                last_report = now
                self.send({"live": view.data(self.samples, list(self.runs.values()))})
        return future.result(), most

    def _tokens(self) -> float:
        return self.url.service.metrics.registry.get_sample_value("autoglm_completion_tokens_total") or 0.0

    def _run_of(self, clients: int) -> view.Run:
        if clients not in self.runs:
            raise ValueError(f"{clients} clients were not asked for; there are {', '.join(map(str, self.runs))}")
        return self.runs[clients]

    def _show(self) -> None:
        with self.hold_sync():
            self.shown, self.said = view.data(self.samples, list(self.runs.values())), self.sentence()
