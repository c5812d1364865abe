"""The command line, `autoglm-lab COMMAND`. Input is checked before anything slow is loaded."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_lab import atomic
from autoglm_lab.marks import NotWrittenError
from autoglm_lab.paths import work_dir
from autoglm_lab.serve.limits import Limits

if TYPE_CHECKING:
    from autoglm_lab.compress.recipe import Recipe

FILM, FILM_MARK, FILM_BYTES = "filmstrip.png", ("Software", "autoglm-lab"), 10_000_000
MODEL_BYTES = 100_000_000  # of a compressed agent, with the checkpoint of its recovery beside it


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 when the agent failed, 2 when the input was wrong (one line on stderr says how)."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; flushing at exit would fail once more
        return 141
    except OSError as problem:
        at = f"{problem.filename}: " if problem.filename else ""
        print(f"autoglm-lab: {at}{problem.strerror}" if problem.strerror else f"autoglm-lab: {problem}", file=sys.stderr)
        return 2
    except (ValueError, ImportError) as problem:
        print(f"autoglm-lab: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("autoglm-lab: stopped", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands and their options."""
    top = argparse.ArgumentParser(prog="autoglm-lab", description="A tiny phone agent that sees, hears and acts.")
    commands = top.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="watch the agent do a task on a simulated phone, or on a real one")
    demo.add_argument("--task", help="what it should do (default: a task drawn from the seed)")
    demo.add_argument("--seed", type=_seed, default=7, help="which phone (default 7)")
    demo.add_argument(
        "--adb", nargs="?", const="", metavar="SERIAL", help="instead: a phone that `adb` has connected (needs --task)"
    )
    demo.add_argument("--steps", type=_positive, default=10, help="actions, at most (default 10)")
    demo.add_argument("--out", type=Path, default=work_dir(), help="folder for filmstrip.png (default %(default)s)")
    demo.add_argument("--think", action="store_true", help="let it write its thought before each action")
    demo.set_defaults(command=_demo)

    ask = commands.add_parser("ask", help="one answer about your own screenshot and command")
    ask.add_argument("text", nargs="?", default=None, metavar="TEXT", help="the command or question")
    ask.add_argument("--image", type=Path, help="a screenshot (PNG, JPEG, ...)")
    ask.add_argument("--audio", type=Path, help="a spoken command (WAV, FLAC, ...)")
    ask.add_argument("--app", default="System Home", help='the app in front (default "System Home")')
    ask.add_argument("--think", action="store_true", help="let it write its thought first")
    ask.set_defaults(command=_ask)

    train = commands.add_parser("train", help="train a model from nothing; a killed run goes on where it was")
    train.add_argument("--preset", choices=("mini", "full", "people"), default="mini")
    train.add_argument("--out", type=Path, help=f"folder for checkpoints and the model (default {work_dir()}/PRESET)")
    train.add_argument("--from", dest="source", type=Path, metavar="MODEL", help="start from this model folder: fewer steps do")
    train.add_argument("--steps", type=_positive, help="stop after this many steps")
    train.add_argument("--seed", type=_seed, default=0)
    train.add_argument("--threads", type=_positive, help="CPU threads (default: all)")
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("evaluate", help="success rates on phones, icons and voices never trained on")
    evaluate.add_argument("--seed", type=_seed, default=0)
    evaluate.add_argument("--tasks", type=_positive, default=500)
    evaluate.add_argument("--preset", choices=("mini", "full"), default="full", help="the measures of this preset (default full)")
    evaluate.add_argument("--people", type=Path, metavar="DIR", help="also what people said: alarms.tsv and beyond.tsv in DIR")
    evaluate.set_defaults(command=_evaluate)

    compress = commands.add_parser("compress", help="make the agent small as a recipe says")
    compress.add_argument("--recipe", required=True, metavar="FILE|NAME", help="a recipe file, or a name that `recipes` lists")
    compress.add_argument("--out", type=Path, required=True, help="folder for the small agent")
    compress.add_argument("--steps", type=_whole, default=0, help="steps of recovery training (default 0: none)")
    compress.add_argument("--data", type=Path, help="folder with the scenes of `train --preset full` (default: where it puts them)")
    compress.add_argument("--rate", type=_rate, default=1.5e-3, help="peak learning rate of the recovery (default 0.0015)")
    compress.add_argument("--alone", action="store_true", help="recover without the whole agent as a teacher")
    compress.add_argument("--fixed-encoders", action="store_true", help="what sees and hears does not learn: faster")
    compress.add_argument("--pictures", type=_positive, default=16, help="screens in each step of recovery (default 16)")
    compress.add_argument("--requests", type=_positive, default=3, help="requests about each of them, at most (default 3)")
    compress.add_argument(
        "--thoughts",
        type=_weight,
        default=0.0,
        help="weight of what the whole agent sees, hears and thinks (default 0: its answers only)",
    )
    compress.add_argument("--tasks", type=_whole, default=0, help="measure it on this many typed and spoken steps (default 0: not)")
    compress.set_defaults(command=_compress)

    export = commands.add_parser("export", help="write the agent as a bundle: files that run without PyTorch")
    export.add_argument("--out", type=Path, required=True, help="folder for the bundle")
    export.add_argument(
        "--tasks", type=_whole, default=0, help="measure it in ONNX Runtime on this many typed and spoken steps (default 0: not)"
    )
    export.add_argument("--one-call", action="store_true", help="one more file: the whole answer in one call, for any host")
    export.add_argument(
        "--mapped",
        action="store_true",
        help="beside it, for this machine alone: OUT.mapped with the weights as "
        "they lie in memory, for engines that are opened with mapped",
    )
    export.add_argument("--rows", action="store_true", help="one more file: a step of several answers at once, for `serve`")
    export.set_defaults(command=_export)

    recipes = commands.add_parser("recipes", help="the recipes that have a name")
    recipes.set_defaults(command=_recipes)

    bench = commands.add_parser("bench", help="how fast agents answer, side by side, stage by stage")
    bench.add_argument(
        "models", nargs="*", type=Path, metavar="DIR", help="model folders and bundles to compare with the shipped model"
    )
    bench.add_argument("--requests", type=_positive, default=24, help="how many different ones (default 24)")
    bench.add_argument("--rounds", type=_positive, default=3, help="how often each is asked (default 3)")
    bench.add_argument("--grammar", action="store_true", help="each bundle once more, held to the action grammar")
    bench.add_argument("--threads", type=_positive, help="CPU threads (default: all)")
    bench.add_argument("--bundle", type=Path, metavar="DIR", help="instead: what this bundle is worth, as ratios of times in turns")
    bench.add_argument(
        "--against",
        metavar="NAME,...",
        help="with --bundle: also against the whole agent's generate() in PyTorch, "
        "that after torch.compile (compile), and runtimes that `runtimes` knows",
    )
    bench.add_argument("--layers", action="store_true", help="with --bundle, instead of the ratios: the time in each layer")
    bench.set_defaults(command=_bench)

    phone = commands.add_parser("phone", help="serve a page on which a bundle runs in the browser, also without a network")
    phone.add_argument("--bundle", type=Path, metavar="DIR", required=True, help="a bundle written by `export`")
    phone.add_argument("--port", type=_whole, default=8080, help="where (default 8080; 0: any free port)")
    phone.add_argument("--network", action="store_true", help="let other devices of this network reach it, too")
    phone.add_argument("--seed", type=_seed, default=7, help="which simulated phone (default 7)")
    phone.set_defaults(command=_phone)

    adb = commands.add_parser("adb", help="write a command `adb` with a simulated phone behind it, for agents that drive real ones")
    adb.add_argument("--dir", type=Path, metavar="FOLDER", required=True, help="folder for the command, to be put first on PATH")
    adb.add_argument("--seed", type=_seed, help="which simulated phone (default 7)")
    adb.add_argument("--lang", choices=("zh", "en"), help="language of the phone (default: as the seed has it)")
    adb.add_argument("--size", type=_size, metavar="WxH", help="of its screen in pixels (default 540x1200)")
    adb.add_argument("--keyboard", choices=("adb", "plain"), help="plain: without the one that types any script (default adb)")
    adb.add_argument("--reset", action="store_true", help="instead: put the phone in FOLDER back to how it was when it was made")
    adb.set_defaults(command=_adb)

    serve = commands.add_parser("serve", help="answer over HTTP, as OpenAI's clients expect it")
    served = serve.add_mutually_exclusive_group()
    served.add_argument("--bundle", type=Path, metavar="DIR", help="a bundle; one exported with --rows writes many answers at once")
    served.add_argument(
        "--model", type=Path, metavar="DIR", help="a model folder, which answers in PyTorch (default: the shipped model)"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address (default 127.0.0.1: nobody else reaches it)")
    serve.add_argument("--port", type=_whole, default=8000, help="where (default 8000; 0: any free port)")
    serve.add_argument(
        "--api-key-file",
        type=Path,
        metavar="F",
        help="file with the keys that clients have to send, one a line: KEY, or NAME: KEY; each name gets its share",
    )
    serve.add_argument(
        "--access-log", metavar="FILE", help="note who asked, the path, status, time and bytes, no contents; - is stderr"
    )
    serve.add_argument("--rows", type=_positive, default=16, help="answers written together, if the bundle can (default 16)")
    serve.add_argument("--workers", type=_positive, help="answers seen, heard and read side by side (default: one for each core)")
    serve.add_argument("--threads", type=_positive, help="CPU threads of each (default: the cores shared out)")
    serve.add_argument("--no-drafts", action="store_true", help="write token by token; otherwise what usually comes is read ahead")
    serve.add_argument(
        "--mapped",
        action="store_true",
        help="leave the weights of a bundle in files that the system maps, and can "
        "take back; they are written beside it the first time",
    )
    serve.add_argument(
        "--lazy",
        type=_seconds,
        metavar="S",
        help="open what sees and hears in a bundle when it is first needed, and drop it after so many seconds without use",
    )
    serve.add_argument(
        "--watch",
        action="store_true",
        help="exchange the bundle when another one lies in its folder (SIGHUP does so, too); one that is broken leaves the old one",
    )
    serve.add_argument(
        "--small-exchange",
        action="store_true",
        help="never two models in memory: requests wait until the old one has ended and the new one is loaded",
    )
    serve.add_argument("--name", help="what the model is called (default autoglm-lab)")
    for field in fields(Limits):
        if field.name != "image_hosts":
            kind = _positive if isinstance(field.default, int) else _seconds
            serve.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=kind,
                default=field.default,
                metavar="N",
                help=f"limit (default {field.default:g})",
            )
    anew = "a JSON file of limits, over those given here; a new content holds from the next request on"
    serve.add_argument("--settings", type=Path, metavar="F", help=anew)
    serve.add_argument("--image-host", action="append", default=[], metavar="HOST", help="pictures may be fetched from here")
    for command in (serve, phone):
        command.add_argument(
            "--allow-host",
            action="append",
            default=[],
            metavar="NAME",
            help="answer under this name, too (otherwise: this machine's address, localhost)",
        )
    serve.set_defaults(command=_serve)

    load = commands.add_parser("load", help="how many answers a second a bundle gives over HTTP, served in several ways")
    load.add_argument("--bundle", type=Path, metavar="DIR", required=True, help="a bundle, exported with --rows")
    load.add_argument("--clients", type=_numbers, default=(1, 4, 16), metavar="N,...", help="how many ask at once (default 1,4,16)")
    load.add_argument("--answers", type=_positive, default=96, help="answers in each run (default 96)")
    load.add_argument("--rounds", type=_positive, default=3, help="runs of each, in turns (default 3)")
    load.add_argument("--grid", action="store_true", help="instead: workers x threads, without batches")
    load.set_defaults(command=_load)

    device = commands.add_parser("device", help="write the folder that is copied to a device: a bundle and what runs it")
    device.add_argument("--bundle", type=Path, metavar="DIR", required=True, help="a bundle written by `export`")
    device.add_argument("--out", type=Path, required=True, help="the folder")
    device.set_defaults(command=_device)

    runtimes = commands.add_parser("runtimes", help="convert the agent for other runtimes, run it there, and compare")
    runtimes.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="openvino, mnn, litert, executorch, ncnn, coreml, tensorrt, llamacpp (default: all)",
    )
    runtimes.add_argument("--out", type=Path, default=work_dir() / "runtimes", help="folder for their files (default %(default)s)")
    runtimes.add_argument("--requests", type=_positive, default=20, help="how many answers are compared (default 20)")
    runtimes.add_argument("--threads", type=_positive, default=2, help="CPU threads (default 2)")
    runtimes.add_argument("--rounds", type=_whole, default=9, help="turns in which steps are timed (default 9; 0: none)")
    runtimes.add_argument("--install", action="store_true", help="only make the environments")
    runtimes.set_defaults(command=_runtimes)

    doctor = commands.add_parser("doctor", help="can this machine run it: pass, warn or fail, and what would help")
    doctor.add_argument("--bundle", type=Path, metavar="DIR", help="the bundle that is to run here")
    doctor.add_argument("--bits", type=float, help="instead of a bundle: a model of nine billion weights with so many bits each")
    doctor.add_argument("--adb", nargs="?", const="", metavar="SERIAL", help="instead: which bundle for a phone, by what it can")
    doctor.add_argument("--power", action="store_true", help="instead: which counters of energy, clock and heat can be read")
    doctor.add_argument("--port", type=int, help="a port that has to be free")
    doctor.set_defaults(command=_doctor)

    power = commands.add_parser("power", help="race governors of a simulated phone's clock against the best that is possible")
    power.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="operating points as JSON: name, speeds, busy, idle, unit (default: one fast core of a Snapdragon 835)",
    )
    power.add_argument("--rate", type=_rates, default=(0.4, 0.8), metavar="R,...", help="requests a second (default 0.4,0.8)")
    power.add_argument("--deadline", type=_seconds, default=1.0, metavar="S", help="of each request (default 1)")
    power.add_argument("--seeds", type=_positive, default=20, help="worlds in which all rules meet (default 20)")
    power.add_argument("--model", default="whole", metavar="NAME", help="the report whose time an answer takes (default whole)")
    power.set_defaults(command=_power)

    scoreboard = commands.add_parser("scoreboard", help="measure claimed figures again on this machine, and judge them by it")
    scoreboard.add_argument("--quick", action="store_true", help="only what takes less than a minute and needs no bundle")
    scoreboard.add_argument(
        "--out",
        type=Path,
        default=work_dir() / "scoreboard",
        help="folder for the results; what lies there is not measured again (default %(default)s)",
    )
    scoreboard.set_defaults(command=_scoreboard)

    for command in (demo, ask, evaluate, compress, export, runtimes):
        kinds = "model folder" if command in (compress, export, runtimes) else "model folder or bundle"
        command.add_argument("--model", type=Path, help=f"{kinds} (default: the shipped model)")
    for command in (demo, ask, evaluate):
        command.add_argument("--url", help="instead of a model: a server with OpenAI's interface, such as http://127.0.0.1:8000/v1")
        command.add_argument(
            "--api-key-file",
            type=Path,
            metavar="F",
            help="file whose first key that server is sent "
            "(default: OPENAI_API_KEY of the environment, over https or to this machine)",
        )
        command.add_argument("--api-key", help="the key itself, which everybody on this machine sees in the list of processes")
        command.add_argument(
            "--grammar", action="store_true", help="let a bundle write nothing that does not parse, with fewer passes"
        )
    for command in (demo, ask, train, evaluate, compress, export, recipes, bench, load, runtimes, doctor, power, scoreboard):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    return top


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and text.isascii()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give width and height in pixels, for example 1080x2400")
    return int(width), int(height)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no learning rate; give a number above 0, for example 0.001")
    return rate


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no weight; give a number from 0, for example 4")
    return weight


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _rates(text: str) -> tuple[float, ...]:
    return tuple(_seconds(part) for part in text.split(","))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give a number of seconds above 0")
    return seconds


