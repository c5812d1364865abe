"""Which figures are stale: `python -m tests.figures.record` lists them.

With `--measured NAME...` it notes that some were measured by hand just now, with `--forget NAME...` that some have to be measured.

`data/inputs.json` holds for each committed figure the SHA-256 of every input as it was when the figure was measured. A figure is
stale when one of them is another now, or when one of its inputs is a stale figure itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from autoglm_lab import atomic
from tests.figures.jobs import FOLDER, Job, Plan

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = "data/inputs.json"
MADE = f"{FOLDER}/inputs.json"  # the same for what is made on the way
BEGUN = f"{FOLDER}/begun.json"  # and for jobs that have not ended yet
Inputs = dict[str, str]


def digest(files: Iterable[tuple[str, Path]], *, pattern: bool = False) -> str:
    """SHA-256 of a file's contents; of a pattern, that of the names and digests of its files. Empty if there is none."""
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files}
    if not pattern or not found:
        return "".join(found.values())
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in sorted(found.items())).encode()).hexdigest()


def read(path: Path) -> dict[str, Inputs]:
    """A record; empty before the first entry."""
    found: dict[str, Inputs] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


class Record:
    """What was measured with which inputs, in one checkout."""

    def __init__(self, plan: Plan, root: Path = ROOT) -> None:
        self.plan, self.root = plan, root
        self._digests: dict[tuple[object, ...], str] = {}

    def now(self, name: str) -> Inputs:
        """The inputs of a job as they are."""
        return {entry: self._digest(entry) for entry in self.plan.inputs[name]}

    def _digest(self, entry: str) -> str:
        paths = sorted(self.root.glob(entry)) if "*" in entry else [self.root / entry]
        facts = [(path, path.stat()) for path in paths if path.is_file()]
        key = (entry, *((path, of.st_mtime_ns, of.st_size) for path, of in facts))
        if key not in self._digests:  # the checkpoint is an input of nearly everything
            files = [(path.relative_to(self.root).as_posix(), path) for path, _ in facts]
            self._digests[key] = digest(files, pattern="*" in entry)
        return self._digests[key]

    def measured(self, name: str, inputs: Inputs | None = None) -> None:
        """Note that a job has run, with these inputs (default: as they are)."""
        job = self.plan.jobs[name]
        place, keys = (COMMITTED, job.writes) if job.writes else (MADE, (name,))
        self._note(place, dict.fromkeys(keys, self.now(name) if inputs is None else inputs))

    def forget(self, name: str) -> None:
        """Note that a job has to run, whatever its inputs are, and what uses what it makes after it."""
        job = self.plan.jobs[name]
        place, keys = (COMMITTED, job.writes) if job.writes else (MADE, (name,))
        self._note(place, dict.fromkeys(keys))
        for user in self.plan.jobs.values():
            if name in user.uses:
                self.forget(user.name)

    def _note(self, place: str, entries: Mapping[str, Inputs | None]) -> None:
        """Put entries into a record, or take out those that are None, and those of figures that are gone."""
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.lock(path):
            known = {**read(path), **entries}
            kept = {
                key: entry for key, entry in known.items() if entry is not None and (place != COMMITTED or key in self.plan.writer)
            }
            atomic.write_text(path, json.dumps(kept, indent=1, sort_keys=True) + "\n")

    def stale(self) -> dict[str, list[str]]:
        """The jobs whose committed figures are stale, each with the reasons, in the order of the plan."""
        known, found = read(self.root / COMMITTED), dict[str, list[str]]()
        for job in self.plan.jobs.values():
            if job.writes:
                reasons = list(dict.fromkeys(reason for figure in job.writes for reason in self._reasons(job, figure, known)))
                reasons += [f"{needed} is stale" for needed in self._upstream(job) if needed in found]
                if reasons:
                    found[job.name] = reasons
        return found

    def _upstream(self, job: Job) -> list[str]:
        return list(dict.fromkeys(self.plan.writer[entry] for entry in self.plan.inputs[job.name] if entry in self.plan.writer))

    def _reasons(self, job: Job, figure: str, known: Mapping[str, Inputs]) -> list[str]:
        if not (self.root / figure.partition("#")[0]).is_file():
            return [f"{figure} is missing"]
        if figure not in known:
            return [f"{figure} has no entry in {COMMITTED}"]
        now, then = self.now(job.name), known[figure]
        return [
            f"{entry} {_change(then.get(entry, ''), now.get(entry, ''))}"
            for entry in {**then, **now}
            if then.get(entry) != now.get(entry)
        ]

    def current(self, name: str) -> bool:
        """True if a job has nothing to do: its figures are not stale, and nobody stale needs what it makes, or that is there."""
        job = self.plan.jobs[name]
        if job.writes:
            return name not in self.stale()
        return self._made(job) or not self._wanted(name)

    def _made(self, job: Job) -> bool:
        there = (self.root / job.makes).exists()
        return there and read(self.root / MADE).get(job.name) == self.now(job.name)

    def _wanted(self, name: str) -> bool:
        users = [job for job in self.plan.jobs.values() if name in job.uses]
        stale = self.stale()
        return any(user.name in stale or (bool(user.makes) and not self.current(user.name)) for user in users)

    def run(self, name: str) -> None:
        """Run the commands of a job, then note with which inputs.

        A job that was interrupted goes on with what it has made, unless an input has changed since it began.
        """
        job, inputs = self.plan.jobs[name], self.now(name)
        if job.makes and read(self.root / BEGUN).get(name) != inputs:
            self._remove(self.root / job.makes)
        self._note(BEGUN, {name: inputs})
        for command in job.commands:
            print(f"{name}: {command}", flush=True)
            command.run(self.root)
        self.measured(name, inputs)
        self._note(BEGUN, {name: None})

    def _remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _change(then: str, now: str) -> str:
    return "is new" if not then else "is gone" if not now else "has changed"


def main(arguments: Iterable[str] | None = None) -> int:
    """List what is stale, or note what was measured by hand or has to be measured."""
    from tests.figures.plan import PLAN

    parser = argparse.ArgumentParser(prog="python -m tests.figures.record")
    for option in ("--measured", "--forget"):
        parser.add_argument(option, nargs="+", default=[], metavar="NAME", help="of a job, of a group of jobs, or of a figure")
    options = parser.parse_args(None if arguments is None else list(arguments))
    record = Record(PLAN)
    for name in PLAN.named(options.forget):
        record.forget(name)
    for name in PLAN.named(options.measured):
        record.measured(name)
    if not options.measured and not options.forget:
        print(table(PLAN, record.stale()))
    return 0


def table(plan: Plan, stale: Mapping[str, list[str]]) -> str:
    """The stale jobs with their figures and the reasons, and how many there are."""
    lines = [
        line
        for name, reasons in stale.items()
        for line in (f"{name}: {', '.join(plan.jobs[name].writes)}", *(f"    {reason}" for reason in reasons))
    ]
    return "\n".join([*lines, f"{len(stale)} of {sum(bool(job.writes) for job in plan.jobs.values())} jobs are stale"])


if __name__ == "__main__":
    sys.exit(main())
