"""Random schedules for several devices: writes, messages in any order, lost or doubled, cuts, restarts, old backups."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from autoglm_lab.edge.sync.fleet import Fleet, Judgement

REASONS = {
    "is unknown": "a number that is not paired",
    "was removed": "a number that was removed",
    "which is this one": "its own number",
}
KEYS = ("lamp", "note", "alarm")
Step = Callable[[Fleet, random.Random], None]


def _device(fleet: Fleet, rng: random.Random) -> int:
    return rng.randrange(len(fleet.devices))


def _pair(fleet: Fleet, rng: random.Random) -> tuple[int, int]:
    one, other = rng.sample(range(len(fleet.devices)), 2)
    return one, other


def _send(fleet: Fleet, rng: random.Random) -> None:
    fleet.send(*_pair(fleet, rng), is_heartbeat=rng.random() < 0.4)


def _deliver(fleet: Fleet, rng: random.Random) -> None:
    if fleet.under_way:
        fleet.deliver(rng.randrange(len(fleet.under_way)), is_doubled=rng.random() < 0.2)


def _lose(fleet: Fleet, rng: random.Random) -> None:
    if fleet.under_way:
        fleet.under_way.pop(rng.randrange(len(fleet.under_way)))


def _cut(fleet: Fleet, rng: random.Random) -> None:
    fleet.cut_lines ^= {frozenset(_pair(fleet, rng))}


def _restore(fleet: Fleet, rng: random.Random) -> None:
    device = _device(fleet, rng)
    if backups := fleet.devices[device].backups:
        fleet.restore(device, rng.randrange(len(backups)))


STEPS: dict[Step, int] = {
    lambda fleet, rng: fleet.write(_device(fleet, rng), rng.choice(KEYS)): 6,
    lambda fleet, rng: fleet.write(_device(fleet, rng), rng.choice(KEYS), is_deletion=True): 3,
    lambda fleet, rng: fleet.read(_device(fleet, rng), rng.choice(KEYS)): 2,
    lambda fleet, rng: fleet.compact(_device(fleet, rng)): 2,
    lambda fleet, rng: fleet.back_up(_device(fleet, rng)): 2,
    lambda fleet, rng: fleet.restart(_device(fleet, rng)): 1,
    _send: 8,
    _deliver: 10,
    _lose: 2,
    _cut: 1,
    _restore: 2,
}


def play(seed: int, n_steps: int = 60, *, has_marks: bool = True) -> Judgement:
    """Play one schedule on 2 to 4 devices, then heal."""
    rng = random.Random(seed)
    fleet = Fleet(rng.randint(2, 4), has_marks=has_marks)
    for step in rng.choices(list(STEPS), list(STEPS.values()), k=n_steps):
        step(fleet, rng)
    return fleet.heal()


@dataclass(frozen=True)
class Tally:
    """Counts over many schedules; a schedule that is not sound has lost a write, revived one, or ended unequal."""

    n: int
    n_writes: int
    n_lost: int
    n_revived: int
    n_unequal: int
    n_unsound: int
    first_unsound: int | None  # its seed
    refusals: dict[str, int]

    def data(self) -> dict[str, Any]:
        """Give the counts as JSON values."""
        return vars(self)


def tally(seeds: Iterable[int], n_steps: int = 60, *, has_marks: bool = True) -> Tally:
    """Play one schedule for each seed and count."""
    verdicts = {seed: play(seed, n_steps, has_marks=has_marks) for seed in seeds}
    unsound = [seed for seed, verdict in verdicts.items() if not verdict.is_sound]
    return Tally(
        len(verdicts),
        sum(verdict.n_writes for verdict in verdicts.values()),
        sum(verdict.n_lost for verdict in verdicts.values()),
        sum(verdict.n_revived for verdict in verdicts.values()),
        sum(not verdict.is_equal for verdict in verdicts.values()),
        len(unsound),
        unsound[0] if unsound else None,
        dict(Counter(_reason(refusal) for verdict in verdicts.values() for refusal in verdict.refusals)),
    )


def _reason(refusal: str) -> str:
    """The reason of a refusal, without the numbers in it."""
    return next((reason for words, reason in REASONS.items() if words in refusal), "one number for two devices")
