"""`autoglm-lab power`: race governors of a clock."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from autoglm_lab.cli.options import Commands, add_json, positive, rates, seconds


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("power", help="race governors of a simulated phone's clock against the best that is possible")
    command.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="operating points as JSON: name, speeds, busy, idle, unit (default: one fast core of a Snapdragon 835)",
    )
    command.add_argument("--rate", type=rates, default=(0.4, 0.8), metavar="R,...", help="requests a second (default 0.4,0.8)")
    command.add_argument("--deadline", type=seconds, default=1.0, metavar="S", help="of each request (default 1)")
    command.add_argument("--seeds", type=positive, default=20, help="worlds in which all rules meet (default 20)")
    command.add_argument("--model", default="whole", metavar="NAME", help="the report whose time an answer takes (default whole)")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.edge.measured import PHONE_FACTOR, variant
    from autoglm_lab.edge.power import SNAPDRAGON_835, read_table
    from autoglm_lab.edge.race import race, tasks, worlds
    from autoglm_lab.progress import track

    table = SNAPDRAGON_835 if options.table is None else read_table(options.table)
    work = tasks(variant(options.model).answer_ms)
    standings_by_rate = {}
    for rate in options.rate:
        bar = partial(track, what=f"{rate:g} requests a second", unit="rule")
        standings_by_rate[rate] = race(table, worlds(rate, options.seeds, work, deadline=options.deadline), progress=bar)
    if options.json:
        rates = {f"{rate:g}": [asdict(standing) for standing in standings] for rate, standings in standings_by_rate.items()}
        print(
            json.dumps(
                {"table": table.name, "answer_s": work[0][0], "phone_factor": PHONE_FACTOR, "seeds": options.seeds, "rates": rates}
            )
        )
        return 0
    print(
        f"simulated, {table.name}; an answer takes {work[0][0]:.2f} s at full speed (measured, times {PHONE_FACTOR:g}); "
        f"{options.seeds} worlds"
    )
    for rate, standings in standings_by_rate.items():
        print(f"{rate:g} requests a second{'':9}{'energy, of performance':>26}{'missed':>24}{'P95 s':>8}{'switches/s':>12}")
        for each in standings:
            p95, switches = ("" if value is None else f"{value:.2f}" for value in (each.p95_s, each.switches_per_s))
            print(f"  {each.rule:26} {each.energy!s:>26}{each.miss_rate!s:>24}{p95:>8}{switches:>12}")
    return 0
