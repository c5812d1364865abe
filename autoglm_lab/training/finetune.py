"""Short training of a model that was made smaller, so that it regains what it lost.

Any model recovers by batches and a loss of its own; a PhoneGLM by phone scenes, and a teacher may help it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from autoglm_lab.compress.sparsity import Masks
from autoglm_lab.memory import trim_heap
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.training.dataset import Scenes
from autoglm_lab.training.losses import step_losses
from autoglm_lab.training.trainer import Recipe, has_fast_bf16, numbers, read_checkpoint, write_checkpoint

Loss = Callable[[nn.Module, Any], Tensor]
FIRST_STEP = 1_000_000  # batches here are others than those of the long training


@dataclass(frozen=True)
class Recovery:
    """Settings of a recovery. Called with a model it trains it in place, as `compress.apply` expects it.

    A PhoneGLM learns from `Scenes`. Any other model learns from batches with `loss(model, batch)`, which gives a scalar; its
    `data` is a sequence of batches, taken in turn, or a function that gives the batch of each step.

    >>> batches = [torch.ones(4, 2)]
    >>> recovery = Recovery(batches, steps=1, loss=lambda model, batch: model(batch).square().mean())
    >>> recovery(nn.Linear(2, 1))
    """

    data: Scenes | Sequence[Any] | Callable[[int], Any]
    steps: int = 300
    learning_rate: float = 1.5e-3  # higher than a run ends with: the weights that are left have to move far
    warmup: int = 20
    pictures: int = 16
    samples: int = 3
    copies: int | None = None  # requests in which to practise copying, in a batch; None: 8, or none where there are commands
    commands: int | None = None  # typed commands to be understood; None: 24 where the data has some
    clips: int | None = None  # spoken ones; None: 12 where the data has commands
    teacher: PhoneGLMForConditionalGeneration | None = None
    alpha: float = 0.7  # weight of the teacher's answers against the right ones in the loss
    encoders: bool = True  # train the image and audio encoders as well
    thoughts: float = 0.0  # weight of the teacher's cells, frames and hidden states; batch norms stay fixed, like the teacher's
    student: bool = False  # the model lost layers: each gated layer that is left has to find the place in the picture
    seed: int = 0
    bfloat16: bool | None = (
        None  # None: where it is fast; it compiles a kernel for every shape of batch, and keeps them all in memory
    )
    on_step: Callable[[dict[str, float]], None] | None = None
    folder: Path | None = None  # for checkpoints of one model: the same recovery goes on from there
    every: int = 200  # steps between two checkpoints
    loss: Loss | None = None  # of any model, for a batch of `data`

    def __call__(self, model: nn.Module, masks: Masks | None = None) -> None:
        """Train all parameters that require a gradient; masked weights stay zero.

        ValueError for a model that is no PhoneGLM without a `loss`, settings that only a PhoneGLM has, or a loss that is no
        finite scalar.
        """
        self._check(model)
        trim_heap()  # training needs the most, so what was freed before goes first
        fixed = (
            []
            if self.encoders
            else [p for part in ("image_encoder", "audio_encoder") for p in model.get_submodule(part).parameters()]
        )
        fixed = [parameter for parameter in fixed if parameter.requires_grad]
        for parameter in fixed:
            parameter.requires_grad_(False)
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        model.train()
        if self.thoughts or not self.encoders:
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        checkpoint = None if self.folder is None else self.folder / f"{self._key(model)}.pt"
        start = 0 if checkpoint is None else _resume(checkpoint, model, optimizer)
        for step in tqdm(range(start, self.steps), desc="recovering", unit="step", initial=start, total=self.steps, leave=False):
            for group in optimizer.param_groups:
                group["lr"] = self.rate(step)
            row = self._learn(model, optimizer, step)
            if masks is not None:
                masks.apply(model)
            if self.on_step is not None:
                self.on_step({"step": step + 1, **row})
            if checkpoint is not None and ((step + 1) % self.every == 0 or step + 1 == self.steps):
                write_checkpoint(checkpoint, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step + 1)
        model.train(False)
        for parameter in fixed:
            parameter.requires_grad_(True)
        trim_heap()

    def _key(self, model: nn.Module) -> str:
        """Hash of the settings, and of the parameters' names and shapes and which of them learn: the name of the checkpoint."""
        counts = [f.name for f in fields(self) if f.name != "every" and isinstance(f.default, int | float | tuple)]
        settings = {name: getattr(self, name) for name in (*counts, "copies", "commands", "clips")}
        shapes = [(name, list(parameter.shape), parameter.requires_grad) for name, parameter in model.named_parameters()]
        taught = self.teacher is not None
        return hashlib.sha256(json.dumps([settings, taught, shapes], sort_keys=True).encode()).hexdigest()[:16]

    def rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to a twentieth."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))

    def _check(self, model: nn.Module) -> None:
        if self.commands and isinstance(self.data, Scenes) and not self.data.wishes:
            raise ValueError("commands are drawn from wishes, and these scenes have none; `prepare('people', folder)` makes them")
        if self.loss is None:
            if not isinstance(model, PhoneGLMForConditionalGeneration):
                raise ValueError(
                    f"only a PhoneGLM can be trained on phone tasks, not a {type(model).__name__}; give `loss` and batches"
                )
            return
        if self.teacher is not None or self.thoughts or self.student or not self.encoders:
            raise ValueError("teacher, thoughts, student and encoders belong to a PhoneGLM's own loss; put a teacher into `loss`")
        if isinstance(self.data, Scenes) or (not callable(self.data) and not len(self.data)):
            raise ValueError("data is a sequence of batches, or a function that gives the batch of a step, where `loss` is given")

    def _learn(self, model: nn.Module, optimizer: Any, step: int) -> dict[str, float]:
        half = has_fast_bf16() if self.bfloat16 is None else self.bfloat16
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            total, row = self._phone_loss(model, step) if self.loss is None else self._own_loss(model, step)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # the next forward pass has their room
        return row

    def _own_loss(self, model: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        assert self.loss is not None and not isinstance(self.data, Scenes)
        total = self.loss(model, self.data(step) if callable(self.data) else self.data[step % len(self.data)])
        if getattr(total, "ndim", 1) or not torch.isfinite(total):
            raise ValueError(f"the loss of step {step} is {total!r:.80}; it is one finite number with a gradient")
        return total, {"loss": float(total.detach())}

    def _practice(self) -> dict[str, Any]:
        """Number of rows of a batch that have no picture: what an agent practises that understands first, and what another does."""
        assert isinstance(self.data, Scenes)
        usual = {"copies": 0, "commands": 24, "clips": 12} if self.data.wishes else {"copies": 8, "commands": 0, "clips": 0}
        return {name: usual[name] if getattr(self, name) is None else getattr(self, name) for name in usual}

    def _phone_loss(self, model: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, PhoneGLMForConditionalGeneration) and isinstance(self.data, Scenes)
        batch = self.data.batch(self.seed, FIRST_STEP + step, 0, self.pictures, self.samples, hard=True, **self._practice())
        losses = step_losses(
            model,
            batch,
            self.data.concepts,
            teacher=self.teacher,
            thoughts=self.thoughts > 0,
            all_look=self.student,
            price_prompt=model.config.understands,
        )
        mixed = losses.answer
        if self.teacher is not None:
            mixed = (1 - self.alpha) * losses.answer + self.alpha * losses.soft + self.thoughts * losses.thoughts
        weights = Recipe()
        total = replace(losses, answer=mixed).total(align=weights.align_weight, point=weights.point_weight, gate=weights.gate_cost)
        return total, numbers(losses)


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint and return the number of its steps, 0 without one."""
    if not path.exists():
        return 0
    stored = read_checkpoint(path)
    model.load_state_dict(stored["model"])
    optimizer.load_state_dict(stored["optimizer"])
    return int(stored["step"])
