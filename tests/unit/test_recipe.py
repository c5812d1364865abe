"""Recipes: JSON in and out, every step in its place, and a search that loses nothing when it is killed."""

import copy
import json
import os
import signal
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm_lab.compress.dependency_graph import outputs
from autoglm_lab.compress.explore import grid, search
from autoglm_lab.compress.quantization import PackedLinear
from autoglm_lab.compress.recipe import Recipe, apply, named
from autoglm_lab.compress.sparsity import sparsity_of
from autoglm_lab.evaluation.report import Report, pareto_front, within
from tests.unit.pruned_models import make

SHARE = st.floats(0, 0.95).map(lambda x: round(x, 3))


@given(SHARE, SHARE, SHARE, st.sampled_from([2, 4, 8, 16]), st.sampled_from([0, 16, 32]), st.text(max_size=8))
@settings(max_examples=50, deadline=None)
def test_json_and_back(channels, rank, sparsity, bits, group_size, name):
    recipe = Recipe(name, channels=channels, rank=rank, sparsity=sparsity, bits=bits, group_size=group_size, keep=("head",))
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert set(json.loads(Recipe("plain").to_json())) == {"name"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no JSON: .* line 1"),
        ("[]", "JSON object, not list"),
        ('{"bit": 4}', "no field 'bit'; there are answer, bits"),
        ('{"bits": "four"}', "bits is 'four'"),
        ('{"bits": true}', "bits is True"),
        ('{"channels": 1.0}', "channels is 1.0"),
        ('{"bits": 9}', "bits is 9"),
        ('{"multiple": 0}', "multiple is 0"),
        ('{"group_size": 1}', "at least two"),
        ('{"importance": "luck"}', "importance is 'luck'"),
        ('{"method": "eye"}', "method is 'eye'"),
        ('{"rank_layers": "("}', "no regular expression"),
        ('{"train_rounding": true}', "round nothing"),
        ('{"bits": 4, "sparsity": 0.5, "train_rounding": true}', "grow back"),
    ],
)
def test_bad_recipes_are_refused(text, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        Recipe.from_json(text)
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.json"):
        Recipe.read(file)


def test_a_missing_recipe_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        Recipe.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"answer": -1, "importance": "fisher"}, "answer is -1"),
        ({"answer": 6}, "ranked by 'fisher', not by 'l1'"),
    ],
)
def test_prices_of_answers_are_for_channels_ranked_by_fisher(given, reason):
    with pytest.raises(ValueError, match=reason):
        Recipe(channels=0.4, **given)
    assert named("answers40").answer == 6


def test_nothing_asked_nothing_done():
    model, example = make("Llama")
    made, report = apply(model, Recipe(), example, train=lambda *_: pytest.fail("there is nothing to recover from"))
    torch.testing.assert_close(outputs(made, example)[0], outputs(model, example)[0], rtol=0, atol=0)
    assert report.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["Glm", "ViT", "Bert"])
