"""Pictures and sound as graphs, and the folder for a device."""

import re
import subprocess
import sys

import numpy as np
import onnxruntime
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm_lab.cli import main
from autoglm_lab.compress.agent import load_agent
from autoglm_lab.device.folder import PACKAGES, SERVING, device_folder
from autoglm_lab.export import features
from autoglm_lab.export.bundle import bundle
from autoglm_lab.phone.actions import parse
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.bundle import FEATURES
from autoglm_lab.runtime.features import image_features, log_mel
from autoglm_lab.runtime.onnx_engine import OnnxEngine


@pytest.fixture(scope="module")
def graphs():
    return {name: onnxruntime.InferenceSession(graph) for name, graph in features.feature_graphs().items()}


@settings(max_examples=25)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 10_000))
def test_pictures_of_any_size_give_the_features_that_numpy_gives(graphs, height, width, seed):
    rgba = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    [found] = graphs["pixels"].run(None, {"rgba": rgba})
    assert np.abs(found[0] - image_features(rgba)).max() < 1e-4


@settings(max_examples=25)
@given(st.integers(1, 40_000), st.floats(1e-6, 1), st.integers(0, 8_000), st.integers(0, 10_000))
def test_sound_of_any_length_gives_the_features_that_numpy_gives(graphs, count, level, silence, seed):
    rng = np.random.default_rng(seed)
    tone = level * (np.sin(np.arange(count) * rng.uniform(0, 3)) + rng.normal(size=count) / 50)
    wave = np.concatenate((np.zeros(silence), tone, np.zeros(silence // 2))).astype(np.float32)
    [found] = graphs["mel"].run(None, {"wave": wave[None]})
    wanted = log_mel(wave)
    assert found[0].shape == wanted.shape and np.abs(found[0] - wanted).max() < 1e-4


def test_silence_and_extremes(graphs):
    for wave in (np.zeros(1), np.zeros(16_000), np.ones(30), np.sign(np.sin(np.arange(480_000)))):
        [found] = graphs["mel"].run(None, {"wave": wave.astype(np.float32)[None]})
        assert np.abs(found[0] - log_mel(wave.astype(np.float32))).max() < 1e-4
    for size in ((1, 1, 4), (1, 3000, 4), (3000, 1, 4), (4000, 3000, 4)):
        rgba = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
        [found] = graphs["pixels"].run(None, {"rgba": rgba})
        assert np.abs(found[0] - image_features(rgba)).max() < 1e-4


def test_a_graph_that_differs_is_refused(monkeypatch):
    monkeypatch.setattr(features, "image_features", lambda rgba: image_features(255 - rgba))
    with pytest.raises(ValueError, match="the pixels graph does not give the features of a picture of 1 x 1"):
        features.feature_graphs()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "whole"
    bundle(load_agent(None), folder)
    return folder


def test_features_weigh_next_to_nothing(exported):
    assert sum((exported / name).stat().st_size for name in FEATURES.values()) < 200_000


def test_the_folder_runs_alone(exported, tmp_path, capsys):
    out = tmp_path / "device"
    assert main(["device", "--bundle", str(exported), "--out", str(out)]) == 0
    assert "run.py" in capsys.readouterr().out
    SimulatedPhone(7, lang="en").screenshot().save(tmp_path / "screen.png")
    code = f"{ALONE};import autoglm_lab; print(autoglm_lab.__file__)"
    command = [sys.executable, "-c", code, str(out), "open Settings", str(tmp_path / "screen.png")]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer, place = done.stdout.splitlines()
    assert parse(answer.rpartition(" (")[0]).name == "Tap" and place.startswith(str(out))
    for name, packages in (("requirements.txt", PACKAGES), ("requirements-serve.txt", (*PACKAGES, *SERVING))):
        assert [line.split("==")[0] for line in (out / name).read_text().split()] == list(packages)


ALONE = (  # of this package only what lies in the folder can be found, and no PyTorch
    "import sys, runpy; sys.path[:] = [sys.argv.pop(1), *[p for p in sys.path if p and 'site-packages' in p or 'lib' in p]];"
    "sys.modules['torch'] = None; runpy.run_path('run.py', run_name='__main__')"
)


def test_the_folder_serves_alone(tiny_bundle, tmp_path):
    out = tmp_path / "device"
    device_folder(tiny_bundle, out)
    (out / "keys").write_text("a long random line\n")
    command = [sys.executable, "-c", ALONE, str(out), "--serve", "0", "--lazy", "60", "--mapped", "--api-key-file", "keys"]
    server = subprocess.Popen(command, cwd=out, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        [url] = re.findall(r"http://127\.0\.0\.1:\S+/v1", server.stdout.readline())
        client = openai.OpenAI(base_url=url, api_key="a long random line", max_retries=0)
        messages = [{"role": "user", "content": "open Settings"}]
        text = client.chat.completions.create(model="autoglm-lab", messages=messages).choices[0].message.content
        assert text == OnnxEngine(tiny_bundle).answer("open Settings").answer.text
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="guessed", max_retries=0).models.list()
    finally:
        server.terminate()
        server.communicate(timeout=20)


@pytest.mark.parametrize(
    ("arguments", "told"), [((), "--serve"), (("open Settings",), "screenshot"), (("--serve", "x"), "invalid int")]
)
def test_the_run_script_says_what_it_wants(tiny_bundle, tmp_path, arguments, told):
    device_folder(tiny_bundle, tmp_path / "device")
    done = subprocess.run([sys.executable, "run.py", *arguments], cwd=tmp_path / "device", capture_output=True, text=True)
    assert done.returncode == 2 and told in done.stderr


def test_a_folder_is_never_written_over_its_bundle(exported, tmp_path):
    with pytest.raises(ValueError, match="is or holds the bundle itself"):
        device_folder(exported, exported.parent)
    with pytest.raises(FileNotFoundError, match=r"holds no manifest\.json"):
        device_folder(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
