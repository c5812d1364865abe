"""Each command that writes: other people's files stay, and what cannot work is said in one line before anything slow begins."""

import csv
import json
import shutil
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from torch import nn

from autoglm_lab import atomic, compress
from autoglm_lab.cli import main
from autoglm_lab.compress.agent import load_agent, save_agent
from autoglm_lab.compress.recipe import Recipe as Small
from autoglm_lab.evaluation.report import Report
from autoglm_lab.marks import MARK
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.processing import PhoneGLMProcessor
from autoglm_lab.paths import data_dir, work_dir
from autoglm_lab.training.pipeline import save_model, train
from autoglm_lab.training.trainer import Recipe, check_run, read_log, write_checkpoint


@pytest.fixture(autouse=True)
def nothing_slow(monkeypatch):
    """Fail as soon as anything slow begins."""

    def begun(*_, **__):
        raise AssertionError("slow work began before the folder was looked at")

    for name in (
        "training.pipeline.prepare",
        "compress.agent.load_agent",
        "export.bundle.agent_graphs",
        "benchmarks.peers.survey.write_parts",
    ):
        monkeypatch.setattr(f"autoglm_lab.{name}", begun)


def refused(arguments, capsys, words):
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and words in said[0], said


COMMANDS = {
    "compress": ["compress", "--recipe", "int8", "--out"],
    "export": ["export", "--out"],
    "train": ["train", "--preset", "mini", "--out"],
    "device": ["device", "--bundle", "BUNDLE", "--out"],
    "runtimes": ["runtimes", "openvino", "--out"],
    "demo": ["demo", "--task", "open Settings", "--out"],
}


def words_of(command, bundle):
    return [bundle if word == "BUNDLE" else word for word in COMMANDS[command]]


@pytest.mark.parametrize("command", ["compress", "export", "train", "device"])
def test_a_folder_of_somebody_else_is_refused_and_left(command, tiny_bundle, tmp_path, capsys):
    (tmp_path / "X" / "deep").mkdir(parents=True)
    (tmp_path / "X" / "deep" / "t.txt").write_text("thesis")
    refused(
        [*words_of(command, tiny_bundle), tmp_path / "X"],
        capsys,
        "holds deep and was not written by autoglm-lab; nothing there is touched",
    )
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["X", "X/deep", "X/deep/t.txt"]
    assert (tmp_path / "X" / "deep" / "t.txt").read_text() == "thesis"


@pytest.mark.parametrize(("name", "part"), [("openvino", "openvino"), ("openvino", "parts"), ("llamacpp", "plain")])
def test_a_folder_of_somebody_else_among_those_of_runtimes_is_refused_and_left(name, part, tmp_path, capsys):
    (tmp_path / part).mkdir()
    (tmp_path / part / "t.txt").write_text("thesis")
    refused(
        ["runtimes", name, "--out", tmp_path], capsys, "holds t.txt and was not written by autoglm-lab; nothing there is touched"
    )
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [part, f"{part}/t.txt"]


@pytest.mark.parametrize("is_picture", [True, False])
def test_a_picture_of_somebody_else_is_not_replaced_by_a_film(is_picture, tmp_path, capsys):
    path = tmp_path / "filmstrip.png"
    if is_picture:
        Image.new("RGB", (4, 4)).save(path)
    else:
        path.write_text("thesis")
    before = path.read_bytes()
    refused([*COMMANDS["demo"], tmp_path], capsys, "filmstrip.png was not written by autoglm-lab, and is not replaced")
    assert path.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["filmstrip.png"]


def test_a_folder_of_somebody_else_is_refused_in_a_notebook_too(tmp_path):
    (tmp_path / "t.txt").write_text("thesis")
    for write in (lambda: compress.save(nn.Linear(2, 2), tmp_path), lambda: train("mini", tmp_path)):
        with pytest.raises(ValueError, match=r"holds t\.txt and was not written by autoglm-lab"):
            write()
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_only_place_is_refused(command, tiny_bundle, capsys):
    refused([*words_of(command, tiny_bundle), "/proc/self/x"], capsys, "is read-only")


def test_a_full_disk_is_refused(tmp_path, capsys, monkeypatch):
    full = type("usage", (), {"free": 1000})
    monkeypatch.setattr("autoglm_lab.atomic.shutil.disk_usage", lambda _: full)
    refused([*COMMANDS["compress"], tmp_path / "X"], capsys, "MB free")
    refused([*COMMANDS["train"], tmp_path / "X"], capsys, "MB free")
    assert not list(tmp_path.iterdir())


