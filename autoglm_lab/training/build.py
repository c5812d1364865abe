"""From nothing to a model folder: data, tokenizer, both training stages, and what `from_pretrained` needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.tokenizer import train_tokenizer
from autoglm_lab.training.data import Scenes
from autoglm_lab.training.scenes import make_scenes
from autoglm_lab.training.speech_data import synthesise_training_set
from autoglm_lab.training.trainer import preset, start


def prepare(name: str, folder: Path, processes: int = 2) -> Scenes:
    """Scenes and clips of a preset, made once in `folder` and then reused."""
    spec = preset(name).scenes
    make_scenes(folder / "scenes", spec, processes)
    speech = folder / "speech"
    if not (speech / "clips.npz").exists():
        small = {"clips_per_utterance": 8, "bank_augmentations": 1} if name == "mini" else {}
        synthesise_training_set(speech, processes=processes, **small)
    return Scenes(folder / "scenes", speech, train_tokenizer())


def train(
    name: str, folder: Path, *, seed: int = 0, until: int | None = None, threads: int | None = None,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a preset in `folder` (resuming what is there) and write the model to `folder/model`."""
    if threads is not None:
        torch.set_num_threads(threads)
    data = prepare(name, folder / "data")
    training = start(name, data, folder / "run", seed=seed)
    training.run(until, on_step)
    save_model(training.averaged_model(), data.tokenizer, folder / "model")
    return {"preset": name, "step": training.step, "steps": training.recipe.steps, "model": str(folder / "model")}


def save_model(model: PhoneGLMForConditionalGeneration, tokenizer: Any, folder: Path) -> None:
    """Write a 16-bit safetensors checkpoint, configuration and tokenizer; a kill leaves the old folder or the new one."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    half = PhoneGLMForConditionalGeneration(model.config)
    half.load_state_dict(model.state_dict())
    half.bfloat16().save_pretrained(part)
    tokenizer.save_pretrained(part)
    (part / "processor_config.json").write_text(json.dumps({"processor_class": "PhoneGLMProcessor"}, indent=1) + "\n")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
