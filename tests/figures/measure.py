"""The success of an agent and its times, measured apart: `python -m tests.figures.measure COMMAND ...`.

`autoglm-lab compress --tasks` and `autoglm-lab export --tasks` measure both in one go. Here success may be measured while other
things run, times only alone; the functions are the same.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from autoglm_lab import atomic
from autoglm_lab.benchmarks.agent_report import RUNTIME, succeeded, timed, timed_in_runtime
from autoglm_lab.benchmarks.http_load import CLIENTS, GRID, WAYS, loads, shared_step, summary
from autoglm_lab.benchmarks.scoreboard.governor_report import report as power_report
from autoglm_lab.compress.agent import load_agent
from autoglm_lab.compress.recipe import Recipe
from autoglm_lab.edge.hybrid.cascade import Outcomes, judge, log_probabilities
from autoglm_lab.edge.hybrid.schedules import report as hybrid_report
from autoglm_lab.edge.intent.costs import measure as measure_costs
from autoglm_lab.edge.intent.report import report as intent_report
from autoglm_lab.edge.offload.experiment import on_traces
from autoglm_lab.edge.offload.experiment import report as offload_report
from autoglm_lab.edge.privacy.report import report as privacy_report
from autoglm_lab.edge.sync.experiment import network
from autoglm_lab.edge.sync.experiment import report as sync_report
from autoglm_lab.edge.trace import read_trace
from autoglm_lab.evaluation.machine import fast_maths
from autoglm_lab.evaluation.report import Report
from autoglm_lab.evaluation.success import OneByOne, Request, World, right, typed_requests
from autoglm_lab.model.batch import BatchEngine
from autoglm_lab.phone.icons import families
from autoglm_lab.runtime.bundle import is_bundle
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.training.intent_gru import fit

TASKS, SEED = 500, 0
GRID_CLIENTS = 16
AT_ONCE = 200  # requests whose pictures are in memory


def plain(into: Path) -> None:
    """Write the recipe that changes nothing."""
    save(into, Recipe().to_json())


def rate(agent: Path, into: Path, of: Path | None = None) -> None:
    """Write the report of a model folder, or of a bundle of the model folder `of`, with its success."""
    report = Report.from_json(((of or agent) / "report.json").read_text("utf-8"))
    if is_bundle(agent):
        engine = OnnxEngine(agent, speculate=False)  # token by token: models are compared, not what drafts save
        report = replace(report, bytes=engine.bundle.bytes, runtime=RUNTIME)
        report = succeeded(report, OneByOne(engine), tasks=TASKS, seed=SEED)
    else:
        made = load_agent(agent)
        report = succeeded(report, BatchEngine(made.model, made.processor), tasks=TASKS, seed=SEED)
    save(into, report.to_json())


def time(agent: Path, rated: Path, into: Path, beside: Path | None = None) -> None:
    """Write the report that `rate` wrote with times, in turns with the whole agent: the shipped one, or its bundle `beside`."""
    report = Report.from_json(rated.read_text("utf-8"))
    if beside is None:
        report = timed(report, load_agent(agent), load_agent(None))
    else:
        report = timed_in_runtime(report, *(OnnxEngine(bundle, speculate=False) for bundle in (agent, beside)))
    save(into, report.to_json())


def load(bundle: Path) -> None:
    """Print the loads of a bundle in all ways, and for workers and threads, as one JSON object."""
    found = summary(loads(bundle, WAYS, clients=CLIENTS))
    found["ratios"]["step_of_16_vs_16_steps"] = asdict(shared_step(bundle))
    grid = summary(loads(bundle, GRID, clients=(GRID_CLIENTS,)))["ways"]
    command = f"autoglm-lab load --bundle bundle --clients {','.join(map(str, CLIENTS))}"
    print(json.dumps({**found, "cpu_flags": fast_maths(), "cores": os.cpu_count(), "grid": grid, "command": command}))


def power(seeds: int = 20) -> None:
    """Print how governors and smaller models stand on the simulated phone, as one JSON object."""
    print(json.dumps(power_report(seeds)))


def offload() -> None:
    """Print the offloading experiment as one JSON object."""
    print(json.dumps(offload_report()))


def traces(folder: Path) -> None:
    """Print how plans fare on a folder's traces and how long a message waits, as one JSON object. ValueError for fewer than two."""
    files = sorted(folder.glob("*.up"))
    if len(files) < 2:
        raise ValueError(f"{folder} has {len(files)} files *.up; bring two uplinks, as of ravinet/mahimahi")
    links = {path.stem: replace(read_trace(path), name=path.stem) for path in files}
    waits = [row for row in network(range(10), list(links.values())) if row["link"] in links]
    print(json.dumps({"plans": on_traces(links), "waits": waits}))


