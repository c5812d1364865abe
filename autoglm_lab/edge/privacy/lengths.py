"""An attacker who sees nothing but the length of sealed messages, and says which command or app they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.edge.privacy.padding import padded_length
from autoglm_lab.edge.privacy.personas import request
from autoglm_lab.edge.privacy.sealer import OVERHEAD
from autoglm_lab.phone.actions import format_action
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import sample

NOTHING = "none"  # the app of a command that belongs to no app


class Exchange(NamedTuple):
    """One request and its answer as they are before sealing: the kind of command, the app it is about, and bytes of both."""

    kind: str
    app: str
    request_bytes: int
    answer_bytes: int


class Guessing(NamedTuple):
    """Share of guesses from the length that are right, the share when always guessing the commonest, and bytes of an exchange."""

    right: float
    chance: float
    bytes: float


def exchanges(seed: int, count: int = 1000) -> list[Exchange]:
    """The first request of a task on so many phones, and the answer that the oracle gives. ValueError for a count below 2."""
    if count < 2:
        raise ValueError(f"count is {count}; an attacker learns from one exchange and guesses another")
    rng, rows = np.random.default_rng([seed, 47]), []
    for number in range(count):
        phone = SimulatedPhone(100_000 * (seed + 1) + number)
        task = sample(phone.state, rng)
        answer = format_action(next_step(task, phone.state).action)
        rows.append(Exchange(task.kind, task.app or NOTHING, len(request(task.text)), len(answer.encode())))
    return rows


def guess_by_length(rows: Sequence[Exchange], target: str, step: int = 0) -> Guessing:
    """Guess `target` ("kind" or "app") of the second half of exchanges by the lengths of the first half.

    Messages are padded to steps of `step` bytes, or not at all. Both lengths of an exchange count, each by itself (naive Bayes).
    """
    sizes = np.array([[_wire(row.request_bytes, step), _wire(row.answer_bytes, step)] for row in rows])
    names, labels = np.unique([getattr(row, target) for row in rows], return_inverse=True)
    half = len(rows) // 2
    prior = np.bincount(labels[:half], minlength=len(names)) + 0.5
    scores = np.log(prior)[None] + sum(_likelihood(sizes[:, column], labels, half, len(names), step or 1) for column in (0, 1))
    right = float((scores.argmax(axis=1) == labels[half:]).mean())
    return Guessing(right, float((labels[half:] == prior.argmax()).mean()), float(sizes.sum(axis=1).mean()))


def _wire(length: int, step: int) -> int:
    return OVERHEAD + (padded_length(length, step) if step else length)


def _likelihood(sizes: NDArray[np.int64], labels: NDArray[np.int64], half: int, kinds: int, step: int) -> NDArray[np.float64]:
    """Log-likelihood of each later length for each label, from counts that also count a little for the lengths beside them."""
    bins = sizes // step
    counts = np.full((kinds, int(bins.max()) + 3), 0.02)
    for shift, weight in ((-1, 0.25), (0, 1.0), (1, 0.25)) if step == 1 else ((0, 1.0),):
        np.add.at(counts, (labels[:half], bins[:half] + shift + 1), weight)
    scores: NDArray[np.float64] = np.log(counts / counts.sum(axis=1, keepdims=True))[:, bins[half:] + 1].T
    return scores
