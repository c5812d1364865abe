"""Loading and exchanging, measured on small bundles: every way answers, figures are whole, failures are told."""

import shutil

import pytest

from autoglm_lab.benchmarks.exchanging import different, exchanges
from autoglm_lab.benchmarks.loading import WAYS, LoadProcess, load_once, load_twice
from autoglm_lab.measure import loading
from tests.unit.tiny_agent import write_tiny_bundle


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_load_tells_all_its_figures(bundle, way):
    report = load_once(bundle, way, tokens=2)
    assert set(report) == {
        "load_s",
        "first_answer_ms",
        "second_answer_ms",
        "step_ms",
        "peak_mb",
        "resident_mb",
        "shared_out_mb",
        "private_mb",
        "of_files_mb",
    }
    assert all(value > 0 for name, value in report.items() if name not in ("private_mb", "of_files_mb"))
    assert report["peak_mb"] >= report["resident_mb"] - 1
    assert bundle.with_name("bundle.mapped").exists() == WAYS[way][0].get("mapped", False)


def test_two_processes_are_asked_while_both_are_there(bundle):
    alone = load_once(bundle, "mapped", tokens=2)["shared_out_mb"]
    assert 0 < load_twice(bundle, "mapped")["shared_out_of_two_mb"] < 1.2 * alone


def test_a_process_that_fails_says_why(tmp_path):
    with LoadProcess(tmp_path / "nothing", "read") as process, pytest.raises(RuntimeError, match="could not be loaded"):
        process.memory()


def test_a_pool_gives_what_was_asked(bundle):
    report = loading.pool_times(bundle, count=20, rounds=2)
    assert report["made_us"].median > 0 and report["pooled_us"].median > 0 and report["made_us"].runs == 2


@pytest.mark.parametrize("mode", ["available", "small"])
def test_an_exchange_under_load_loses_and_mixes_nothing(bundle, tmp_path, monkeypatch, mode):
    monkeypatch.setattr("autoglm_lab.benchmarks.exchanging.CALM_S", 0.5)
    other = write_tiny_bundle(tmp_path / "other", seed=3)
    report = exchanges((bundle, other), mode, clients=3, swaps=4)
    assert report["lost"] == report["mixed"] == 0 and report["generations"] == 5 and report["answers"] > 3


def test_bundles_that_answer_alike_are_refused(bundle, tmp_path):
    twin = shutil.copytree(bundle, tmp_path / "twin")
    with pytest.raises(ValueError, match="answer alike"):
        different((bundle, twin))
