"""The checkpoint in `data/model`: what it can do, on a small part of the evaluation, so that a spoilt one is noticed."""

import json
from dataclasses import replace

import pytest

import autoglm_lab as lab
from autoglm_lab.benchmarks.card import card, measures, meets_target
from autoglm_lab.evaluation.success import World, answer_rate, episodes, question_requests, task_rate, typed_requests
from autoglm_lab.model.batch import BatchEngine, gate_response
from autoglm_lab.paths import data_dir


@pytest.fixture(scope="module")
def many():
    engine = lab.load()
    return BatchEngine(engine.model, engine.processor)


def test_it_acts_and_answers(many):
    world = World(seed=3)
    assert answer_rate(many, typed_requests(world, 96), "typed_step").rate >= 0.95
    assert answer_rate(many, question_requests(world, 64), "screen_qa").rate >= 0.97
    assert task_rate(many, episodes(world, 32)).rate >= 0.9


def test_its_gates_close_on_what_cannot_be_read(many):
    gates = gate_response(many, seed=0, count=128)
    assert gates["image"]["blur_8"] <= 0.75 * gates["image"]["clean"]
    assert gates["speech"]["snr_0"] <= 0.75 * gates["speech"]["snr_10"] <= 0.75 * gates["speech"]["clean"]


def test_the_loss_is_that_of_the_right_answers(many):
    requests = typed_requests(World(seed=3), 6)
    together = many.loss(requests)
    assert float(many.loss(requests, batch=2)) == pytest.approx(float(together), abs=1e-4)
    each = [(many.loss([one]).item(), sum(int(mask.sum()) for _, mask in many.examples([one]))) for one in requests]
    assert together.item() == pytest.approx(sum(loss * n for loss, n in each) / sum(n for _, n in each), rel=1e-3)
    assert together.item() < 0.3
    assert together.requires_grad
    with pytest.raises(ValueError, match="needs the action"):
        many.loss([replace(requests[0], wanted=None)])


def test_its_card_is_what_its_figures_give():
    folder = data_dir() / "model"
    results, training, config = (json.loads((folder / f"{name}.json").read_text()) for name in ("results", "training", "config"))
    assert (folder / "README.md").read_text() == card(results, training, config)
    assert (folder / "model.safetensors").stat().st_size <= 35e6


def test_what_was_reached_stays_reached():
    """As measured on 500 requests each: the samples above are too small for the asked figures themselves."""
    results, config = (json.loads((data_dir() / "model" / f"{name}.json").read_text()) for name in ("results", "config"))
    for name, measure in measures(config).items():
        assert results[name]["n"] >= 500
        assert meets_target(measure, results[name]["rate"]), name
    image, speech = list(results["gates"]["image"].values()), list(results["gates"]["speech"].values())
    for gates in (image, speech):
        assert gates == sorted(gates, reverse=True)
        assert gates[-1] <= 0.75 * gates[0]


def test_the_small_preset_was_trained_within_minutes():
    """One run from nothing, on two threads; `autoglm-lab train --preset mini` repeats it."""
    folder = data_dir() / "mini"
    results, training = (json.loads((folder / f"{name}.json").read_text()) for name in ("results", "training"))
    assert training["threads"] == 2 and training["minutes"] <= 12
    assert training["parameters"] == pytest.approx(6e6, rel=0.1)
    assert results["typed_step"]["n"] >= 500 and results["typed_step"]["rate"] >= 0.95
    assert results["spoken_step"]["n"] >= 500 and results["spoken_step"]["rate"] >= 0.90
