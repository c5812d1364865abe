"""The worth of a forecast in milliseconds: a gate on confidence, what it gains and loses, and what could be gained at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from autoglm_lab.edge.intent.events import N_READING
from autoglm_lab.edge.intent.judging import Forecasts

RAW_GATE = 0.8  # of the articles
Gain = Float[np.ndarray, " events"]


@dataclass(frozen=True)
class Price:
    """Milliseconds that a right preparation saves, and what a wrong one costs. ValueError unless both are above 0."""

    saving_ms: float
    cost_ms: float

    def __post_init__(self) -> None:
        if not (0 < self.saving_ms < np.inf and 0 < self.cost_ms < np.inf):
            raise ValueError(f"saving_ms is {self.saving_ms} and cost_ms {self.cost_ms}; both are above 0")

    @property
    def gate(self) -> float:
        """The probability p* above which preparing gains: p saving = (1 - p) cost.

        >>> [round(Price(100.0, cost).gate, 2) for cost in (25.0, 100.0, 400.0)]
        [0.2, 0.5, 0.8]
        """
        return self.cost_ms / (self.cost_ms + self.saving_ms)


def gains(forecasts: Forecasts, act: Bool[np.ndarray, " events"], price: Price) -> Gain:
    """Milliseconds gained at each event when a preparation is begun where `act`; never one for a guess that may not be prepared."""
    outcome = np.where(forecasts.right, price.saving_ms, -price.cost_ms)
    return np.asarray(np.where(act & forecasts.may_prepare, outcome, 0.0))


def policies(forecasts: Forecasts, calibrated: Float[np.ndarray, " events"], price: Price) -> dict[str, Gain]:
    """The gains of each policy. `calibrated` are the confidences after calibration.

    "gate oracle" knows whether the guess is right, "event oracle" the event: no gate beats the first, no predictor the second.
    """
    every = np.ones(len(forecasts), bool)
    return {
        "never": gains(forecasts, ~every, price),
        "always": gains(forecasts, every, price),
        "raw 0.8": gains(forecasts, forecasts.confidence > RAW_GATE, price),
        "raw p*": gains(forecasts, forecasts.confidence > price.gate, price),
        "calibrated p*": gains(forecasts, calibrated > price.gate, price),
        "gate oracle": gains(forecasts, forecasts.right, price),
        "event oracle": np.where(forecasts.real < N_READING, price.saving_ms, 0.0),
    }


def hit_and_miss_ms(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The time of a hit and of a miss from two rows (share of hits, mean milliseconds). ValueError when the shares are the same.

    >>> [round(ms, 1) for ms in hit_and_miss_ms([(0.61, 320.0), (0.89, 98.0)])]
    [10.8, 803.6]
    """
    (share, mean), (other_share, other_mean) = rows
    if share == other_share:
        raise ValueError(f"both rows have {share:.0%} hits; two different shares are needed")
    slope = (other_mean - mean) / (other_share - share)  # of the mean by the share: hit - miss
    miss = mean - slope * share
    return miss + slope, miss