def test_an_agent_is_not_made_small_in_its_own_place(tmp_path, capsys):
    refused([*COMMANDS["compress"], tmp_path, "--model", tmp_path], capsys, "is the agent that is made small")


def test_a_phone_folder_keeps_what_it_did_not_make(tmp_path, capsys):
    (tmp_path / "phone" / "storage").mkdir(parents=True)
    (tmp_path / "phone" / "storage" / "t.txt").write_text("thesis")
    refused(["adb", "--dir", tmp_path], capsys, "holds storage and was not written by autoglm-lab")
    assert (tmp_path / "phone" / "storage" / "t.txt").read_text() == "thesis"
    shutil.rmtree(tmp_path / "phone")
    assert main(["adb", "--dir", str(tmp_path)]) == 0
    run = [tmp_path / "adb", "shell", "screencap", "-p", "/sdcard/a.png"]
    subprocess.run(run, check=True)
    (tmp_path / "phone" / "storage" / "t.txt").write_text("thesis")
    (tmp_path / "phone" / "notes.txt").write_text("mine")
    assert main(["adb", "--dir", str(tmp_path), "--seed", "8"]) == 0
    kept = sorted(path.relative_to(tmp_path / "phone").as_posix() for path in (tmp_path / "phone").rglob("*") if path.is_file())
    assert kept == [MARK, "notes.txt", "phone.json", "storage/t.txt"], "only the old phone's own files are gone"


def test_a_device_folder_is_written_again_and_keeps_notes(tiny_bundle, tmp_path):
    for _ in range(2):
        assert main(["device", "--bundle", str(tiny_bundle), "--out", str(tmp_path / "d")]) == 0
        (tmp_path / "d" / "notes.txt").write_text("mine")
    assert (tmp_path / "d" / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]


RUN = Recipe(align_steps=2, steps=6)


def run_folder(folder, steps=3, rows=3):
    folder.mkdir(parents=True)
    write_checkpoint(folder / "checkpoint.pt", model={}, averaged={}, optimizer={}, step=steps, recipe=vars(RUN))
    with (folder / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("step", "answer", "seconds"), *((row, 1.0, 0.5) for row in range(1, rows + 1))])