def sync() -> None:
    """Print the figures of the sync protocol as one JSON object."""
    print(json.dumps(sync_report()))


def hybrid() -> None:
    """Print the counts over random schedules of two engines and an outbox as one JSON object."""
    print(json.dumps(hybrid_report()))


def privacy(bundle: Path) -> None:
    """Print what each attack finds, as one JSON object; what a bundle still does right when less is sent to it."""
    print(json.dumps(privacy_report(engine=OnnxEngine(bundle))))


def intent(bundle: Path) -> None:
    """Print the experiment on intent as one JSON object; what a preparation saves and costs is measured on a bundle."""
    costs = measure_costs(OnnxEngine(bundle))
    print(json.dumps(intent_report(fit, costs)))


def cascade(small: Path, large: Path, count: int = 2000) -> None:
    """Print how well signals choose the answers of a small bundle that go to a large one, as one JSON object.

    The shifted requests tap icons of families that no training saw.
    """
    world, engines = World(SEED), [OnnxEngine(folder, speculate=False) for folder in (small, large)]
    parts = range(0, count, AT_ONCE)
    rows = [_outcomes(typed_requests(world, AT_ONCE, stream=1000 + part), *engines) for part in parts]
    family = families(held_out=True)[0]
    shifted = [_outcomes(typed_requests(world, AT_ONCE, stream=2000 + part, family=family), *engines) for part in parts[::2]]
    figures = judge(Outcomes.join(rows), Outcomes.join(shifted))
    print(json.dumps({"small_bundle": small.name, "large_bundle": large.name, **figures}))


def _outcomes(requests: list[Request], small: OnnxEngine, large: OnnxEngine) -> Outcomes:
    """Ask both engines every request."""
    kinds, tokens, scores, mine, theirs = [], [], [], [], []
    for request in requests:
        given = {"current_app": request.app, "last": request.memory(small.memory)}
        prepared = small.prepare(request.task.text, request.image, **given)
        answer = small.write(prepared).answer
        kinds.append(request.task.kind)
        tokens.append(float(answer.tokens))
        scores.append(log_probabilities(small, answer.text, prepared))
        mine.append(right(request, answer))
        theirs.append(right(request, large.answer(request.task.text, request.image, **given).answer))
    least, mean = (np.array([f(each) for each in scores]) for f in (np.min, np.mean))
    return Outcomes(np.array(kinds), np.array(tokens), least, mean, np.array(mine), np.array(theirs))


def save(path: Path, text: str) -> None:
    """Write a file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text + "\n")


def main() -> None:
    """The commands in this module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures.measure")
    commands = parser.add_subparsers(required=True)
    for do, places in (
        (plain, ("into",)),
        (rate, ("agent", "into")),
        (time, ("agent", "rated", "into")),
        (load, ("bundle",)),
        (power, ()),
        (offload, ()),
        (traces, ("folder",)),
        (sync, ()),
        (hybrid, ()),
        (privacy, ("bundle",)),
        (intent, ("bundle",)),
        (cascade, ("small", "large")),
    ):
        command = commands.add_parser(do.__name__)
        for place in places:
            command.add_argument(place, type=Path)
        for option in {rate: ("--of",), time: ("--beside",)}.get(do, ()):
            command.add_argument(option, type=Path)
        if do is cascade:
            command.add_argument("--count", type=int, default=2000)
        command.set_defaults(do=do)
    options = vars(parser.parse_args())
    options.pop("do")(**options)


if __name__ == "__main__":
    main()
