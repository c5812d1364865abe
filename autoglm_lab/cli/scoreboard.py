"""`autoglm-lab scoreboard`: measure claimed figures again."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path

from autoglm_lab.cli.options import Commands, add_json
from autoglm_lab.paths import work_dir


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("scoreboard", help="measure claimed figures again on this machine, and judge them by it")
    command.add_argument("--quick", action="store_true", help="only what takes less than a minute and needs no bundle")
    command.add_argument(
        "--out",
        type=Path,
        default=work_dir() / "scoreboard",
        help="folder for the results; what lies there is not measured again (default %(default)s)",
    )
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.benchmarks.scoreboard.measuring import measure, plan
    from autoglm_lab.benchmarks.scoreboard.rows import board, comparison
    from autoglm_lab.progress import track

    run = plan(options.out, quick=options.quick)
    print(run, file=sys.stderr, flush=True)
    bar = partial(track, what="scoreboard", unit="part")
    rows = board(measure(options.out, run, bar, lambda part: partial(track, what=part.title, unit="step")))
    if options.json:
        missing, folder = run.missing, str(options.out)
        print(json.dumps({"folder": folder, "missing": missing, "comparison": comparison(rows), "rows": [r.data() for r in rows]}))
        return 0
    for row in rows:
        here = "" if row.same is None else "the same" if row.same else row.verdict_here
        print(f"{row.key}  {row.verdict:17} {here:17} {row.claimed}")
        if row.is_measured_here and row.figure is not None:
            print(f"{'':5}{row.figure.name}: shipped {row.figure}; here {row.figure_here or 'not measured'}")
    print(comparison(rows))
    return 0
