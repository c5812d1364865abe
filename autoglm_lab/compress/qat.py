"""Training with rounding in the forward pass, so that the weights learn to live on the grid they will be stored on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from autoglm_lab.compress.coverage import MIN_SHARE
from autoglm_lab.compress.dependency_graph import Example, outputs
from autoglm_lab.compress.layers import replace_linear
from autoglm_lab.compress.low_rank import LowRankLinear
from autoglm_lab.compress.quantization import RANGES, PackedLayer, PackedLinear, Scheme, affine, from_rows, to_rows
from autoglm_lab.model.modes import evaluating

ACTIVATIONS = Scheme(bits=8, symmetric=False, granularity="tensor")


def straight_through(x: Float[Tensor, "*shape"], changed: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`changed` on the way forward; on the way back the gradient goes to `x` as if nothing had happened (Bengio et al. 2013)."""
    return x + (changed - x).detach()


def fake_quantize(
    rows: Float[Tensor, "R n"], scale: Float[Tensor, "R 1"], zero_point: Tensor, scheme: Scheme
) -> Float[Tensor, "R n"]:
    """Round to the grid and come back to floats. Where a value is clipped, no gradient reaches it.

    `zero_point` is [R, 1], as `scale`.
    The scale may be learned: its gradient, that of learned step size quantisation (Esser et al. 2020), follows from the same
    three lines. Values within half a step of the limits count as inside, as in torch.
    """
    grid = rows / scale + zero_point
    codes = straight_through(grid, grid.round()).clamp(*scheme.limits)
    return (codes - zero_point) * scale


