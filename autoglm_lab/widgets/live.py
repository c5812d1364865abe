"""Training in a notebook, with the curves drawn while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from IPython.display import display

from autoglm_lab.paths import work_dir
from autoglm_lab.training.pipeline import train as train_preset
from autoglm_lab.training.trainer import preset, read_log
from autoglm_lab.widgets.training_widget import TrainingWidget


def train(name: str = "mini", folder: Path | str | None = None, **options: Any) -> dict[str, Any]:
    """Train a preset from nothing, showing its curves; interrupt it and call it again to go on.

    It is written to `folder` (default: NAME in `paths.work_dir()`). `options` are those of `training.pipeline.train` (seed, until,
    threads). Needs a notebook for the picture. ValueError for an unknown preset, NotWrittenError as `train` there.
    """
    recipe, folder = preset(name).recipe, Path(folder or work_dir() / name)
    curve = TrainingWidget(recipe.steps, recipe.align_steps)
    log = folder / "run" / "log.csv"
    if log.exists():
        for row in read_log(log):
            curve(row)
    display(curve)  # type: ignore[no-untyped-call]
    return train_preset(name, folder, on_step=curve, **options)
