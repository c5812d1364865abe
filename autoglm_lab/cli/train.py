"""`autoglm-lab train`: train a model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from autoglm_lab.cli.options import Commands, add_json, positive, seed
from autoglm_lab.paths import work_dir


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("train", help="train a model from nothing; a killed run goes on where it was")
    command.add_argument("--preset", choices=("mini", "full", "people"), default="mini")
    command.add_argument("--out", type=Path, help=f"folder for checkpoints and the model (default {work_dir()}/PRESET)")
    command.add_argument("--from", dest="source", type=Path, metavar="MODEL", help="start from this model folder: fewer steps do")
    command.add_argument("--steps", type=positive, help="stop after this many steps")
    command.add_argument("--seed", type=seed, default=0)
    command.add_argument("--threads", type=positive, help="CPU threads (default: all)")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.training.pipeline import train

    folder = options.out or work_dir() / options.preset
    result = train(options.preset, folder, seed=options.seed, until=options.steps, threads=options.threads, source=options.source)
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(f"step {result['step']} of {result['steps']}; the model is in {result['model']}")
        print(f"measure it: autoglm-lab evaluate --preset {options.preset} --model {result['model']}")
    return 0
