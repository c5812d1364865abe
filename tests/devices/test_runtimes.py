"""The agent in other runtimes: the same answers as here. Those that are not installed are skipped; `make device-test` has all."""

import pytest

from autoglm_lab.benchmarks.peers.environment import call, environment, is_ready
from autoglm_lab.benchmarks.peers.parts import write_parts, write_plain
from autoglm_lab.benchmarks.peers.survey import needs
from autoglm_lab.compress.agent import load_agent
from autoglm_lab.evaluation.success import World, spoken_requests, typed_requests

VERIFIED = ("openvino", "mnn", "litert", "executorch", "ncnn")
APART = 2e-3  # of the size of all scores; MNN approximates a function of the speech encoder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    world = World(4242)
    folder = tmp_path_factory.mktemp("runtimes") / "parts"
    write_parts(load_agent(None), folder, typed_requests(world, 4) + spoken_requests(world, 4, held_out=False))
    return folder


def told_by(name, parts, out):
    return call(python_of(name), "autoglm_lab.benchmarks.peers.compare", parts, out, "--name", name, "--rounds", 0)


def python_of(name):
    if not is_ready(name, needs(name)):
        pytest.skip(f"{name} is not installed: autoglm-lab runtimes --install {name}")
    return environment(name, needs(name))


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


def test_llama_cpp_answers_what_is_typed(tmp_path):
    python = python_of("llamacpp")
    texts = [request.task.text for request in typed_requests(World(4242), 8)]
    write_plain(load_agent(None), tmp_path / "plain", texts)
    told = call(python, "autoglm_lab.benchmarks.peers.llama", tmp_path / "plain", tmp_path / "out", "--rounds", 0)
    assert told["verdict"] == "verified", told.get("why")
    assert told["requests"] == 8 and told["f32"]["same_answers"] == 8
    assert told["f32"]["distance"] < APART and told["q8"]["distance"] < 0.1
    assert 0.2 < told["q8"]["bytes"] / told["f32"]["bytes"] < 0.3
