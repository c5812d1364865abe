"""From nothing to a model folder: data, tokenizer, both training stages, and what `from_pretrained` needs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoglm_lab import atomic
from autoglm_lab.evaluation.asking_back import confirm_threshold
from autoglm_lab.model.batch import BatchEngine
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.processing import PhoneGLMProcessor, save_tokenizer
from autoglm_lab.model.tokenizer import people_pieces, train_tokenizer
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.catalog import APPS
from autoglm_lab.phone.free_text import message_or_query
from autoglm_lab.phone.starts import MINI_KINDS
from autoglm_lab.training.copy_task import chance_phrase
from autoglm_lab.training.dataset import Scenes
from autoglm_lab.training.scene_set import make_scenes
from autoglm_lab.training.scenes import SceneSpec
from autoglm_lab.training.speech_data import FIXED_PHRASINGS, SpeechSpec, synthesise_training_set
from autoglm_lab.training.trainer import Training, check_run, has_fast_bf16, main_process, preset, read_log, start
from autoglm_lab.training.wish_set import load_wishes, make_wishes

PATIENCE_S = 7200.0  # for another process that makes the same data
SCENE_BYTES = 320_000  # a picture, its facts and its share of the clips
MODEL_BYTES = 600_000_000  # checkpoints with the state of the optimizer, and the model
PEOPLE_VOCABULARY = 8400  # tokens
WISHES = 240_000  # typed commands to be understood
FEW_WISHES = 1000  # typed commands of a small world
FEW_FIRST = 10_000_000  # phone seed of the first scene of a small world: others than those of the long training


def prepare(name: str, folder: Path, processes: int = 2) -> Scenes:
    """Scenes and clips of a preset, made once in `folder` and then reused."""
    spec = preset(name).scenes
    speech = folder / "speech"
    with atomic.lock(folder, patience_s=PATIENCE_S):  # two runs may share the data
        make_scenes(folder / "scenes", spec, processes)
        if not (speech / "clips.npz").exists():
            clips = SpeechSpec() if spec.people else replace(FIXED_PHRASINGS, kinds=frozenset(MINI_KINDS) if spec.mini else None)
            synthesise_training_set(speech, clips, processes=processes)
        if not spec.people:
            return Scenes(folder / "scenes", speech, train_tokenizer())
        make_wishes(folder / "wishes.json", WISHES, processes)
        if not (folder / "tokenizer" / "tokenizer.json").exists():  # kept: that of a run must not change with the phrasings
            with atomic.folder(folder / "tokenizer", "tokenizer", cache=True) as part:
                save_tokenizer(train_tokenizer(people_pieces(), PEOPLE_VOCABULARY, characters=True), part)
        tokenizer = PhoneGLMProcessor.from_pretrained(folder / "tokenizer").tokenizer
        return Scenes(folder / "scenes", speech, tokenizer, message_or_query, load_wishes(folder / "wishes.json"))


def few_scenes(folder: Path, scenes: int = 96, processes: int = 0) -> Scenes:
    """A small world for a short recovery of the shipped agent, made in seconds: new screens, one shipped voice of each language."""
    agent = data_dir() / "model"
    understands = PhoneGLMConfig.from_pretrained(agent).understands
    world = replace(preset("people").scenes if understands else SceneSpec(), scenes=scenes, first=FEW_FIRST)
    with atomic.lock(folder, patience_s=PATIENCE_S):
        make_scenes(folder / "scenes", world, processes)
        if not (folder / "speech" / "clips.npz").exists():
            clips = replace(FIXED_PHRASINGS, phrasing_takes=0, bank_takes=1, bank_voices=1)
            synthesise_training_set(folder / "speech", clips, processes=processes)
        if understands:
            make_wishes(folder / "wishes.json", FEW_WISHES, max(1, processes))
    wishes = load_wishes(folder / "wishes.json") if understands else ()
    tokenizer = PhoneGLMProcessor.from_pretrained(agent).tokenizer
    return Scenes(folder / "scenes", folder / "speech", tokenizer, message_or_query if understands else chance_phrase, wishes)


def train(
    name: str,
    folder: Path,
    *,
    seed: int = 0,
    until: int | None = None,
    threads: int | None = None,
    on_step: Callable[[dict[str, float]], None] | None = None,
    source: Path | None = None,
) -> dict[str, Any]:
    """Train a preset in `folder` (resuming what is there) and write the model to `folder/model`.

    With `source`, a model folder, the run starts from that model and takes fewer steps; one that is resumed has to name it again.

    Checked before anything slow: NotWrittenError when another process trains there, when the folder or its `model` holds what this
    package did not write, and when the disk has no room; ValueError for a run that is damaged.
    """
    if not (folder / "run" / "checkpoint.pt").exists():
        _check(name, folder, seed)  # before anything is written
        atomic.claim(folder, "training")
    with atomic.lock(folder / "run", patience_s=0) if main_process() else nullcontext():
        _check(name, folder, seed)
        if threads is not None:
            torch.set_num_threads(threads)
        data = prepare(name, folder / "data")
        training = start(name, data, folder / "run", source, seed=seed)
        training.run(until, on_step)
        if main_process():
            finish(training, name, folder / "model")
    return {"preset": name, "step": training.step, "steps": training.recipe.steps, "model": str(folder / "model")}


def _check(name: str, folder: Path, seed: int) -> None:
    settings = preset(name)
    atomic.check(folder / "model", "model")
    scenes = 0 if (folder / "data" / "scenes" / "scenes.json").exists() else settings.scenes.scenes
    atomic.check_room(folder, scenes * SCENE_BYTES + MODEL_BYTES)
    check_run(folder / "run", replace(settings.recipe, seed=seed))


def finish(training: Training, name: str, folder: Path) -> None:
    """Write the averaged model of a run to `folder`, with the facts of the run and its curve beside it.

    One that understands commands first is told below which confidence it asks back.
    """
    facts, model, tokenizer = {"preset": name, **_run_facts(training)}, training.averaged_model(), training.data.tokenizer
    if model.config.understands:
        model.config.confirm_below = confirm_threshold(BatchEngine(model, PhoneGLMProcessor(tokenizer)))

    def beside(part: Path) -> None:
        (part / "training.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        thin_log(training.folder / "log.csv", part / "training.csv")

    save_model(model, tokenizer, folder, also=beside)


def _run_facts(training: Training) -> dict[str, Any]:
    """Collect the numbers of a run for its model card."""
    data, recipe = training.data, training.recipe
    seconds = sum(row["seconds"] for row in read_log(training.folder / "log.csv"))
    return {
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "scenes": len(data.facts),
        "samples": sum(len(fact["samples"]) for fact in data.facts),
        "clips": sum(len(places) for wish, places in data.by_wish.items() if wish),
        "wishes": len(data.wishes),
        "apps": len(APPS),
        "step": training.step,
        "minutes": round(seconds / 60, 1),
        "threads": torch.get_num_threads(),
        "bfloat16": has_fast_bf16(),
        "recipe": asdict(recipe),
    }


def thin_log(log: Path, out: Path, points: int = 160) -> None:
    """Write means over equal stretches of a run's log: enough for its curve."""
    rows = read_log(log)
    names = ("image", "audio", "answer", "image_right", "audio_right", "point_right", "answer_right")
    with out.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("step", *names))
        for stretch in np.array_split(np.arange(len(rows)), min(points, len(rows))):
            means = (np.mean([rows[i][name] for i in stretch]) for name in names)
            writer.writerow((int(rows[stretch[-1]]["step"]), *(round(float(mean), 4) for mean in means)))


def save_model(
    model: PhoneGLMForConditionalGeneration, tokenizer: Any, folder: Path, *, also: Callable[[Path], None] | None = None
) -> None:
    """Write a 16-bit safetensors checkpoint, configuration and tokenizer; a kill leaves the old folder or the new one.

    `also(folder)` may write more files beside them. NotWrittenError as `atomic.folder`.
    """
    half = PhoneGLMForConditionalGeneration(model.config)
    half.load_state_dict(model.state_dict())
    with atomic.folder(folder, "model") as part:
        half.bfloat16().save_pretrained(part)
        save_tokenizer(tokenizer, part)
        if also is not None:
            also(part)
