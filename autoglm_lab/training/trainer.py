"""Trains PhoneGLM from nothing in two stages: alignment, then instruction. A killed run goes on from its last checkpoint."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from autoglm_lab import atomic
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.runtime.processor import cpu_flags
from autoglm_lab.runtime.prompt import write_command
from autoglm_lab.training.dataset import Scenes
from autoglm_lab.training.losses import Losses, step_losses
from autoglm_lab.training.scenes import SceneSpec
from autoglm_lab.training.warm_start import hand_on_tokens, learn_to_see, transplant

COPY_COMMANDS = 1000  # commands on which two heads are fitted to hand on what they look at


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a training run goes."""

    align_steps: int = 1500  # stage one
    steps: int = 15_400  # both stages together
    first_sweep: int = 8400  # steps until the learning rate is down; then it rises once more, to `second_rate` of its peak
    second_rate: float = 0.5
    pictures: int = 16  # scenes in a batch
    samples: int = 3  # samples of each scene in a batch
    commands: int = 0  # typed commands to be understood, in a batch
    clips: int = 0  # spoken ones
    vary_voices: bool = False  # each clip is heard in other voices and at other paces
    copies: int = 24  # requests in which to practise copying
    copy_every: int = 3  # how often, in both stages
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.02
    align_weight: float = 0.3  # of the alignment loss in stage two
    point_weight: float = 0.3  # of looking at what decides the answer
    spell_weight: float = 0.0  # of reading from the frames of sound which phonemes are said
    gated_rate: float = 0.3  # learning rate of the gated layers, as a share: what they start with is worth keeping
    gate_hold: int = 300  # for this many steps of stage two the gates stay at one half, or they close before they can help
    gate_cost: float = 0.02  # of open gates, once answers come; makes a gate close on what does not help
    gate_from: int = 3500
    price_prompt: bool = False  # gates cost while the prompt is read, too
    hard_from: int = 4250  # from here on requests that compare two things are drawn more often
    average: float = 0.998  # decay of the averaged weights that are saved
    seed: int = 0
    checkpoint_every: int = 250


@dataclass(frozen=True)
class Preset:
    """A named size: the model, the recipe and the scenes."""

    model: PhoneGLMConfig
    recipe: Recipe
    scenes: SceneSpec


def preset(name: str) -> Preset:
    """`full` makes the shipped checkpoint, `people` the one to come, `mini` one to be watched. ValueError for other names."""
    if name == "full":
        return Preset(PhoneGLMConfig(), Recipe(), SceneSpec())
    if name == "mini":
        small = PhoneGLMConfig(
            hidden_size=256,
            intermediate_size=512,
            num_attention_heads=4,
            num_key_value_heads=2,
            audio_channels=192,
            image_channels=(24, 48, 96, 160),
        )
        recipe = Recipe(
            align_steps=500,
            steps=1900,
            pictures=12,
            samples=3,
            copies=0,
            learning_rate=1.5e-3,
            warmup=50,
            gate_hold=100,
            gate_from=1200,
            hard_from=1900,
            average=0.99,
            checkpoint_every=100,
        )
        return Preset(small, recipe, SceneSpec(scenes=3000, mini=True))
    if name == "people":
        # an image encoder with half the MACs of the configuration's default; small kernels first, since it has to read small print
        # and a speech encoder of twice the blocks, since it has to hear voices that it does not know
        lean = PhoneGLMConfig(
            understands=True, memory=4, image_channels=(16, 32, 64, 176), image_blocks=(0, 0, 0, 1), audio_blocks=8
        )
        recipe = Recipe(
            pictures=8, samples=4, commands=48, clips=32, vary_voices=True, spell_weight=0.1, copies=0, price_prompt=True
        )
        return Preset(lean, recipe, SceneSpec(scenes=24_000, typed=6, spoken=0, people=True))
    raise ValueError(f"preset {name!r} is unknown; there are 'full', 'people' and 'mini'")


