"""Governors of a clock: each sees what a real one sees and asks for a speed, a share of the fastest clock."""

from __future__ import annotations

import numpy as np

from autoglm_lab.edge.power import Governor, Observation


def performance(phone: Observation) -> float:
    """Always the fastest."""
    return 1.0


def powersave(phone: Observation) -> float:
    """Always the slowest."""
    return phone.table.speeds[0]


def ondemand(phone: Observation) -> float:
    """As in Linux: the fastest above 80 % load, else in proportion to the load."""
    return 1.0 if phone.load > 0.8 else phone.load


def schedutil(phone: Observation) -> float:
    """As in Linux: a quarter above what the load would need, where load counts work and not time."""
    return 1.25 * phone.load * phone.table.speeds[phone.table.step(phone.last_speed)]


def load_steps(high: float = 0.8, middle: float = 0.5) -> Governor:
    """The articles' rule: fast above `high`, a middle step above `middle`, else slow."""

    def govern(phone: Observation) -> float:
        return 1.0 if phone.load > high else 0.6 if phone.load > middle else phone.table.speeds[0]

    return govern


def budget(watts: float, floor: float = 0.0) -> Governor:
    """The articles' rule: a fifth slower above 90 % of a power budget, a tenth faster below 70 % of it, never below `floor`."""

    def govern(phone: Observation) -> float:
        factor = 0.8 if phone.power > 0.9 * watts else 1.1 if phone.power < 0.7 * watts else 1.0
        return min(1.0, max(floor, phone.last_speed * factor))

    return govern


def fixed(speed: float) -> Governor:
    """One operating point for ever."""
    return lambda phone: speed


def by_deadline(slack: float = 0.05, error: float = 0.0, seed: int = 0) -> Governor:
    """The slowest speed that finishes every waiting job `slack` seconds before its deadline, if the estimates of work are right.

    `error` is the standard deviation of an estimate, as a share of it; each job's estimate is off by the same share throughout.
    """
    wrong: dict[float, float] = {}
    rng = np.random.default_rng(seed)

    def govern(phone: Observation) -> float:
        need, work = phone.table.critical_speed, 0.0
        for left, due in phone.waiting:
            if due not in wrong:
                wrong[due] = max(0.1, 1 + error * float(rng.standard_normal()))
            work += left * wrong[due]
            need = max(need, work / max(due - slack - phone.now, 1e-9))
        return min(1.0, need)

    return govern


def race_to_idle(phone: Observation) -> float:
    """The fastest while there is work, the slowest else: as `performance`, for a processor that cannot sleep at full clock."""
    return 1.0 if phone.waiting else phone.table.speeds[0]
