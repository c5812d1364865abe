"""One world for simulator and optimum: probabilities add up, what is sampled meets what is computed, nothing beats the optimum."""

from dataclasses import replace

import numpy as np
import pytest

from autoglm_lab.edge.offload.networks import network_world, slots
from autoglm_lab.edge.offload.planning import evaluate, occupancy, optimum, rollout, shares_of_ends, tabulate, worth
from autoglm_lab.edge.offload.policies import always, at_random, greedy, least_latency, threshold, tuned_threshold
from autoglm_lab.edge.offload.simulation import Sampler
from autoglm_lab.edge.offload.world import ARTICLES, EDGE, LOCAL, WAIT, Rewards, State, World
from autoglm_lab.edge.trace import LTE, UMTS, Levels


@pytest.fixture(scope="module", params=["kind", "worse"])
def world(request):
    return network_world(request.param)


@pytest.fixture(scope="module")
def base(world):
    return tabulate(world, greedy)


@pytest.fixture(scope="module")
def best(world, base):
    return optimum(world, base)


def test_everything_that_may_happen_adds_up(world):
    for state in world.states[::7]:
        for action in world.actions(state):
            possible = world.outcomes(state, action)
            assert sum(each.probability for each in possible) == pytest.approx(1) and all(
                each.state in world.number for each in possible
            )


def test_nothing_beats_the_optimum(world, base, best):
    reward = worth(world, best)
    others = [tabulate(world, rule) for rule in (least_latency, always(LOCAL), always(EDGE), always(WAIT))]
    others += [base, at_random(world), tuned_threshold(world), rollout(world, base)]
    assert max(worth(world, policy) for policy in others) <= reward + 1e-9
    assert optimum(world, at_random(world)).tolist() != others[0].tolist()
    assert worth(world, optimum(world, at_random(world))) == pytest.approx(reward), "wherever one starts"


def test_the_optimum_satisfies_its_equation(world, best):
    """Bellman's equation, with outcomes summed one by one as the simulator samples them."""
    average, values = evaluate(world, best)
    for number in range(0, len(world.states), 11):
        state = world.states[number]
        each = [
            sum(o.probability * (o.reward + values[world.number[o.state]]) for o in world.outcomes(state, action))
            for action in world.actions(state)
        ]
        assert max(each) == pytest.approx(average + values[number], abs=1e-6)


def test_rollout_is_at_least_as_good_as_its_base(world, base):
    assert worth(world, rollout(world, base)) >= worth(world, base) - 1e-9


def test_what_is_sampled_meets_what_is_computed(world, best):
    exact, slots, copies = worth(world, best), 1500, 64
    rewards = []
    for seed in range(6):
        phones = Sampler(world, copies, seed)
        rewards.append(sum(phones.act(best[phones.state]).mean() for _ in range(slots)) / slots / world.arrival)
    assert abs(np.mean(rewards) - exact) < 3 * np.std(rewards, ddof=1) / np.sqrt(len(rewards)) + 0.02


def test_time_is_shared_and_requests_end_once(world, best):
    assert occupancy(world, best).sum() == pytest.approx(1) and occupancy(world, best).min() > -1e-12
    shares = shares_of_ends(world, best)
    assert sum(shares.values()) == pytest.approx(1), "every request ends in exactly one way"
    price = vars(world.rewards) | {"in time": world.rewards.in_time, "late": world.rewards.failed}
    assert sum(share * price[end] for end, share in shares.items()) == pytest.approx(worth(world, best))


def test_random_is_the_mean_of_its_actions(world):
    policy = at_random(world)
    assert policy.sum(axis=1) == pytest.approx(1) and (policy[np.isinf(world.table.possible)] == 0).all()


def test_waiting_that_costs_nothing_is_used(world, best):
    theirs = replace(world, rewards=ARTICLES)
    hacked = optimum(theirs, best)
    assert worth(theirs, hacked) > worth(theirs, best) and worth(world, hacked) < worth(world, best)
    assert shares_of_ends(world, hacked)["expired"] > shares_of_ends(world, best).get("expired", 0.0) + 0.01


def test_least_latency_is_what_it_says():
    world = network_world("kind")
    assert least_latency(world, State(0, 3, 0, 0, 1)) in (LOCAL, EDGE)
    assert least_latency(world, State(2, 3, 0, 0, 1)) == EDGE and least_latency(world, State(0, 0, 0, 3, 1)) == LOCAL


def test_threshold_rule():
    world = network_world("kind")
    rule = threshold(level=2, most_radio=0, most_local=2)
    assert rule(world, State(0, 2, 0, 0, 1)) == EDGE and rule(world, State(0, 1, 0, 0, 1)) == LOCAL
    assert rule(world, State(0, 2, 0, 1, 1)) == LOCAL and rule(world, State(2, 1, 0, 0, 1)) == WAIT


def test_measured_times_make_the_world():
    world = network_world("kind")
    assert slots(0.2) == 1 and slots(0.201) == 2 and slots(0.0) == 1
    assert world.service[0] == slots(0.304) and list(world.service) == sorted(world.service)
    with pytest.raises(ValueError, match="no world 'nice'"):
        network_world("nice")


def test_ends_of_a_request():
    world = World()
    full = State(load=2, bandwidth=0, local=6, radio=0, age=1)
    assert {each.ends for each in world.outcomes(full, LOCAL)} == {("overload",)}
    old = State(load=0, bandwidth=3, local=0, radio=0, age=world.deadline)
    assert {each.ends for each in world.outcomes(old, WAIT)} == {("expired",)}
    assert {each.ends for each in world.outcomes(State(0, 3, 0, 0, 1), LOCAL)} == {("in time",)}
    assert ("blocked",) in {each.ends for each in world.outcomes(State(0, 3, 0, 0, 1), WAIT)}
    late = {each.ends: each.reward for each in world.outcomes(State(0, 0, 0, 4, 5), EDGE)}
    assert late == {("late",): -8.0}, "the radio is not free before the deadline"
    with pytest.raises(ValueError, match="local cannot be done"):
        world.outcomes(State(0, 0, 0, 0, 0), LOCAL)


def test_the_chance_to_send_in_time():
    sure = World(link=Levels((0.5,), (0.1, 1.0), ((1.0, 0.0), (0.0, 1.0))), kbit=50)
    assert sure.sends_within[0].tolist() == [0, 0, 0, 0, 0, 1] and sure.sends_within[1].tolist() == [0, 1, 1, 1, 1, 1]
    chance = World().sends_within
    assert (np.diff(chance, axis=1) >= -1e-12).all() and (np.diff(chance, axis=0) >= -1e-12).all(), "more time, a better network"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"link": replace(UMTS, chain=((0.5, 0.4), (0.0, 1.0)))}, "link.chain has to be 4 x 4"),
        ({"load_chain": ((1.0,),)}, "load_chain has to be 3 x 3"),
        ({"link": Levels((1.0,), (1.0, 2.0), ((1.5, -0.5), (0.0, 1.0)))}, "link.chain has to be 2 x 2"),
        ({"link": replace(LTE, mbit=(0.0, 1.0, 2.0, 3.0))}, "rates of the link"),
        ({"arrival": 0}, "arrival is 0"),
        ({"slot_s": 0}, "slot_s 0"),
        ({"deadline": 0}, "deadline"),
        ({"kbit": -1}, "kbit"),
        ({"rewards": Rewards(in_time=float("nan"))}, "reward is no number"),
    ],
)
def test_a_world_that_cannot_be_is_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        World(**change)
