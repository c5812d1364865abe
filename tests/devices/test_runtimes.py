"""The agent in other runtimes: the same answers as here. Those that are not installed are skipped; `make device-test` has all."""

import pytest

from autoglm_lab.compress.agent import load_agent
from autoglm_lab.peers.environment import call, environment, is_ready
from autoglm_lab.peers.parts import write_parts
from autoglm_lab.peers.runtimes import PEERS
from autoglm_lab.training.evaluation import World, spoken_requests, typed_requests

VERIFIED = ("openvino", "mnn", "litert", "executorch", "ncnn")
APART = 2e-3  # of the size of all scores; MNN approximates a function of the speech encoder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    world = World(4242)
    folder = tmp_path_factory.mktemp("runtimes") / "parts"
    write_parts(load_agent(None), folder, typed_requests(world, 4) + spoken_requests(world, 4, held_out=False))
    return folder


def told_by(name, parts, out):
    needs = PEERS[name]().wanted()
    if not is_ready(name, needs):
        pytest.skip(f"{name} is not installed: autoglm-lab runtimes --install {name}")
    return call(environment(name, needs), "autoglm_lab.peers.compare", name, parts, out, "--rounds", 0)


@pytest.mark.parametrize("name", VERIFIED)
def test_the_agent_answers_as_here(parts, tmp_path, name):
    told = told_by(name, parts, tmp_path / name)
    assert told["verdict"] == "verified", told.get("why")
    assert told["requests"] == 8 and told["same_answers"] == 8
    assert told["distance"] < APART
    assert 20e6 < told["bytes"] < 120e6


def test_core_ml_converts_all_of_it(parts, tmp_path):
    told = told_by("coreml", parts, tmp_path / "coreml")
    assert told["verdict"] in ("converts", "verified"), told.get("why")
    assert 20e6 < told["bytes"] < 60e6, "16 bits"


def test_tensorrt_knows_every_operator(parts, tmp_path):
    told = told_by("tensorrt", parts, tmp_path / "tensorrt")
    assert told["verdict"] in ("needs hardware", "verified"), told.get("why")