def _seed(text: str) -> int:
    if not text.isdigit() or int(text) >= 2**24:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; give a whole number from 0 to {2**24 - 1}")
    return int(text)


def _engine(options: argparse.Namespace) -> Any:
    from autoglm_lab import load

    if options.url is None and (options.api_key is not None or options.api_key_file is not None):
        raise ValueError("a key is for a server; give its --url")
    if options.url is not None:
        if options.model is not None or options.grammar:
            raise ValueError("--url asks a server, which has its own model and grammar; leave out --model and --grammar")
        from autoglm_lab.serve.remote import RemoteEngine

        return RemoteEngine(options.url, api_key=_api_key(options))
    return load(options.model, grammar=options.grammar)


def _api_key(options: argparse.Namespace) -> str:
    """The key for a server far away. One of the environment goes over no network in plain text."""
    from urllib.parse import urlsplit

    from autoglm_lab.serve.keys import read_keys

    if options.api_key is not None and options.api_key_file is not None:
        raise ValueError("give --api-key-file or --api-key, not both")
    if options.api_key_file is not None:
        return next(iter(read_keys(options.api_key_file).values()))
    if options.api_key is not None:
        print("autoglm-lab: warning: --api-key shows in the list of processes; --api-key-file does not", file=sys.stderr)
        return str(options.api_key)
    address = urlsplit(options.url)
    safe = address.scheme == "https" or address.hostname in ("localhost", "127.0.0.1", "::1")
    return (os.environ.get("OPENAI_API_KEY") if safe else None) or "EMPTY"


