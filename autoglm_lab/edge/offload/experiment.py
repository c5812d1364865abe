"""The offloading experiment: every policy in both worlds, exactly; learners over seeds; and what the articles' rewards lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from autoglm_lab.edge.measured import CLOUD_FACTOR, PHONE_FACTOR
from autoglm_lab.edge.offload.networks import ARRIVAL_PER_S, DEADLINE_S, NETWORKS, ROUND_TRIP_S, network_world, picture_bytes
from autoglm_lab.edge.offload.planning import Policy, action_values, evaluate, optimum, rollout, shares_of_ends, tabulate, worth
from autoglm_lab.edge.offload.policies import always, at_random, expected_rewards, greedy, least_latency, tuned_threshold
from autoglm_lab.edge.offload.q_learning import Settings, deep_q, network_policy, table_q
from autoglm_lab.edge.offload.replay import replay
from autoglm_lab.edge.offload.simulation import (
    LONGEST_SILENCE,
    Features,
    Hidden,
    Visible,
    article_features,
    by_belief,
    by_last_level,
    full_features,
    play_hidden,
)
from autoglm_lab.edge.offload.world import ARTICLES, EDGE, LOCAL, World
from autoglm_lab.edge.race import Interval
from autoglm_lab.edge.trace import Trace, fit

SEEDS = 10  # of training
PLAY_SEEDS = 20  # of what is sampled
DEADLINES_S = (0.6, 0.8, 1.0)
REPLAY_SLOTS = 5000
Progress = Callable[[Iterable[str]], Iterable[str]]
OPTIMUM, GREEDY, LATENCY, ROLLOUT = "optimum", "greedy", "least latency", "one rollout step over greedy"
DQN = "DQN"


def fixed_policies(world: World) -> dict[str, Policy]:
    """All policies that learn nothing, and the optimum."""
    base = tabulate(world, greedy)
    return {
        "random": at_random(world),
        "always local": tabulate(world, always(LOCAL)),
        "always edge": tabulate(world, always(EDGE)),
        "tuned threshold": tuned_threshold(world),
        GREEDY: base,
        LATENCY: tabulate(world, least_latency),
        ROLLOUT: rollout(world, base),
        OPTIMUM: optimum(world, base),
    }


def learn(world: World, settings: Settings, seed: int, features: Features = full_features) -> Int[np.ndarray, " S"]:
    """The policy that a DQN learns in one run."""
    environment = Visible(world, settings.copies, seed, features)
    return network_policy(world, deep_q(environment, settings, seed), features(world))


LEARNERS: Mapping[str, Callable[[World, int], Policy]] = {
    DQN: lambda world, seed: learn(world, Settings(), seed),
    "DQN, discount 0": lambda world, seed: learn(world, Settings(discount=0.0), seed),
    "DQN, the articles' three numbers": lambda world, seed: learn(world, Settings(), seed, article_features),
    "table of action values": lambda world, seed: table_q(world, Settings(), seed),
}


def interval(values: Iterable[float]) -> dict[str, float]:
    """A mean with its interval over seeds."""
    return asdict(Interval.of(values))


def report(seeds: int = SEEDS, progress: Progress = iter) -> dict[str, Any]:
    """Run the whole experiment: about ten minutes on one core with ten seeds."""
    figures: dict[str, Any] = {
        "seeds": seeds,
        "play_seeds": PLAY_SEEDS,
        "arrival_per_s": ARRIVAL_PER_S,
        "deadline_s": DEADLINE_S,
        "round_trip_s": ROUND_TRIP_S,
        "picture_bytes": picture_bytes(),
        "phone_factor": PHONE_FACTOR,
        "cloud_factor": CLOUD_FACTOR,
        "worlds": {},
    }
    for name in progress(list(NETWORKS)):
        world = network_world(name)
        policies = fixed_policies(world)
        runs = {each: [make(world, seed) for seed in range(seeds)] for each, make in LEARNERS.items()}
        figures["worlds"][name] = {
            "service": world.service,
            "away": world.away,
            "fixed": {each: worth(world, policy) for each, policy in policies.items()},
            "learners": {learner: interval(worth(world, policy) for policy in each) for learner, each in runs.items()},
            "gap": shares_of_gap(world, policies, runs[DQN]),
            "ends": {each: shares_of_ends(world, policies[each]) for each in (GREEDY, LATENCY, OPTIMUM)},
            "hidden": _hidden_bandwidth(world, policies[OPTIMUM], seeds),
            "free_waiting": free_waiting(world, policies[OPTIMUM]),
            "deadlines": {f"{seconds:g}": by_deadline(name, seconds) for seconds in DEADLINES_S},
        }
    figures["drift"] = drift(seeds)
    return figures


def shares_of_gap(world: World, policies: Mapping[str, Policy], learned: Iterable[Policy]) -> dict[str, Any]:
    """Share of the way from greedy to the optimum that a DQN, least latency and one rollout step go: 1 is the optimum."""
    low, high = worth(world, policies[GREEDY]), worth(world, policies[OPTIMUM])

    def share(policy: Policy) -> float:
        return (worth(world, policy) - low) / (high - low)

    return {DQN: interval(map(share, learned)), LATENCY: share(policies[LATENCY]), ROLLOUT: share(policies[ROLLOUT])}


def _hidden_bandwidth(world: World, best: Policy, seeds: int) -> dict[str, Any]:
    """Rewards where the bandwidth is seen only in the slot in which something is sent."""
    now = np.array([expected_rewards(world, state) for state in world.states]) + world.table.possible
    ahead = action_values(world, evaluate(world, best)[1])
    policies = {
        "greedy on the level seen last": by_last_level(world, now),
        "greedy on the belief": by_belief(world, now),
        "optimum on the level seen last": by_last_level(world, ahead),
        "QMDP": by_belief(world, ahead),
    }
    scores = {name: interval(play_hidden(world, policy, PLAY_SEEDS)) for name, policy in policies.items()}
    networks = [_hidden_policy(world, seed) for seed in range(seeds)]
    return scores | {DQN: interval(float(np.mean(play_hidden(world, each, 4))) for each in networks)}


def _hidden_policy(world: World, seed: int) -> Int[np.ndarray, "D L R U"]:
    """The policy that a DQN learns from the level seen last and the silence since."""
    settings = Settings()
    network = deep_q(Hidden(world, settings.copies, seed), settings, seed)
    loads, levels, features = len(world.service), len(world.link.mbit), full_features(world)
    each = []
    for silence in range(LONGEST_SILENCE + 1):
        rows = np.hstack([features, np.full((len(features), 1), silence / LONGEST_SILENCE)])
        each.append((network(rows) + world.table.possible).argmax(axis=1).reshape(loads, levels, -1))
    return np.stack(each, axis=-1)


def free_waiting(world: World, best: Policy) -> dict[str, Any]:
    """The optimum of the articles' rewards, which price neither expiry nor blocking, by their count and by the honest one."""
    theirs = replace(world, rewards=ARTICLES)
    hacked = optimum(theirs, best)
    return {
        "by_their_count": worth(theirs, hacked),
        "honest_policy_by_their_count": worth(theirs, best),
        "by_honest_count": worth(world, hacked),
        "honest_policy": worth(world, best),
        "ends": shares_of_ends(world, hacked),
        "honest_ends": shares_of_ends(world, best),
    }


