"""The plan as tasks of doit: `doit -f tests/figures/dodo.py --dir . list --all`, or simply `make figures`.

doit orders the jobs, runs them (side by side where nothing is timed) and stops at the first that fails. Whether one has to run is
read from the committed `data/inputs.json`, not from doit's own database, which a fresh clone would not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.figures.jobs import Plan
from tests.figures.plan import PLAN
from tests.figures.record import FOLDER, Record

DOIT_CONFIG = {
    "default_tasks": ["figures"],
    "dep_file": f"{FOLDER}/doit.json",
    "backend": "json",
    "verbosity": 2,
    "par_type": "thread",
    "reporter": "executed-only",
}


def tasks(plan: Plan, record: Record) -> Iterator[dict[str, Any]]:
    """One task for each job, `untimed` for those that may run side by side, and `figures` for all."""
    (record.root / FOLDER).mkdir(parents=True, exist_ok=True)  # for doit's database
    for job in plan.jobs.values():
        group, _, name = job.name.partition(":")
        yield {
            "basename": group,
            **({"name": name} if name else {}),
            "actions": [(record.run, [job.name])],
            "task_dep": list(plan.needs[job.name]),
            "targets": [figure for figure in job.writes if "#" not in figure],
            "uptodate": [partial(up_to_date, record, job.name)],
            "doc": ", ".join(job.writes) or job.makes,
        }
    yield {"basename": "untimed", "actions": None, "task_dep": plan.untimed()}
    yield {"basename": "figures", "actions": None, "task_dep": list(plan.jobs)}


def up_to_date(record: Record, name: str, task: Any, values: Any) -> bool:
    """What doit asks before a task."""
    return record.current(name)


def task_figures() -> Iterator[dict[str, Any]]:
    """Give doit the plan."""
    yield from tasks(PLAN, Record(PLAN))
