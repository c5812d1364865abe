"""The search on somebody else's executor: a real Dask cluster of two worker processes."""

import os
from functools import partial

import pytest
from distributed import Client, LocalCluster

from autoglm_lab.compress.explore import grid, search
from tests.unit.test_recipe import broken, measured


@pytest.fixture(scope="module")
def executor():
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield client.get_executor()


def test_a_dask_cluster_takes_the_place_of_processes(executor, tmp_path):
    calls, results = tmp_path / "calls", tmp_path / "results"
    calls.mkdir()
    recipes = list(grid(bits=(2, 3, 4, 5, 6, 7, 8, 16)))
    reports = search(recipes, partial(measured, folder=calls), results, executor=executor)
    assert [report.name for report in reports] == [recipe.name for recipe in recipes]
    assert [report.success for report in reports] == [recipe.bits / 16 for recipe in recipes]
    workers = {path.name.split("-")[1] for path in calls.iterdir()}
    assert len(workers) == 2 and str(os.getpid()) not in workers
    assert search(recipes, partial(measured, folder=calls), results, executor=executor) == reports
    assert len(list(calls.iterdir())) == len(recipes), "what was measured is not measured again"


def test_an_error_on_the_cluster_names_its_recipe(executor, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    with pytest.raises(ValueError, match="recipe 'bits 4': no such width"):
        search(list(grid(bits=(2, 4))), partial(broken, folder=calls), tmp_path / "results", executor=executor)
