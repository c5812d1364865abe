"""`autoglm-lab export`: write a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from autoglm_lab import atomic
from autoglm_lab.cli.options import Commands, add_json, add_model, whole


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("export", help="write the agent as a bundle: files that run without PyTorch")
    command.add_argument("--out", type=Path, required=True, help="folder for the bundle")
    command.add_argument(
        "--tasks", type=whole, default=0, help="measure it in ONNX Runtime on this many typed and spoken steps (default 0: not)"
    )
    command.add_argument("--one-call", action="store_true", help="one more file: the whole answer in one call, for any host")
    command.add_argument(
        "--mapped",
        action="store_true",
        help="beside it, for this machine alone: OUT.mapped with the weights as "
        "they lie in memory, for engines that are opened with mapped",
    )
    command.add_argument("--rows", action="store_true", help="one more file: a step of several answers at once, for `serve`")
    add_model(command, "model folder")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    atomic.check(options.out, "bundle")
    with atomic.lock(options.out, patience_s=0):
        return _exported(options)


def _exported(options: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from autoglm_lab.benchmarks.agent_report import measured_in_runtime, sample_requests
    from autoglm_lab.compress.agent import load_agent, write_report
    from autoglm_lab.compress.recipe import Recipe
    from autoglm_lab.evaluation.report import Report
    from autoglm_lab.export.bundle import bundle
    from autoglm_lab.runtime.mapped import write_mapped
    from autoglm_lab.runtime.onnx_engine import OnnxEngine

    engine, source = load_agent(options.model), options.model or Path()
    recipe = Recipe.read(source / "recipe.json") if (source / "recipe.json").exists() else Recipe()
    screens = [request.image for request in sample_requests(64)] if recipe.round_inputs else []
    bundle(engine, options.out, recipe, screens=screens, one_call=options.one_call, rows=options.rows)
    exported = OnnxEngine(options.out, speculate=False)  # token by token: models are compared, not what drafts save (`bench` does)
    facts: dict[str, Any] = {"bundle": str(options.out), "bytes": exported.bundle.bytes}
    if options.tasks:
        report_file = source / "report.json"
        report = Report.from_json(report_file.read_text("utf-8")) if report_file.exists() else Report(recipe.name)
        with TemporaryDirectory() as folder:
            bundle(load_agent(None), Path(folder) / "whole")
            other = OnnxEngine(Path(folder) / "whole", speculate=False)
            report = measured_in_runtime(report, exported, other, tasks=options.tasks)
        write_report(report, options.out)
        facts["report"] = json.loads(report.to_json())
    if options.mapped:
        facts["mapped"] = str(write_mapped(exported.bundle))
    if options.json:
        print(json.dumps(facts))
        return 0
    print(
        f"the bundle in {options.out} has {exported.bundle.bytes / 1e6:.1f} MB; ask it: autoglm-lab ask TEXT --model {options.out}"
    )
    if options.tasks:
        print(report)
    return 0
