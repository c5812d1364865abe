"""Sensitivity of layers: one layer at a time is pruned or rounded, and the cost of that decides how the budget is spread."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from autoglm_lab import atomic

Change = Callable[[nn.Module, str, float], nn.Module]  # model, layer, setting -> changed copy
Measure = Callable[[nn.Module], float]  # lower is better


@dataclass(frozen=True)
class Sensitivity:
    """Cost of each layer at each setting: `cost[layer][setting]`, and `base`, the cost of the model as it is."""

    base: float
    cost: Mapping[str, Mapping[float, float]] = field(default_factory=dict)

    def rises(self) -> dict[str, dict[float, float]]:
        """Rise of the cost by each setting of each layer."""
        return {layer: {setting: value - self.base for setting, value in row.items()} for layer, row in self.cost.items()}

    def ranking(self) -> list[str]:
        """The layers from the most to the least sensitive, by the largest rise."""
        rises = self.rises()
        return sorted(rises, key=lambda layer: max(rises[layer].values()), reverse=True)

    def budget(self, sizes: Mapping[str, float], saved: float) -> dict[str, float]:
        """A setting for each layer so that at least the share `saved` of all sizes goes, at the least summed rise found.

        Settings are shares that go (0 leaves a layer whole). Steps are taken greedily, the cheapest rise per saved size
        first. ValueError when even the strongest settings do not save as much, or a layer has no size.
        """
        missing = sorted(set(self.cost) - set(sizes))
        if missing:
            raise ValueError(f"sizes lacks {', '.join(missing)}")
        rises, settings = self.rises(), dict.fromkeys(self.cost, 0.0)
        total, gone = sum(sizes[layer] for layer in self.cost), 0.0
        while gone < saved * total - 1e-9:
            steps = []
            for layer in self.cost:
                before = settings[layer]
                for setting in (s for s in rises[layer] if s > before):
                    rise = rises[layer][setting] - rises[layer].get(before, 0.0)
                    steps.append((rise / ((setting - before) * sizes[layer]), layer, setting))
            if not steps:
                raise ValueError(f"the strongest settings save {gone / total:.0%}; {saved:.0%} was asked for")
            _, layer, setting = min(steps)
            gone += (setting - settings[layer]) * sizes[layer]
            settings[layer] = setting
        return settings


def scan(
    model: nn.Module,
    layers: Sequence[str],
    settings: Sequence[float],
    change: Change,
    measure: Measure,
    *,
    cache: Path | None = None,
) -> Sensitivity:
    """Measure `change(model, layer, setting)` for every layer and setting; what `cache` (a JSON file) holds is not measured again.

    The cache is written after each measurement, so an interrupted scan goes on where it was. It belongs to one model and
    one measure: use another file for others. ValueError for no layers or no settings.
    """
    if not layers or not settings:
        raise ValueError(f"a scan needs layers and settings, got {len(layers)} and {len(settings)}")
    cached_costs = {} if cache is None or not cache.exists() else _read_cache(cache)

    def value(key: str, make: Callable[[], nn.Module]) -> float:
        if key not in cached_costs:
            cached_costs[key] = float(measure(make()))
            if cache is not None:
                atomic.write_text(cache, json.dumps(cached_costs, indent=1))
        return cached_costs[key]

    base = value("as it is", lambda: model)
    cost: dict[str, dict[float, float]] = {}
    for layer, setting in tqdm([(n, s) for n in layers for s in settings], desc="sensitivity", unit="variant", leave=False):
        layer_cost = value(f"{layer} at {setting:g}", lambda layer=layer, setting=setting: change(model, layer, setting))  # type: ignore[misc]
        cost.setdefault(layer, {})[setting] = layer_cost
    return Sensitivity(base, cost)


def _read_cache(cache: Path) -> dict[str, float]:
    try:
        return {str(key): float(value) for key, value in json.loads(cache.read_text("utf-8")).items()}
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"{cache} holds no measurements ({type(error).__name__}); delete it, and they are made anew") from None


def gradient_sensitivity(
    model: nn.Module, loss: Callable[[nn.Module], Float[Tensor, ""]], layers: Iterable[str]
) -> dict[str, Float[Tensor, " O"]]:
    """The L2 norm of the loss gradient of each output channel's weights, by layer.

    A channel whose gradient is a small share of the layer's largest changes the loss little when its weights move. The
    model's own gradients are left as they were. ValueError when a layer takes no part in the loss.
    """
    weights = {name: model.get_submodule(name).get_parameter("weight") for name in layers}
    gradients = torch.autograd.grad(loss(model), list(weights.values()), allow_unused=True)
    norms = {}
    for name, gradient in zip(weights, gradients, strict=True):
        if gradient is None:
            raise ValueError(f"layer {name!r} takes no part in this loss")
        norms[name] = gradient.flatten(1).norm(dim=1) if gradient.ndim > 1 else gradient.abs()
    return norms