def by_deadline(name: str, seconds: float) -> dict[str, float]:
    """The rewards of rules and optimum under another deadline."""
    world = network_world(name, deadline_s=seconds)
    base = tabulate(world, greedy)
    return {
        GREEDY: worth(world, base),
        LATENCY: worth(world, tabulate(world, least_latency)),
        OPTIMUM: worth(world, optimum(world, base)),
    }


def drift(seeds: int) -> dict[str, Any]:
    """Policies that were planned or learned in the kind world, in the worse one."""
    kind, worse = network_world("kind"), network_world("worse")
    kind_optimum = optimum(kind, tabulate(kind, greedy))
    return {
        "optimum of the kind world": worth(worse, kind_optimum),
        "optimum of the worse world": worth(worse, optimum(worse, kind_optimum)),
        "DQN of the kind world": interval(worth(worse, learn(kind, Settings(), seed)) for seed in range(seeds)),
        LATENCY: worth(worse, tabulate(worse, least_latency)),
    }


FINE_EDGES = (0.1, 0.5, 0.75, 1.0, 1.25)  # Mbit/s between six levels, where the world has four


def on_traces(traces: Mapping[str, Trace]) -> dict[str, Any]:
    """Policies planned with a chain that is fitted to one trace, on this trace and the others; and what the chain promised."""
    coarse = {name: _fitted(trace, NETWORKS["worse"].edges) for name, trace in traces.items()}
    fine = {name: _fitted(trace, FINE_EDGES) for name, trace in traces.items()}
    results: dict[str, Any] = {}
    for name, trace in traces.items():
        plans = {f"planned on {other}": (coarse[name], _plan(world)) for other, world in coarse.items()}
        plans["planned on it, six levels"] = (fine[name], _plan(fine[name]))
        plans |= {rule: (coarse[name], tabulate(coarse[name], way)) for rule, way in ((GREEDY, greedy), (LATENCY, least_latency))}
        results[name] = {
            each: {
                "by the chain": worth(world, policy),
                "on the trace": interval(replay(world, policy, trace, REPLAY_SLOTS, seed) for seed in range(PLAY_SEEDS)),
            }
            for each, (world, policy) in plans.items()
        }
    return results


def _fitted(trace: Trace, edges: tuple[float, ...]) -> World:
    return replace(network_world("worse"), link=fit(trace.rates(), edges))


def _plan(world: World) -> Policy:
    return optimum(world, tabulate(world, greedy))
