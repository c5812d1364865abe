"""`autoglm-lab recipes`: list the recipes that have a name."""

from __future__ import annotations

import argparse
import json

from autoglm_lab.cli.options import Commands, add_json


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("recipes", help="the recipes that have a name")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.compress.recipe import named, names

    recipes = {name: json.loads(named(name).to_json()) for name in names()}
    if options.json:
        print(json.dumps(recipes, ensure_ascii=False))
        return 0
    for name, facts in recipes.items():
        print(f"{name:12} " + ", ".join(f"{key} {value}" for key, value in facts.items() if key != "name"))
    return 0
