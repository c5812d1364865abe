"""Learners in a world whose optimum is known, what is seen of a hidden bandwidth, and a policy on a trace."""

import json
from dataclasses import replace

import numpy as np
import pytest

from autoglm_lab.edge.offload import experiment
from autoglm_lab.edge.offload.experiment import fixed_policies, learn, on_traces, report, shares_of_gap
from autoglm_lab.edge.offload.networks import network_world
from autoglm_lab.edge.offload.planning import action_values, evaluate, worth
from autoglm_lab.edge.offload.q_learning import Network, Replay, Settings, network_policy, table_q
from autoglm_lab.edge.offload.replay import replay
from autoglm_lab.edge.offload.simulation import (
    LONGEST_SILENCE,
    Hidden,
    Sampler,
    Visible,
    article_features,
    beliefs,
    by_belief,
    by_last_level,
    full_features,
    play_hidden,
)
from autoglm_lab.edge.offload.world import EDGE, LOCAL, WAIT
from autoglm_lab.edge.trace import Trace
from autoglm_lab.paths import data_dir

QUICK = Settings(steps=1500)


@pytest.fixture(scope="module")
def world():
    return network_world("worse")


@pytest.fixture(scope="module")
def policies(world):
    return fixed_policies(world)


def test_gradients_are_right():
    rng = np.random.default_rng(0)
    network, rows, goal = Network((5, 7, 6, 3), rng), rng.normal(size=(4, 5)), rng.normal(size=(4, 3))

    def loss():
        return 0.5 * ((network(rows) - goal) ** 2).sum()

    outputs = network.activations(rows)
    for weight, gradient in zip(network.weights, network.gradients(outputs, outputs[-1] - goal), strict=True):
        place = tuple(int(rng.integers(size)) for size in weight.shape)
        kept, weight[place] = weight[place], weight[place] + 1e-6
        above = loss()
        weight[place] = kept - 1e-6
        assert (above - loss()) / 2e-6 == pytest.approx(gradient[place], abs=1e-4)
        weight[place] = kept


def test_adam_goes_down():
    rng = np.random.default_rng(1)
    network, rows = Network((3, 16, 16, 2), rng), rng.normal(size=(64, 3))
    goal = np.stack([rows.sum(axis=1), np.abs(rows[:, 0])], axis=1)
    before = ((network(rows) - goal) ** 2).mean()
    for _ in range(400):
        outputs = network.activations(rows)
        network.descend(network.gradients(outputs, (outputs[-1] - goal) / len(rows)), 1e-2)
    assert ((network(rows) - goal) ** 2).mean() < 0.05 * before


def test_memory_forgets_the_oldest():
    memory = Replay(4, 1)
    for number in range(6):
        memory.add(action=np.array([0]), reward=np.array([number]))
    assert sorted(memory.reward) == [2, 3, 4, 5]
    assert set(memory.draw(np.random.default_rng(0), 200)) == {0, 1, 2, 3}


def test_a_network_learns_to_beat_the_greedy_rule(world, policies):
    """With a fifth of the steps of the experiment, and the same each time."""
    policy = learn(world, QUICK, 0)
    assert worth(world, policy) > worth(world, policies["greedy"]) + 0.5
    assert learn(world, QUICK, 0).tolist() == policy.tolist()
    assert shares_of_gap(world, policies, [policy])["DQN"]["mean"] > 0.25


def test_a_network_that_learned_still_takes_every_action(world):
    """A policy that ends as all local or all edge is the fault of many a reward (rajibhossen/edge-offloading, issue 1)."""
    policy = learn(world, QUICK, 0)
    free = np.isfinite(world.table.possible).all(axis=1)
    shares = np.bincount(policy[free], minlength=3) / free.sum()
    assert shares.min() > 0.02, shares


def test_the_worse_world_tells_policies_apart(world, policies):
    """With unlucky parameters every algorithm earns the same, and a comparison says nothing (youchenlong/DRLOFF, issue 3)."""
    earned = sorted(worth(world, policy) for policy in policies.values())
    gap = earned[-1] - worth(world, policies["greedy"])
    assert gap > 0.2 * earned[-1] and len(np.unique(np.round(earned, 2))) == len(earned)


def test_a_table_learns_too(world, policies):
    assert worth(world, table_q(world, Settings(), 0)) > worth(world, policies["least latency"])


def test_only_possible_actions_are_taken(world):
    phones = Sampler(world, 8, 0)
    assert phones.possible()[:, LOCAL].tolist() == [False] * 8, "nobody waits at first"
    with pytest.raises(ValueError, match="cannot be taken"):
        phones.act(np.full(8, EDGE))
    chosen = network_policy(world, Network((full_features(world).shape[1], 4, 3), np.random.default_rng(0)), full_features(world))
    assert np.isfinite(world.table.possible[np.arange(len(chosen)), chosen]).all()


