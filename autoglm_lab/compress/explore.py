"""Many recipes, measured side by side: on processes of this machine, or on any executor that is given."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from autoglm_lab import atomic
from autoglm_lab.compress.recipe import Recipe
from autoglm_lab.evaluation.report import Report
from autoglm_lab.workers import end_with_parent

Measure = Callable[[Recipe], Report]
ATTEMPTS = 3  # for recipes whose worker died


def grid(base: Recipe | None = None, **choices: Iterable[Any]) -> Iterator[Recipe]:
    """Every combination of some fields' values; its name says which. Combinations that a recipe refuses are left out.

    >>> [recipe.name for recipe in grid(bits=(8, 4), channels=(0.0, 0.3))]
    ['bits 8, channels 0.0', 'bits 8, channels 0.3', 'bits 4, channels 0.0', 'bits 4, channels 0.3']
    """
    for values in product(*choices.values()):
        fields = dict(zip(choices, values, strict=True))
        try:
            yield replace(base or Recipe(), **fields, name=", ".join(f"{name} {value}" for name, value in fields.items()))
        except ValueError:
            continue


def search(recipes: Iterable[Recipe], measure: Measure, folder: Path, *, executor: Executor | None = None) -> list[Report]:
    """Measure every recipe, in any order, and return the reports in the order of `recipes`.

    A report is written to `folder` as soon as it is there, so a search that was killed goes on where it was; what is in the
    folder is not measured again (use another folder for another model or measure). Without an `executor` two processes are
    started; a worker that dies is replaced, and its recipe tried up to three times. `measure` has to be importable by other
    processes. An error in `measure` ends the search, naming the recipe, once the others that can no longer be called off are
    written.
    """
    recipe_list = list(recipes)
    atomic.check_room(folder)
    _read(folder, recipe_list)
    with tqdm(total=len(recipe_list), desc="recipes", unit="recipe", leave=False) as bar:
        for attempt in range(ATTEMPTS):
            missing = [recipe for recipe in recipe_list if not _path(folder, recipe).exists()]
            bar.update(len(recipe_list) - len(missing) - bar.n)
            if not missing:
                break
            try:
                if executor is not None:
                    _measure(missing, measure, folder, executor, bar)
                else:
                    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), end_with_parent) as pool:
                        _measure(missing, measure, folder, pool, bar)
            except BrokenProcessPool as error:
                if executor is not None or attempt == ATTEMPTS - 1:
                    unmeasured = [recipe.name for recipe in missing if not _path(folder, recipe).exists()]
                    raise RuntimeError(
                        f"a worker died again and again (out of memory?); not measured: {', '.join(unmeasured)}"
                    ) from error
    reports = _read(folder, recipe_list)
    return [reports[_path(folder, recipe)] for recipe in recipe_list]


def _read(folder: Path, recipes: list[Recipe]) -> dict[Path, Report]:
    """Reports that are in a folder already. ValueError names a file that holds none."""
    reports = {}
    for path in (_path(folder, recipe) for recipe in recipes):
        if path.exists():
            try:
                reports[path] = Report.from_json(path.read_text("utf-8"))
            except (ValueError, TypeError, KeyError, OSError) as error:
                raise ValueError(
                    f"{path} is no report ({type(error).__name__}); delete it, and its recipe is measured again"
                ) from None
    return reports


def _measure(recipes: list[Recipe], measure: Measure, folder: Path, executor: Executor, bar: Any) -> None:
    jobs: dict[Future[Report], Recipe] = {executor.submit(measure, recipe): recipe for recipe in recipes}
    failed: tuple[Recipe, Exception] | None = None
    waiting = set(jobs)
    while waiting:
        finished_jobs, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for job in finished_jobs:
            try:
                report = job.result()
            except BrokenProcessPool:
                raise
            except Exception as error:
                if failed is None:
                    failed = jobs[job], error
                    # not every executor tells of a job that was called off: on Dask's, one that ends just then stays silent
                    waiting = {other for other in waiting if not other.cancel()}
                continue
            path = _path(folder, jobs[job])
            atomic.write_text(path, report.to_json() + "\n")
            bar.update()
    if failed is not None:
        raise ValueError(f"recipe {failed[0].name!r}: {failed[1]}") from failed[1]


def _path(folder: Path, recipe: Recipe) -> Path:
    return folder / f"{hashlib.sha256(recipe.to_json().encode()).hexdigest()[:16]}.json"
