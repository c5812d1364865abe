"""`autoglm-lab runtimes`: compare other runtimes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from autoglm_lab.cli.options import Commands, add_json, add_model, positive, whole
from autoglm_lab.paths import work_dir


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("runtimes", help="convert the agent for other runtimes, run it there, and compare")
    command.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="openvino, mnn, litert, executorch, ncnn, coreml, tensorrt, llamacpp (default: all)",
    )
    command.add_argument("--out", type=Path, default=work_dir() / "runtimes", help="folder for their files (default %(default)s)")
    command.add_argument("--requests", type=positive, default=20, help="how many answers are compared (default 20)")
    command.add_argument("--threads", type=positive, default=2, help="CPU threads (default 2)")
    command.add_argument("--rounds", type=whole, default=9, help="turns in which steps are timed (default 9; 0: none)")
    command.add_argument("--install", action="store_true", help="only make the environments")
    add_model(command, "model folder")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.benchmarks.peers.findings import described
    from autoglm_lab.benchmarks.peers.survey import check_folders, chosen, install, survey
    from autoglm_lab.evaluation.machine import fast_maths

    names = chosen(options.names)
    if options.install:
        missing = install(names)
        for name in names:
            print(f"{name:12} {missing.get(name, 'ready')}")
        return 1 if missing else 0
    check_folders(names, options.out)
    from autoglm_lab.compress.agent import load_agent

    reports = survey(
        load_agent(options.model), names, options.out, requests=options.requests, threads=options.threads, rounds=options.rounds
    )
    if options.json:
        print(json.dumps({"threads": options.threads, "cpu_flags": fast_maths(), "runtimes": reports}))
    else:
        for name, report in reports.items():
            print(f"{name:12} {described(report)}")
    return 1 if any(report["verdict"] == "fails" for report in reports.values()) else 0
