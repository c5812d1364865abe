"""Exact worth of a policy in a `World`, and the best policy: no sampling, no noise.

All sums run over `World.outcomes`. A policy is an action for each of S states, or a probability for each of A actions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from autoglm_lab.edge.offload.world import ACTIONS, WAIT, State, World

Policy = Int[np.ndarray, " S"] | Float[np.ndarray, "S A"]
Rule = Callable[[World, State], int]


def tabulate(world: World, rule: Rule) -> Int[np.ndarray, " S"]:
    """The action of a rule in each state; where no request waits it is not asked."""
    return np.array([rule(world, state) if state.age else WAIT for state in world.states])


def probabilities(policy: Policy) -> Float[np.ndarray, "S A"]:
    """A policy as a probability for each action."""
    return policy if policy.ndim == 2 else np.eye(len(ACTIONS))[policy]


def transitions(world: World, policy: Policy) -> tuple[Float[np.ndarray, "S S"], Float[np.ndarray, " S"]]:
    """The probability of each next state under a policy, and the expected reward of a slot."""
    table, size = world.table, len(world.states)
    weights = probabilities(policy)[:, :, None] * table.probability
    pairs = np.arange(size)[:, None, None] * size + table.after
    matrix = np.bincount(pairs.ravel(), weights.ravel(), size * size).reshape(size, size)
    return matrix, (weights * table.reward).sum(axis=(1, 2))


def evaluate(world: World, policy: Policy) -> tuple[float, Float[np.ndarray, " S"]]:
    """The reward of a policy in a slot, in the long run, and how much more each state promises than the first one.

    Both solve one linear system (policy evaluation; Howard 1960): value = reward - average + transitions @ value, value[0] = 0.
    """
    matrix, reward = transitions(world, policy)
    system = np.eye(len(matrix)) - matrix
    system[:, 0] = 1.0  # the first value is 0, so its column is free for the average
    solution = np.linalg.solve(system, reward)
    average = float(solution[0])
    solution[0] = 0.0
    return average, solution


def worth(world: World, policy: Policy) -> float:
    """The reward of a policy for each request, in the long run."""
    return evaluate(world, policy)[0] / world.arrival


def action_values(world: World, values: Float[np.ndarray, " S"]) -> Float[np.ndarray, "S A"]:
    """The reward of each action now and the value of the state after it; minus infinity for what cannot be done."""
    table = world.table
    return np.asarray((table.probability * (table.reward + values[table.after])).sum(axis=-1) + table.possible)


def rollout(world: World, policy: Policy) -> Int[np.ndarray, " S"]:
    """The best action now if `policy` decides from the next slot on (one step of rollout; Bertsekas, Tsitsiklis, Wu 1997).

    Where the policy's own action is as good as any, it stays.
    """
    each = action_values(world, evaluate(world, policy)[1])
    own = probabilities(policy).argmax(axis=1)
    rows = np.arange(len(own))
    return np.asarray(np.where(each.max(axis=1) > each[rows, own] + 1e-9, each.argmax(axis=1), own))


def optimum(world: World, start: Policy) -> Int[np.ndarray, " S"]:
    """The best policy in the long run: rollout of rollout of `start`, until nothing changes (policy iteration)."""
    best: Int[np.ndarray, " S"] = probabilities(start).argmax(axis=1)
    while (better := rollout(world, best)).tolist() != best.tolist():
        best = better
    return best


def occupancy(world: World, policy: Policy) -> Float[np.ndarray, " S"]:
    """The share of time that a policy spends in each state."""
    matrix, _ = transitions(world, policy)
    system = (np.eye(len(matrix)) - matrix).T
    system[0] = 1.0
    return np.asarray(np.linalg.solve(system, np.eye(len(matrix))[0]))


def shares_of_ends(world: World, policy: Policy) -> dict[str, float]:
    """The share of requests that end in each way ("in time", "late", "overload", "expired", "blocked"), in the long run."""
    shares: dict[str, float] = {}
    chances = occupancy(world, policy)[:, None] * probabilities(policy)
    for number, action in zip(*np.nonzero(chances > 1e-12), strict=True):
        for outcome in world.outcomes(world.states[number], int(action)):
            for end in outcome.ends:
                shares[end] = shares.get(end, 0.0) + float(chances[number, action]) * outcome.probability / world.arrival
    return shares
