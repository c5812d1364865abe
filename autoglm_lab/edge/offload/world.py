"""World of the offloading decision (compute here, behind the network, or later), which a simulator samples and an optimum sums.

Time goes in slots. A request that waits has an age, the processor and the radio have backlogs in slots, load and bandwidth change
as Markov chains. `outcomes` is the only definition of what happens, so that no policy is judged in another world than the optimum
was computed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from autoglm_lab.edge.trace import UMTS, Levels

LOCAL, EDGE, WAIT = 0, 1, 2
ACTIONS = ("local", "edge", "wait")
Chain = Sequence[Sequence[float]]

LOAD: Chain = ((0.95, 0.05, 0.0), (0.04, 0.92, 0.04), (0.0, 0.08, 0.92))  # of a slot: what else the phone does


class State(NamedTuple):
    """The part of the world that a policy sees. `age` is how many slots a request has waited, from 1; 0 when none waits."""

    load: int
    bandwidth: int
    local: int  # slots of work in front of the processor
    radio: int  # slots until the radio is free
    age: int


@dataclass(frozen=True)
class Rewards:
    """Price of each end of a request. The articles price neither a request that expires nor one that is turned away."""

    in_time: float = 10.0
    overload: float = -5.0  # more work than the processor's queue takes
    failed: float = -8.0  # sent, and not back in time
    expired: float = -8.0  # never sent
    blocked: float = -8.0  # came while another waited


ARTICLES = Rewards(expired=0.0, blocked=0.0)


class Outcome(NamedTuple):
    """One thing that may happen: its probability and reward, the state after it, and the ends of requests in it."""

    probability: float
    reward: float
    state: State
    ends: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """A phone, its network and who asks it. ValueError for chains or numbers that cannot be.

    `service` is the slots that an answer takes here under each load, `kbit` is sent for one over `link`, whose levels follow each
    other from second to second; `away` slots later the answer has come back.
    """

    arrival: float = 0.12  # of a request, in each slot
    deadline: int = 5
    service: tuple[int, ...] = (1, 2, 4)
    load_chain: Chain = LOAD
    link: Levels = UMTS
    kbit: float = 52.0
    away: int = 0
    slot_s: float = 0.1
    most_local: int = 6
    most_radio: int = 4
    rewards: Rewards = field(default_factory=Rewards)

    def __post_init__(self) -> None:
        mbit = self.link.mbit
        for name, chain, size in (("load_chain", self.load_chain, len(self.service)), ("link.chain", self.link.chain, len(mbit))):
            rows = np.array(chain, float)
            if rows.shape != (size, size) or not (rows >= 0).all() or not np.allclose(rows.sum(axis=1), 1):
                raise ValueError(f"{name} has to be {size} x {size} probabilities whose rows add up to 1")
        if not (0 < self.arrival < 1 and 0 < self.slot_s <= 1):
            raise ValueError(f"arrival is {self.arrival}, slot_s {self.slot_s}; both lie between 0 and 1")
        if not (self.deadline >= 1 and self.kbit > 0 and min(mbit) > 0 and min(self.service) > 0 and self.away >= 0):
            raise ValueError("deadline, service, kbit and the rates of the link are above 0; away is at least 0")
        if not np.isfinite([*vars(self.rewards).values()]).all():
            raise ValueError(f"a reward is no number: {self.rewards}")

    @cached_property
    def slot_chain(self) -> Float[np.ndarray, "L L"]:
        """Transitions of the bandwidth from slot to slot: a slot's share of the changes of a second."""
        rows = np.array(self.link.chain, float)
        return np.asarray(np.eye(len(rows)) + (rows - np.eye(len(rows))) * self.slot_s)

    @cached_property
    def sends_within(self) -> Float[np.ndarray, "L slots"]:
        """The probability that a request is sent within so many slots from a level of bandwidth on, exactly.

        Over all paths of the chain: what was sent is counted in hundredths of the request.
        """
        levels, most = len(self.link.mbit), self.deadline
        parts = np.minimum(100, np.floor(100 * np.array(self.link.mbit) * 1000 * self.slot_s / self.kbit).astype(int))
        chance = np.zeros((levels, most + 1))
        for start in range(levels):
            distribution = np.zeros((levels, 101))
            distribution[start, 0] = 1.0
            for slot in range(1, most + 1):
                next_distribution = np.zeros_like(distribution)
                for level in range(levels):
                    next_distribution[level, parts[level] :] = distribution[level, : 101 - parts[level]]
                    next_distribution[level, 100] = distribution[level, 100 - parts[level] :].sum()
                chance[start, slot] = next_distribution[:, 100].sum()
                distribution = np.asarray(self.slot_chain.T @ next_distribution)
        return chance

    @cached_property
    def radio_slots(self) -> tuple[int, ...]:
        """The slots that sending takes at each level as long as the level stays, at most what the radio's backlog counts."""
        needed = np.ceil(self.kbit / (np.array(self.link.mbit) * 1000 * self.slot_s)).astype(int)
        return tuple(int(min(slots, self.most_radio)) for slots in needed)

    @cached_property
    def states(self) -> list[State]:
        """Every state, in the order of their numbers."""
        sizes = (len(self.service), len(self.link.mbit), self.most_local + 1, self.most_radio + 1, self.deadline + 1)
        return [State(*values) for values in product(*map(range, sizes))]

    @cached_property
    def number(self) -> dict[State, int]:
        """The number of each state."""
        return {state: number for number, state in enumerate(self.states)}

    def actions(self, state: State) -> tuple[int, ...]:
        """List the possible actions: only to wait where no request does."""
        return (LOCAL, EDGE, WAIT) if state.age else (WAIT,)

    def outcomes(self, state: State, action: int) -> list[Outcome]:
        """Everything that may happen in the next slot, with its probability. ValueError for an action that cannot be taken."""
        if action not in self.actions(state):
            raise ValueError(f"{ACTIONS[action]} cannot be done with {state}")
        ends, local, radio, age = self.ends_of(state, action)
        local, radio = max(0, local - 1), max(0, radio - 1)
        possible = []
        loads, levels = self.load_chain[state.load], self.slot_chain[state.bandwidth]
        for (chance, reward, end), (load, p_load), (level, p_level), came in product(
            ends, enumerate(loads), enumerate(levels), (False, True)
        ):
            probability = chance * p_load * p_level * (self.arrival if came else 1 - self.arrival)
            if not probability:
                continue
            is_blocked = came and age > 0
            after = State(load, level, local, radio, age if age else int(came))
            total_reward = reward + (self.rewards.blocked if is_blocked else 0.0)
            ends_now = tuple(filter(None, (end, "blocked" if is_blocked else "")))
            possible.append(Outcome(float(probability), total_reward, after, ends_now))
        return possible

    def ends_of(self, state: State, action: int) -> tuple[list[tuple[float, float, str]], int, int, int]:
        """Ends of the waiting request with their probability and reward; the backlogs and the age after the action."""
        price, waited = self.rewards, state.age - 1
        if action == LOCAL:
            busy = state.local + self.service[state.load]
            if busy > self.most_local:
                return [(1.0, price.overload, "overload")], state.local, state.radio, 0
            in_time = waited + busy <= self.deadline
            return [(1.0, price.in_time, "in time") if in_time else (1.0, price.failed, "late")], busy, state.radio, 0
        if action == EDGE:
            slots = self.deadline - waited - state.radio - self.away
            chance = float(self.sends_within[state.bandwidth, max(0, slots)])
            ends = [(chance, price.in_time, "in time"), (1 - chance, price.failed, "late")]
            return ends, state.local, min(self.most_radio, state.radio + self.radio_slots[state.bandwidth]), 0
        if state.age == self.deadline:
            return [(1.0, price.expired, "expired")], state.local, state.radio, 0
        return [(1.0, 0.0, "")], state.local, state.radio, state.age + 1 if state.age else 0

    @cached_property
    def table(self) -> Table:
        """All outcomes as arrays, for dynamic programming."""
        return Table.of(self)


@dataclass(frozen=True)
class Table:
    """Outcomes of every state and action: [S, A, K] each, with probability 0 where there are fewer, and for impossible actions."""

    probability: Float[np.ndarray, "S A K"]
    reward: Float[np.ndarray, "S A K"]
    after: Int[np.ndarray, "S A K"]
    possible: Float[np.ndarray, "S A"]  # 0, or minus infinity where an action cannot be taken

    @classmethod
    def of(cls, world: World) -> Table:
        """Build the arrays from `outcomes`."""
        most = 2 * len(world.service) * len(world.link.mbit) * 2
        shape = (len(world.states), len(ACTIONS), most)
        probability, reward, after = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64)
        possible = np.full(shape[:2], -np.inf)
        for s, state in enumerate(world.states):
            for action in world.actions(state):
                possible[s, action] = 0.0
                for k, outcome in enumerate(world.outcomes(state, action)):
                    probability[s, action, k] = outcome.probability
                    reward[s, action, k] = outcome.reward
                    after[s, action, k] = world.number[outcome.state]
        return cls(probability, reward, after, possible)
