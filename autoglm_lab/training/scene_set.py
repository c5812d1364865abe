"""Sets of training scenes: drawn once, by several processes, into one folder."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from autoglm_lab import atomic
from autoglm_lab.training.people_scenes import make_people_scene
from autoglm_lab.training.scenes import SceneSpec, make_scene
from autoglm_lab.workers import end_with_parent

SHIPPED = SceneSpec()  # the set of the shipped model


def _chunk(job: tuple[Path, int, int, SceneSpec]) -> list[dict[str, Any]]:
    folder, start, stop, spec = job
    make = make_people_scene if spec.people else make_scene
    scenes = [make(seed, spec) for seed in range(start, stop)]
    with atomic.file(folder / f"pictures-{start:06d}.npy") as part:
        np.save(part, np.stack([pixels for pixels, _ in scenes]))
    return [facts for _, facts in scenes]


def make_scenes(folder: Path, spec: SceneSpec = SHIPPED, processes: int = 2) -> None:
    """Write `spec.scenes` scenes into `folder` (pictures-*.npy, scenes.json); nothing happens if they are there already.

    With 0 processes this one draws them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scenes.json"
    if path.exists():
        return
    stop = spec.first + spec.scenes
    jobs = [(folder, i, min(i + 250, stop), spec) for i in range(spec.first, stop, 250)]
    with ProcessPoolExecutor(processes, initializer=end_with_parent) if processes else nullcontext() as pool:
        chunks = map(_chunk, jobs) if pool is None else pool.map(_chunk, jobs)
        facts = list(tqdm(chunks, total=len(jobs), desc="drawing scenes", unit="x250"))
    atomic.write_text(path, json.dumps([f for chunk in facts for f in chunk], ensure_ascii=False))


def load_scenes(folder: Path) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """All pictures [N, 224, 224, 3] uint8 in memory (150 kB each), and the facts of each."""
    pictures = np.concatenate([np.load(path) for path in sorted(folder.glob("pictures-*.npy"))])
    return pictures, json.loads((folder / "scenes.json").read_text("utf-8"))
