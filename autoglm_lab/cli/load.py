"""`autoglm-lab load`: measure a server under load."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

from autoglm_lab.cli.options import Commands, add_json, numbers, positive


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("load", help="how many answers a second a bundle gives over HTTP, served in several ways")
    command.add_argument("--bundle", type=Path, metavar="DIR", required=True, help="a bundle, exported with --rows")
    command.add_argument(
        "--clients", type=numbers, default=(1, 4, 16), metavar="N,...", help="how many ask at once (default 1,4,16)"
    )
    command.add_argument("--answers", type=positive, default=96, help="answers in each run (default 96)")
    command.add_argument("--rounds", type=positive, default=3, help="runs of each, in turns (default 3)")
    command.add_argument("--grid", action="store_true", help="instead: workers x threads, without batches")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.benchmarks.http_load import GRID, WAYS, loads, shared_step, summary
    from autoglm_lab.evaluation.machine import fast_maths

    ways = GRID if options.grid else WAYS
    results = summary(loads(options.bundle, ways, clients=options.clients, answers=options.answers, rounds=options.rounds))
    gain = shared_step(options.bundle)
    results["ratios"]["step_of_16_vs_16_steps"] = asdict(gain)
    if options.json:
        print(json.dumps({**results, "cpu_flags": fast_maths(), "cores": os.cpu_count()}))
        return 0
    print(f"{'':15}{'clients':>8}{'answers/s':>11}{'tokens/s':>10}{'p50 ms':>8}{'p95 ms':>8}")
    for name, rows in results["ways"].items():
        for row in rows:
            figures = (row[figure]["median"] for figure in ("answers_per_s", "tokens_per_s", "p50_ms", "p95_ms"))
            columns = (f"{value:{width}.0f}" for value, width in zip(figures, (11, 10, 8, 8), strict=True))
            print(f"{name:15}{row['clients']:8}{''.join(columns)}")
    print(f"a step of 16 answers against 16 steps: {gain}")
    return 0