def test_features_tell_states_apart(world):
    assert len(np.unique(full_features(world), axis=0)) == len(world.states)
    assert len(np.unique(article_features(world), axis=0)) < len(world.states) / 10, "three numbers do not"
    assert article_features(world).min() == 0 and article_features(world).max() == 1
    assert Visible(world, 3, 0, article_features).observe().shape == (3, 3)


def test_sending_shows_the_bandwidth(world):
    phones = Hidden(world, 64, 0)
    for _ in range(40):
        level = phones.split[phones.state, 1]
        can = phones.possible()[:, EDGE]
        last = phones.last
        phones.act(np.where(can, EDGE, WAIT))
        assert (phones.last[can] == level[can]).all() and (phones.silence[can] == 1).all()
        assert (phones.last[~can] == last[~can]).all()
    assert phones.silence.max() <= LONGEST_SILENCE and phones.observe()[:, -1].max() <= 1


def test_a_belief_fades(world):
    chances = beliefs(world)
    assert chances.sum(axis=-1) == pytest.approx(1)
    assert (chances[:, 0] == np.eye(4)).all()
    spread = np.abs(chances[0] - chances[3]).sum(axis=-1)
    assert (np.diff(spread) < 0).all(), "the older, the less it says"


def test_the_belief_counts(world, policies):
    ahead = action_values(world, evaluate(world, policies["optimum"])[1])
    weighted = np.mean(play_hidden(world, by_belief(world, ahead), 3, slots=600))
    trusting = np.mean(play_hidden(world, by_last_level(world, ahead), 3, slots=600))
    assert trusting + 1 < weighted < worth(world, policies["optimum"])


def flat(mbit):
    return Trace("flat", np.array([0.0, 60.0]), np.array([0.0, 60 * mbit * 125_000]))


def test_a_replay_on_a_flat_trace_is_what_arithmetic_says(world, policies):
    quick = replay(world, policies["always edge"], flat(100.0), 2000, 0)
    assert quick == pytest.approx(10, abs=0.02), "but for the last request"
    assert replay(world, policies["always edge"], flat(0.3), 2000, 0) < -7
    assert replay(world, policies["optimum"], flat(100.0), 2000, 0) > 9


def test_requests_meet_the_same_fate_in_each_replay(world, policies):
    assert replay(world, policies["greedy"], flat(1.0), 500, 3) == replay(world, policies["greedy"], flat(1.0), 500, 3)


def test_traces_are_tried_on_each_other(world):
    traces = {}
    for seed, name in enumerate(("one", "two")):
        rates = world.link.sample(400, seed)
        traces[name] = Trace(name, np.arange(401.0), np.concatenate(([0.0], np.cumsum(rates) * 125_000)))
    with pytest.raises(ValueError, match="no second lies in level"):
        on_traces(traces)  # the shipped chain has four rates only, six levels want more
    for name, trace in traces.items():
        jitter = np.random.default_rng(0).uniform(0.5, 1.5, 401)
        traces[name] = replace(trace, total_bytes=np.cumsum(np.diff(trace.total_bytes, prepend=0) * jitter))
    results = on_traces(traces)
    assert set(results) == {"one", "two"} and "planned on two" in results["one"]
    for row in results["one"].values():
        assert row["on the trace"]["low"] <= row["on the trace"]["mean"] <= row["on the trace"]["high"]


def test_the_shipped_report_reaches_what_was_asked():
    figures = json.loads((data_dir() / "reports" / "edge" / "offload.json").read_text("utf-8"))
    kind, worse = figures["worlds"]["kind"], figures["worlds"]["worse"]
    assert figures["seeds"] >= 10
    assert kind["learners"]["DQN"]["mean"] >= 0.97 * kind["fixed"]["optimum"], "within 3 % of the optimum"
    assert worse["learners"]["DQN"]["low"] > worse["fixed"]["greedy"], "above greedy, with its interval"
    assert worse["gap"]["one rollout step over greedy"] >= 0.8
    for name, now in figures["worlds"].items():
        world = network_world(name)
        assert now["fixed"] == pytest.approx({each: worth(world, policy) for each, policy in fixed_policies(world).items()})


def test_report_of_one_seed_has_every_figure(monkeypatch):
    monkeypatch.setattr(experiment, "PLAY_SEEDS", 2)
    monkeypatch.setattr(experiment, "Settings", lambda **changes: Settings(steps=60, **changes))
    figures = report(seeds=1)
    assert set(figures["worlds"]) == {"kind", "worse"} and figures["drift"]["optimum of the kind world"] < 10
