"""Rules that decide without learning: the baselines that a learner has to beat."""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float, Int

from autoglm_lab.edge.offload.planning import Rule, tabulate, worth
from autoglm_lab.edge.offload.world import ACTIONS, EDGE, LOCAL, WAIT, State, World


def always(action: int) -> Rule:
    """The same action, whatever the state."""
    return lambda world, state: action


def at_random(world: World) -> Float[np.ndarray, "S A"]:
    """Every possible action with equal probability."""
    possible = np.isfinite(world.table.possible)
    return np.asarray(possible / possible.sum(axis=1, keepdims=True))


def expected_rewards(world: World, state: State) -> Float[np.ndarray, " A"]:
    """The reward that each action brings its request at once; to wait brings none until the request expires."""
    ends = [world.ends_of(state, action)[0] for action in range(len(ACTIONS))]
    return np.array([sum(chance * reward for chance, reward, _ in each) for each in ends])


def greedy(world: World, state: State) -> int:
    """The most expected reward now, with no thought of what comes after."""
    return int(expected_rewards(world, state).argmax())


def least_latency(world: World, state: State) -> int:
    """Compute here or behind the network, wherever the answer is expected first; a transfer is expected to end by the deadline."""
    here = state.local + world.service[state.load]
    sending = float((1 - world.sends_within[state.bandwidth]).sum())
    return LOCAL if here <= state.radio + sending + world.away else EDGE


def threshold(level: int, most_radio: int, most_local: int) -> Rule:
    """Send from a level of bandwidth on, while few wait for the radio; else compute here, while few wait here; else wait."""

    def rule(world: World, state: State) -> int:
        if state.bandwidth >= level and state.radio <= most_radio:
            return EDGE
        return LOCAL if state.local + world.service[state.load] <= most_local else WAIT

    return rule


def tuned_threshold(world: World) -> Int[np.ndarray, " S"]:
    """The threshold rule that is worth most in this world, of all there are on a coarse grid."""
    grid = product(range(1, len(world.link.mbit)), range(0, world.most_radio, 2), range(1, world.most_local + 1, 2))
    policies = [tabulate(world, threshold(*limits)) for limits in grid]
    return max(policies, key=lambda policy: worth(world, policy))
