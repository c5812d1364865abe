"""Compare one runtime with the agent that its files were made from; run by the runtime's own Python.

`python -m autoglm_lab.benchmarks.peers.compare PARTS OUT --name NAME [--bundle DIR] [--threads N] [--rounds N]`
prints one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from autoglm_lab import atomic
from autoglm_lab.benchmarks.peers.runtimes import PEERS, NeedsHardware, OnnxRuntime, Peer, silence
from autoglm_lab.evaluation.timing import Spread
from autoglm_lab.runtime.host import Arrays, Call, Host, with_look_ups

CASES, SHAPES, TABLES = "cases.npz", "shapes.json", "tables.npz"
CONVERTED = "converted model"  # kind of a folder with files of another runtime
STEPS = 24  # of one turn of a race
Made = TypeVar("Made")


@dataclass(frozen=True)
class Parts:
    """A folder written by `benchmarks.peers.parts.write_parts`."""

    folder: Path
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Parts:
        """Read the facts of a folder. FileNotFoundError when it is no such folder."""
        if not (folder / SHAPES).is_file():
            raise FileNotFoundError(f"{folder.name} holds no {SHAPES}; give a folder with the portable parts of an agent")
        return cls(folder, json.loads((folder / SHAPES).read_text("utf-8")))

    def inputs(self, part: str) -> dict[str, list[int]]:
        """Shapes of a graph's inputs, in order."""
        shapes: dict[str, list[int]] = self.facts["parts"][part]["inputs"]
        return shapes

    def convert(self, peer: Peer, out: Path) -> dict[str, Path]:
        """Convert all three graphs into the runtime's own files."""

        def one(part: str) -> Path:
            path = out / f"{part}{peer.ending}"
            peer.convert(self.folder / f"{part}.{peer.source}", path, self.inputs(part))
            return path

        return _for_each(peer.parts, one)

    def host(self, peer: Peer, files: Mapping[str, Path], threads: int) -> Host:
        """Open the agent in a runtime."""

        def one(part: str) -> Call:
            return peer.open(files[part], self.inputs(part), list(self.facts["parts"][part]["outputs"]), threads)

        image, audio, step = _for_each(peer.parts, one).values()
        if "step_body" in files:
            audio, step = with_look_ups(audio, step, dict(np.load(self.folder / TABLES)))
        return Host(image, audio, step, {name: tuple(shape) for name, shape in self.inputs("step").items()})

    def cases(self) -> list[dict[str, Any]]:
        """The requests, and what the agent answered to each."""
        arrays = np.load(self.folder / CASES)
        count = sum(name.startswith("prompt") for name in arrays)
        return [
            {name: arrays[f"{name}_{number}"] for name in ("pixels", "mel", "prompt", "said", "scores")} for number in range(count)
        ]


def _for_each(parts: Sequence[str], do: Callable[[str], Made]) -> dict[str, Made]:
    """Apply `do` to each part; results by part. `NeedsHardware` after the last, with all that is known, if any part raised it."""
    results: dict[str, Made] = {}
    needed: dict[str, NeedsHardware] = {}
    for part in parts:
        try:
            results[part] = do(part)
        except NeedsHardware as lack:
            needed[part] = lack
    if needed:
        facts = "; ".join(f"{part}: {lack.known}" for part, lack in needed.items())
        raise NeedsHardware(next(iter(needed.values())).hardware, facts)
    return results


def compare(parts: Parts, host: Host) -> dict[str, Any]:
    """Distance of a runtime's scores from the agent's, as a share of them, and the number of its own answers that are the same."""
    cases, worst, apart, same = parts.cases(), 0.0, 0.0, 0
    for case in cases:
        states, _ = host.remember(case["pixels"], case["mel"] if len(case["mel"]) else None)
        prompt, answer = case["prompt"].tolist(), case["said"].tolist()
        mine = host.read({name: values.copy() for name, values in states.items()}, prompt + answer)
        worst = max(worst, float(np.linalg.norm(mine - case["scores"]) / np.linalg.norm(case["scores"])))
        apart = max(apart, float(np.abs(mine - case["scores"]).max()))
        same += host.write(states, prompt, parts.facts["end"], parts.facts["room"]) == answer
    return {"distance": worst, "scores_apart": apart, "same_answers": same, "requests": len(cases)}


