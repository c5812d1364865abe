"""A game of offloading: one player decides about the requests of a world whose chances were drawn beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from autoglm_lab.edge.offload.world import ACTIONS, WAIT, State, World

REQUESTS = 40
LONG = 10_000  # slots after which a chain has forgotten where it began


@dataclass(frozen=True)
class Chances:
    """Random draws that no decision changes, so that every player meets the same: T slots and N requests.

    A request comes at the end of each slot where `comes`. One that is sent is back in time if its `luck` is below the chance of it.
    """

    load: Int[np.ndarray, " T"]
    bandwidth: Int[np.ndarray, " T"]
    comes: Bool[np.ndarray, " T"]
    luck: Float[np.ndarray, " N"]

    @classmethod
    def draw(cls, world: World, seed: int, requests: int = REQUESTS) -> Chances:
        """Draw so many requests, and the slots until the last of them must have ended. ValueError for fewer than one."""
        if requests < 1:
            raise ValueError(f"requests is {requests}; there has to be one at least")
        rng = np.random.default_rng(seed)
        arrivals = np.cumsum(rng.geometric(world.arrival, requests)) - 1
        slots = int(arrivals[-1]) + world.deadline + 2
        comes = np.zeros(slots, bool)
        comes[arrivals] = True
        return cls(_path(rng, np.array(world.load_chain), slots), _path(rng, world.slot_chain, slots), comes, rng.random(requests))


def _path(rng: np.random.Generator, chain: Float[np.ndarray, "L L"], slots: int) -> Int[np.ndarray, " T"]:
    """Draw the levels of a Markov chain that has run for long."""
    limits = np.cumsum(chain, axis=1)
    limits[:, -1] = 1.0  # rounding must not leave a gap
    level = int(np.searchsorted(np.linalg.matrix_power(chain, LONG)[0].cumsum()[:-1], rng.random(), side="right"))
    levels = []
    for chance in rng.random(slots):
        levels.append(level)
        level = int(np.searchsorted(limits[level], chance, side="right"))
    return np.array(levels)


class End(NamedTuple):
    """End of a request ("in time", "late", "overload", "expired", "blocked"), and the reward."""

    name: str
    reward: float


class Decision(NamedTuple):
    """One decision about a request (from 0). `end` is None while it waits on; `blocked` is a request that was turned away then."""

    request: int
    state: State
    action: int
    end: End | None
    blocked: int | None


@dataclass
class Game:
    """The course of one player through the chances of a world. Where no request waits, time passes by itself."""

    world: World
    chances: Chances
    slot: int = 0
    waiting: int | None = None  # the request that waits
    arrivals: int = 0
    decisions: list[Decision] = field(default_factory=list)
    ends: dict[int, End] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = State(int(self.chances.load[0]), int(self.chances.bandwidth[0]), 0, 0, 0)
        self._pass_time()

    @property
    def is_over(self) -> bool:
        """True once every request has ended."""
        return len(self.ends) == len(self.chances.luck)

    @property
    def totals(self) -> list[float]:
        """The reward so far after each request, up to the first that has not ended."""
        total, totals = 0.0, list[float]()
        for number in range(len(self.ends)):
            if number not in self.ends:
                break
            total += self.ends[number].reward
            totals.append(total)
        return totals

    @property
    def total(self) -> float:
        """The reward of all requests that have ended."""
        return sum(end.reward for end in self.ends.values())

    def act(self, action: int) -> Decision:
        """Decide about the request that waits. ValueError for another action, or when all have ended."""
        if self.waiting is None:
            raise ValueError(f"all {len(self.chances.luck)} requests have ended; start over")
        if action not in range(len(ACTIONS)):
            raise ValueError(f"action is {action!r}; it is a number from 0 to {len(ACTIONS) - 1}")
        request, state = self.waiting, self.state
        end, blocked = self._step(action)
        self.decisions.append(Decision(request, state, action, end, blocked))
        self._pass_time()
        return self.decisions[-1]

    def _pass_time(self) -> None:
        while self.waiting is None and not self.is_over:
            self._step(WAIT)

    def _step(self, action: int) -> tuple[End | None, int | None]:
        """Play one slot of the world; returns the end of the request and the number of the one that was turned away, if any."""
        possible, local, radio, age = self.world.ends_of(self.state, action)
        end, blocked = None, None
        if self.waiting is not None and not age:
            end = self.ends[self.waiting] = self._pick(possible, float(self.chances.luck[self.waiting]))
            self.waiting = None
        if self.chances.comes[self.slot]:
            number, self.arrivals = self.arrivals, self.arrivals + 1
            if age:
                blocked = number
                self.ends[number] = End("blocked", self.world.rewards.blocked)
            else:
                self.waiting, age = number, 1
        self.slot += 1
        load, bandwidth = int(self.chances.load[self.slot]), int(self.chances.bandwidth[self.slot])
        self.state = State(load, bandwidth, max(0, local - 1), max(0, radio - 1), age)
        return end, blocked

    @staticmethod
    def _pick(possible: Sequence[tuple[float, float, str]], luck: float) -> End:
        for chance, reward, name in possible:
            if luck < chance:
                return End(name, reward)
            luck -= chance
        return End(name, reward)


def play(world: World, chances: Chances, policy: Int[np.ndarray, " S"]) -> Game:
    """Let a policy decide about every request."""
    game = Game(world, chances)
    while not game.is_over:
        game.act(int(policy[world.number[game.state]]))
    return game
