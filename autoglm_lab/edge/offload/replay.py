"""A policy on a real trace: the chain that it was planned with is a model, the trace is what happened."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int

from autoglm_lab.edge.offload.world import EDGE, WAIT, State, World
from autoglm_lab.edge.trace import Trace


def replay(world: World, policy: Int[np.ndarray, " S"], trace: Trace, slots: int, seed: int) -> float:
    """The reward of a policy for each request of so many slots, from a random second of the trace on.

    The policy sees the level of the present second's mean rate. A request is in time if its last byte really passed early enough;
    loads and arrivals are those of the seed, whatever the policy does.
    """
    exogenous = np.random.default_rng(seed)
    start = float(exogenous.uniform(0, trace.period_s))
    loads = _walk(np.array(world.load_chain), slots, exogenous)
    came = exogenous.random(slots) < world.arrival
    rates = trace.rates()
    local = age = 0
    free_at = start
    total = 0.0
    for slot in range(slots):
        now = start + slot * world.slot_s
        level = int(world.link.level(rates[int(now) % len(rates)]))
        radio = min(world.most_radio, math.ceil(max(0.0, free_at - now) / world.slot_s - 1e-9))
        state = State(int(loads[slot]), level, local, radio, age)
        action = int(policy[world.number[state]]) if age else WAIT
        ends, local, _, age_after = world.ends_of(state, action)
        if action == EDGE:
            begin = max(now, free_at)
            free_at = begin + trace.seconds_to_send(begin, world.kbit * 125)
            due = now + (world.deadline - (age - 1) - world.away) * world.slot_s
            total += world.rewards.in_time if free_at <= due + 1e-9 else world.rewards.failed
        else:
            total += ends[0][1]  # here nothing is left to chance
        total += world.rewards.blocked if came[slot] and age_after else 0.0
        local, age = max(0, local - 1), age_after if age_after else int(came[slot])
    return total / max(1, int(came.sum()))


def _walk(chain: np.ndarray, count: int, rng: np.random.Generator) -> Int[np.ndarray, " T"]:
    """States of a chain from its first on."""
    limits, draws, state, states = chain.cumsum(axis=1), rng.random(count), 0, np.zeros(count, np.int64)
    for step, draw in enumerate(draws):
        states[step] = state
        state = min(int(np.searchsorted(limits[state], draw, side="right")), len(chain) - 1)
    return states
