"""One world for simulator and optimum: probabilities add up, what is sampled meets what is computed, nothing beats the optimum."""

import numpy as np
import pytest

from autoglm_lab.edge.offload import (
    ARTICLES,
    EDGE,
    LOCAL,
    LTE_MBIT,
    LTE_UP,
    WAIT,
    Rewards,
    State,
    World,
    always,
    greedy,
    optimum,
    play,
    tabulated,
    worth,
)


@pytest.fixture(scope="module", params=["kind", "worse"])
def world(request):
    return World(arrival=0.4, kbit=160, chain=LTE_UP, mbit=LTE_MBIT) if request.param == "kind" else World(arrival=0.5, kbit=300)


def test_everything_that_may_happen_adds_up(world):
    for state in world.states[::7]:
        for action in world.actions(state):
            possible = world.outcomes(state, action)
            assert sum(each.probability for each in possible) == pytest.approx(1) and all(
                each.state in world.number for each in possible
            )


def test_the_optimum_is_worth_what_it_says_and_nothing_beats_it(world):
    best, reward = optimum(world, 1e-9)
    assert worth(world, best) == pytest.approx(reward, abs=1e-4)
    others = {rule: worth(world, tabulated(world, rule)) for rule in (greedy, always(LOCAL), always(EDGE), always(WAIT))}
    assert max(others.values()) <= reward + 1e-6
    assert others[greedy] > 0.9 * reward


def test_what_is_sampled_meets_what_is_computed(world):
    policy = tabulated(world, greedy)
    exact, slots = worth(world, policy), 20_000
    sampled = [play(world, policy, slots, seed)[0] / (slots * world.arrival) for seed in range(8)]
    assert abs(np.mean(sampled) - exact) < 3 * np.std(sampled, ddof=1) / np.sqrt(len(sampled)) + 1e-9


def test_waiting_that_costs_nothing_is_used(world):
    free = World(arrival=world.arrival, kbit=world.kbit, chain=world.chain, mbit=world.mbit, rewards=ARTICLES)
    hacked, _ = optimum(free)
    honest, best = optimum(world)
    assert worth(world, hacked) <= best + 1e-6
    assert (hacked != honest).any(), "what the articles reward is another policy"


def test_ends_of_a_request():
    world = World()
    full = State(load=2, bandwidth=0, local=6, radio=0, age=1)
    assert {each.what for each in world.outcomes(full, LOCAL)} == {"overload"}
    old = State(load=0, bandwidth=3, local=0, radio=0, age=world.deadline)
    assert {each.what.split()[0] for each in world.outcomes(old, WAIT)} == {"expired"}
    assert {each.what for each in world.outcomes(State(0, 3, 0, 0, 1), LOCAL)} == {"in time"}
    late = {each.what: each.reward for each in world.outcomes(State(0, 0, 0, 4, 5), EDGE)}
    assert late == {"late": -8.0}, "the radio is not free before the deadline"
    with pytest.raises(ValueError, match="local cannot be done"):
        world.outcomes(State(0, 0, 0, 0, 0), LOCAL)


def test_the_chance_to_send_in_time():
    sure = World(chain=((1.0, 0.0), (0.0, 1.0)), mbit=(0.1, 1.0), kbit=50)
    assert sure.sends_within[0].tolist() == [0, 0, 0, 0, 0, 1] and sure.sends_within[1].tolist() == [0, 1, 1, 1, 1, 1]
    chance = World().sends_within
    assert (np.diff(chance, axis=1) >= -1e-12).all() and (np.diff(chance, axis=0) >= -1e-12).all(), "more time, a better network"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chain": ((0.5, 0.4), (0.0, 1.0))}, "chain has to be"),
        ({"load_chain": ((1.0,),)}, "load_chain has to be 3 x 3"),
        ({"chain": ((1.5, -0.5), (0.0, 1.0)), "mbit": (1.0, 2.0)}, "chain has to be 2 x 2"),
        ({"arrival": 0}, "arrival lies"),
        ({"deadline": 0}, "deadline"),
        ({"kbit": -1}, "kbit"),
        ({"rewards": Rewards(in_time=float("nan"))}, "reward is no number"),
    ],
)
def test_a_world_that_cannot_be_is_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        World(**change)
