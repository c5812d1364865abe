"""`autoglm-lab compress`: make the agent small."""

from __future__ import annotations

import argparse
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_lab import atomic
from autoglm_lab.cli.engines import model_folder
from autoglm_lab.cli.options import Commands, add_json, add_model, positive, rate, weight, whole
from autoglm_lab.paths import work_dir

if TYPE_CHECKING:
    from autoglm_lab.compress.recipe import Recipe

MODEL_BYTES = 100_000_000  # of a compressed agent, with the checkpoint of its recovery beside it


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("compress", help="make the agent small as a recipe says")
    command.add_argument("--recipe", required=True, metavar="FILE|NAME", help="a recipe file, or a name that `recipes` lists")
    command.add_argument("--out", type=Path, required=True, help="folder for the small agent")
    command.add_argument("--steps", type=whole, default=0, help="steps of recovery training (default 0: none)")
    command.add_argument(
        "--data", type=Path, help="folder with the scenes of the agent's preset (default: where `train` puts them)"
    )
    command.add_argument("--rate", type=rate, default=1.5e-3, help="peak learning rate of the recovery (default 0.0015)")
    command.add_argument("--alone", action="store_true", help="recover without the whole agent as a teacher")
    command.add_argument("--fixed-encoders", action="store_true", help="what sees and hears does not learn: faster")
    command.add_argument("--pictures", type=positive, default=16, help="screens in each step of recovery (default 16)")
    command.add_argument("--requests", type=positive, default=3, help="requests about each of them, at most (default 3)")
    agent = "an agent that understands commands first"
    command.add_argument("--commands", type=whole, help=f"typed commands in each step (default: 24 for {agent}, else 0)")
    command.add_argument("--clips", type=whole, help=f"spoken commands in each step (default: 12 for {agent}, else 0)")
    command.add_argument(
        "--thoughts",
        type=weight,
        default=0.0,
        help="weight of what the whole agent sees, hears and thinks (default 0: its answers only)",
    )
    command.add_argument("--tasks", type=whole, default=0, help="measure it on this many typed and spoken steps (default 0: not)")
    add_model(command, "model folder")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.compress.recipe import Recipe, named

    if options.alone and options.thoughts:
        raise ValueError("--thoughts are those of the teacher that --alone leaves out; give one of the two")
    path = Path(options.recipe)
    recipe = Recipe.read(path) if path.suffix == ".json" or path.exists() else named(options.recipe)
    if options.out.resolve() == model_folder(options).resolve():
        raise ValueError(f"{options.out} is the agent that is made small; give another folder")
    atomic.check(options.out, "model", needs_bytes=MODEL_BYTES)
    with atomic.lock(options.out, patience_s=0):  # a second one is told now, not after an hour
        return _compressed(options, recipe)


def _compressed(options: argparse.Namespace, recipe: Recipe) -> int:
    from autoglm_lab.benchmarks.agent_report import measured, sample_requests
    from autoglm_lab.compress.agent import load_agent, save_agent, write_report
    from autoglm_lab.compress.recipe import apply
    from autoglm_lab.model.batch import BatchEngine

    engine = load_agent(options.model)
    unfinished = checkpoint_folder(options, recipe)
    train = _recovery(options, recipe, engine.model, unfinished) if options.steps else None
    many = BatchEngine(engine.model, engine.processor)
    sample = sample_requests() if recipe.wants_examples else []
    model, report = apply(
        engine.model,
        recipe,
        engine.example(),
        train=train,
        loss=lambda variant: many.loss(sample, variant),
        calibration=(inputs for request in sample for inputs, _ in many.examples([request])),
        half=True,
    )
    if options.steps:
        report = replace(
            report,
            steps=options.steps,
            rate=options.rate,
            alone=options.alone,
            thoughts=options.thoughts or None,
            flags=_flags(options),
        )
    save_agent(model, engine.processor, options.out, recipe, report)
    shutil.rmtree(unfinished, ignore_errors=True)
    if options.tasks:
        report = measured(report, load_agent(options.out), engine, tasks=options.tasks)
        write_report(report, options.out)
    if options.json:
        print(report.to_json())
        return 0
    print(f"{recipe.name}: {(report.bytes or 0) / 1e6:.1f} MB, {(report.macs or 0) / 1e6:,.0f} million multiply-accumulates")
    if report.success is None:
        print(f"measure it: autoglm-lab evaluate --model {options.out}")
        return 0
    print(f"{report.success:.1%} of {report.n} steps right")
    print(f"an answer takes {report.answer_ms} ms, {report.whole_ms} ms from the agent it was made from")
    return 0


def _flags(options: argparse.Namespace) -> str:
    """The options of a recovery that are not as by default and have no field in a report, as they are typed."""
    from autoglm_lab.cli import parser

    plain = parser().parse_args(["compress", "--recipe", "", "--out", ""])
    flags = []
    for name in ("fixed_encoders", "pictures", "requests", "commands", "clips"):
        value = getattr(options, name)
        if value != getattr(plain, name):
            flags.append(f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}"))
    return " ".join(flags)


def _recovery(options: argparse.Namespace, recipe: Recipe, agent: Any, unfinished: Path) -> Any:
    from autoglm_lab.training.finetune import Recovery
    from autoglm_lab.training.pipeline import prepare

    name = "people" if agent.config.understands else "full"
    folder = options.data if options.data is not None else work_dir() / name / "data"
    return Recovery(
        prepare(name, folder),
        steps=options.steps,
        learning_rate=options.rate,
        commands=options.commands,
        clips=options.clips,
        teacher=None if options.alone else agent,
        thoughts=options.thoughts,
        encoders=not options.fixed_encoders,
        pictures=options.pictures,
        samples=options.requests,
        student=bool(recipe.layers),
        folder=unfinished,
    )


def checkpoint_folder(options: argparse.Namespace, recipe: Recipe) -> Path:
    """Folder for the checkpoints of a recovery until the agent is saved; another one for each recipe and model."""
    from autoglm_lab.runtime.bundle import digest

    whole = digest(model_folder(options) / "model.safetensors")
    out: Path = options.out.resolve()
    return out.with_name(f".{out.name}-{zlib.crc32((recipe.to_json() + whole).encode()):08x}")