class Training:
    """One run: a model, its optimizer and its place in the recipe, with everything needed to go on after a kill."""

    def __init__(self, model: PhoneGLMForConditionalGeneration, data: Scenes, recipe: Recipe, folder: Path) -> None:
        self.device = _best_device()
        torch.nn.Module.to(model, self.device)  # in place
        self.model, self.data, self.recipe, self.folder = model, data, recipe, folder
        self.concepts = data.concepts.to(self.device)
        self.step = 0
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.gather = _gradient_mean() if self.world > 1 else None
        # reads phonemes from frames of sound while the model learns; no part of it
        self.speller = torch.nn.Linear(model.config.hidden_size, 1 + len(data.phonemes)).to(self.device)
        self.optimizer = torch.optim.AdamW(
            _groups(model, self.speller, recipe), lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True
        )
        self.averaged = {k: v.detach().clone() for k, v in model.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to a hundredth; and the same, lower, in the second sweep."""
        recipe = self.recipe
        first, last, peak = 0, min(recipe.first_sweep, recipe.steps), recipe.learning_rate
        if step >= last:
            first, last, peak = last, recipe.steps, peak * recipe.second_rate
        if step - first < recipe.warmup:
            return peak * (step - first + 1) / recipe.warmup
        progress = (step - first - recipe.warmup) / max(1, last - first - recipe.warmup)
        return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))

    def run(self, until: int | None = None, on_step: Callable[[dict[str, float]], None] | None = None) -> None:
        """Train up to step `until` (default: the recipe's end), logging to `log.csv`. `on_step` sees each row of the log."""
        stop = min(until or self.recipe.steps, self.recipe.steps)
        bar = tqdm(total=self.recipe.steps, initial=self.step, desc="training", unit="step", disable=self.rank > 0)
        with ThreadPoolExecutor(1) as worker:
            coming = worker.submit(self._batch, self.step)
            while self.step < stop:
                batch, coming = coming.result(), worker.submit(self._batch, self.step + 1)
                began = time.perf_counter()
                losses = self._learn(batch)
                self.step += 1
                row = {"step": self.step, **{k: round(v, 5) for k, v in numbers(losses).items()}}
                row |= {"rate": round(self.learning_rate(self.step), 7), "seconds": round(time.perf_counter() - began, 3)}
                if self.rank == 0:
                    self._log(row)
                    if on_step is not None:
                        on_step(row)
                    if self.step % self.recipe.checkpoint_every == 0 or self.step == stop:
                        self.save()
                bar.update()
                bar.set_postfix(answer=f"{row['answer']:.3f}", right=f"{row['answer_right']:.2f}", refresh=False)
        bar.close()

    def _batch(self, step: int) -> Any:
        recipe = self.recipe
        return self.data.batch(
            recipe.seed,
            step,
            self.rank,
            recipe.pictures,
            recipe.samples,
            hard=step >= recipe.hard_from,
            copies=recipe.copies if step % recipe.copy_every == 0 else 0,
            commands=recipe.commands,
            clips=recipe.clips,
            vary_voices=recipe.vary_voices,
        )

    def _learn(self, batch: Any) -> Losses:
        recipe = self.recipe
        aligning = self.step < recipe.align_steps
        self.model.train()
        for group in self.optimizer.param_groups:
            is_frozen = group["part"] == "gates" and self.step < recipe.align_steps + recipe.gate_hold
            group["lr"] = 0.0 if is_frozen else group["share"] * self.learning_rate(self.step)
        half = self.device.type != "cpu" or has_fast_bf16()
        batch, speller = batch.to(self.device), self.speller if recipe.spell_weight else None
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
            losses = step_losses(
                self.model, batch, self.concepts, align_only=aligning, price_prompt=recipe.price_prompt, speller=speller
            )
        align, gate = 1.0 if aligning else recipe.align_weight, recipe.gate_cost if self.step >= recipe.gate_from else 0.0
        self.optimizer.zero_grad(set_to_none=True)
        losses.total(align=align, point=recipe.point_weight, gate=gate, spell=recipe.spell_weight).backward()
        if self.gather is not None:
            self.gather(self.model)
            self.gather(self.speller)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self._average()
        return losses

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.recipe.average, (self.step + 1) / (self.step + 10))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - keep)
            else:
                self.averaged[name].copy_(value)

    def _log(self, row: dict[str, float]) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def save(self) -> None:
        """Write a checkpoint."""
        write_checkpoint(
            self.folder / "checkpoint.pt",
            model=self.model.state_dict(),
            averaged=self.averaged,
            speller=self.speller.state_dict(),
            optimizer=self.optimizer.state_dict(),
            step=self.step,
            recipe=asdict(self.recipe),
        )

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False if there is none.

        ValueError if it was made with another seed or batch, or by an earlier version of this package.
        """
        stored = check_run(self.folder, self.recipe)
        if stored is None:
            (self.folder / "log.csv").unlink(missing_ok=True)  # of a run that ended before its first checkpoint
            return False
        if "speller" not in stored:
            raise ValueError(f"{self.folder} is a run of an earlier version of this package; delete it to begin anew")
        self.model.load_state_dict(stored["model"])
        self.averaged = {name: value.to(self.device) for name, value in stored["averaged"].items()}
        self.speller.load_state_dict(stored["speller"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.step = stored["step"]
        self._trim_log()
        return True

    def _trim_log(self) -> None:
        """Forget what was logged after the checkpoint: it will be done again."""
        path = self.folder / "log.csv"
        if path.exists():
            lines = path.read_text("utf-8").splitlines(keepends=True)
            atomic.write_text(path, "".join(lines[: 1 + self.step]))

    def averaged_model(self) -> PhoneGLMForConditionalGeneration:
        """A copy of the model with the averaged weights, ready to be used and saved."""
        copy = PhoneGLMForConditionalGeneration(self.model.config)
        copy.load_state_dict(self.averaged)
        copy.train(False)
        return copy


def write_checkpoint(path: Path, **parts: Any) -> None:
    """Write what a run needs to go on; a kill at any moment leaves the old file or the new one."""
    with atomic.file(path) as part:
        torch.save(parts, part)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote. ValueError when it is damaged."""
    try:
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return stored | {"step": int(stored["step"]), "model": dict(stored["model"]), "optimizer": dict(stored["optimizer"])}
    except Exception as error:  # a damaged archive raises whatever its first wrong byte leads to
        raise ValueError(
            f"{path} is no checkpoint that can be read ({type(error).__name__}); "
            f"delete {path.parent} to begin anew, or give another folder"
        ) from None


