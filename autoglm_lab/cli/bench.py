"""`autoglm-lab bench`: time agents and bundles."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoglm_lab.cli.options import Commands, add_json, positive
from autoglm_lab.paths import work_dir


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("bench", help="how fast agents answer, side by side, stage by stage")
    command.add_argument(
        "models", nargs="*", type=Path, metavar="DIR", help="model folders and bundles to compare with the shipped model"
    )
    command.add_argument("--requests", type=positive, default=24, help="how many different ones (default 24)")
    command.add_argument("--rounds", type=positive, default=3, help="how often each is asked (default 3)")
    command.add_argument("--grammar", action="store_true", help="each bundle once more, held to the action grammar")
    command.add_argument("--threads", type=positive, help="CPU threads (default: all)")
    command.add_argument(
        "--bundle", type=Path, metavar="DIR", help="instead: what this bundle is worth, as ratios of times in turns"
    )
    command.add_argument(
        "--against",
        metavar="NAME,...",
        help="with --bundle: also against the whole agent's generate() in PyTorch, "
        "that after torch.compile (compile), and runtimes that `runtimes` knows",
    )
    command.add_argument("--layers", action="store_true", help="with --bundle, instead of the ratios: the time in each layer")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    import torch

    from autoglm_lab.compress.agent import load_agent
    from autoglm_lab.evaluation.bench import bench
    from autoglm_lab.evaluation.machine import fast_maths
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
    from autoglm_lab.evaluation.layers import layer_times, table

    times = layer_times(options.bundle, threads=options.threads, count=options.requests, rounds=options.rounds)
    if options.json:
        print(json.dumps({"threads": threads, "cpu_flags": flags, "layers_ms": times}))
    else:
        print(f"{threads} threads; {' '.join(flags) or 'the processor does not say what it can do'}", table(times), sep="\n")
    return 0


def _race(options: argparse.Namespace, flags: tuple[str, ...], threads: int) -> int:
    from autoglm_lab.benchmarks.peers.findings import described
    from autoglm_lab.benchmarks.peers.survey import chosen, survey
    from autoglm_lab.compress.agent import load_agent
    from autoglm_lab.evaluation.race import race
    from autoglm_lab.evaluation.timing import Spread
    from autoglm_lab.model.batch import BatchEngine, compiled

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
