"""`autoglm-lab demo`: watch the agent do a task."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from autoglm_lab import atomic
from autoglm_lab.agent.loop import MAX_STEPS
from autoglm_lab.cli.engines import model_folder, open_engine
from autoglm_lab.cli.options import Commands, add_json, add_model, add_server, positive, seed
from autoglm_lab.cli.reports import action_text, rounded
from autoglm_lab.marks import NotWrittenError
from autoglm_lab.paths import work_dir
from autoglm_lab.phone.goals import question

FILM, FILM_MARK, FILM_BYTES = "filmstrip.png", ("Software", "autoglm-lab"), 10_000_000


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("demo", help="watch the agent do a task on a simulated phone, or on a real one")
    command.add_argument("--task", help="what it should do (default: a task drawn from the seed)")
    command.add_argument("--seed", type=seed, default=7, help="which phone (default 7)")
    command.add_argument(
        "--adb", nargs="?", const="", metavar="SERIAL", help="instead: a phone that `adb` has connected (needs --task)"
    )
    command.add_argument("--steps", type=positive, default=MAX_STEPS, help="actions, at most (default %(default)s)")
    command.add_argument("--out", type=Path, default=work_dir(), help="folder for filmstrip.png (default %(default)s)")
    command.add_argument("--think", action="store_true", help="let it write its thought before each action")
    add_model(command, "model folder or bundle")
    add_server(command)
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from copy import deepcopy

    from autoglm_lab.phone.refusal import declined
    from autoglm_lab.phone.tasks import recognise
    from autoglm_lab.runtime.prompt import check_length

    if options.task is not None and not options.task.strip():
        raise ValueError("the task is empty; say what the agent should do")
    if options.adb is not None and options.task is None:
        raise ValueError("a real phone is not used without a task; say with --task what the agent should do")
    if options.adb is None:
        phone, task = _simulated(options)
    else:
        phone, task = None, options.task
    if options.url is None:  # a model elsewhere has a limit of its own
        check_length(task, model_folder(options))
    _check_film(options.out)
    phone = phone or _real(options.adb or None)
    from autoglm_lab import agent

    before = deepcopy(getattr(phone, "state", None))
    engine, steps = open_engine(options), []
    if not options.json:
        print(f"{task}")
    asks: dict[str, Any] = {}
    if sys.stdin.isatty() and not options.json:
        asks = {"confirm": _confirm, "take_over": _take_over}
    for step in agent.steps(task, phone, engine, think=options.think, max_steps=options.steps, **asks):
        steps.append(step)
        if not options.json:
            _print_step(step)
    end, film = steps[-1].end, _film(steps, options.out)
    message = getattr(steps[-1].action, "message", None) if steps[-1].error is None else None
    wish = recognise(task)
    if wish is None or before is None:  # a real phone says nothing about itself but what it shows
        end_of_task = "declined" if declined(message or "") else "finished (a task I cannot check)"
        success, verdict = None, "not done" if message is None else end_of_task
    else:
        success = message is not None and wish.done(before, phone.state, message)
        verdict = ("declined" if declined(message or "") else "done") if success else "not done"
    if options.json:
        report = {"task": task, "success": success, "end": end, "steps": [_step_report(step) for step in steps]}
        print(json.dumps(report, ensure_ascii=False))
    else:
        print(f"{verdict}: {end}" + (f"; the film is in {film}" if film else ""))
    return 0 if success or (success is None and message is not None) else 1


def _simulated(options: argparse.Namespace) -> tuple[Any, str]:
    """The phone of the seed, and the task that was given or is drawn from it."""
    import numpy as np

    from autoglm_lab.phone.simulator import SimulatedPhone
    from autoglm_lab.phone.tasks import sample

    phone = SimulatedPhone(options.seed)
    return phone, options.task or sample(phone.state, np.random.default_rng(options.seed)).text


def _real(serial: str | None) -> Any:
    from autoglm_lab.phone.adb import AdbPhone

    try:
        return AdbPhone(serial)
    except RuntimeError as error:
        raise ConnectionError(str(error)) from None


def _confirm(action: Any, screenshot: Any) -> bool:
    asks = question(action.text) if action.name == "Goal" else f"{action_text(action)}  Do it?"
    return input(f"   {asks} [y/N] ").strip().casefold() in ("y", "yes")


def _take_over(message: str) -> bool:
    return input(f"   It is your turn: {message}  Enter when you are done, q to stop: ").strip().casefold() != "q"


def _print_step(step: Any) -> None:
    """Print a line for thought and action; one more for what was overlooked in it, or went wrong and did not end the run."""
    if step.goal and not step.index:
        print(f"understood: {step.goal}")
    thought = step.thinking + "  " if step.thinking else ""
    took = f"  [{step.ms['total']:.0f} ms]" if "total" in step.ms else ""
    print(f"{step.index + 1}. {thought}{action_text(step.action) or step.error}{took}", flush=True)
    if step.irregularities:
        print(f"   overlooked: {', '.join(step.irregularities)}")
    if step.error and step.action is not None and not step.end:
        print(f"   {step.error}")


def _step_report(step: Any) -> dict[str, Any]:
    action = action_text(step.action) or step.answer_text
    report = {"thinking": step.thinking, "action": action, "ms": rounded(step.ms), "changed": step.changed}
    return report | {"error": step.error, "irregularities": step.irregularities, "goal": step.goal, "question": step.question}


def _film(steps: list[Any], folder: Path) -> Path | None:
    """Write the steps as a filmstrip into `folder`; None when there is nothing to show."""
    from PIL.PngImagePlugin import PngInfo

    from autoglm_lab.agent import frames
    from autoglm_lab.phone.filmstrip import filmstrip

    pictures, path = frames(steps), folder / FILM
    if not pictures:
        return None
    mark = PngInfo()
    mark.add_text(*FILM_MARK)
    with atomic.file(path) as part:
        filmstrip(pictures).save(part, pnginfo=mark)
    return path


def _check_film(folder: Path) -> None:
    """Raise NotWrittenError when a film cannot be written to a folder, or would replace a picture of somebody else."""
    from PIL import Image

    atomic.check_room(folder, FILM_BYTES)
    path = folder / FILM
    if path.exists():
        try:
            with Image.open(path) as picture:
                ours = picture.info.get(FILM_MARK[0]) == FILM_MARK[1]
        except (OSError, ValueError, SyntaxError):
            ours = False
        if not ours:
            raise NotWrittenError(f"{path} was not written by autoglm-lab, and is not replaced; give another folder")
