"""The device folder on ARM64, emulated: the same products, the same scores and the same actions as here."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import numpy as np
import onnx
import onnxruntime
import openai
import pytest
from onnx import TensorProto, helper

from autoglm_lab.compress.agent import load_agent
from autoglm_lab.compress.recipe import apply, named
from autoglm_lab.device.folder import device_folder
from autoglm_lab.evaluation.success import World, spoken_requests, typed_requests
from autoglm_lab.export.bundle import bundle
from autoglm_lab.export.conditions import always
from autoglm_lab.export.parity import distance
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.phone.actions import parse
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from tests.devices.emulator import INSTALL, Emulator, missing

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "devices"
LIMIT_S = 1200


@pytest.fixture(scope="module")
def agent():
    return load_agent(None)


@pytest.fixture(scope="module")
def device(agent, tmp_path_factory):
    """The device folder of an INT8 bundle."""
    made, _ = apply(agent.model, named("int8"), agent.example())
    place = tmp_path_factory.mktemp("device")
    bundle(TorchEngine(made, agent.processor), place / "int8", named("int8"))
    device_folder(place / "int8", place / "folder")
    return place / "folder"


@pytest.fixture(scope="module")
def arm64(device):
    """An ARM64 Python; where it cannot be had the tests are skipped, under CI they fail."""
    if missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(INSTALL)
    return Emulator.made(ROOT / "build" / "arm64", device / "requirements-serve.txt")


def on_both(arm64, device, script, *inputs, out):
    """What a script writes here and on ARM64, by name."""
    command = [sys.executable, script, *map(str, inputs), str(out / "here.npz")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(device)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    arm64.run(script, *inputs, out / "there.npz", cwd=device, timeout_s=LIMIT_S)
    return [dict(np.load(out / name)) for name in ("here.npz", "there.npz")]


def written_down(engine, requests, path):
    """Requests in a file that needs neither pictures nor phones, with the answers that are given here."""
    asked, arrays = [], {}
    for number, request in enumerate(requests):
        arrays[f"image_{number}"] = np.asarray(request.image)
        if request.audio is not None:
            arrays[f"audio_{number}"] = request.audio
        task = request.task.text if request.audio is None else ""
        said = engine.answer(task, request.image, request.audio, current_app=request.app, last=request.last).answer.text
        asked.append({"task": task, "app": request.app, "last": request.last, "said": said})
    np.savez(path, asked=json.dumps(asked), **arrays)


def test_the_run_script_answers_on_arm64(device, arm64, tmp_path):
    assert arm64.run("-c", "import platform; print(platform.machine())", cwd=device, timeout_s=LIMIT_S) == "aarch64\n"
    SimulatedPhone(7, lang="en").screenshot().save(tmp_path / "screen.png")
    asked = ("open Settings", tmp_path / "screen.png")
    here = subprocess.run([sys.executable, "run.py", *map(str, asked)], cwd=device, capture_output=True, text=True, check=True)
    there = arm64.run("run.py", *asked, cwd=device, timeout_s=LIMIT_S)
    assert parse(there.rpartition(" (")[0]) == parse(here.stdout.rpartition(" (")[0])


def test_the_run_script_serves_on_arm64(device, arm64):
    """A client here, the server there: what it answers is what the bundle answers here."""
    (device / "keys").write_text("a long random line\n")
    server = arm64.start("run.py", "--serve", "0", "--lazy", "300", "--api-key-file", "keys", cwd=device)
    late = threading.Timer(LIMIT_S, server.kill)
    late.start()
    try:
        output = ""
        while "http://" not in output and (line := server.stdout.readline()):
            output += line
        [url] = re.findall(r"http://\S+/v1", output) or pytest.fail(output)
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).models.list()
        client = openai.OpenAI(base_url=url, api_key="a long random line", max_retries=0, timeout=LIMIT_S)
        messages = [{"role": "user", "content": "open Settings"}]
        there = client.chat.completions.create(model="autoglm-lab", messages=messages).choices[0].message.content
        assert parse(there) == OnnxEngine(device / "bundle").answer("open Settings").answer.action
    finally:
        late.cancel()
        server.kill()
        server.wait()


def test_every_integer_product_is_the_same_to_the_last_bit(device, arm64, tmp_path):
    """The products of a whole step, each with what it was given here: sums of products of integers have no rounding."""
    graph = onnx.load_from_string(always((device / "bundle" / "step.onnx").read_bytes())).graph
    rounding = {node.output[0]: node for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    products = [node for node in graph.node if node.op_type == "MatMulInteger"]
    # the head rounds each row by itself and stands between quantised and dequantised: as the runtime multiplies it
    made = {node.output[0]: node for node in graph.node}
    [head] = [node for node in graph.node if node.op_type == "MatMul"]
    grid, codes = (made[name].input[0] for name in head.input)
    rounding[grid] = made[grid]
    products.append(helper.make_node("MatMulInteger", [grid, codes, made[grid].input[2]], ["head"], "head"))
    assert len(products) == 4 * 4 + 2 * 6 + 1
    assert all(node.input[0] in rounding for node in products)
    floats = sorted({rounding[node.input[0]].input[0] for node in products})
    used = {name for node in (*products, *rounding.values()) for name in node.input}
    stored = [weight for weight in graph.initializer if weight.name in used]

    def float_values(names):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    cut = helper.make_graph(
        [*rounding.values(), *products],
        "products",
        float_values(floats),
        [helper.make_tensor_value_info(node.output[0], TensorProto.INT32, None) for node in products],
        stored,
    )
    onnx.save(helper.make_model(cut, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "products.onnx")

    graph.output.extend(float_values(floats))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    told = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(told, providers=["CPUExecutionProvider"])
    rng, given = np.random.default_rng(0), {}
    for value in session.get_inputs():
        if value.name.startswith(("image", "audio", "past")):
            given[value.name] = rng.normal(size=[size if isinstance(size, int) else 20 for size in value.shape]).astype(np.float32)
    given |= {"input_ids": np.arange(40, 52)[None], "present": np.ones(2, np.float32), "total": np.array([12], np.int32)}
    given["places"] = np.array([-1])
    values = session.run(floats, given)
    np.savez(tmp_path / "inputs.npz", **dict(zip(floats, values, strict=True)))
    here, there = on_both(arm64, device, HERE / "products.py", tmp_path / "products.onnx", tmp_path / "inputs.npz", out=tmp_path)
    assert len(here) == len(products) and all(found.any() for found in here.values())
    for name, found in here.items():
        assert np.array_equal(found, there[name]), name


def test_scores_of_floats_are_those_of_this_machine(agent, device, arm64, tmp_path):
    bundle(agent, tmp_path / "whole")
    world = World(556)
    requests = typed_requests(world, 2) + spoken_requests(world, 1, held_out=False)
    written_down(OnnxEngine(tmp_path / "whole"), requests, tmp_path / "requests.npz")
    here, there = on_both(arm64, device, HERE / "asked.py", tmp_path / "whole", tmp_path / "requests.npz", out=tmp_path)
    assert str(here.pop("answers")) == str(there.pop("answers"))
    assert max(np.abs(here[name] - there[name]).max() for name in here) < 1e-4


def test_actions_with_integers_are_those_of_this_machine(device, arm64, tmp_path):
    """Inputs are rounded to 8 bits: a last bit of a float before may turn one code into the next. Actions stay as they are."""
    world = World(555)
    requests = typed_requests(world, 12) + spoken_requests(world, 8, held_out=False)
    written_down(OnnxEngine(device / "bundle"), requests, tmp_path / "requests.npz")
    here, there = on_both(arm64, device, HERE / "asked.py", device / "bundle", tmp_path / "requests.npz", out=tmp_path)
    actions = [[parse(text) for text in json.loads(str(found.pop("answers")))] for found in (here, there)]
    assert actions[0] == actions[1] and len(actions[0]) == 20
    assert max(distance(there[name], here[name]) for name in here) < 0.05
