"""`autoglm-lab phone`: serve a page with a simulated phone."""

from __future__ import annotations

import argparse
from pathlib import Path

from autoglm_lab.cli.options import Commands, add_allow_host, seed, whole


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("phone", help="serve a page on which a bundle runs in the browser, also without a network")
    command.add_argument("--bundle", type=Path, metavar="DIR", required=True, help="a bundle written by `export`")
    command.add_argument("--port", type=whole, default=8080, help="where (default 8080; 0: any free port)")
    command.add_argument("--network", action="store_true", help="let other devices of this network reach it, too")
    command.add_argument("--seed", type=seed, default=7, help="which simulated phone (default 7)")
    add_allow_host(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from threading import Event

    from autoglm_lab.device.browser.server import BrowserPhone
    from autoglm_lab.phone.simulator import SimulatedPhone

    phone = SimulatedPhone(options.seed, lang="en")
    host = "0.0.0.0" if options.network else "127.0.0.1"
    with BrowserPhone(options.bundle, phone=phone, port=options.port, host=host, allow_hosts=options.allow_host) as served:
        print(f"{served.url} ({served.transfer_bytes / 1e6:.1f} MB to load once; Ctrl+C stops)", flush=True)
        Event().wait()
    return 0