def _ask(options: argparse.Namespace) -> int:
    from autoglm_lab.runtime.files import read_audio, read_image
    from autoglm_lab.runtime.prompt import check_length

    if options.text is not None and not options.text.strip():
        raise ValueError("the text is empty; write a command, or leave it out and give --audio")
    if options.text is None and options.audio is None:
        raise ValueError("nothing was asked; give a TEXT, or a spoken one with --audio FILE")
    image = None if options.image is None else read_image(options.image)
    audio = None if options.audio is None else read_audio(options.audio)
    if options.url is None:
        check_length(options.text or "", _model_folder(options))
    answer = _engine(options).answer(options.text or "", image, audio, current_app=options.app, think=options.think).answer
    report = {
        "thinking": answer.thinking,
        "action": _action_text(answer.action),
        "text": answer.text,
        "ms": _rounded(answer.ms),
    }
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        print(*filter(None, (report["thinking"], answer.text if answer.action is None else report["action"])), sep="\n")
        print(f"({report['ms']['total']:.0f} ms)", file=sys.stderr)
    return 0 if answer.action is not None else 1


def _model_folder(options: argparse.Namespace) -> Path:
    from autoglm_lab.paths import data_dir

    return options.model if options.model is not None else data_dir() / "model"


def _demo(options: argparse.Namespace) -> int:
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
        check_length(task, _model_folder(options))
    _check_film(options.out)
    phone = phone or _real(options.adb or None)
    from autoglm_lab import agent

    before = deepcopy(getattr(phone, "state", None))
    engine, steps = _engine(options), []
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
    return input(f"   {_action_text(action)}  Do it? [y/N] ").strip().casefold() in ("y", "yes")


