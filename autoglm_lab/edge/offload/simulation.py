"""Many copies of one `World` at once, sampled: what a learner practises in, and a world whose bandwidth is seen only by sending.

A learner sees a row of F numbers for each copy and may take the actions of that copy. Every sample is drawn from the outcomes that
dynamic programming sums over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from autoglm_lab.edge.offload.world import EDGE, World

Features = Callable[[World], Float[np.ndarray, "S F"]]
LONGEST_SILENCE = 30  # slots since the bandwidth was last seen: what is older counts as this


class Environment(Protocol):
    """N copies of a world."""

    def observe(self) -> Float[np.ndarray, "N F"]:
        """The numbers that a learner sees of each copy."""
        ...

    def possible(self) -> Bool[np.ndarray, "N A"]:
        """The actions that can be taken in each copy."""
        ...

    def act(self, actions: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Go on by one slot; the reward of each copy."""
        ...


def full_features(world: World) -> Float[np.ndarray, "S F"]:
    """Everything that decides what happens: load and bandwidth as one number for each level, the rest as shares of its most."""
    states = np.array(world.states)
    load, bandwidth = np.eye(len(world.service))[states[:, 0]], np.eye(len(world.link.mbit))[states[:, 1]]
    most = np.array([world.most_local, world.most_radio, world.deadline])
    return np.hstack([load, bandwidth, states[:, 2:] / most])


def article_features(world: World) -> Float[np.ndarray, "S 3"]:
    """The articles' three numbers: load, bandwidth and queue, each as a share of its most."""
    states = np.array(world.states)
    return np.asarray(states[:, :3] / np.array([len(world.service) - 1, len(world.link.mbit) - 1, world.most_local]))


class Sampler:
    """States of N copies, and how they go on."""

    def __init__(self, world: World, copies: int, seed: int) -> None:
        self.world, self.rng = world, np.random.default_rng(seed)
        self.state: Int[np.ndarray, " N"] = np.zeros(copies, np.int64)
        self.limits = np.cumsum(world.table.probability, axis=-1)

    def possible(self) -> Bool[np.ndarray, "N A"]:
        """The actions that can be taken in each copy."""
        return np.asarray(np.isfinite(self.world.table.possible[self.state]))

    def act(self, actions: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Sample the next slot of each copy; its reward. ValueError for an action that cannot be taken."""
        rows = np.arange(len(self.state))
        if not self.possible()[rows, actions].all():
            raise ValueError("an action cannot be taken in its state; ask `possible`")
        draws = self.rng.random(len(rows))[:, None] * self.limits[self.state, actions, -1:]
        outcome = (self.limits[self.state, actions] <= draws).sum(axis=1)
        table, before = self.world.table, self.state
        self.state = table.after[before, actions, outcome]
        return np.asarray(table.reward[before, actions, outcome])


class Visible(Sampler):
    """A world whose every state is seen, as `features` of it."""

    def __init__(self, world: World, copies: int, seed: int, features: Features = full_features) -> None:
        super().__init__(world, copies, seed)
        self.features = features(world)

    def observe(self) -> Float[np.ndarray, "N F"]:
        """The features of each copy's state."""
        return np.asarray(self.features[self.state])


class Hidden(Sampler):
    """A world whose bandwidth is seen only in the slot in which something is sent.

    `last` is the level seen last, `silence` the slots since then.
    """

    def __init__(self, world: World, copies: int, seed: int) -> None:
        super().__init__(world, copies, seed)
        self.features = full_features(world)
        self.last = np.full(copies, len(world.link.mbit) - 1)
        self.silence = np.full(copies, LONGEST_SILENCE)

    @cached_property
    def split(self) -> Int[np.ndarray, "S 3"]:
        """Load, bandwidth and the rest of each state, as numbers: a state is (load, bandwidth, rest) in this order."""
        states = self.world.states
        loads, levels = len(self.world.service), len(self.world.link.mbit)
        return np.stack(np.unravel_index(np.arange(len(states)), (loads, levels, len(states) // (loads * levels))), axis=1)

    def observe(self) -> Float[np.ndarray, "N F"]:
        """The features of each copy with the level seen last in place of the true one, and the silence as a share of its most."""
        load, _, rest = self.split[self.state].T
        states = np.ravel_multi_index((load, self.last, rest), self._shape)
        return np.hstack([self.features[states], self.silence[:, None] / LONGEST_SILENCE])

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        loads, levels = len(self.world.service), len(self.world.link.mbit)
        return loads, levels, len(self.world.states) // (loads * levels)

    def act(self, actions: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """As `Sampler.act`; sending shows the level of the slot in which it began."""
        level = self.split[self.state, 1]
        reward = super().act(actions)
        self.silence = np.where(actions == EDGE, 1, np.minimum(self.silence + 1, LONGEST_SILENCE))
        self.last = np.where(actions == EDGE, level, self.last)
        return reward


HiddenPolicy = Int[np.ndarray, "D L R U"]  # an action for each load, level seen last, rest of the state, and silence


def beliefs(world: World) -> Float[np.ndarray, "L U L"]:
    """The probability of each level of bandwidth, by the level seen last and the slots since then."""
    powers = [np.linalg.matrix_power(world.slot_chain, silence) for silence in range(LONGEST_SILENCE + 1)]
    return np.stack(powers, axis=1)


def by_belief(world: World, values: Float[np.ndarray, "S A"]) -> HiddenPolicy:
    """The best action if each level's values are weighted by how probable the level is.

    With the optimum's action values it is QMDP (Littman, Cassandra, Kaelbling 1995): it counts on seeing everything from the next
    slot on, and so never sends just to see. What cannot be done is worth minus infinity under every level.
    """
    loads, levels = len(world.service), len(world.link.mbit)
    each = np.where(np.isfinite(values), values, -1e9).reshape(loads, levels, -1, values.shape[1])
    return np.asarray(np.einsum("lub,dbra->dlrua", beliefs(world), each).argmax(axis=-1))


def by_last_level(world: World, values: Float[np.ndarray, "S A"]) -> HiddenPolicy:
    """The best action if the bandwidth were still the one seen last."""
    loads, levels = len(world.service), len(world.link.mbit)
    best = values.argmax(axis=1).reshape(loads, levels, -1)
    return np.asarray(np.repeat(best[..., None], LONGEST_SILENCE + 1, axis=-1))


def play_hidden(world: World, policy: HiddenPolicy, seeds: int, slots: int = 2000, copies: int = 64) -> list[float]:
    """The reward of a policy for each request, for each of some seeds, sampled: all beliefs together are too many to sum over."""
    rewards = []
    for seed in range(seeds):
        phones, total = Hidden(world, copies, seed), 0.0
        for _ in range(slots):
            load, _, rest = phones.split[phones.state].T
            total += phones.act(policy[load, phones.last, rest, phones.silence]).mean()
        rewards.append(total / slots / world.arrival)
    return rewards
