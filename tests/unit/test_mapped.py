"""Weights that stay in a file: the same answers, little private memory, made anew for another graph, runtime or processor."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from autoglm_lab.marks import NotWrittenError
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime import mapped, onnx_engine
from autoglm_lab.runtime.bundle import GRAPHS
from autoglm_lab.runtime.mapped import MADE_FOR, WEIGHTS
from autoglm_lab.runtime.onnx_engine import OnnxEngine


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """A small bundle of one's own."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def stem(name):
    return name.removesuffix(".onnx")


def said(engine):
    return [
        engine.answer(text, SimulatedPhone(3).screenshot(), sound, max_new_tokens=12).answer.text
        for text, sound in (("open Settings", None), ("", np.sin(np.arange(8000) / 9).astype(np.float32)))
    ]


def test_answers_are_the_same_and_the_files_lie_beside_the_bundle(bundle):
    plain, files = OnnxEngine(bundle), OnnxEngine(bundle, mapped=True)
    assert said(files) == said(plain)
    place = bundle.with_name("bundle.mapped")
    assert {path.name for path in place.iterdir() if path.name[0] != "."} == {
        name.removesuffix(".onnx") for name in GRAPHS.values()
    }
    assert (place / "step" / WEIGHTS).stat().st_size > 10_000
    dates = {path: path.stat().st_mtime_ns for path in place.rglob("*.onnx")}
    OnnxEngine(bundle, mapped=True)
    assert dates == {path: path.stat().st_mtime_ns for path in place.rglob("*.onnx")}, "written once"
    assert OnnxEngine(bundle).sessions.keys() == files.sessions.keys(), "the bundle itself is as it was"


@pytest.mark.parametrize("change", ["weights", "made for", "runtime"])
def test_what_does_not_belong_here_is_written_anew(bundle, tmp_path, monkeypatch, change):
    place = tmp_path / "elsewhere"
    before = said(OnnxEngine(bundle, mapped=place))
    if change == "weights":
        path = place / "step" / WEIGHTS
        path.write_bytes(bytes(path.stat().st_size))
    elif change == "made for":
        path = place / "step" / MADE_FOR
        path.write_text(json.dumps(json.loads(path.read_text()) | {"flags": "another processor"}))
    else:
        monkeypatch.setattr(mapped.onnxruntime, "__version__", "99")
    assert said(OnnxEngine(bundle, mapped=place)) == before


def test_a_place_that_is_somebody_elses_is_left_alone(bundle, tmp_path):
    place = tmp_path / "mine"
    (place / "step").mkdir(parents=True)
    (place / "step" / "thesis.txt").write_text("thesis")
    with pytest.raises(NotWrittenError):
        OnnxEngine(bundle, mapped=place)
    assert (place / "step" / "thesis.txt").read_text() == "thesis"


def test_most_of_the_private_memory_is_gone(tmp_path):
    """A graph of one matrix of 32 MB, each form in a process of its own, after it has run."""
    code = """
import sys
from pathlib import Path
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
from autoglm_lab.evaluation.memory_now import memory_now
from autoglm_lab.runtime.mapped import mapped_graph
from autoglm_lab.runtime.sessions import open_graph, quiet

path, place = Path(sys.argv[1]), Path(sys.argv[2])
if not path.exists():
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(2048, 4096)).astype(np.float32), "w")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 2048), ("y", 4096))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "one", value[:1], value[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    mapped_graph(path, place, quiet(1))
    raise SystemExit
before = memory_now()
session = open_graph(mapped_graph(path, place, quiet(1)) if sys.argv[3] == "mapped" else path, quiet(1))
y = session.run(None, {"x": np.ones((3, 2048), np.float32)})[0]
print((memory_now().private - before.private) / 1e6, float(y.sum()))
"""
    ask = [sys.executable, "-c", code, str(tmp_path / "one.onnx"), str(tmp_path / "mapped")]
    subprocess.run([*ask, "write"], check=True)
    told = [subprocess.run([*ask, how], check=True, capture_output=True, text=True).stdout for how in ("plain", "mapped")]
    (plain, first), (files, second) = (map(float, each.split()) for each in told)
    assert first == pytest.approx(second, rel=1e-5)
    assert plain > 32 and files < 0.45 * plain, (plain, files)


def test_an_encoder_is_opened_when_it_is_first_needed(bundle):
    lazy, plain = OnnxEngine(bundle, lazy=True), OnnxEngine(bundle)
    assert lazy.sessions.open == ("step",) and plain.sessions.open == ("step", "image", "audio")
    assert lazy.answer("open Settings", max_new_tokens=4).answer.text == plain.answer("open Settings", max_new_tokens=4).answer.text
    assert lazy.sessions.open == ("step",), "typed, and nothing to see"
    assert lazy.answer("open Settings", SimulatedPhone(3).screenshot(), max_new_tokens=4).answer.tokens
    assert lazy.sessions.open == ("step", "image"), "nothing was heard"
    assert said(lazy) == said(plain)
    assert lazy.sessions.open == ("step", "image", "audio")


def test_an_encoder_that_lay_idle_is_dropped_and_comes_back(bundle):
    engine, screen, now = OnnxEngine(bundle, lazy=60.0), SimulatedPhone(3).screenshot(), [0.0]
    engine.sessions._shelf._clock = lambda: now[0]
    first = engine.answer("open Settings", screen, max_new_tokens=4).answer.text
    now[0] = 59.0
    assert engine.answer("open Settings", max_new_tokens=4).answer.tokens
    assert engine.sessions.open == ("step", "image")
    now[0] = 61.0
    assert engine.answer("open Settings", max_new_tokens=4).answer.tokens
    assert engine.sessions.open == ("step",), "looked at with every request, whatever it needs"
    assert engine.answer("open Settings", screen, max_new_tokens=4).answer.text == first


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_time_without_length_is_refused(bundle, seconds):
    with pytest.raises(ValueError, match="idle_s"):
        OnnxEngine(bundle, lazy=seconds)


def test_many_ask_at_once_and_it_is_opened_once(bundle, monkeypatch):
    paths, open_graph = [], onnx_engine.open_graph
    monkeypatch.setattr(onnx_engine, "open_graph", lambda path, options: paths.append(path.stem) or open_graph(path, options))
    engine, screen = OnnxEngine(bundle, lazy=True), SimulatedPhone(3).screenshot()
    with ThreadPoolExecutor(4) as clients:
        texts = list(clients.map(lambda _: engine.answer("open Settings", screen, max_new_tokens=4).answer.text, range(8)))
    assert len(set(texts)) == 1 and sorted(paths) == ["image", "step"]