def _take_over(message: str) -> bool:
    return input(f"   It is your turn: {message}  Enter when you are done, q to stop: ").strip().casefold() != "q"


def _print_step(step: Any) -> None:
    """Print a line for thought and action; one more for what was overlooked in it, or went wrong and did not end the run."""
    if step.goal and not step.index:
        print(f"understood: {step.goal}")
    thought = step.thinking + "  " if step.thinking else ""
    took = f"  [{step.ms['total']:.0f} ms]" if "total" in step.ms else ""
    print(f"{step.index + 1}. {thought}{_action_text(step.action) or step.error}{took}", flush=True)
    if step.irregularities:
        print(f"   overlooked: {', '.join(step.irregularities)}")
    if step.error and step.action is not None and not step.end:
        print(f"   {step.error}")


def _step_report(step: Any) -> dict[str, Any]:
    action = _action_text(step.action) or step.answer_text
    report = {"thinking": step.thinking, "action": action, "ms": _rounded(step.ms), "changed": step.changed}
    return report | {"error": step.error, "irregularities": step.irregularities, "goal": step.goal}


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


def _action_text(action: Any) -> str:
    from autoglm_lab.phone.actions import format_action

    return "" if action is None else format_action(action)


def _rounded(ms: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 2) for stage, value in ms.items()}