def test_all_steps_in_a_row(name):
    model, example = make(name)
    before = copy.deepcopy(model.state_dict())
    recipe = Recipe("all", channels=0.25, rank=0.5, rank_layers="mlp|intermediate|output", sparsity=0.3, bits=4, group_size=16)
    trained = []

    def train(made, masks):
        trained.append((sum(p.numel() for p in made.parameters()), masks.sparsity))

    _, whole = apply(model, Recipe(), example)
    made, report = apply(model, recipe, example, train=train)
    assert len(trained) == 1
    assert trained[0] == (report.parameters, pytest.approx(0.3, abs=0.01))
    assert report.parameters < 0.95 * whole.parameters
    assert report.macs < 0.75 * whole.macs
    assert report.bytes < 0.6 * whole.bytes
    assert any(isinstance(module, PackedLinear) for module in made.modules())
    assert all(torch.isfinite(value).all() for value in outputs(made, example))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_masks_reach_the_training_and_hold_there():
    model, example = make("Llama")

    def train(made, masks):
        optimizer = torch.optim.SGD(made.parameters(), 0.1)
        for _ in range(3):
            made(**example, labels=example["input_ids"]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            masks.apply(made)

    made, _ = apply(model, Recipe("sparse", sparsity=0.6), example, train=train)
    shares = sparsity_of(made)
    assert sum(shares.values()) / len(shares) > 0.4


def test_rounding_is_trained_only_when_asked():
    model, example = make("Llama")
    calls = []
    for recipe in (
        Recipe("a", bits=4, group_size=0, method="minmax"),
        Recipe("b", bits=4, train_rounding=True),
        Recipe("c", bits=8, round_inputs=True),
    ):
        apply(model, recipe, example, train=lambda *_, recipe=recipe: calls.append(recipe.name), calibration=[example])
    assert calls == ["b"], "settings of the grid alone are nothing to recover from"


def test_what_is_kept_stays_whole():
    model, example = make("Llama")
    made, _ = apply(model, Recipe("kept", bits=4, sparsity=0.5, keep=("model.layers.0",)), example)
    assert not any(isinstance(module, PackedLinear) for module in made.model.layers[0].modules())
    assert any(isinstance(module, PackedLinear) for module in made.model.layers[1].modules())
    assert torch.equal(made.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight)


def test_a_step_that_cannot_be_done_is_named():
    model, example = make("Llama")
    with pytest.raises(ValueError, match="layers: 'layers' is no ModuleList"):
        apply(model, Recipe("x", layers=(0,)), example)
    with pytest.raises(ValueError, match="channels: at most"):
        apply(model, Recipe("x", channels=0.97), example)
    with pytest.raises(ValueError, match="bits: there is no calibration example"):
        apply(model, Recipe("x", bits=8, round_inputs=True), example)
    with pytest.raises(ValueError, match="rank: no linear layer is selected"):
        apply(model, Recipe("x", rank=0.5, rank_layers="nowhere"), example)
    with pytest.raises(ValueError, match="bits: no linear layer is selected"):
        apply(model, Recipe("x", bits=4, keep=("model", "lm_head"), round_inputs=True), example)


def measured(recipe: Recipe, folder: Path) -> Report:
    """Stands for a long measurement; leaves a trace of every call."""
    (folder / f"{recipe.name}-{os.getpid()}-{len(list(folder.iterdir()))}").touch()
    return Report(recipe.name, bytes=recipe.bits * 1_000_000, success=recipe.bits / 16)


def killed_once(recipe: Recipe, folder: Path) -> Report:
    """Dies with its process when it is called for the first time with four bits."""
    mark = folder / "killed"
    if recipe.bits == 4 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return measured(recipe, folder)


def always_killed(recipe: Recipe, folder: Path) -> Report:
    """Dies whenever it is called."""
    os.kill(os.getpid(), signal.SIGKILL)
    return measured(recipe, folder)


def broken(recipe: Recipe, folder: Path) -> Report:
    """Refuses four bits."""
    if recipe.bits == 4:
        raise ArithmeticError("no such width")
    return measured(recipe, folder)


def test_a_second_search_measures_nothing(tmp_path):
    calls, results = tmp_path / "calls", tmp_path / "results"
    calls.mkdir()
    recipes = list(grid(bits=(2, 4, 8)))
    with ThreadPoolExecutor(2) as executor:
        first = search(recipes, partial(measured, folder=calls), results, executor=executor)
        assert len(list(calls.iterdir())) == 3
        assert search(recipes, partial(measured, folder=calls), results, executor=executor) == first
        assert len(list(calls.iterdir())) == 3
        more = search(list(grid(bits=(2, 4, 8, 16))), partial(measured, folder=calls), results, executor=executor)
    assert len(list(calls.iterdir())) == 4
    assert [report.success for report in more] == [0.125, 0.25, 0.5, 1.0]


def test_a_killed_worker_loses_nothing(tmp_path):
    calls, results = tmp_path / "calls", tmp_path / "results"
    calls.mkdir()
    reports = search(list(grid(bits=(2, 4, 8))), partial(killed_once, folder=calls), results)
    assert (calls / "killed").exists()
    assert [report.bytes for report in reports] == [2_000_000, 4_000_000, 8_000_000]
    assert not list(results.glob("*.part"))


def test_workers_that_always_die_end_the_search(tmp_path):
    with pytest.raises(RuntimeError, match=r"died again and again.*bits 2"):
        search(list(grid(bits=(2,))), partial(always_killed, folder=tmp_path), tmp_path / "results")


def test_an_error_names_the_recipe_and_keeps_the_rest(tmp_path):
    calls, results = tmp_path / "calls", tmp_path / "results"
    calls.mkdir()
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="recipe 'bits 4': no such width"):
        search(list(grid(bits=(2, 4, 8))), partial(broken, folder=calls), results, executor=executor)
    assert [json.loads(path.read_text())["name"] for path in results.iterdir()].count("bits 2") == 1


