"""Asking back: the confidence below which an agent has its goal confirmed by a person before it works at it.

A threshold is a trade: it spares people what the agent misunderstood, and asks them about some of what it understood well. It is
set on wishes in training's own wordings, so that the evaluation judges it on words it was not set on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from autoglm_lab.evaluation.newcomers import at_home
from autoglm_lab.evaluation.success import Request, is_meant
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.wishes import sample_wish
from autoglm_lab.progress import track
from autoglm_lab.runtime.understanding import Understood

ASKED_SHARE = 0.05  # of the wishes that were understood well
FIRST_PHONE = 9_000_000  # phones that neither training nor the evaluation draws
BATCH = 32


class Understands(Protocol):
    """The interface of an engine that tells what the commands of requests mean (`model.batch.BatchEngine`)."""

    def understand(self, requests: Sequence[Request]) -> list[Understood]:
        """One meaning for each request."""


def confirm_threshold(engine: Understands, share: float = ASKED_SHARE, count: int = 800) -> float:
    """The confidence that `share` of `count` typed wishes which are understood well do not reach; 0 where none is understood.

    ValueError for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; a share of wishes is a number from 0 to 1")
    confidences: list[float] = []
    for first in track(range(0, count, BATCH), "asking back", "batch"):
        requests = [typed_wish(number) for number in range(first, min(first + BATCH, count))]
        for request, meaning in zip(requests, engine.understand(requests), strict=True):
            if meaning.goal and is_meant(request.task, meaning.goal):
                confidences.append(meaning.confidence)
    return round(float(np.quantile(confidences, share)), 4) if confidences else 0.0


def typed_wish(number: int) -> Request:
    """A wish in the wordings of training, typed at the home screen of a phone of its own."""
    phone = SimulatedPhone(FIRST_PHONE + number)
    return at_home(phone, sample_wish(phone.state, np.random.default_rng([FIRST_PHONE + number, 5])))
