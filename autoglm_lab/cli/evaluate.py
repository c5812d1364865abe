"""`autoglm-lab evaluate`: measure success rates."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoglm_lab.cli.engines import open_engine
from autoglm_lab.cli.options import Commands, add_json, add_model, add_server, positive, seed


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("evaluate", help="success rates on phones, icons and voices never trained on")
    command.add_argument("--seed", type=seed, default=0)
    command.add_argument("--tasks", type=positive, default=500)
    command.add_argument("--preset", choices=("mini", "full"), default="full", help="the measures of this preset (default full)")
    command.add_argument("--people", type=Path, metavar="DIR", help="also what people said: alarms.tsv and beyond.tsv in DIR")
    add_model(command, "model folder or bundle")
    add_server(command)
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.evaluation.own_words import evaluate_people, evaluate_words
    from autoglm_lab.evaluation.success import Answers, OneByOne, World, evaluate, evaluate_mini
    from autoglm_lab.evaluation.voices import evaluate_voices
    from autoglm_lab.model.batch import BatchEngine, gate_response
    from autoglm_lab.model.engine import TorchEngine

    engine = open_engine(options)
    in_torch = isinstance(engine, TorchEngine)
    many: Answers = BatchEngine(engine.model, engine.processor) if in_torch else OneByOne(engine)
    mini = options.preset == "mini"
    rates = (evaluate_mini if mini else evaluate)(many, options.seed, options.tasks)
    if not mini:
        rates |= evaluate_voices(many, rates["unseen_voice"], World(options.seed), options.tasks)
        rates |= evaluate_words(many, options.seed, options.tasks)
        rates |= evaluate_people(many, options.people, options.seed) if options.people is not None else {}
    report: dict[str, Any] = {name: asdict(rate) for name, rate in rates.items()}
    if not mini and isinstance(many, BatchEngine):  # a bundle gives answers, not gates
        report["gates"] = gate_response(many, options.seed, options.tasks)
    if options.json:
        print(json.dumps(report))
        return 0
    for name, rate in rates.items():
        print(f"{name:19} {rate.rate:7.1%}   95 % interval {rate.ci95[0]:.1%} to {rate.ci95[1]:.1%}   n = {rate.n}")
    for modality, gates in report.get("gates", {}).items():
        print(f"{modality} gate  " + "  ".join(f"{name} {value:.3f}" for name, value in gates.items()))
    return 0
