"""The portable graphs against the model, and what is told of runtimes that fail or need something else."""

import pathlib
import subprocess
import tomllib
from unittest.mock import ANY

import numpy as np
import pytest
import torch

import autoglm_lab.benchmarks.peers.compare as compare_module
from autoglm_lab.benchmarks.peers.compare import Parts, compare, race, report
from autoglm_lab.benchmarks.peers.environment import environment, is_ready
from autoglm_lab.benchmarks.peers.findings import described, read, table
from autoglm_lab.benchmarks.peers.parts import write_parts
from autoglm_lab.benchmarks.peers.runtimes import PEERS, TENSORRT_OPERATORS, OnnxRuntime, Peer, TensorRt, gpus
from autoglm_lab.benchmarks.peers.survey import KNOWN, LLAMA
from autoglm_lab.cli import main
from autoglm_lab.compress.agent import load_agent
from autoglm_lab.compress.recipe import Recipe, apply, named
from autoglm_lab.evaluation.success import World, spoken_requests, typed_requests
from autoglm_lab.export.portable import MEL_FRAMES, ROOM, portable_parts
from autoglm_lab.model.engine import TorchEngine

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Bodies(OnnxRuntime):
    """ONNX Runtime as a runtime that has no integers."""

    parts = ("image", "audio_body", "step_body")


@pytest.fixture(scope="module")
def agent():
    return load_agent(None)


@pytest.fixture(scope="module")
def requests():
    world = World(4243)
    return typed_requests(world, 2) + spoken_requests(world, 2, held_out=False)


@pytest.fixture(scope="module")
def parts(agent, requests, tmp_path_factory):
    folder = tmp_path_factory.mktemp("portable") / "parts"
    write_parts(agent, folder, requests)
    return Parts.read(folder)


def host_of(peer, parts, out):
    out.mkdir(exist_ok=True)
    return parts.host(peer, parts.convert(peer, out), threads=2)


@pytest.mark.parametrize("peer", [OnnxRuntime(), Bodies()], ids=["with look-ups", "bodies"])
def test_portable_graphs_give_the_scores_and_the_answers_of_the_model(parts, tmp_path, peer):
    found = compare(parts, host_of(peer, parts, tmp_path))
    assert found["requests"] == 4 and found["same_answers"] == 4
    assert 0 < found["distance"] < 1e-5 and found["scores_apart"] < 1e-3


def test_answers_are_those_of_the_engine(agent, parts, requests, tmp_path):
    host = host_of(OnnxRuntime(), parts, tmp_path)
    for request, case in zip(requests, parts.cases(), strict=True):
        spoken = request.audio is not None
        wanted = agent.answer(
            "" if spoken else request.task.text, request.image, request.audio, current_app=request.app, last=request.last
        ).answer
        states, _ = host.remember(case["pixels"], case["mel"] if spoken else None)
        said = host.write(states, case["prompt"].tolist(), parts.facts["end"], ROOM)
        assert agent.processor.tokenizer.decode(said) == wanted.text


def test_a_step_that_is_wrong_is_seen(parts, tmp_path):
    host = host_of(OnnxRuntime(), parts, tmp_path)
    good = host.step
    host.step = lambda given: good({**given, "place": given["place"] + 1})
    assert compare(parts, host)["distance"] > 1e-3


class Program(OnnxRuntime):
    """The files of PyTorch's own kind, run by PyTorch."""

    source, ending = "pt2", ".pt2"

    def open(self, path, inputs, outputs, threads):
        module = torch.export.load(path).module()

        def call(given):
            found = module(*(torch.from_numpy(np.ascontiguousarray(given[name])) for name in inputs))
            return {name: value.detach().numpy() for name, value in zip(outputs, found, strict=True)}

        return call


def test_programs_hold_the_same_weights(parts, tmp_path):
    found = compare(parts, host_of(Program(), parts, tmp_path))
    assert found["same_answers"] == 4 and found["distance"] < 1e-5


def test_pruned_and_factorised_agents_are_portable(agent, requests, tmp_path):
    made, _ = apply(agent.model, Recipe("thin", channels=0.2, rank=0.7), agent.example())
    write_parts(TorchEngine(made, agent.processor), tmp_path / "parts", requests[:1])
    thin = Parts.read(tmp_path / "parts")
    assert thin.inputs("step")["past_key_0"] != [1, 2, ROOM, 64] or thin.folder.joinpath("step.onnx").stat().st_size < 40e6
    for peer in (OnnxRuntime(), Program()):
        assert compare(thin, host_of(peer, thin, tmp_path / peer.source))["distance"] < 1e-4