class FakeQuantWeight(nn.Module):
    """The grid of one weight: scales that are learned, or observed anew from the weight at every step."""

    zero_point: Tensor

    def __init__(self, weight: Float[Tensor, "*shape"], scheme: Scheme, method: str, learned: bool) -> None:
        super().__init__()
        self.scheme, self.method, self.learned = scheme, method, learned
        rows = to_rows(weight.detach().float(), scheme)
        scale, zero_point = affine(*RANGES[method](rows, scheme), scheme)
        # the gradient of a scale is a sum over its row; this keeps its steps in proportion to those of the weights
        self.damping = (rows.shape[1] * max(1, scheme.limits[1])) ** -0.5
        if learned:
            self.scale: Tensor = nn.Parameter(scale)
        else:
            self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point)

    def grid(self, rows: Float[Tensor, "R n"]) -> tuple[Tensor, Tensor]:
        """Scale [R, 1] and zero point [R, 1], the scale rounded to the 16 bits in which it is stored."""
        if not self.learned and self.training:
            with torch.no_grad():
                scale, zero_point = affine(*RANGES[self.method](rows.detach(), self.scheme), self.scheme)
                self.scale.copy_(scale)
                self.zero_point.copy_(zero_point)
        scale = self.scale * self.damping + (self.scale * (1 - self.damping)).detach() if self.learned else self.scale
        scale = scale.clamp_min(1e-6)
        return straight_through(scale, scale.half().float()), self.zero_point

    def forward(self, weight: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The weight as it will be after rounding."""
        rows = to_rows(weight.float(), self.scheme)
        return from_rows(fake_quantize(rows, *self.grid(rows), self.scheme), weight.shape, self.scheme).to(weight.dtype)


class FakeQuantActivation(nn.Module):
    """The grid of a layer's input: its range is followed by a moving average while training and stands still afterwards."""

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, scheme: Scheme = ACTIVATIONS, momentum: float = 0.05) -> None:
        super().__init__()
        if scheme.granularity != "tensor":
            raise ValueError(f"granularity is {scheme.granularity!r}; the input of a layer has one scale, 'tensor'")
        self.scheme, self.momentum = scheme, momentum
        self.register_buffer("low", torch.zeros(1, 1))
        self.register_buffer("high", torch.zeros(1, 1))
        self.register_buffer("seen", torch.tensor(False))

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The input on its grid. ValueError when it is used before it has seen anything."""
        rows = x.float().reshape(1, -1)
        if self.training:
            with torch.no_grad():
                step = self.momentum if bool(self.seen) else 1.0
                self.low.lerp_(rows.amin().reshape(1, 1), step)
                self.high.lerp_(rows.amax().reshape(1, 1), step)
                self.seen.fill_(True)
        if not bool(self.seen):
            raise ValueError("a layer's input was never seen; run some batches in training mode first")
        scale, zero_point = affine(self.low, self.high, self.scheme)
        return fake_quantize(rows, scale, zero_point, self.scheme).reshape(x.shape).to(x.dtype)


class QATLinear(nn.Module):
    """A linear layer that computes with rounded weights, and with a rounded input if wanted, and learns in floats."""

    def __init__(
        self, linear: nn.Linear, scheme: Scheme, method: str = "mse", *, learned: bool = True, inputs: Scheme | None = None
    ) -> None:
        super().__init__()
        if not torch.isfinite(linear.weight).all():
            raise ValueError(f"a weight of shape {list(linear.weight.shape)} holds values that are not finite")
        self.weight, self.bias = linear.weight, linear.bias
        self.quantizer = FakeQuantWeight(linear.weight, scheme, method, learned)
        self.inputs = None if inputs is None else FakeQuantActivation(inputs)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """The product as the finished layer will compute it."""
        return F.linear(x if self.inputs is None else self.inputs(x), self.quantizer(self.weight), self.bias)

    @torch.no_grad()
    def finished(self) -> PackedLinear:
        """The layer with packed integers on the very grid it was trained on."""
        scale, zero_point = self.quantizer.train(False).grid(to_rows(self.weight.float(), self.quantizer.scheme))
        inputs = None if self.inputs is None else self.inputs.train(False)
        return PackedLinear(self.weight, self.bias, self.quantizer.scheme, learned=(scale, zero_point), inputs=inputs)


def prepare(
    model: nn.Module,
    scheme: Scheme,
    *,
    method: str = "mse",
    learned: bool = True,
    inputs: Scheme | None = None,
    select: Callable[[str], bool] = lambda name: True,
    min_share: float = MIN_SHARE,
    quiet: bool = False,
) -> nn.Module:
    """A copy of the model that trains with rounding: selected linear layers compute on the grid of `scheme`.

    `learned` makes the scales parameters; otherwise they are observed. `inputs` also rounds what flows into each layer. Layers
    that a scan finds sensitive are left out by `select` and stay floats. ValueError when no layer is selected, less
    than the share `min_share` of the selected matrices can be taken (embeddings and convolutions are none), or for weights
    that are not finite (the layer is named). The result has its `coverage`, printed unless `quiet`.
    """

    def learner(_: str, layer: nn.Linear) -> QATLinear:
        return QATLinear(layer, scheme, method, learned=learned, inputs=inputs)

    operation = f"trained on {scheme.bits} bits"
    return replace_linear(model, learner, select, operation, other_kinds=(LowRankLinear,), min_share=min_share, quiet=quiet)


@torch.no_grad()
def calibrate(model: nn.Module, examples: Iterable[Example]) -> None:
    """Run examples through a prepared model, so that the ranges of its layers' inputs are known. Nothing else of it changes.

    ValueError without any example.
    """
    count = 0
    with evaluating(model):  # batch norms and dropout must not take part
        for module in model.modules():
            if isinstance(module, FakeQuantActivation):
                module.train()
        for count, example in enumerate(examples, start=1):  # noqa: B007
            outputs(model, example)
    if not count:
        raise ValueError("there is no calibration example; the ranges of inputs are taken from real ones")


def convert(model: nn.Module) -> nn.Module:
    """A copy of a trained model with packed integer weights: it computes what it computed in training.

    ValueError when the model was not made by `prepare`.
    """
    copied = copy.deepcopy(model)
    trained = [(name, layer) for name, layer in copied.named_modules() if isinstance(layer, QATLinear)]
    if not trained:
        raise ValueError("the model has no layer that was trained with rounding; make one with qat.prepare")
    for name, layer in trained:
        holder, _, last = name.rpartition(".")
        setattr(copied.get_submodule(holder), last, layer.finished())
    return copied.train(False)


def scales(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Every grid of a prepared or converted model by layer name: what an exporter writes into the file."""
    grids: dict[str, dict[str, Any]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, QATLinear):
            scale, zero_point = layer.quantizer.scale.detach().half().float(), layer.quantizer.zero_point
            grids[name] = {"scale": scale, "zero_point": zero_point, "bits": layer.quantizer.scheme.bits}
        elif isinstance(layer, PackedLayer):
            codes = layer.weight_codes
            zero_point = codes.zero_point.to(torch.int32).expand_as(codes.scale)
            grids[name] = {"scale": codes.scale.float(), "zero_point": zero_point, "bits": codes.scheme.bits}
    return grids
