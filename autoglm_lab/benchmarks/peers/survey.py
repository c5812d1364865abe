"""All other runtimes, one after the other: environments, files, answers, times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from autoglm_lab import atomic
from autoglm_lab.benchmarks.peers import llama
from autoglm_lab.benchmarks.peers.compare import CONVERTED
from autoglm_lab.benchmarks.peers.environment import call, environment
from autoglm_lab.benchmarks.peers.parts import CONVERTER_INPUT, write_parts, write_plain
from autoglm_lab.benchmarks.peers.runtimes import PEERS
from autoglm_lab.evaluation.success import World, spoken_requests, typed_requests
from autoglm_lab.model.engine import TorchEngine

WORLD = 4242  # any phones and voices will do that training never saw
LLAMA = "llamacpp"  # no graph can be put into it, only the decoder
KNOWN = (*PEERS, LLAMA)


def chosen(names: Sequence[str]) -> list[str]:
    """Return the runtimes of these names; all without any. ValueError for one that is not known."""
    for name in names:
        if name not in KNOWN:
            raise ValueError(f"there is no runtime {name!r}; there are {', '.join(KNOWN)}")
    return list(dict.fromkeys(names)) or list(KNOWN)


def needs(name: str) -> tuple[str, ...]:
    """Packages that have to be installed here for a runtime."""
    return llama.NEEDS if name == LLAMA else PEERS[name]().wanted()


def install(names: Sequence[str]) -> dict[str, str]:
    """Make the environments of these runtimes; the reason for each that could not be made."""
    missing = {}
    for name in tqdm(names, desc="installing", unit="runtime", leave=False):
        try:
            environment(name, needs(name))
        except ImportError as problem:
            missing[name] = str(problem)
    return missing


def check_folders(names: Sequence[str], out: Path) -> None:
    """Check before slow work that `survey` will be able to write to `out`: NotWrittenError as `atomic.check`."""
    for name in names:
        atomic.check(out / name, CONVERTED)
        atomic.check(out / ("plain" if name == LLAMA else "parts"), CONVERTER_INPUT)


def survey(
    engine: TorchEngine,
    names: Sequence[str],
    out: Path,
    *,
    requests: int = 20,
    threads: int = 2,
    rounds: int = 9,
    bundle: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Convert an agent for each runtime, run and compare it; see `benchmarks.peers.compare.report`. Every second request is spoken.

    Files go to `out`, the portable ones into its `parts`. ImportError names a runtime whose environment cannot be made,
    RuntimeError one whose process dies, NotWrittenError a folder that holds what this package did not write.
    """
    check_folders(names, out)
    world = World(WORLD)
    workload = typed_requests(world, requests - requests // 2) + spoken_requests(world, requests // 2, held_out=False)
    folders = {"parts": out / "parts", "plain": out / "plain"}
    if set(names) - {LLAMA}:
        write_parts(engine, folders["parts"], workload)
    if LLAMA in names:
        write_plain(engine, folders["plain"], [request.task.text for request in workload])
    reports = {}
    for name in tqdm(names, desc="converting, running, comparing", unit="runtime", leave=False):
        python = environment(name, needs(name))
        options = ["--threads", threads, "--rounds", rounds, *(["--bundle", bundle.resolve()] if bundle else [])]
        module, folder = ("llama", "plain") if name == LLAMA else ("compare", "parts")
        options += [] if name == LLAMA else ["--name", name]
        reports[name] = call(
            python, f"autoglm_lab.benchmarks.peers.{module}", folders[folder].resolve(), (out / name).resolve(), *options
        )
    return reports
