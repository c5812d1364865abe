"""`autoglm-lab device`: write the folder for a device."""

from __future__ import annotations

import argparse
from pathlib import Path

from autoglm_lab.cli.options import Commands


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("device", help="write the folder that is copied to a device: a bundle and what runs it")
    command.add_argument("--bundle", type=Path, metavar="DIR", required=True, help="a bundle written by `export`")
    command.add_argument("--out", type=Path, required=True, help="the folder")
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.device.folder import device_folder

    device_folder(options.bundle, options.out)
    print(f"copy {options.out} to the device; its README.md says how run.py is started there")
    return 0
