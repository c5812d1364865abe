"""Distillation: a small model learns from the scores of a large one, softened by a temperature, and from its hidden states."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

IGNORED = -100  # label of a place that does not count


@dataclass(frozen=True)
class Temperature:
    """Softmax temperature during a run: from `start` to `end` along a straight line."""

    start: float = 3.0
    end: float = 3.0

    def __post_init__(self) -> None:
        if min(self.start, self.end) <= 0:
            raise ValueError(f"temperature is {min(self.start, self.end)}; it is larger than 0")

    def at(self, progress: float) -> float:
        """The temperature at a share of the run.

        >>> Temperature(5.0, 1.0).at(0.75)
        2.0
        """
        return self.start + (self.end - self.start) * min(1.0, max(0.0, progress))


def soft_cross_entropy(student: Float[Tensor, "N V"], teacher: Float[Tensor, "N V"], temperature: float = 5.0) -> Float[Tensor, ""]:
    """Cross-entropy with the teacher's softened distribution as the target (Hinton et al. 2015).

    Multiplied by the squared temperature, so that its gradient keeps its size whatever the temperature. ValueError for
    vocabularies that differ.
    """
    _check(student, teacher)
    target = (teacher.detach().float() / temperature).softmax(-1)
    return -(target * (student.float() / temperature).log_softmax(-1)).sum(-1).mean() * temperature**2


def kl_divergence(student: Float[Tensor, "N V"], teacher: Float[Tensor, "N V"], temperature: float = 3.0) -> Float[Tensor, ""]:
    """Kullback-Leibler divergence of the softened distributions: soft cross-entropy less the teacher's entropy.

    The gradient is the same; the value is 0 when the student has learned all there is. ValueError as above.
    """
    _check(student, teacher)
    log_target = (teacher.detach().float() / temperature).log_softmax(-1)
    log_student = (student.float() / temperature).log_softmax(-1)
    return F.kl_div(log_student, log_target, log_target=True, reduction="batchmean") * temperature**2


def distillation_loss(
    student: Float[Tensor, "*N V"],
    teacher: Float[Tensor, "*N V"],
    labels: Int[Tensor, "*N"],
    *,
    alpha: float = 0.7,
    temperature: float = 3.0,
) -> Float[Tensor, ""]:
    """`alpha` of the softened divergence and 1 - alpha of the hard cross-entropy, over the places whose label is not -100.

    ValueError for an alpha outside [0, 1], vocabularies that differ, or labels that are all ignored.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; it is the share of the teacher, from 0 to 1")
    _check(student, teacher)
    counts = labels != IGNORED
    if not counts.any():
        raise ValueError(f"every label is {IGNORED}: there is no place to learn from")
    soft = kl_divergence(student[counts], teacher[counts], temperature)
    hard = F.cross_entropy(student[counts].float(), labels[counts])
    return alpha * soft + (1 - alpha) * hard


def _check(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"the student's scores are {list(student.shape)}, the teacher's {list(teacher.shape)}; they share a vocabulary"
        )


class FeatureLoss(nn.Module):
    """Mean squared distance between hidden states, each pair after its own projection to the teacher's width.

    Source: FitNets (Romero et al. 2015). Train its parameters with the student's, then throw it away.
    """

    def __init__(self, student_widths: Sequence[int], teacher_widths: Sequence[int]) -> None:
        super().__init__()
        if len(student_widths) != len(teacher_widths):
            raise ValueError(f"{len(student_widths)} student layers for {len(teacher_widths)} teacher layers; they go in pairs")
        pairs = zip(student_widths, teacher_widths, strict=True)
        self.projections = nn.ModuleList(nn.Identity() if s == t else nn.Linear(s, t, bias=False) for s, t in pairs)

    def forward(self, student: Sequence[Float[Tensor, ...]], teacher: Sequence[Float[Tensor, ...]]) -> Float[Tensor, ""]:
        """The mean over the pairs; each distance is relative to the size of the teacher's states."""
        return feature_distance([project(mine) for project, mine in zip(self.projections, student, strict=True)], teacher)


def feature_distance(student: Sequence[Float[Tensor, ...]], teacher: Sequence[Float[Tensor, ...]]) -> Float[Tensor, ""]:
    """Mean squared distance between hidden states of equal shapes, each pair relative to the size of the teacher's.

    ValueError for shapes that differ.
    """
    losses = []
    for mine, theirs in zip(student, teacher, strict=True):
        if mine.shape != theirs.shape:
            raise ValueError(f"the student's states are {list(mine.shape)}, the teacher's {list(theirs.shape)}; project them first")
        target = theirs.detach().float()
        losses.append(F.mse_loss(mine.float(), target) / target.square().mean().clamp_min(1e-12))
    return torch.stack(losses).mean()


def drop_layers(model: nn.Module, keep: Sequence[int], *, stack: str = "layers") -> nn.Module:
    """A copy of a model that has only some layers of a stack: a student that starts as its teacher (Sanh et al. 2019).

    `stack` names a ModuleList, such as "model.layers". The places of key/value caches and the layer count of the configuration
    follow; a model that has more to adjust does it in a method `layers_kept(keep)`. ValueError for layers that do not
    exist, are given twice or out of order, or a stack that is no ModuleList.
    """
    copied = copy.deepcopy(model)
    holder, _, name = stack.rpartition(".")
    layers = getattr(copied.get_submodule(holder), name, None)
    if not isinstance(layers, nn.ModuleList):
        raise ValueError(f"{stack!r} is no ModuleList of this model")
    if not keep or list(keep) != sorted(set(keep)) or not 0 <= min(keep) <= max(keep) < len(layers):
        raise ValueError(f"keep is {list(keep)}; give rising numbers from 0 to {len(layers) - 1}")
    student_layers = nn.ModuleList(layers[number] for number in keep)
    for place, layer in enumerate(student_layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                setattr(module, "layer_idx", place)  # noqa: B010  # only some modules declare it
    setattr(copied.get_submodule(holder), name, student_layers)
    config = getattr(copied, "config", None)
    if config is not None:
        config.num_hidden_layers = len(student_layers)
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[number] for number in keep]
    after = getattr(copied, "layers_kept", None)
    if callable(after):
        after(keep)
    return copied


def share_layers(model: nn.Module, same: Mapping[int, int], *, stack: str = "layers") -> nn.Module:
    """A copy of a model in which some layers of a stack have the weights of others: `{1: 0}` runs layer 0 in place of layer 1.

    Saved once, computed twice (Lan et al. 2020, ALBERT). Layers that keep a key/value cache keep one for each place, so their
    attention is told its place anew: only the weights are shared. ValueError as in `drop_layers`.
    """
    copied = copy.deepcopy(model)
    layers = copied.get_submodule(stack)
    if not isinstance(layers, nn.ModuleList):
        raise ValueError(f"{stack!r} is no ModuleList of this model")
    for place, source in same.items():
        if not 0 <= source < len(layers) or not 0 <= place < len(layers) or place == source or source in same:
            raise ValueError(
                f"layer {place} cannot share the weights of layer {source}; give a layer that keeps its own, 0 to {len(layers) - 1}"
            )
        parts = dict(layers[source].named_modules())
        for name, module in layers[place].named_modules():
            for parameter in [key for key, _ in module.named_parameters(recurse=False)]:
                setattr(module, parameter, getattr(parts[name], parameter))
    return copied
