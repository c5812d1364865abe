"""Bars: what takes long shows one, on standard error alone, and nothing of it stays."""

import builtins
import subprocess
import sys

import pytest
import torch
from torch import nn

from autoglm_lab import progress
from autoglm_lab.compress.agent import load_agent
from autoglm_lab.compress.dependency_graph import trace
from autoglm_lab.compress.reconstruction import input_moments, refit_channels, refit_masked
from autoglm_lab.compress.sparsity import compressed_bytes, magnitude_masks
from autoglm_lab.compress.structured import prune_structured
from autoglm_lab.evaluation.success import World, answer_rate, spoken_requests, typed_requests
from autoglm_lab.evaluation.timing import paired
from autoglm_lab.model.batch import BatchEngine, gate_response


@pytest.fixture
def bars(monkeypatch):
    """What became of each bar: its name, how far it came, and its total."""
    seen = []

    class Noted(progress.tqdm):
        def close(self):
            if not self.disable:
                seen.append((self.desc, self.n, self.total))
            super().close()

    monkeypatch.setattr(progress, "tqdm", Noted)
    return seen


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)), (torch.randn(32, 8),)


def test_timing_shows_a_bar(bars):
    paired({"a": lambda: None, "b": lambda: None}, runs=3, warm_up=2)
    assert bars == [("timing", 10, 10)]


def test_pruning_and_refitting_show_bars(bars):
    model, example = network()
    groups = trace(model, example)
    done = prune_structured(model, example, 0.4, groups=groups, quiet=True)
    assert bars.pop() == ("pruning", 2, 2)
    moments = input_moments(model, lambda m: m(*example))
    refit_channels(done.model, model, done.removed, moments, quiet=True)
    assert bars.pop() == ("refitting", 2, 2)
    refit_masked(model, magnitude_masks(model, 0.5), moments, quiet=True)
    assert bars.pop() == ("refitting", 3, 3)


def test_packing_shows_a_bar(bars):
    assert compressed_bytes(network()[0]) > 500
    assert bars == [("deflating", 1, 1)]


class Engine:
    """Answers nothing, at once."""

    def answer_many(self, requests):
        return [None] * len(requests)


def test_drawing_requests_and_answering_them_show_bars(bars):
    requests = typed_requests(World(seed=1), 3)
    assert bars.pop() == ("drawing requests", 3, 3)
    answer_rate(Engine(), requests, "right", batch=2, judge=lambda request, answer: True)
    assert bars.pop() == ("right", 2, 2)
    spoken_requests(World(seed=1), 2, held_out=False)
    assert bars.pop() == ("drawing requests", 2, 2)


def test_the_loss_of_answers_and_the_gates_show_bars(bars):
    engine = load_agent(None)
    many = BatchEngine(engine.model, engine.processor)
    requests = typed_requests(World(seed=1), 2)
    with torch.inference_mode():
        many.loss(requests, batch=1)
    assert bars.pop() == ("loss", 2, 2)
    gate_response(many, count=1)
    assert bars.pop() == ("gates", 7, 7)


def test_a_bar_is_on_standard_error_after_a_moment_and_goes():
    code = (
        "import time; from autoglm_lab.progress import track\n"
        "for _ in track(range({}), 'working', 'step'): time.sleep({})\n"
        "print('[1]')"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code.format(*run)], capture_output=True, timeout=60, check=True)
        for run in ((4, 0.3), (2, 0))
    ]
    assert [run.stdout.split() for run in runs] == [[b"[1]"]] * 2
    *_, shown, blank, rest = runs[0].stderr.split(b"\r")
    assert b"working" in shown and not (blank + rest).strip(), "the last that is written wipes the bar away"
    assert runs[1].stderr == b"", "what is done at once shows no bar"


def test_loading_shows_a_bar_in_a_notebook_and_none_where_nobody_watches(capsys, monkeypatch):
    import autoglm_lab as lab

    monkeypatch.delattr(builtins, "__IPYTHON__", raising=False)
    lab.load()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    lab.load()
    said = capsys.readouterr()
    assert said.out == "" and "loading the agent" in said.err
