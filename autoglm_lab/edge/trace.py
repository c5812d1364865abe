"""Bandwidth over time as somebody measured it, and a Markov chain that is fitted to it.

Two formats are read. One column: milliseconds at which one packet of 1,500 bytes may pass, as Mahimahi writes them (Netravali et
al. 2015). Two columns: seconds and the Mbit/s that held until then, as Pensieve reads them (Mao et al. 2017). Both begin anew at
their end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

PACKET_BYTES = 1500
LEAST_MBIT = 0.01  # of a level of a chain: what never sends at all has no time to send


@dataclass(frozen=True)
class Trace:
    """Bytes that a link has let pass at each of N times since its start: packets pass at once, between other times they trickle.

    `seconds` rise from 0; `total_bytes` never fall.
    """

    name: str
    seconds: Float[np.ndarray, " N"]
    total_bytes: Float[np.ndarray, " N"]
    packets: bool = False

    @cached_property
    def period_s(self) -> float:
        """The seconds after which the trace begins anew."""
        return float(self.seconds[-1])

    def bytes_until(self, second: float) -> float:
        """The bytes that have passed before a time, from the start of the first round."""
        rounds, rest = divmod(second, self.period_s)
        if self.packets:
            passed = int(np.searchsorted(self.seconds, rest, side="left"))
            within = self.total_bytes[passed - 1] if passed else 0.0
        else:
            within = np.interp(rest, self.seconds, self.total_bytes)
        return float(rounds * self.total_bytes[-1] + within)

    def seconds_to_send(self, start_s: float, n_bytes: float) -> float:
        """The seconds that it takes to send so many bytes from a time on. ValueError for a time or a size below 0."""
        if not (start_s >= 0 and n_bytes >= 0 and math.isfinite(start_s + n_bytes)):
            raise ValueError(f"a start of {start_s} s and {n_bytes} bytes: both have to be numbers of at least 0")
        if not n_bytes:
            return 0.0
        target = self.bytes_until(start_s) + n_bytes
        rounds = math.ceil(target / self.total_bytes[-1]) - 1
        rest = target - rounds * self.total_bytes[-1]
        if self.packets:
            end = self.seconds[np.searchsorted(self.total_bytes, rest - 1e-6, side="left")]
        else:
            end = _first_time(self.seconds, self.total_bytes, rest)
        return max(0.0, float(rounds * self.period_s + end - start_s))

    def rates(self, every_s: float = 1.0) -> Float[np.ndarray, " T"]:
        """The mean Mbit/s of each full stretch of so many seconds. ValueError for a trace that is shorter than two of them."""
        count = int(self.period_s // every_s)
        if count < 2:
            raise ValueError(f"{self.name} lasts {self.period_s:g} s; at least {2 * every_s:g} s are needed")
        totals = np.array([self.bytes_until(number * every_s) for number in range(count)] + [self._before(count * every_s)])
        return np.diff(totals) * 8e-6 / every_s

    def _before(self, second: float) -> float:
        return self.bytes_until(second) if second < self.period_s else float(self.total_bytes[-1])


def _first_time(seconds: Float[np.ndarray, " N"], total_bytes: Float[np.ndarray, " N"], target: float) -> float:
    """The first time at which so many bytes have passed."""
    after = int(np.searchsorted(total_bytes, target, side="left"))
    if after == 0:
        return float(seconds[0])
    after = min(after, len(seconds) - 1)
    (low, high), (start, end) = total_bytes[after - 1 : after + 1], seconds[after - 1 : after + 1]
    return float(start + (end - start) * min(1.0, (target - low) / (high - low)))


def read_trace(path: Path) -> Trace:
    """Read a trace in either format. ValueError that names the line for anything else."""
    lines = enumerate(path.read_text("utf-8", "replace").splitlines(), start=1)
    rows = [_numbers(line, number, path) for number, line in lines if line.strip()]
    if not rows:
        raise ValueError(f"{path.name} is empty; a trace has one column (milliseconds) or two (seconds and Mbit/s)")
    widths = {len(row) for row in rows}
    if widths not in ({1}, {2}):
        counts = " and ".join(map(str, sorted(widths)[:3]))
        raise ValueError(f"{path.name} has rows of {counts} columns; a trace has one or two throughout")
    values = np.array(rows)
    trace = _of_packets(path.name, values[:, 0]) if widths == {1} else _of_rates(path.name, values[:, 0], values[:, 1])
    if trace.period_s <= 0 or trace.total_bytes[-1] <= 0:
        raise ValueError(f"{path.name} lets nothing pass; nothing could ever be sent over it")
    return trace


def _numbers(line: str, number: int, path: Path) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in line.replace(",", " ").split()[:3])
    except ValueError:
        raise ValueError(f"line {number} of {path.name} holds no numbers: {line[:40]!r}") from None
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"line {number} of {path.name} holds {line[:40]!r}; a trace has finite numbers of at least 0")
    return values


def _of_packets(name: str, milliseconds: Float[np.ndarray, " N"]) -> Trace:
    if (milliseconds != np.floor(milliseconds)).any():
        raise ValueError(f"{name} has one column, but not of whole milliseconds; for rates give seconds and Mbit/s")
    _check_order(name, milliseconds, strict=False)
    return Trace(name, milliseconds / 1000, PACKET_BYTES * np.arange(1.0, len(milliseconds) + 1), packets=True)


def _of_rates(name: str, seconds: Float[np.ndarray, " N"], mbit: Float[np.ndarray, " N"]) -> Trace:
    if len(seconds) < 2:
        raise ValueError(f"{name} has a single row; a rate holds from the time of the row before")
    _check_order(name, seconds, strict=True)
    total = np.concatenate(([0.0], np.cumsum(np.diff(seconds) * mbit[1:] * 125_000)))
    return Trace(name, seconds - seconds[0], total)


def _check_order(name: str, times: Float[np.ndarray, " N"], *, strict: bool) -> None:
    steps = np.diff(times)
    wrong = np.flatnonzero(steps <= 0 if strict else steps < 0)
    if len(wrong):
        row = int(wrong[0]) + 1
        raise ValueError(f"{name}: the time of row {row + 1} is {times[row]:g} after {times[row - 1]:g}; times have to rise")


@dataclass(frozen=True)
class Levels:
    """A Markov chain over L levels of bandwidth: the edges between them in Mbit/s, their mean rates, and their transitions."""

    edges: tuple[float, ...]
    mbit: tuple[float, ...]
    chain: tuple[tuple[float, ...], ...]

    def level(self, rate: Float[np.ndarray, " T"] | float) -> Int[np.ndarray, " T"]:
        """The level of each rate."""
        return np.asarray(np.searchsorted(self.edges, rate, side="right"))

    def sample(self, seconds: int, seed: int) -> Float[np.ndarray, " T"]:
        """The rate of each of so many seconds, as the chain goes from its last level on."""
        rng, level, rates = np.random.default_rng(seed), len(self.mbit) - 1, []
        for _ in range(seconds):
            level = int(rng.choice(len(self.mbit), p=self.chain[level]))
            rates.append(self.mbit[level])
        return np.array(rates)


# Uplinks as phones in cars saw them, in steps of a second: fitted (`fit`) to two of Mahimahi's traces (Netravali et al. 2015),
# T-Mobile UMTS with edges at 0.1, 0.5 and 1 Mbit/s, Verizon LTE ("short") with edges at 1, 3 and 8 Mbit/s.
UMTS = Levels(
    edges=(0.1, 0.5, 1.0),
    mbit=(0.02, 0.34, 0.74, 1.29),
    chain=((0.64, 0.28, 0.06, 0.02), (0.13, 0.53, 0.29, 0.05), (0.01, 0.15, 0.60, 0.24), (0.0, 0.01, 0.12, 0.87)),
)
LTE = Levels(
    edges=(1.0, 3.0, 8.0),
    mbit=(0.54, 2.25, 5.19, 9.89),
    chain=((0.5, 0.33, 0.17, 0.0), (0.15, 0.45, 0.30, 0.10), (0.0, 0.13, 0.76, 0.11), (0.0, 0.0, 0.27, 0.73)),
)


def fit(rates: Float[np.ndarray, " T"], edges: Sequence[float]) -> Levels:
    """Fit a chain to the rates of following seconds. ValueError for edges that do not rise, or a level that is never left."""
    if len(edges) == 0 or np.any(np.diff([0.0, *edges]) <= 0):
        raise ValueError(f"edges are {list(edges)}; they have to rise, and to be above 0")
    level, count = np.searchsorted(edges, rates, side="right"), len(edges) + 1
    counts = np.zeros((count, count))
    np.add.at(counts, (level[:-1], level[1:]), 1)
    if missing := np.flatnonzero(counts.sum(axis=1) == 0).tolist():
        raise ValueError(f"no second lies in level {missing[0]} of the edges {list(edges)}; give edges between rates that occur")
    mbit = tuple(max(LEAST_MBIT, float(rates[level == number].mean())) for number in range(count))
    return Levels(tuple(edges), mbit, tuple(map(tuple, (counts / counts.sum(axis=1, keepdims=True)).tolist())))