class Silent(Executor):
    """Refuses its first job, and never tells that the others were called off."""

    def __init__(self):
        self.jobs = []

    def submit(self, *_):
        self.jobs.append(Future())
        if len(self.jobs) == 1:
            self.jobs[0].set_exception(ArithmeticError("no such width"))
        return self.jobs[-1]


def test_an_executor_that_does_not_tell_of_what_was_called_off_is_not_waited_for(tmp_path):
    executor = Silent()
    with pytest.raises(ValueError, match="recipe 'bits 4': no such width"):
        search(list(grid(bits=(4, 2, 8))), measured, tmp_path, executor=executor)
    assert [job.cancelled() for job in executor.jobs] == [False, True, True]


def test_what_fits_a_budget():
    reports = [
        Report("big", bytes=30_000_000, success=0.98),
        Report("four", bytes=8_000_000, success=0.95),
        Report("two", bytes=5_000_000, success=0.6),
        Report("bad", bytes=9_000_000, success=0.5),
    ]
    assert within(reports, megabytes=10).name == "four"
    assert within(reports, megabytes=6).name == "two"
    assert within(reports).name == "big"
    assert [report.name for report in pareto_front(reports, ("bytes", "success"))] == ["big", "four", "two"]
    with pytest.raises(ValueError, match=r"the smallest is 'two' with 5\.0 MB"):
        within(reports, megabytes=1)
    with pytest.raises(ValueError, match="no report"):
        within([])
    with pytest.raises(ValueError, match="'answer_ms' was not measured of 'big'"):
        pareto_front(reports)


def test_reports_go_to_json_and_back():
    report = Report("x", bytes=5, success=0.0, ci95=(0.1, 0.2), cpu_flags=("avx2",), steps=3, rate=1e-3, alone=True)
    assert Report.from_json(report.to_json()) == report
    assert set(json.loads(Report("x").to_json())) == {"name"}, "what was not measured is not there"
    with pytest.raises(ValueError, match="no field 'size'"):
        Report.from_json('{"name": "x", "size": 3}')


def test_a_budget_chooses_among_the_recipes_that_were_measured(tmp_path):
    for name, size, success, ms in (
        ("int8", 16_000_000, 0.98, 90.0),
        ("int4", 9_000_000, 0.97, 95.0),
        ("int2", 6_000_000, 0.5, 99.0),
    ):
        (tmp_path / f"{name}.json").write_text(Report(name, bytes=size, success=success, answer_ms=ms).to_json(), "utf-8")
    (tmp_path / "whole.json").write_text(Report("as it is", bytes=32_000_000, success=0.99, answer_ms=94.0).to_json(), "utf-8")
    assert Recipe.for_budget(megabytes=10, reports=tmp_path) == named("int4")
    assert Recipe.for_budget(megabytes=20, milliseconds=92, reports=tmp_path) == named("int8")
    assert Recipe.for_budget(milliseconds=200, reports=tmp_path) == Recipe()
    with pytest.raises(ValueError, match=r"the smallest is 'int2' with 6\.0 MB"):
        Recipe.for_budget(megabytes=1, reports=tmp_path)
    with pytest.raises(ValueError, match="megabytes or milliseconds"):
        Recipe.for_budget(reports=tmp_path)
    with pytest.raises(FileNotFoundError, match="no reports"):
        Recipe.for_budget(megabytes=1, reports=tmp_path / "nowhere")


class TwoWays(torch.nn.Module):
    """One input always, another one sometimes."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)

    def forward(self, x, y=None):
        return self.first(x) if y is None else self.first(x) + self.second(y)


def test_calibration_may_leave_a_part_unseen_that_the_example_has():
    x, y = torch.randn(4, 16), torch.randn(4, 16)
    recipe = Recipe("static", bits=8, group_size=0, round_inputs=True)
    made, report = apply(TwoWays(), recipe, {"x": x, "y": y}, calibration=[{"x": x}], quiet=True)
    assert report.macs == 2 * 4 * 16 * 16
    made(x)
    with pytest.raises(ValueError, match="was never seen"):
        made(x, y)
