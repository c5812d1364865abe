"""A job measures some figures, or makes what others measure: its commands, its inputs, and the files that it writes.

Inputs are data: the checkpoint, recipes, icons, fonts and voices, other figures. Sources of the package are none, or every
refactoring would cost a day of measuring; whoever changes what a source computes says what that moves
(`make figures ONLY=... FORCE=1`). `plan` says where a script counts after all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoglm_lab import atomic

FOLDER = "build/figures"  # of what is made on the way


@dataclass(frozen=True)
class Command:
    """A shell command, run in the root of the repository. `into` names a file for the JSON that it prints."""

    text: str
    into: str = ""
    indent: int | None = None

    def run(self, root: Path) -> None:
        """Run it to its end. CalledProcessError if it fails, ValueError for output that is no JSON; `into` is then as before."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            self.text,
            shell=True,
            cwd=root,
            check=True,
            text=True,
            env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE if self.into else None,
        )
        if self.into:
            text = json.dumps(json.loads(done.stdout), ensure_ascii=False, indent=self.indent)
            (root / self.into).parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(root / self.into, text + "\n")

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.text} > {self.into}" if self.into else self.text


@dataclass(frozen=True)
class Job:
    """One step of `make figures`."""

    name: str
    commands: tuple[Command, ...]
    inputs: tuple[str, ...] = ()  # files, or patterns of files
    writes: tuple[str, ...] = ()  # committed figures; README.md#NAME is a part of that file
    makes: str = ""  # a file or folder in FOLDER that other jobs need
    uses: tuple[str, ...] = ()  # jobs whose `makes` it needs
    after: tuple[str, ...] = ()  # jobs to wait for besides those whose figures are inputs
    timed: bool = False  # runs alone, so that nothing else slows down what it times


class Plan:
    """Jobs in an order in which each comes after those that it needs."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        """ValueError for a job that needs itself, a figure that two jobs write, a job that is unknown or gives nothing."""
        named = {job.name: job for job in jobs}
        self.writer: dict[str, str] = {}
        for job in named.values():
            if bool(job.writes) == bool(job.makes) or not job.makes.startswith(FOLDER * bool(job.makes)):
                raise ValueError(f"{job.name} has to write figures, or to make something in {FOLDER}")
            for figure in job.writes:
                if self.writer.setdefault(figure, job.name) != job.name:
                    raise ValueError(f"{figure} is written by {self.writer[figure]} and by {job.name}")
        self.needs = {job.name: self._needs(job) for job in named.values()}
        self.jobs: dict[str, Job] = {}
        for name in named:
            self._add(name, named, ())
        self.inputs: dict[str, tuple[str, ...]] = {}
        for job in self.jobs.values():  # what is made under build/ is as its own inputs are
            every = [*job.inputs, *(entry for name in job.uses for entry in self.inputs[name])]
            self.inputs[job.name] = tuple(dict.fromkeys(every))

    def _needs(self, job: Job) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*job.uses, *job.after, *(self.writer[entry] for entry in job.inputs if entry in self.writer)]))

    def _add(self, name: str, named: Mapping[str, Job], waiting: tuple[str, ...]) -> None:
        if name in waiting:
            raise ValueError(f"a job needs itself: {' <- '.join((*waiting, name))}")
        if name not in named:
            raise ValueError(f"{waiting[-1]} needs {name!r}, which is no job")
        for needed in self.needs[name]:
            self._add(needed, named, (*waiting, name))
        self.jobs[name] = named[name]

    def untimed(self) -> list[str]:
        """The jobs that neither time anything nor wait for one that does: these may run side by side."""
        found: list[str] = []
        for job in self.jobs.values():
            if not job.timed and set(self.needs[job.name]) <= set(found):
                found.append(job.name)
        return found

    def named(self, names: Iterable[str]) -> list[str]:
        """The jobs of these names, which may also be those of groups ("report") and of figures. ValueError for another name."""
        found: dict[str, None] = {}
        for name in names:
            here = [job for job in self.jobs if name in (job, job.partition(":")[0]) or name in self.jobs[job].writes]
            if not here:
                raise ValueError(f"there is no job or figure {name!r}; there are {', '.join(self.jobs)}")
            found |= dict.fromkeys(here)
        return list(found)