def test_packed_integers_and_lengths_without_sense_are_refused(agent):
    packed, _ = apply(agent.model, named("int8"), agent.example())
    with pytest.raises(ValueError, match=r"layer '.+' holds packed integers; give the agent in floats"):
        portable_parts(packed)
    for wrong in ({"room": 0}, {"room": 4096}, {"mel_frames": 10}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            portable_parts(agent.model, **wrong)


def test_too_long_a_sound_is_refused_and_too_long_an_answer_ends(parts, tmp_path):
    host = host_of(OnnxRuntime(), parts, tmp_path)
    case = parts.cases()[0]
    with pytest.raises(ValueError, match=f"{MEL_FRAMES + 1} frames; at most {MEL_FRAMES}"):
        host.remember(case["pixels"], np.zeros((MEL_FRAMES + 1, 80), np.float32))
    states, _ = host.remember(case["pixels"], None)
    prompt = case["prompt"].tolist()
    said = host.write(states, prompt, end=-1, most=ROOM)
    assert len(prompt) + len(said) == ROOM + 1, "the last token is not read any more"


def test_a_race_goes_in_turns(monkeypatch):
    now, order = [0.0], []

    def way(name, seconds):
        if order[-1:] != [name]:
            order.append(name)
        now[0] += seconds

    monkeypatch.setattr(compare_module, "perf_counter", lambda: now[0])
    found = race({"same_file": lambda: way("same_file", 0.002), "twice": lambda: way("twice", 0.004)}, rounds=3)
    assert order == ["same_file", "twice"] * 4, "the first turn is a warm-up"
    assert found["step_ms"]["same_file"]["median"] == pytest.approx(2) and found["step_ms"]["twice"]["runs"] == 3
    assert found["ratios"] == {"same_file_vs_twice": {"median": pytest.approx(2), "lo": ANY, "hi": ANY, "runs": 3}}


def test_all_operators_are_known_to_tensorrt_and_a_strange_one_is_named(parts, tmp_path):
    import onnx

    for part in TensorRt.parts:
        kinds = {node.op_type for node in onnx.load(parts.folder / f"{part}.onnx").graph.node}
        assert kinds <= set(TENSORRT_OPERATORS.split()), part
    strange = onnx.load(parts.folder / "image.onnx")
    strange.graph.node[0].op_type = "Unheard"
    onnx.save(strange, tmp_path / "strange.onnx")
    with pytest.raises(ValueError, match="does not know Unheard"):
        TensorRt().convert(tmp_path / "strange.onnx", tmp_path / "plan", {})


@pytest.mark.skipif(bool(gpus()), reason="there is a GPU")
def test_without_a_gpu_tensorrt_says_what_it_needs(parts, tmp_path):
    told = report("tensorrt", parts.folder, tmp_path / "out", threads=1, rounds=0)
    assert told["verdict"] == "needs hardware" and told["hardware"] == "an NVIDIA GPU"
    assert all(f"{part}: " in told["known"] for part in TensorRt.parts)
    assert "needs an NVIDIA GPU" in described(told)


def test_a_runtime_that_fails_says_where_and_why(parts, tmp_path, monkeypatch):
    class Broken(Peer):
        title, needs, ending = "Broken", ("numpy",), ".x"

        def convert(self, source, out, inputs):
            raise ValueError("no room for a Gelu")

        def open(self, path, inputs, outputs, threads):
            raise AssertionError

    monkeypatch.setitem(compare_module.PEERS, "broken", Broken)
    told = report("broken", parts.folder, tmp_path / "out", threads=1, rounds=0)
    assert told["verdict"] == "fails" and told["why"] == "converting: ValueError: no room for a Gelu"
    assert "distance" not in told and "fails, converting" in described(told)


def test_extras_are_what_the_environments_hold():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, peer in PEERS.items():
        assert sorted(extras[name]) == sorted(peer.needs + getattr(peer, "gpu_needs", ()))


def test_an_environment_of_a_checkout_that_is_gone_stands_on_this_one(tmp_path):
    python = environment("empty", [], tmp_path)
    [pointer] = tmp_path.rglob("above.pth")
    right = pointer.read_text()
    pointer.write_text("import site; site.addsitedir('/gone/lib/python3/site-packages')\n")
    assert is_ready("empty", [], tmp_path), "what is installed in it is whole"
    assert environment("empty", [], tmp_path) == python and pointer.read_text() == right
    found = subprocess.run([python, "-c", "import numpy; print(numpy.__version__)"], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == np.__version__


def test_an_environment_sees_what_is_installed_here_and_is_made_anew_for_other_pins(tmp_path):

    python = environment("empty", [], tmp_path)
    seen = subprocess.run([python, "-c", "import torch, sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == str(tmp_path / "empty")
    assert is_ready("empty", [], tmp_path) and not is_ready("empty", ["more"], tmp_path)
    with pytest.raises(ImportError, match="empty cannot be installed"):
        environment("empty", ["./no-such-package"], tmp_path)
    assert is_ready("empty", [], tmp_path), "what was there stays"


def test_bad_input_from_the_command_line(tmp_path, capsys):
    assert main(["runtimes", "openwine"]) == 2
    assert "there is no runtime 'openwine'; there are openvino, mnn" in capsys.readouterr().err
    assert main(["bench", "--bundle", str(tmp_path), "--against", "generate,openwine"]) == 2
    assert "openwine" in capsys.readouterr().err
    assert main(["runtimes", "mnn", "--model", str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"shapes\.json"):
        Parts.read(tmp_path)


def test_the_shipped_report_is_about_every_runtime_and_says_what_was_proven():
    found = read()
    assert list(found) == list(KNOWN)
    for name, told in found.items():
        assert told["verdict"] in ("verified", "converts", "needs hardware"), described(told)
        if told["verdict"] == "verified":
            assert told["same_answers"] == told["requests"] >= 20 and told["distance"] < 2e-3
            assert name == LLAMA or told["step_ms"][name]["runs"] >= 9
    assert found[LLAMA]["q8"]["same_answers"] >= 0.9 * found[LLAMA]["requests"]
    assert len(table(found).splitlines()) == 2 + len(KNOWN)
    with pytest.raises(FileNotFoundError, match="runtimes --json"):
        read(ROOT / "nowhere.json")