def check_run(folder: Path, recipe: Recipe) -> dict[str, Any] | None:
    """Read the checkpoint of a run folder, None without one.

    ValueError if it is damaged, was made with another seed or batch, or the log does not hold each of its steps.
    """
    path, log = folder / "checkpoint.pt", folder / "log.csv"
    if not path.exists():
        if log.exists():
            read_log(log)  # somebody else's is not written over
        return None
    stored = read_checkpoint(path)
    for name in ("seed", "pictures", "samples"):
        if stored.get("recipe", {}).get(name) != getattr(recipe, name):
            raise ValueError(
                f"{path} was trained with {name}={stored.get('recipe', {}).get(name)}, not {getattr(recipe, name)}; "
                "continue with the same value or choose another folder"
            )
    rows = read_log(log)[: stored["step"]] if log.exists() else []
    if [row["step"] for row in rows] != list(range(1, stored["step"] + 1)):
        raise ValueError(
            f"{log} does not hold each of the {stored['step']} steps of the checkpoint beside it; "
            f"copy it again, delete {folder} to begin anew, or give another folder"
        )
    return stored


def main_process() -> bool:
    """True unless this is a further process of `accelerate launch`."""
    return int(os.environ.get("RANK", "0")) == 0


def _groups(model: PhoneGLMForConditionalGeneration, speller: torch.nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters by what they need: gates, other parts of gated layers, matrices (which decay), the speller's and the rest."""
    groups: dict[str, dict[str, Any]] = {
        "gates": {"share": 1.0, "weight_decay": 0.0},
        "gated": {"share": recipe.gated_rate, "weight_decay": 0.0},
        "matrices": {"share": 1.0, "weight_decay": recipe.weight_decay},
        "vectors": {"share": 1.0, "weight_decay": 0.0},
        "speller": {"share": 1.0, "weight_decay": 0.0, "params": [*speller.parameters()]},
    }
    for name, parameter in model.named_parameters():
        part = (
            "gates"
            if name.endswith(("gate_proj.weight", "gate_proj.bias"))
            else "gated"
            if name.startswith("gated")
            else "matrices"
            if parameter.ndim >= 2
            else "vectors"
        )
        groups[part].setdefault("params", []).append(parameter)
    return [{"part": part, **group} for part, group in groups.items()]


def read_log(path: Path) -> list[dict[str, float]]:
    """Read the rows of a run's `log.csv`; a last one that was cut is left out. ValueError for any other damage."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = list(csv.DictReader(file, restkey="more"))
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append({name: float(value) for name, value in line.items()})
        except (TypeError, ValueError):
            if number - 1 != len(lines):
                raise ValueError(f"line {number} of {path} is damaged; copy the file again, or begin a new run") from None
    if path.stat().st_size and not (rows and {"step", "answer"} <= set(rows[0])):
        raise ValueError(f"{path} is not the log of a run; give another folder")
    return rows


def numbers(losses: Losses) -> dict[str, float]:
    """The losses as plain numbers."""
    return {k: float(v.detach()) if isinstance(v, torch.Tensor) else v for k, v in vars(losses).items()}


def _best_device() -> torch.device:
    """The first GPU that PyTorch can use, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_fast_bf16() -> bool:
    """True if this processor multiplies bfloat16 matrices in hardware (AVX512-BF16 or AMX); elsewhere float32 is faster."""
    supported = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return bool(supported and {"avx512_bf16", "amx_bf16"} & set(cpu_flags()))


def _gradient_mean() -> Callable[[torch.nn.Module], None]:
    """Averages gradients over the processes that `accelerate launch` started."""
    from accelerate import PartialState
    from accelerate.utils import reduce

    PartialState(cpu=True)

    def gather(model: torch.nn.Module) -> None:
        for parameter in model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(reduce(parameter.grad, "mean"))

    return gather


# of a run that starts from a trained model: what was learned stays, so that fewer steps do
WARM = {
    "align_steps": 0,
    "steps": 1500,
    "first_sweep": 1500,
    "warmup": 100,
    "gate_hold": 0,
    "gate_from": 300,
    "hard_from": 10**6,
    "learning_rate": 8e-4,
    "average": 0.99,
}


def start(name: str, data: Scenes, folder: Path, source: Path | None = None, **changes: Any) -> Training:
    """A run of a preset (resumed if `folder` has a checkpoint); `changes` replace fields of its recipe.

    With `source`, a model folder, it starts from that model's weights, on the recipe of `WARM`.
    """
    settings = preset(name)
    recipe = replace(settings.recipe, **((WARM if source is not None else {}) | changes))
    torch.manual_seed(recipe.seed)
    config = settings.model
    config.vocab_size = len(data.tokenizer)
    model = PhoneGLMForConditionalGeneration(config)
    training = Training(model, data, recipe, folder)
    if not training.resume() and source is not None:
        old = TorchEngine.load(source)
        fresh = transplant(old.model, old.processor.tokenizer, model, data.tokenizer)
        if any(name.startswith("image_encoder") for name in fresh):
            learn_to_see(old.model.image_encoder, model.image_encoder, data.pictures, folder / "eye.pt", recipe.seed)
        if config.understands and not old.model.config.understands:
            commands = [data.tokenizer.encode(write_command(wish.text)) for wish in data.wishes[:COPY_COMMANDS]]
            hand_on_tokens(model, commands)
        training.averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
        print(f"started from {source.name}; learned anew: {', '.join(fresh) or 'nothing'}", file=sys.stderr)
    return training
