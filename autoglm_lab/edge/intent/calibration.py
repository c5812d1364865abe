"""Confidence that means what it says: a monotone map from a predictor's own number to the share of events in which it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

Confidence = Float[np.ndarray, " events"]
Right = Bool[np.ndarray, " events"]
BINS = 10  # of the calibration error


@dataclass(frozen=True)
class Isotonic:
    """The best non-decreasing steps under squared error, by pool-adjacent-violators (Ayer et al. 1955; Zadrozny and Elkan 2002).

    `values[n]` holds from a confidence of `starts[n]` on; what is below the first start gets the first value. A map belongs to the
    predictor whose numbers it was fitted to: those of another one mean something else.
    """

    starts: Float[np.ndarray, " steps"]
    values: Float[np.ndarray, " steps"]

    @classmethod
    def fit(cls, confidence: Confidence, right: Right) -> Isotonic:
        """Fit on some events. ValueError without events, for other lengths, or a confidence outside 0 to 1."""
        _check(confidence, right)
        starts, place = np.unique(confidence, return_inverse=True)
        counts = np.bincount(place).astype(float)
        blocks: list[tuple[float, float, float]] = []  # start, hits, events
        for start, hits, count in zip(starts, np.bincount(place, right), counts, strict=True):
            block = (float(start), float(hits), float(count))
            while blocks and blocks[-1][1] * block[2] >= block[1] * blocks[-1][2]:  # the one before is right no less often
                earlier = blocks.pop()
                block = (earlier[0], earlier[1] + block[1], earlier[2] + block[2])
            blocks.append(block)
        return cls(np.array([start for start, _, _ in blocks]), np.array([hits / count for _, hits, count in blocks]))

    def __call__(self, confidence: Confidence) -> Confidence:
        """The calibrated probability of being right."""
        return np.asarray(self.values[np.maximum(np.searchsorted(self.starts, confidence, side="right") - 1, 0)])


def reliability(confidence: Confidence, right: Right, bins: int = BINS) -> Float[np.ndarray, "bins 3"]:
    """Events, sum of confidence and hits in each of some equal bins of confidence. ValueError as `Isotonic.fit`."""
    _check(confidence, right)
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    columns = (np.ones(len(place)), confidence, right.astype(float))
    return np.stack([np.bincount(place, column, bins) for column in columns], axis=1)


def calibration_error(totals: Float[np.ndarray, "*draws bins 3"]) -> Float[np.ndarray, " *draws"]:
    """The expected calibration error (ECE) from `reliability`: the mean gap between confidence and hits, weighed by events."""
    events, confidence, hits = np.moveaxis(totals, -1, 0)
    return np.asarray(np.abs(confidence - hits).sum(axis=-1) / events.sum(axis=-1))


def _check(confidence: Confidence, right: Right) -> None:
    if not len(confidence) or confidence.shape != right.shape:
        raise ValueError(f"confidence is {list(confidence.shape)} and right {list(right.shape)}; one of each is needed per event")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence lies outside 0 to 1; give probabilities")
