"""Forecasts beside the events that came: hits, coverage, precision and calibration, with intervals over people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

from autoglm_lab.edge.intent.calibration import calibration_error, reliability
from autoglm_lab.edge.intent.events import N_READING
from autoglm_lab.edge.intent.personas import Stream
from autoglm_lab.edge.intent.predictors import Table
from autoglm_lab.edge.race import DRAWS, Interval


@dataclass(frozen=True)
class Forecasts:
    """One entry for each judged event, in order: who, when, the best guess with its confidence, and the kind that came.

    An event that repeats the one before it is left out: a guess of "the same again" is no foresight.
    """

    user: Int[np.ndarray, " events"]
    age: Float[np.ndarray, " events"]  # 0 to 1, see `Stream.age`
    first: Bool[np.ndarray, " events"]  # first step of a task
    guess: Int[np.ndarray, " events"]
    confidence: Float[np.ndarray, " events"]
    real: Int[np.ndarray, " events"]
    in_top3: Bool[np.ndarray, " events"]

    @classmethod
    def of(cls, user: int, stream: Stream, table: Table) -> Forecasts:
        """The forecasts for one person. ValueError unless the table has a row of probabilities for each event."""
        if len(table) != len(stream.events) or not np.allclose(table.sum(axis=1), 1, atol=1e-4):
            raise ValueError(f"table is {list(table.shape)} for {len(stream.events)} events; each needs a row that adds up to 1")
        news = np.diff(stream.events, prepend=-1) != 0
        real, table = stream.events[news], table[news]
        top3 = np.argsort(-table, axis=1, kind="stable")[:, :3]
        confidence = np.minimum(table[np.arange(len(real)), top3[:, 0]], 1.0)
        who = np.full(len(real), user)
        return cls(who, stream.age[news], stream.first[news], top3[:, 0], confidence, real, (top3 == real[:, None]).any(axis=1))

    @classmethod
    def join(cls, parts: Iterable[Forecasts]) -> Forecasts:
        """Put the forecasts for several people one after the other."""
        each = list(parts)
        return cls(*(np.concatenate([getattr(part, field.name) for part in each]) for field in fields(cls)))

    def where(self, mask: Bool[np.ndarray, " events"]) -> Forecasts:
        """The forecasts of some events only."""
        return Forecasts(*(getattr(self, field.name)[mask] for field in fields(self)))

    def between(self, low: float, high: float) -> Forecasts:
        """The forecasts of one span of everybody's time, `high` left out."""
        return self.where((self.age >= low) & (self.age < high))

    @property
    def right(self) -> Bool[np.ndarray, " events"]:
        """True where the best guess came."""
        return np.asarray(self.guess == self.real)

    @property
    def may_prepare(self) -> Bool[np.ndarray, " events"]:
        """True where the guess is a reading step, for which a screen may be prepared."""
        return np.asarray(self.guess < N_READING)

    def __len__(self) -> int:
        """Number of judged events."""
        return len(self.real)


def totals(user: Int[np.ndarray, " events"], *values: Float[np.ndarray, " events"]) -> Float[np.ndarray, "users values"]:
    """The sum of each value over the events of each person."""
    _, place = np.unique(user, return_inverse=True)
    return np.stack([np.bincount(place, value) for value in values], axis=1)


Sums = Float[np.ndarray, "rows *values"]  # over the events of each person, or of each draw of people
Figure = Callable[[Sums], Float[np.ndarray, " rows"]]


def over_users(sums: Sums, figure: Figure) -> Interval:
    """A figure made from sums over events, with its 95 % bootstrap interval over people: events of one person are no sample."""
    draws = figure(np.tensordot(_weights(len(sums)), sums, 1))
    finite = draws[np.isfinite(draws)]
    low, high = np.percentile(finite, (2.5, 97.5)) if len(finite) else (np.nan, np.nan)
    return Interval(float(figure(sums.sum(axis=0, keepdims=True))[0]), float(low), float(high))


@cache
def _weights(users: int) -> Float[np.ndarray, "draws users"]:
    """Count how often each person is in each draw of so many people."""
    return np.random.default_rng(0).multinomial(users, np.full(users, 1 / users), DRAWS).astype(float)


def share(sums: Float[np.ndarray, "draws 2"]) -> Float[np.ndarray, " draws"]:
    """The first sum as a share of the second; no number where that is zero."""
    return np.asarray(np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0))


@dataclass(frozen=True)
class Score:
    """Quality of some forecasts. `precision` belongs to the events above `gate` alone, and says nothing without `coverage`."""

    top1: Interval
    top3: Interval
    coverage: Interval  # share of events with a confidence above the gate
    precision: Interval | None  # share that is right among them; None where there are none
    ece: Interval
    events: int
    users: int

    @classmethod
    def of(cls, forecasts: Forecasts, gate: float = 0.8) -> Score:
        """Judge forecasts. ValueError when there are none."""
        if not len(forecasts):
            raise ValueError("there are no events to judge; take another span or longer streams")
        one, above = np.ones(len(forecasts)), (forecasts.confidence > gate).astype(float)
        columns = (forecasts.right, forecasts.in_top3, above, above * forecasts.right, one)
        sums = totals(forecasts.user, *(column.astype(float) for column in columns))
        top1, top3, coverage, precision = (over_users(sums[:, pair], share) for pair in ([0, 4], [1, 4], [2, 4], [3, 2]))
        bins = np.stack([reliability(forecasts.confidence[mine], forecasts.right[mine]) for mine in _by_user(forecasts.user)])
        ece = over_users(bins, calibration_error)
        return cls(top1, top3, coverage, precision if above.any() else None, ece, len(forecasts), len(sums))


def _by_user(user: Int[np.ndarray, " events"]) -> list[Bool[np.ndarray, " events"]]:
    return [user == who for who in np.unique(user)]
