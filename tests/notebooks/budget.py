"""A pytest plugin beside nbval: how long each notebook took, how much memory its kernel needed, and the limits.

`pytest -p tests.notebooks.budget --nbval-lax NOTEBOOKS` adds one test, `budget`, after the last cell of each notebook
and writes `build/notebooks.json`. The peak is the larger of two readings: what Linux keeps for the kernel (VmHWM), and
the sum over the kernel and its children, sampled every 100 ms.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import platform
import re
import threading
import time

import psutil
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

MB = 1_000_000
SAMPLE_S = 0.1


class Meter:
    """Clock and memory of one notebook's kernel."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.seconds = 0.0
        self.peak_bytes = 0
        self.cells = 0
        self.failed = False
        self.pid = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Start sampling a kernel, the first time it is known."""
        if self._thread is None:
            self.pid = pid
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()

    def cell_done(self) -> None:
        """Take the time and the kernel's own peak after a cell."""
        self.seconds = time.perf_counter() - self.started
        self.cells += 1
        self.peak_bytes = max(self.peak_bytes, own_peak_bytes(self.pid), tree_bytes(self.pid))

    def stop(self) -> None:
        """End sampling."""
        self._stop.set()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, tree_bytes(self.pid))


def own_peak_bytes(pid: int) -> int:
    """Peak resident memory as Linux keeps it for a process; 0 elsewhere."""
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(found[1]) * 1024
    return 0


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and its children now; what ended meanwhile counts nothing."""
    total = 0
    with contextlib.suppress(psutil.Error):
        kernel = psutil.Process(pid)
        for process in (kernel, *kernel.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


class Budget(pytest.Item):
    """The last test of a notebook: it stayed within time and memory."""

    def runtest(self) -> None:
        """Compare with the limits; leave the figures for the report when every cell passed."""
        meter: Meter | None = getattr(self.parent, "meter", None)
        assert meter is not None, "no cell was run"
        meter.stop()
        seconds, peak_mb = meter.seconds, meter.peak_bytes / MB
        if not meter.failed:
            figures = {"seconds": round(seconds, 1), "peak_rss_mb": round(peak_mb), "cells": meter.cells}
            write_part(self.config, self.parent.path, figures)
        option = self.config.option
        assert seconds < option.notebook_seconds, f"{seconds:.1f} s, the limit is {option.notebook_seconds:.0f} s"
        assert peak_mb < option.notebook_mb, f"{peak_mb:.0f} MB, the limit is {option.notebook_mb:.0f} MB"

    def repr_failure(self, excinfo, style=None) -> str:
        """The one line that matters."""
        return f"{self.parent.path.name}: {str(excinfo.value).splitlines()[0]}"

    def reportinfo(self):
        """Where, for the summary."""
        return self.path, 0, f"budget of {self.parent.path.name}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Limits and the place of the report."""
    group = parser.getgroup("notebook budget")
    group.addoption("--notebook-seconds", type=float, default=90, help="longest time for a notebook (90)")
    group.addoption("--notebook-mb", type=float, default=1200, help="largest peak RSS of its kernel in MB (1200)")
    group.addoption("--notebook-report", default="build/notebooks.json", help="where the figures go")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One budget after the last cell of each notebook."""
    last = {item.parent: position for position, item in enumerate(items) if isinstance(item, IPyNbCell)}
    for notebook, position in sorted(last.items(), key=lambda entry: -entry[1]):
        items.insert(position + 1, Budget.from_parent(notebook, name="budget"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item):
    """Start the clock before the kernel starts, the sampling after."""
    notebook = item.parent
    if not isinstance(notebook, IPyNbFile):
        return (yield)
    if not hasattr(notebook, "meter"):
        notebook.meter = Meter()
    outcome = yield
    if notebook.kernel is not None:
        notebook.meter.watch(notebook.kernel.km.provisioner.pid)
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Read the meter after each cell."""
    report = yield
    if isinstance(item, IPyNbCell) and hasattr(item.parent, "meter"):
        if call.when == "call":
            item.parent.meter.cell_done()
        item.parent.meter.failed |= report.failed
    return report


def report_path(config: pytest.Config) -> pathlib.Path:
    """The report, relative to the repository's root."""
    return config.rootpath / config.option.notebook_report


def write_part(config: pytest.Config, notebook: pathlib.Path, figures: dict[str, float]) -> None:
    """One notebook's figures in a file of its own, so that parallel workers do not meet."""
    folder = report_path(config).with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    name = notebook.relative_to(config.rootpath).as_posix()
    (folder / f"{name.replace('/', '--')}.json").write_text(json.dumps({name: figures}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Merge the parts into the report; figures of notebooks that are gone are dropped."""
    if hasattr(session.config, "workerinput"):
        return
    report = report_path(session.config)
    parts = sorted(report.with_suffix("").glob("*.json"))
    if not parts:
        return
    notebooks = json.loads(report.read_text())["notebooks"] if report.exists() else {}
    for part in parts:
        notebooks |= json.loads(part.read_text())
        part.unlink()
    report.with_suffix("").rmdir()
    notebooks = {name: figures for name, figures in sorted(notebooks.items()) if (session.config.rootpath / name).exists()}
    machine = {"cpus": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    report.write_text(json.dumps({"machine": machine, "notebooks": notebooks}, indent=1) + "\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The figures, one line for each notebook."""
    report = report_path(config)
    if report.exists():
        terminalreporter.section("time and memory of the notebooks")
        for name, figures in json.loads(report.read_text())["notebooks"].items():
            terminalreporter.line(f"{name}: {figures['seconds']:.1f} s, {figures['peak_rss_mb']:.0f} MB")
