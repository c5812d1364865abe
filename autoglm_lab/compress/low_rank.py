"""A linear layer as the product of two thinner ones: y = up (down x), with the rank chosen by energy or by budget."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from autoglm_lab.compress.coverage import MIN_SHARE
from autoglm_lab.compress.layers import linear_layers, replace_linear
from autoglm_lab.compress.lazy import LazyWeight


class LowRankLinear(nn.Module):
    """A linear layer whose weight [O, I] is `up @ down`, with up [O, R] and down [R, I]: R (O + I) numbers instead of O I."""

    def __init__(self, up: Float[Tensor, "O R"], down: Float[Tensor, "R I"], bias: Float[Tensor, " O"] | None = None) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(up.detach().clone()), nn.Parameter(down.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    @property
    def rank(self) -> int:
        """The rank R: the number of features between the two factors."""
        return self.down.shape[0]

    @property
    def weight(self) -> Float[Tensor, "O I"]:
        """The matrix that the two factors stand for, multiplied out when it is computed with."""
        shape = torch.Size((self.up.shape[0], self.down.shape[1]))
        return LazyWeight.of(lambda: self.up @ self.down, shape, self.up.dtype, self.up.device)

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """The product with both factors, one after the other."""
        return F.linear(F.linear(x, self.down), self.up, self.bias)

    @torch.no_grad()
    def singular_values(self) -> Float[Tensor, " R"]:
        """Singular values of `weight`, from two thin QR factorisations: the full matrix is never made."""
        left, right = torch.linalg.qr(self.up).R, torch.linalg.qr(self.down.T).R
        values: Tensor = torch.linalg.svdvals(left @ right.T)
        return values

    def norm(self) -> float:
        """The Frobenius norm of `weight`."""
        return float(self.singular_values().square().sum().sqrt())

    @torch.no_grad()
    def truncate(self, rank: int) -> LowRankLinear:
        """The best approximation with a smaller rank (Eckart and Young 1936)."""
        _check_rank(rank, self.rank)
        left, right = torch.linalg.qr(self.up), torch.linalg.qr(self.down.T)
        u, s, v = torch.linalg.svd(left.R @ right.R.T)
        root = s[:rank].sqrt()
        return LowRankLinear(left.Q @ u[:, :rank] * root, root[:, None] * v[:rank] @ right.Q.T, self.bias)


@torch.no_grad()
def factorise(
    linear: nn.Linear, rank: int, activations: Float[Tensor, "N I"] | None = None, *, damping: float = 1e-3
) -> LowRankLinear:
    """The linear layer with the given rank that is nearest to `linear`.

    Without `activations` nearest means the least change of the weight. With N example inputs it means the least change of
    the layer's *outputs* on them: the weight is multiplied by a square root of their second moments before it is cut
    (Chen et al. 2021, DRONE; Yuan et al. 2023, ASVD). ValueError for a rank outside 1 .. min(O, I) or weights that are
    not finite.
    """
    weight = linear.weight.float()
    _check_rank(rank, min(weight.shape))
    if not torch.isfinite(weight).all():
        raise ValueError(f"a weight of shape {list(weight.shape)} holds values that are not finite")
    root = _square_root(activations.float(), damping) if activations is not None else None
    u, s, v = torch.linalg.svd(weight if root is None else weight @ root, full_matrices=False)
    half = s[:rank].sqrt()
    down = half[:, None] * v[:rank]
    if root is not None:
        down = torch.linalg.solve(root, down, left=False)
    return LowRankLinear((u[:, :rank] * half).to(linear.weight), down.to(linear.weight), linear.bias)


def _square_root(activations: Tensor, damping: float) -> Tensor:
    """A lower triangular root of the inputs' second moments, damped so that it can be inverted."""
    moments = activations.T @ activations / len(activations)
    moments.diagonal().add_(damping * moments.diagonal().mean().clamp_min(1e-12))
    root: Tensor = torch.linalg.cholesky(moments)
    return root


def rank_for_energy(weight: Float[Tensor, "O I"], share: float) -> int:
    """The smallest rank that keeps this share of the squared singular values.

    >>> rank_for_energy(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 0.9)
    2
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; an energy is kept to more than 0 and at most 1")
    energy = torch.linalg.svdvals(weight.detach().float()).square()
    energy_share = energy.cumsum(0) / energy.sum().clamp_min(1e-30)
    return min(len(energy_share), int((energy_share < share - 1e-7).sum()) + 1)


def rank_for_budget(outputs: int, inputs: int, ratio: float) -> int:
    """The largest rank with which the factors hold at most `ratio` of the parameters of the full matrix, at least 1.

    >>> rank_for_budget(512, 1024, 0.4)
    136
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio is {ratio}; a budget is a share of the parameters between 0 and 1")
    return max(1, int(ratio * outputs * inputs / (outputs + inputs)))


def factorise_layers(
    model: nn.Module,
    ratio: float,
    *,
    select: Callable[[str], bool] = lambda name: True,
    activations: dict[str, Tensor] | None = None,
    min_share: float = MIN_SHARE,
    quiet: bool = False,
) -> nn.Module:
    """A copy of the model in which every selected linear layer keeps `ratio` of its parameters as two factors.

    `activations` may hold example inputs [N, I] by layer name (see `record_inputs`). ValueError when nothing is selected, less
    than the share `min_share` of the selected matrices can be taken (embeddings and convolutions are none), or for a weight
    that is not finite (the layer is named). The result has its `coverage`, printed unless `quiet`.
    """

    def thin(name: str, layer: nn.Linear) -> LowRankLinear:
        rank = rank_for_budget(layer.out_features, layer.in_features, ratio)
        return factorise(layer, rank, (activations or {}).get(name))

    return replace_linear(model, thin, select, f"factors with {ratio:.0%} of the numbers", min_share=min_share, quiet=quiet)


@torch.no_grad()
def record_inputs(model: nn.Module, run: Callable[[nn.Module], object], *, most: int = 4096) -> dict[str, Float[Tensor, "N I"]]:
    """Record the inputs of each linear layer while `run(model)` runs: up to `most` rows each, by layer name."""
    rows_by_layer: dict[str, list[Tensor]] = {}
    hooks = []

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
            rows = inputs[0].detach().flatten(0, -2)
            have = sum(map(len, rows_by_layer.setdefault(name, [])))
            rows_by_layer[name].append(rows[: max(0, most - have)])

        return hook

    for name, layer in linear_layers(model):
        hooks.append(layer.register_forward_hook(keep(name)))
    try:
        run(model)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(rows) for name, rows in rows_by_layer.items()}


def _check_rank(rank: int, largest: int) -> None:
    if not 1 <= rank <= largest:
        raise ValueError(f"rank is {rank}; this weight has ranks from 1 to {largest}")
