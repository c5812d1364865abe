"""Predictors of the next event, judged on-line: each row of a table is what was known before the event, and no later one.

Frequency and recency are the usual baselines for apps; a Markov chain with interpolated back-off (Witten and Bell 1991, the escape
of the compressor PPM) is the strong classical line; a mixture with a fixed share (Herbster and Warmuth 1998) weighs several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

Events = Int[np.ndarray, " events"]
Probabilities = Float[np.ndarray, " kinds"]
Table = Float[np.ndarray, "events kinds"]
Forecaster = Callable[[Events], Table]


class Predictor(Protocol):
    """A running guess: it watches events and gives each kind a probability of being next."""

    def probabilities(self) -> Probabilities:
        """Give the probability of each kind as the next event; they add up to 1."""

    def observe(self, event: int) -> None:
        """Take in the next event."""


class Frequency:
    """Most frequently used (MFU): the shares of all events so far."""

    def __init__(self, kinds: int) -> None:
        self._counts = np.full(kinds, 1 / kinds)

    def probabilities(self) -> Probabilities:
        """Shares of all events, with one imagined event spread over all kinds."""
        return np.asarray(self._counts / self._counts.sum())

    def observe(self, event: int) -> None:
        """Count an event."""
        self._counts[event] += 1


class Recency:
    """Most recently used (MRU): the last kind is the likeliest, and each older one half as likely."""

    def __init__(self, kinds: int) -> None:
        self._last_use = np.arange(kinds) - kinds
        self._now = 0

    def probabilities(self) -> Probabilities:
        """Halves by the rank of recency."""
        halves = 0.5 ** np.arange(1, len(self._last_use) + 1)
        shares = np.empty(len(halves))
        shares[np.argsort(-self._last_use)] = halves / halves.sum()
        return shares

    def observe(self, event: int) -> None:
        """Note the moment of an event."""
        self._last_use[event], self._now = self._now, self._now + 1


class Markov:
    """Counts of what followed the last 0, 1 ... `order` events; each length falls back on the next shorter one.

    P_k = (counts + d P_(k-1)) / (sum of counts + d), where d is how many kinds have followed this context (Witten-Bell): a context
    with many followers is trusted less. ValueError for an order below 0 or fewer than two kinds.
    """

    def __init__(self, kinds: int, order: int) -> None:
        if order < 0 or kinds < 2:
            raise ValueError(f"order is {order} and kinds {kinds}; take an order of 0 or more, and two kinds or more")
        self.kinds, self.order, self._past, self._learns = kinds, order, tuple[int, ...](), True
        self._counts: defaultdict[tuple[int, ...], Probabilities] = defaultdict(partial(np.zeros, kinds))

    def probabilities(self) -> Probabilities:
        """Interpolate from the shortest context to the longest that was seen before."""
        result = np.full(self.kinds, 1 / self.kinds)
        for context in self._contexts():
            if context not in self._counts:
                break
            counts = self._counts[context]
            followers = np.count_nonzero(counts)
            result = (counts + followers * result) / (counts.sum() + followers)
        return result

    def observe(self, event: int) -> None:
        """Count an event in all its contexts; a reader counts nothing."""
        for context in self._contexts() if self._learns else ():
            self._counts[context][event] += 1
        self._past = (*self._past, event)[-self.order :] if self.order else ()

    def learn(self, streams: Iterable[Events]) -> Markov:
        """Count the events of several people, each from a past of its own."""
        for events in streams:
            self._past = ()
            for event in events.tolist():
                self.observe(event)
        return self

    def reader(self) -> Markov:
        """Give these counts to somebody with a past of their own; the reader learns nothing new."""
        reader = Markov(self.kinds, self.order)
        reader._counts, reader._learns = self._counts, False
        return reader

    def _contexts(self) -> list[tuple[int, ...]]:
        return [self._past[len(self._past) - length :] for length in range(min(self.order, len(self._past)) + 1)]


def online(make: Callable[[], Predictor]) -> Forecaster:
    """A new predictor for each person, asked before every event and shown it afterwards."""

    def forecast(events: Events) -> Table:
        predictor, rows = make(), []
        for event in events.tolist():
            rows.append(predictor.probabilities())
            predictor.observe(event)
        return np.array(rows)

    return forecast


def mix(tables: Float[np.ndarray, "predictors events kinds"], events: Events, share: float = 0.02) -> Table:
    """Weigh several tables by how well each did so far; `share` of the weight is dealt out evenly again after each event.

    ValueError unless there is a row for each event.
    """
    if tables.ndim != 3 or tables.shape[1] != len(events):
        raise ValueError(f"tables is {list(tables.shape)} for {len(events)} events; it has to be [predictors, events, kinds]")
    weights, rows = np.full(len(tables), 1 / len(tables)), []
    for moment, event in enumerate(events.tolist()):
        rows.append(weights @ tables[:, moment])
        weights = weights * np.maximum(tables[:, moment, event], 1e-12)
        weights = (1 - share) * weights / weights.sum() + share / len(tables)
    return np.array(rows)