def test_a_whole_run_is_taken_up(tmp_path):
    run_folder(tmp_path / "run", rows=5)
    assert check_run(tmp_path / "run", RUN)["step"] == 3
    assert check_run(tmp_path / "other", RUN) is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "log.csv").write_text(""), "does not hold each of the 3 steps"),
        (lambda run: (run / "log.csv").unlink(), "does not hold each of the 3 steps"),
        (lambda run: (run / "log.csv").write_text((run / "log.csv").read_text()[:-20]), "does not hold each of the 3 steps"),
        (lambda run: (run / "log.csv").write_text((run / "log.csv").read_text().replace("1.0", "x", 1)), "line 2 of"),
        (lambda run: (run / "log.csv").write_text("a,b\n1,2\n"), "is not the log of a run"),
        (lambda run: (run / "log.csv").write_bytes(b"\xff\xfe\x00"), "log.csv is not the log of a run"),
        (lambda run: (run / "checkpoint.pt").write_bytes(b""), "is no checkpoint that can be read"),
        (lambda run: (run / "checkpoint.pt").write_bytes(b"PK\x03\x04 and no more"), "is no checkpoint that can be read"),
        (
            lambda run: (run / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes()[:600]),
            "no checkpoint that can be read",
        ),
        (lambda run: torch.save([1, 2], run / "checkpoint.pt"), "is no checkpoint that can be read"),
        (lambda run: torch.save({"step": 3, "model": 0}, run / "checkpoint.pt"), "is no checkpoint that can be read"),
    ],
    ids=range(11),
)
def test_a_damaged_run_is_refused_before_anything_slow(damage, words, tmp_path, capsys):
    run_folder(tmp_path / "X" / "run")
    damage(tmp_path / "X" / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=words):
        train("full", tmp_path / "X")
    refused(["train", "--preset", "full", "--out", tmp_path / "X"], capsys, words)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_row_that_was_cut_by_a_kill_is_no_damage(tmp_path):
    run_folder(tmp_path / "run", rows=5)
    log = tmp_path / "run" / "log.csv"
    log.write_text(log.read_text().rstrip()[:-3])
    assert len(read_log(log)) >= 4
    assert check_run(tmp_path / "run", RUN)["step"] == 3


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "structure.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"sizes": 3}'], ids=range(5))
def test_a_damaged_model_folder_is_one_line(name, content, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    shutil.copytree(data_dir() / "model", tmp_path / "m")
    (tmp_path / "m" / name).write_bytes(content)
    began = time.monotonic()
    with pytest.raises((ValueError, FileNotFoundError)):
        load_agent(tmp_path / "m")
    assert main(["ask", "open Settings", "--model", str(tmp_path / "m")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and ("m cannot be opened" in said[0] or "tokenizer.json of m is no tokenizer" in said[0]), said
    assert time.monotonic() - began < 60


@pytest.fixture(scope="module")
def agents(tmp_path_factory):
    """Two model folders as training writes them, and two as compressing does."""
    home, processor = tmp_path_factory.mktemp("agents"), PhoneGLMProcessor.from_pretrained(data_dir() / "model")
    sizes = {"hidden_size": 32, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = PhoneGLMConfig(**sizes, image_channels=(4, 4, 8, 8), audio_channels=8, audio_blocks=2)
    for number in range(2):
        torch.manual_seed(number)
        model = PhoneGLMForConditionalGeneration(config)
        save_model(model, processor.tokenizer, home / f"trained{number}")
        save_agent(model, processor, home / f"small{number}", Small(f"r{number}"), Report(f"r{number}"))
    return home


@pytest.mark.parametrize(
    ("kind", "name"), [("trained", "model.safetensors"), ("small", "model.safetensors"), ("small", "recipe.json")]
)
def test_a_model_folder_with_a_file_of_another_one_is_refused(kind, name, agents, tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    load_agent(shutil.copytree(agents / f"{kind}0", tmp_path / "m"))
    shutil.copy(agents / f"{kind}1" / name, tmp_path / "m" / name)
    with pytest.raises(ValueError, match=rf"{name} of m was changed after it was written"):
        load_agent(tmp_path / "m")
    refused(["ask", "open Settings", "--model", tmp_path / "m"], capsys, f"{name} of m was changed after it was written")


@pytest.mark.parametrize(("kind", "name"), [("trained", "structure.json"), ("small", "generation_config.json")])
def test_a_file_that_was_planted_in_a_model_folder_is_refused(kind, name, agents, tmp_path, monkeypatch):
    monkeypatch.undo()
    shutil.copytree(agents / f"{kind}0", tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("mine")
    load_agent(tmp_path / "m")
    (tmp_path / "m" / name).write_text("{}")
    with pytest.raises(ValueError, match=rf"{name} of m was added after it was written"):
        load_agent(tmp_path / "m")


@pytest.mark.parametrize("kind", ["trained", "small"])
def test_an_agent_that_is_exchanged_while_it_is_read_is_the_new_one(kind, agents, tmp_path, monkeypatch):
    monkeypatch.undo()
    place, read_processor = shutil.copytree(agents / f"{kind}0", tmp_path / "m"), PhoneGLMProcessor.from_pretrained

    def exchange(*arguments):
        monkeypatch.setattr(PhoneGLMProcessor, "from_pretrained", read_processor)
        with atomic.folder(place, "model") as part:
            shutil.copytree(agents / f"{kind}1", part, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MARK))
        return read_processor(*arguments)

    monkeypatch.setattr(PhoneGLMProcessor, "from_pretrained", exchange)
    weights, right = (load_agent(folder).model.state_dict() for folder in (place, agents / f"{kind}1"))
    assert all(torch.equal(value, right[name]) for name, value in weights.items())


def test_work_goes_to_one_place_wherever_one_stands(tmp_path):
    code = "from autoglm_lab.paths import work_dir; print(work_dir())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(work_dir()) and work_dir().is_absolute()


def test_a_report_of_a_search_that_is_damaged_is_named(tmp_path):
    from autoglm_lab.compress.explore import _path, search

    _path(tmp_path, Small()).write_text("{")
    with pytest.raises(ValueError, match=r"is no report .*; delete it, and its recipe is measured again"):
        search([Small()], json.loads, tmp_path)