def race(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Milliseconds of a step for each way, in turns, and how many times longer the last way takes than each of the others.

    The ratios are called `decode_vs_NAME` for a bundle and `same_file_vs_NAME` for the same portable file in ONNX Runtime.
    """
    times_ms: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            way()  # what another runtime drove out of the caches comes back
            began = perf_counter()
            for _ in range(STEPS):
                way()
            if turn:
                times_ms[name].append(1000 * (perf_counter() - began) / STEPS)
    *others, last = times_ms
    ratios = {
        f"{'decode' if name == 'bundle' else name}_vs_{last}": Spread.of(
            [a / b for a, b in zip(times_ms[last], times_ms[name], strict=True)]
        )
        for name in others
    }
    return {
        "step_ms": {name: asdict(Spread.of(ms)) for name, ms in times_ms.items()},
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items()},
    }


def step_of(host: Host, case: Mapping[str, Any]) -> Callable[[], object]:
    """One step in the middle of an answer, always the same."""
    states, _ = host.remember(case["pixels"], None)
    prompt = case["prompt"].tolist()
    host.read(states, prompt)
    inputs: Arrays = {"token": np.array([[int(case["said"][0])]], np.int32), "place": np.array([len(prompt)], np.int32), **states}
    return lambda: host.step(inputs)


def stored_bytes(files: Mapping[str, Path]) -> int:
    """Bytes of a runtime's files and of what lies beside them."""
    folders = {path.parent for path in files.values()}
    return sum(p.stat().st_size for folder in folders for p in folder.rglob("*") if p.is_file())


def report(name: str, folder: Path, out: Path, threads: int, rounds: int, bundle: Path | None = None) -> dict[str, Any]:
    """Convert into the empty folder `out`, run, compare, race.

    A runtime that fails says where and why, in place of figures it does not have.
    """
    peer, parts = PEERS[name](), Parts.read(folder)
    record: dict[str, Any] = {"runtime": peer.title, "version": peer.version(), "threads": threads, "verdict": "fails"}
    stage = "converting"
    try:
        files = parts.convert(peer, out)
        record["bytes"], stage = stored_bytes(files), "opening"
        host = parts.host(peer, files, threads)
        stage = "running"
        record |= compare(parts, host)
        record["verdict"] = "verified"
        if rounds:
            reference = OnnxRuntime()
            same_file = parts.host(reference, {part: folder / f"{part}.onnx" for part in reference.parts}, threads)
            case = parts.cases()[0]
            ways = {"same_file": step_of(same_file, case), name: step_of(host, case)}
            if bundle is not None:
                ways = {
                    "bundle": bundle_step(bundle, case["prompt"].tolist(), int(case["said"][0]), threads, case["pixels"]),
                    **ways,
                }
            record |= race(ways, rounds)
    except NeedsHardware as needed:
        record["verdict"] = "converts" if stage == "opening" else "needs hardware"
        record |= {"hardware": needed.hardware, "known": needed.known}
    except Exception as problem:
        record["why"] = f"{stage}: {type(problem).__name__}: {problem}"[:300]
    return record


def bundle_step(
    folder: Path, prompt: Sequence[int], token: int, threads: int, pixels: NDArray[np.float32] | None = None
) -> Callable[[], object]:
    """The same step of a bundle, whose cache is written in place by one operator of ONNX Runtime.

    It sees `pixels` [1, 3, S, S], if anything.
    """
    from autoglm_lab.runtime.onnx_engine import OnnxEngine

    engine = OnnxEngine(folder, threads=threads)
    states = {**engine.nothing, "present": np.array([pixels is not None, 0], np.float32)}
    if pixels is not None:
        session = engine.sessions["image"]
        outputs = session.run(None, {session.get_inputs()[0].name: pixels})
        states |= dict(zip((output.name for output in session.get_outputs()), outputs, strict=True))
    step = engine.new_step(states, len(prompt) + 1)
    step.scores(list(prompt))

    def call() -> object:
        step.total = len(prompt)  # the same place again
        return step.scores([token])

    return call


def arguments(program: str) -> argparse.ArgumentParser:
    """Arguments of every script that converts, runs, compares and races: folders, threads, rounds, a bundle."""
    options = argparse.ArgumentParser(prog=f"python -m {program}")
    options.add_argument("parts", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--bundle", type=Path)
    return options


def main() -> None:
    """Run the command in this module's first lines."""
    options = arguments("autoglm_lab.benchmarks.peers.compare")
    options.add_argument("--name", choices=PEERS, required=True)
    args = options.parse_args()
    with silence(), atomic.folder(args.out, CONVERTED) as out:
        record = report(args.name, args.parts, out, args.threads, args.rounds, args.bundle)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
