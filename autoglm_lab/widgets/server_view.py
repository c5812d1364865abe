"""A server under load, as numbers, words and a picture: the queue, the batch and the throughput."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from autoglm_lab.widgets.charts import COLOURS, canvas, drawn

POINTS = 240  # of a curve on the page


@dataclass(frozen=True)
class Sample:
    """State of a server: answers that wait, answers that are written together, tokens a second since the last sample."""

    seconds: float
    waiting: int
    writing: int
    tokens_per_s: float


@dataclass(frozen=True)
class Run:
    """Measurement with so many clients, beside the guess; not made yet where `answers_per_s` is None."""

    clients: int
    guess: float | None = None
    answers_per_s: float | None = None
    p95_ms: float | None = None
    most_rows: int = 0

    def sentence(self) -> str:
        """The run in words."""
        clients = f"{self.clients} client{'s' * (self.clients > 1)}"
        guessed = "" if self.guess is None else f", guessed {self.guess:.0f}"
        if self.answers_per_s is None or self.p95_ms is None:
            return f"{clients}: not measured{guessed}"
        return (
            f"{clients}: {self.answers_per_s:.0f} answers a second{guessed}, 95 % of them within {self.p95_ms:.0f} ms, "
            f"at most {self.most_rows} written at once"
        )


def sentence(runs: Sequence[Run]) -> str:
    """All runs in words."""
    return ". ".join(run.sentence() for run in runs) + "."


def data(samples: Sequence[Sample], runs: Sequence[Run]) -> dict[str, Any]:
    """Everything that the page draws, as plain JSON values."""
    last_samples = samples[-POINTS:]
    return {
        "runs": [
            {
                "clients": run.clients,
                "guess": run.guess,
                "answers": _rounded(run.answers_per_s),
                "p95": _rounded(run.p95_ms),
                "rows": run.most_rows,
            }
            for run in runs
        ],
        "lines": [
            {"name": "waiting", "points": [[round(s.seconds, 2), s.waiting] for s in last_samples]},
            {"name": "written together", "points": [[round(s.seconds, 2), s.writing] for s in last_samples]},
        ],
        "tokens": round(last_samples[-1].tokens_per_s) if last_samples else 0,
    }


def picture(samples: Sequence[Sample], runs: Sequence[Run]) -> Image.Image:
    """The queue and the batch over time; the throughput stands above."""
    drawing, axes = canvas("; ".join(_short(run) for run in runs), "seconds", height=2.8)
    for place, (name, values) in enumerate(
        {"waiting": [s.waiting for s in samples], "written together": [s.writing for s in samples]}.items()
    ):
        axes.step([s.seconds for s in samples], values, where="post", color=COLOURS[place], label=name)
    axes.set_ylabel("answers")
    axes.set_ylim(bottom=0)
    if samples:
        axes.legend(frameon=False, fontsize=9)
    return drawn(drawing)


def _short(run: Run) -> str:
    rate = "?" if run.answers_per_s is None else f"{run.answers_per_s:.0f}"
    return f"{run.clients} at once: {rate} answers/s"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
