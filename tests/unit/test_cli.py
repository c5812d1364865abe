"""The command line: bad input costs one clear line and exit code 2, before anything slow is loaded."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.simulator import SimulatedPhone


def lab(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "autoglm_lab.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


@pytest.fixture
def files(tmp_path):
    SimulatedPhone(3).screenshot().save(tmp_path / "screen.png")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.png").write_text("hello")
    soundfile.write(tmp_path / "long.wav", np.zeros(8000 * 600, np.float32), 8000)
    (tmp_path / "bomb.png").write_bytes(_bomb(50_000, 50_000))
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0, np.float32), 16_000)
    return tmp_path


def _bomb(width, height):
    """A PNG that claims a huge size: only its header is real."""
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\x00\x00\x00\x00IDAT"


BAD = {
    "missing image": (["ask", "--image", "gone.png", "hi"], "no image file"),
    "not an image": (["ask", "--image", "text.png", "hi"], "not an image"),
    "pixel bomb": (["ask", "--image", "bomb.png", "hi"], "pixels"),
    "empty audio": (["ask", "--audio", "empty.wav"], "0 bytes"),
    "no samples": (["ask", "--audio", "nothing.wav"], "no sound"),
    "ten minutes": (["ask", "--audio", "long.wav"], "at most 30 s"),
    "missing audio": (["ask", "--audio", "gone.wav"], "no sound file"),
    "empty text": (["ask", "--image", "screen.png", "  "], "empty"),
    "nothing asked": (["ask", "--image", "screen.png"], "nothing was asked"),
    "5,000 tokens": (["ask", "word " * 5000], "at most 512"),
    "empty task": (["demo", "--task", ""], "empty"),
    "long task": (["demo", "--task", "字" * 3000], "at most 512"),
    "a real phone without a task": (["demo", "--adb"], "not used without a task"),
    "bad seed": (["demo", "--seed", "-4"], "not a seed"),
    "bad count": (["evaluate", "--tasks", "0"], "from 1"),
    "no such model": (["ask", "--model", "nowhere", "hi"], "tokenizer.json"),
    "no such preset": (["train", "--preset", "huge"], "invalid choice"),
    "a grammar for no bundle": (["ask", "--grammar", "hi"], "only a bundle can be held to the grammar"),
    "no command": ([], "required"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input_costs_one_line_and_exit_code_two(files, case):
    arguments, reason = BAD[case]
    done = lab(*arguments, cwd=files)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("autoglm-lab") and reason in last


def test_bad_input_never_loads_the_model(files):
    code = "import sys; from autoglm_lab.cli import main; r = main(sys.argv[1:]); assert r == 2; assert 'torch' not in sys.modules"
    for arguments, _ in (BAD["pixel bomb"], BAD["ten minutes"], BAD["5,000 tokens"], BAD["empty text"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=files, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_eight_bit_audio_and_a_screenshot_are_answered(files):
    wave = np.asarray(127 + 30 * np.sin(np.arange(12_000) / 9), np.uint8).astype(np.float32) / 128 - 1
    soundfile.write(files / "eight.wav", wave, 8000, subtype="PCM_U8")
    done = lab("ask", "--image", "screen.png", "--audio", "eight.wav", "--json", cwd=files)
    told = json.loads(done.stdout)
    assert set(told) == {"thinking", "action", "text", "ms"}
    assert {"features", "image", "audio", "prefill", "total"} <= set(told["ms"])


def test_a_question_about_ones_own_picture(files):
    done = lab("ask", "--image", "screen.png", "你是谁？", "--json", cwd=files)
    assert done.returncode == 0 and "PhoneGLM" in json.loads(done.stdout)["action"]


def test_the_demo_tells_its_steps_and_writes_a_film(files):
    done = lab("demo", "--task", "open Settings", "--seed", "3", "--json", "--out", "film", cwd=files)
    told = json.loads(done.stdout)
    assert set(told) == {"task", "success", "end", "steps"}
    assert told["success"] is True and done.returncode == 0 and told["end"].startswith("finished: ")
    assert all(
        set(step) == {"thinking", "action", "ms", "changed", "error", "irregularities", "goal", "question"}
        for step in told["steps"]
    )
    film = Image.open(files / "film" / "filmstrip.png")
    assert film.width > film.height / 2
    assert json.dumps(told).count(str(Path.home())) == 0


def test_the_shipped_model_is_small_enough():
    assert (data_dir() / "model" / "model.safetensors").stat().st_size <= 35_000_000


def test_help_is_quick():
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "autoglm_lab.cli", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "demo" in done.stdout
    assert " torch" not in done.stderr and time.perf_counter() - began < 30