def _train(options: argparse.Namespace) -> int:
    from autoglm_lab.training.build import train

    folder = options.out or work_dir() / options.preset
    result = train(options.preset, folder, seed=options.seed, until=options.steps, threads=options.threads, source=options.source)
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print(f"step {result['step']} of {result['steps']}; the model is in {result['model']}")
        print(f"measure it: autoglm-lab evaluate --preset {options.preset} --model {result['model']}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from autoglm_lab.serve.keys import read_keys, weaknesses

    if options.bundle is None and (options.mapped or options.lazy or options.watch):
        raise ValueError("--mapped, --lazy and --watch are for a bundle; give one with --bundle")
    keys = None if options.api_key_file is None else read_keys(options.api_key_file)
    for warning in [] if keys is None else weaknesses(options.api_key_file, keys):
        print(f"autoglm-lab: warning: {warning}", file=sys.stderr)
    limits = Limits(
        **{field.name: getattr(options, field.name) for field in fields(Limits) if field.name != "image_hosts"},
        image_hosts=frozenset(options.image_host),
    )
    base = limits
    if options.settings is not None:
        from autoglm_lab.runtime.reload import read_settings

        limits = read_settings(options.settings, Limits, base)
    from autoglm_lab.serve.server import NAME, check_address, scheduler, serve

    check_address(options.host, keys)
    from autoglm_lab.hosts import AllowedHosts
    from autoglm_lab.runtime.bundle import MANIFEST
    from autoglm_lab.serve.service import Service

    hosts, log = AllowedHosts(options.host, options.allow_host), _access_log(options.access_log)

    def make_scheduler() -> Any:
        from autoglm_lab import load

        served = options.bundle or load(options.model)
        return scheduler(
            served,
            limits,
            options.name or NAME,
            rows=options.rows,
            workers=options.workers,
            threads=options.threads,
            speculate=False if options.no_drafts else None,
            mapped=options.mapped,
            lazy=options.lazy or False,
        )

    try:
        service = Service(make_scheduler, limits, keys, hosts, log, "small" if options.small_exchange else "available")
        watch = options.bundle / MANIFEST if options.watch else None
        serve(service, options.host, options.port, make_scheduler, watch, options.settings, base)
    except OSError as error:
        raise ValueError(str(error)) from None
    return 0


def _access_log(path: str | None) -> Any:
    if path is None:
        return None
    from autoglm_lab.serve.access import AccessLog

    if path == "-":
        return AccessLog(sys.stderr)
    try:
        return AccessLog(open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the access log {path!r} cannot be written ({error.strerror})") from None


def _load(options: argparse.Namespace) -> int:
    from autoglm_lab.measure.machine import fast_maths
    from autoglm_lab.serve.load import GRID, WAYS, loads, shared_step, summary

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


def _evaluate(options: argparse.Namespace) -> int:
    from autoglm_lab.model.engine import TorchEngine
    from autoglm_lab.training.batch import BatchEngine, gate_response
    from autoglm_lab.training.evaluation import Answers, OneByOne, World, evaluate, evaluate_mini
    from autoglm_lab.training.own_words import evaluate_people, evaluate_words
    from autoglm_lab.training.voices_evaluation import evaluate_voices

    engine = _engine(options)
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


def _compress(options: argparse.Namespace) -> int:
    from autoglm_lab.compress.recipe import Recipe, named

    if options.alone and options.thoughts:
        raise ValueError("--thoughts are those of the teacher that --alone leaves out; give one of the two")
    path = Path(options.recipe)
    recipe = Recipe.read(path) if path.suffix == ".json" or path.exists() else named(options.recipe)
    if options.out.resolve() == _model_folder(options).resolve():
        raise ValueError(f"{options.out} is the agent that is made small; give another folder")
    atomic.check(options.out, "model", needs_bytes=MODEL_BYTES)
    with atomic.lock(options.out, patience_s=0):  # a second one is told now, not after an hour
        return _compressed(options, recipe)


def _compressed(options: argparse.Namespace, recipe: Recipe) -> int:
    from autoglm_lab.compress.agent import load_agent, save_agent, write_report
    from autoglm_lab.compress.recipe import apply
    from autoglm_lab.training.batch import BatchEngine
    from autoglm_lab.training.measured import measured, sample_requests

    engine = load_agent(options.model)
    unfinished = _unfinished(options, recipe)
    train = _recovery(options, recipe, None if options.alone else engine.model, unfinished) if options.steps else None
    many = BatchEngine(engine.model, engine.processor)
    sample = sample_requests() if recipe.wants_examples else []
    model, report = apply(
        engine.model,
        recipe,
        engine.example(),
        train=train,
        loss=lambda variant: many.loss(sample, variant),
        calibration=(many.rightly_answered([request])[0] for request in sample),
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
    plain = parser().parse_args(["compress", "--recipe", "", "--out", ""])
    flags = []
    for name in ("fixed_encoders", "pictures", "requests"):
        value = getattr(options, name)
        if value != getattr(plain, name):
            flags.append(f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}"))
    return " ".join(flags)


def _export(options: argparse.Namespace) -> int:
    atomic.check(options.out, "bundle")
    with atomic.lock(options.out, patience_s=0):
        return _exported(options)


def _exported(options: argparse.Namespace) -> int:
    from tempfile import TemporaryDirectory

    from autoglm_lab.compress.agent import load_agent, write_report
    from autoglm_lab.compress.recipe import Recipe
    from autoglm_lab.export.bundle import bundle
    from autoglm_lab.measure.report import Report
    from autoglm_lab.runtime.mapped import write_mapped
    from autoglm_lab.runtime.onnx_engine import OnnxEngine
    from autoglm_lab.training.measured import measured_in_runtime, sample_requests

    engine, source = load_agent(options.model), options.model or Path()
    recipe = Recipe.read(source / "recipe.json") if (source / "recipe.json").exists() else Recipe()
    screens = [request.image for request in sample_requests(64)] if recipe.round_inputs else []
    bundle(engine, options.out, recipe, screens=screens, one_call=options.one_call, rows=options.rows)
    exported = OnnxEngine(options.out, speculate=False)  # token by token: models are compared, not what drafts save (`bench` does)
    facts: dict[str, Any] = {"bundle": str(options.out), "bytes": exported.bundle.bytes}
    if options.tasks:
        report_file = source / "report.json"
        report = Report.from_json(report_file.read_text("utf-8")) if report_file.exists() else Report(recipe.name)
        with TemporaryDirectory() as folder:
            bundle(load_agent(None), Path(folder) / "whole")
            other = OnnxEngine(Path(folder) / "whole", speculate=False)
            report = measured_in_runtime(report, exported, other, tasks=options.tasks)
        write_report(report, options.out)
        facts["report"] = json.loads(report.to_json())
    if options.mapped:
        facts["mapped"] = str(write_mapped(exported.bundle))
    if options.json:
        print(json.dumps(facts))
        return 0
    print(
        f"the bundle in {options.out} has {exported.bundle.bytes / 1e6:.1f} MB; ask it: autoglm-lab ask TEXT --model {options.out}"
    )
    if options.tasks:
        print(report)
    return 0


def _recovery(options: argparse.Namespace, recipe: Recipe, teacher: Any | None, unfinished: Path) -> Any:
    from autoglm_lab.training.build import prepare
    from autoglm_lab.training.recovery import Recovery

    folder = options.data if options.data is not None else work_dir() / "full" / "data"
    return Recovery(
        prepare("full", folder),
        steps=options.steps,
        learning_rate=options.rate,
        teacher=teacher,
        thoughts=options.thoughts,
        encoders=not options.fixed_encoders,
        pictures=options.pictures,
        samples=options.requests,
        student=bool(recipe.layers),
        folder=unfinished,
    )


def _unfinished(options: argparse.Namespace, recipe: Recipe) -> Path:
    """Folder for the checkpoints of a recovery until the agent is saved; another one for each recipe and model."""
    from autoglm_lab.runtime.bundle import digest

    whole = digest(_model_folder(options) / "model.safetensors")
    out: Path = options.out.resolve()
    return out.with_name(f".{out.name}-{zlib.crc32((recipe.to_json() + whole).encode()):08x}")


def _bench(options: argparse.Namespace) -> int:
    import torch

    from autoglm_lab.compress.agent import load_agent
    from autoglm_lab.measure.bench import bench
    from autoglm_lab.measure.machine import fast_maths
    from autoglm_lab.runtime.bundle import is_bundle
    from autoglm_lab.runtime.onnx_engine import OnnxEngine

    def opened(path: Path) -> Any:
        return OnnxEngine(path, threads=options.threads) if is_bundle(path) else load_agent(path)

    if options.against and options.bundle is None:
        raise ValueError("--against needs --bundle: the folder of the bundle that is compared")
    if options.bundle is not None and options.models:
        raise ValueError("give model folders, or --bundle, not both")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    flags, threads = fast_maths(), torch.get_num_threads()
    if options.layers and (options.bundle is None or options.against):
        raise ValueError("--layers needs --bundle, and compares with nothing: leave out --against")
    if options.layers:
        return _layers(options, flags, threads)
    if options.bundle is not None:
        return _race(options, flags, threads)
    engines = {"shipped": load_agent(None), **{str(path): opened(path) for path in options.models}}
    if options.grammar:
        engines |= {f"{path}, grammar": OnnxEngine(path, threads=options.threads, grammar=True) for path in options.models}
    stage_times = bench(engines, requests=options.requests, rounds=options.rounds)
    if options.json:
        times = {name: {stage: asdict(time) for stage, time in stages.items()} for name, stages in stage_times.items()}
        print(json.dumps({"threads": threads, "cpu_flags": flags, "engines": times}))
        return 0
    print(f"{threads} threads; {' '.join(flags) or 'the processor does not say what it can do'}")
    for name, stages in stage_times.items():
        print(name, *(f"  {stage:11} {time}" for stage, time in stages.items()), sep="\n")
    return 0


def _layers(options: argparse.Namespace, flags: tuple[str, ...], threads: int) -> int:
    from autoglm_lab.measure.layers import layer_times, table

    times = layer_times(options.bundle, threads=options.threads, count=options.requests, rounds=options.rounds)
    if options.json:
        print(json.dumps({"threads": threads, "cpu_flags": flags, "layers_ms": times}))
    else:
        print(f"{threads} threads; {' '.join(flags) or 'the processor does not say what it can do'}", table(times), sep="\n")
    return 0


def _race(options: argparse.Namespace, flags: tuple[str, ...], threads: int) -> int:
    from autoglm_lab.compress.agent import load_agent
    from autoglm_lab.measure.race import race
    from autoglm_lab.measure.timing import Spread
    from autoglm_lab.peers.survey import chosen, survey
    from autoglm_lab.peers.told import described
    from autoglm_lab.training.batch import BatchEngine, compiled

    others = list(dict.fromkeys(name.strip() for name in options.against.split(","))) if options.against else []
    peers = [name for name in others if name not in ("generate", "compile")]
    if peers:
        chosen(peers)
    whole = load_agent(None)
    ways: dict[str, Callable[[dict[str, Any]], str]] = {}
    for name in others:
        if name not in peers:
            many = BatchEngine(whole.model if name == "generate" else compiled(whole.model), whole.processor)
            ways[name] = lambda request, many=many: many.generate(**request)  # type: ignore[misc]
    results = race(options.bundle, against=ways, threads=options.threads, count=options.requests, rounds=options.rounds)
    if peers:
        reports = survey(whole, peers, work_dir() / "runtimes", threads=threads, rounds=3 * options.rounds, bundle=options.bundle)
        for name, report in reports.items():
            if report["verdict"] != "verified":
                raise ValueError(f"{name} cannot be raced here: {described(report)}")
            results["ratios"] |= report["ratios"]
    if options.json:
        print(json.dumps({"threads": threads, "cpu_flags": flags, "against": ",".join(others), **results}))
        return 0
    print(f"{threads} threads; {' '.join(flags) or 'the processor does not say what it can do'}")
    for name, value in {**results.pop("ratios"), **results}.items():
        print(f"{name:30} {Spread(**value)}")
    return 0


def _runtimes(options: argparse.Namespace) -> int:
    from autoglm_lab.measure.machine import fast_maths
    from autoglm_lab.peers.survey import chosen, install, survey
    from autoglm_lab.peers.told import described

    names = chosen(options.names)
    if options.install:
        missing = install(names)
        for name in names:
            print(f"{name:12} {missing.get(name, 'ready')}")
        return 1 if missing else 0
    from autoglm_lab.compress.agent import load_agent

    reports = survey(
        load_agent(options.model), names, options.out, requests=options.requests, threads=options.threads, rounds=options.rounds
    )
    if options.json:
        print(json.dumps({"threads": options.threads, "cpu_flags": fast_maths(), "runtimes": reports}))
    else:
        for name, report in reports.items():
            print(f"{name:12} {described(report)}")
    return 1 if any(report["verdict"] == "fails" for report in reports.values()) else 0


def _device(options: argparse.Namespace) -> int:
    from autoglm_lab.export.device import device_folder

    device_folder(options.bundle, options.out)
    print(f"copy {options.out} to the device; its README.md says how run.py is started there")
    return 0


def _phone(options: argparse.Namespace) -> int:
    from threading import Event

    from autoglm_lab.phone.simulator import SimulatedPhone
    from autoglm_lab.web.server import BrowserPhone

    phone = SimulatedPhone(options.seed, lang="en")
    host = "0.0.0.0" if options.network else "127.0.0.1"
    with BrowserPhone(options.bundle, phone=phone, port=options.port, host=host, allow_hosts=options.allow_host) as served:
        print(f"{served.url} ({served.transfer_bytes / 1e6:.1f} MB to load once; Ctrl+C stops)", flush=True)
        Event().wait()
    return 0


def _adb(options: argparse.Namespace) -> int:
    import shlex

    from autoglm_lab.phone.adb_front import install, reset

    choices = {name: value for name in ("seed", "lang", "size", "keyboard") if (value := getattr(options, name)) is not None}
    if options.reset and choices:
        raise ValueError(f"--reset leaves the phone what it is; leave out --{', --'.join(choices)}, or leave out --reset")
    try:
        if options.reset:
            script = reset(options.dir)
        else:
            keyboard = choices.pop("keyboard", "adb") == "adb"
            script = install(options.dir, adb_keyboard=keyboard, **choices)
    except OSError as error:
        if options.reset and isinstance(error, FileNotFoundError):  # it says what is missing
            raise
        raise ValueError(f"nothing can be written to {options.dir}: {error.strerror}") from None
    print(f"a fresh phone is behind {script}; put it first on PATH, and `adb devices` lists it:")
    print(f'export PATH={shlex.quote(str(script.resolve().parent))}:"$PATH"')
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from autoglm_lab.runtime.onnx_engine import OnnxEngine
    from autoglm_lab.runtime.preflight import PHONE_9B, Machine, bundle_needs, examine, model_needs
    from autoglm_lab.runtime.processor import cpu_flags

    if options.port is not None and not 1 <= options.port <= 65_535:
        raise ValueError(f"port is {options.port}; ports are 1 to 65535")
    if options.bundle is not None and options.bits is not None:
        raise ValueError("give --bundle or --bits, not both")
    if options.adb is not None:
        return _doctor_adb(options)
    if options.power:
        return _doctor_power(options)
    needs = None
    if options.bundle is not None:
        engine = OnnxEngine(options.bundle)
        needs = bundle_needs(options.bundle.name, engine.bundle.bytes, engine.cache_bytes_per_token)
    elif options.bits is not None:
        needs = model_needs("AutoGLM-Phone-9B", bits=options.bits, **PHONE_9B)
    ports = [] if options.port is None else [options.port]
    findings = examine(Machine.here(cpu_flags(), ports=ports), needs, options.port)
    arithmetic = [] if needs is None else list(needs.arithmetic)
    if options.json:
        print(json.dumps({"verdict": findings.verdict, "findings": [asdict(line) for line in findings], "arithmetic": arithmetic}))
    else:
        print(repr(findings), *arithmetic, sep="\n")
    return 1 if findings.verdict == "fail" else 0


def _doctor_power(options: argparse.Namespace) -> int:
    from autoglm_lab.edge.probe import probe

    counters = probe()
    if options.json:
        print(json.dumps([asdict(each) for each in counters], ensure_ascii=False))
    else:
        for each in counters:
            value = "" if each.value is None else f"{each.value:.3g} {each.unit}"
            print(f"{each.state:13} {each.what:24} {value:10} {each.path} {each.note}".rstrip())
    return 0 if any(each.state == "measured" for each in counters) else 1


def _power(options: argparse.Namespace) -> int:
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


def _scoreboard(options: argparse.Namespace) -> int:
    from autoglm_lab.edge.scoreboard.measuring import measure, plan
    from autoglm_lab.edge.scoreboard.rows import board, comparison
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


def _doctor_adb(options: argparse.Namespace) -> int:
    from autoglm_lab.edge.chips import CAPABILITIES, Device, candidates, choose
    from autoglm_lab.paths import data_dir
    from autoglm_lab.phone.adb import AdbPhone

    if options.bundle is not None or options.bits is not None or options.port is not None:
        raise ValueError("--adb asks a phone; --bundle, --bits and --port are about this machine")
    phone = AdbPhone(options.adb or None)
    device = Device.over_adb(lambda command: phone.shell(*command.split()))
    choice = choose(candidates(data_dir() / "reports" / "onnx"), device)
    if options.json:
        print(json.dumps({"device": device.name, "can": sorted(device.can), "free_bytes": device.free_bytes, **asdict(choice)}))
    else:
        print(f"{device.name}, {device.free_bytes / 1e6:.0f} MB free")
        for each in CAPABILITIES:
            print(f"{'yes' if each.name in device.can else 'no':4} {each.name:14} {each.good_for}")
        for name, reason in choice.reasons.items():
            print(f"{'->' if name == choice.bundle else '':4} {name:14} {reason}")
    return 0 if choice.bundle else 1


def _recipes(options: argparse.Namespace) -> int:
    from autoglm_lab.compress.recipe import named, names

    recipes = {name: json.loads(named(name).to_json()) for name in names()}
    if options.json:
        print(json.dumps(recipes, ensure_ascii=False))
        return 0
    for name, facts in recipes.items():
        print(f"{name:12} " + ", ".join(f"{key} {value}" for key, value in facts.items() if key != "name"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
