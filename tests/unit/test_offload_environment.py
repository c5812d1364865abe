"""The offloading world as other libraries see it."""

import numpy as np
import pytest

from autoglm_lab.edge.offload.networks import network_world
from autoglm_lab.edge.offload.planning import tabulate, worth
from autoglm_lab.edge.offload.policies import least_latency
from autoglm_lab.edge.offload.world import EDGE, WAIT

pytest.importorskip("gymnasium")


@pytest.fixture(scope="module")
def world():
    return network_world("worse")


def make(world, slots=500):
    from autoglm_lab.edge.offload.environment import OffloadingEnv

    return OffloadingEnv(world, slots)


def test_the_library_accepts_it(world):
    from gymnasium.utils.env_checker import check_env

    check_env(make(world), skip_render_check=True)


def test_an_episode_is_cut_and_never_ends(world):
    env = make(world, slots=3)
    env.reset(seed=0)
    ends = [env.step(WAIT)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_what_cannot_be_done_waits(world):
    env = make(world)
    _, info = env.reset(seed=0)
    assert info["possible"].tolist() == [False, False, True]
    assert env.step(np.int64(EDGE))[1] == 0.0, "nobody waits, so nothing is sent"


def test_it_is_the_same_world(world):
    policy, env, total, slots = tabulate(world, least_latency), make(world, 6000), 0.0, 6000
    env.reset(seed=1)
    for _ in range(slots):
        total += env.step(policy[env.phone.state[0]])[1]
    assert total / slots / world.arrival == pytest.approx(worth(world, policy), abs=0.6)
