"""Confidence: how probable a model holds what it writes. An agent that is not confident of a command asks back before it acts.

It is the geometric mean of the probabilities of the tokens, so that a long text counts no less than a short one (length
normalisation; Malinin and Gales 2021). The probabilities are those of the model alone, before any constraint: where a constraint
forces a token that the model did not expect, the confidence falls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Pick = Callable[[Scores], int]


def log_probability(scores: Scores, token: int) -> float:
    """Natural logarithm of a token's probability, from the scores [V] of all.

    >>> round(math.exp(log_probability(np.log(np.array([1, 3], np.float32)), 1)), 4)
    0.75
    """
    highest = scores.max()
    return float(scores[token] - highest) - math.log(float(np.exp(scores - highest).sum()))


def confidence_of(scores: Iterable[Scores], tokens: Iterable[int]) -> float:
    """Confidence of a text whose tokens are there, and for each the scores [V] from which it was picked."""
    confidence = Confidence()
    for row, token in zip(scores, tokens, strict=True):
        confidence.add(log_probability(row, token))
    return confidence.value


class Confidence:
    """The confidence of one text, while it is written."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, log: float) -> None:
        """Count one more token, by the logarithm of its probability; 0 for one that was forced and cost no pass."""
        self._sum += log
        self._count += 1

    def watch(self, pick: Pick) -> Pick:
        """The same pick, each of whose tokens counts."""

        def watched(scores: Scores) -> int:
            token = pick(scores)
            self.add(log_probability(scores, token))
            return token

        return watched

    @property
    def value(self) -> float:
        """From 0 to 1; 1 for a text without tokens.

        >>> confidence = Confidence()
        >>> confidence.add(math.log(0.9)), confidence.add(math.log(0.4))
        (None, None)
        >>> round(confidence.value, 4)
        0.6
        """
        return math.exp(self._sum / self._count) if self._count else 1.0
