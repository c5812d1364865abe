"""Each command that writes: other people's files stay, and what cannot work is said in one line before anything slow begins."""

import csv
import json
import shutil
import subprocess
import sys
import time

import pytest
import torch

from autoglm_lab.cli import main
from autoglm_lab.compress.agent import load_agent
from autoglm_lab.marks import MARK
from autoglm_lab.paths import data_dir, work_dir
from autoglm_lab.training.pipeline import train
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
}


@pytest.mark.parametrize("command", [*COMMANDS, "device"])
def test_a_folder_of_somebody_else_is_refused_and_left(command, tiny_bundle, tmp_path, capsys):
    (tmp_path / "X" / "deep").mkdir(parents=True)
    (tmp_path / "X" / "deep" / "t.txt").write_text("thesis")
    words = COMMANDS.get(command) or ["device", "--bundle", tiny_bundle, "--out"]
    refused([*words, tmp_path / "X"], capsys, "holds deep and was not written by autoglm-lab; nothing there is touched")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["X", "X/deep", "X/deep/t.txt"]
    assert (tmp_path / "X" / "deep" / "t.txt").read_text() == "thesis"


@pytest.mark.parametrize("command", ["compress", "export"])
def test_a_read_only_place_is_refused(command, capsys):
    refused([*COMMANDS[command], "/proc/self/x"], capsys, "is read-only")


def test_a_full_disk_is_refused(tmp_path, capsys, monkeypatch):
    full = type("usage", (), {"free": 1000})
    monkeypatch.setattr("autoglm_lab.atomic.shutil.disk_usage", lambda _: full)
    refused([*COMMANDS["compress"], tmp_path / "X"], capsys, "MB free")
    refused([*COMMANDS["train"], tmp_path / "X"], capsys, "MB free")
    assert not (tmp_path / "X" / "data").exists()


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


def test_work_goes_to_one_place_wherever_one_stands(tmp_path):
    code = "from autoglm_lab.paths import work_dir; print(work_dir())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(work_dir()) and work_dir().is_absolute()


def test_a_report_of_a_search_that_is_damaged_is_named(tmp_path):
    from autoglm_lab.compress.explore import _path, search
    from autoglm_lab.compress.recipe import Recipe as Small

    _path(tmp_path, Small()).write_text("{")
    with pytest.raises(ValueError, match=r"is no report .*; delete it, and its recipe is measured again"):
        search([Small()], json.loads, tmp_path)
