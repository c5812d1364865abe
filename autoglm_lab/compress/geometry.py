"""Counts of heads and sizes of splits that modules keep beside their layers, brought in line after layers lost channels.

Some names are known. Where a module still fails, or no longer computes what it did, whole numbers among its attributes are
shrunk by the same share as its layers, as few as will do: its output with the channels masked says which are right.
"""

from __future__ import annotations

import copy
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autoglm_lab.compress.channels import size_of
from autoglm_lab.compress.examples import Example, outputs, tensors

HEAD_COUNTS = (
    "num_heads",
    "num_attention_heads",
    "num_key_value_heads",
    "num_kv_heads",
    "n_heads",
    "n_head",
    "n_kv_heads",
    "nhead",
    "heads",
    "all_head_size",
)
SAME = 1e-5  # how far the smaller network may be from the masked one in 32 bits, as a share of the largest output
MOST = 3  # attributes beside the known ones that may have to change together
Setting = dict[str, Any]  # attribute (with "config." before those of a configuration) and its value
Keep = Mapping[tuple[str, str], list[int]]


class Misfit(ValueError):
    """Raised when a module with fewer channels does not compute what it computes with these channels masked."""

    def __init__(self, module: str, reason: str) -> None:
        super().__init__(f"{reason}, in {module or 'the model itself'}")
        self.module, self.reason = module, reason


def shares(model: nn.Module, keep: Keep) -> dict[str, list[tuple[Fraction, int, list[int]]]]:
    """Shares that stay in each module whose layers shrink, with the full size and the channels they are taken from.

    Call this before the layers are cut.
    """
    module_shares: dict[str, list[tuple[Fraction, int, list[int]]]] = defaultdict(list)
    for (layer, side), channels in keep.items():
        size = size_of(model.get_submodule(layer), side)
        module_shares[layer.rpartition(".")[0]].append((Fraction(len(channels), size), size, channels))
    return module_shares


def count_heads(model: nn.Module, kept: Mapping[str, list[tuple[Fraction, int, list[int]]]]) -> None:
    """Tell modules that count heads under a known name how many stay, in place: those of which a layer lost whole blocks."""
    for name, sides in kept.items():
        module = model.get_submodule(name)
        heads = [value for value in (getattr(module, key, None) for key in HEAD_COUNTS[:-1]) if type(value) is int]
        for share, size, channels in sides:
            if heads and any(_whole_blocks(size, channels, count) for count in heads):
                change(module, _scaled(module, dict.fromkeys(HEAD_COUNTS, share)) or {})
                break


def _whole_blocks(size: int, channels: list[int], count: int) -> bool:
    """True if a layer of `size` channels falls into `count` blocks, each of which stays whole or goes whole."""
    if count < 1 or size % count or len(channels) * count % size:
        return False
    blocks = {channel // (size // count) for channel in channels}
    return len(blocks) * (size // count) == len(channels)


def change(module: nn.Module, setting: Setting) -> None:
    """Set attributes of a module, and note them in `module.geometry`, by which they are saved."""
    for name, value in setting.items():
        if name.startswith("config."):
            if "config" not in vars(module).get("geometry", {}):
                module.config = copy.copy(module.config)  # other modules go on with theirs
            setattr(module.config, name.removeprefix("config."), value)
        else:
            setattr(module, name, value)
    if setting:
        module.geometry = {**vars(module).get("geometry", {}), **setting}  # type: ignore[assignment]


def _value(module: nn.Module, name: str) -> Any:
    holder = getattr(module, "config", None) if name.startswith("config.") else module
    return getattr(holder, name.removeprefix("config."), None)


def _scaled(module: nn.Module, by: Mapping[str, Fraction]) -> Setting | None:
    """The attributes at a share of their values; None where one would be no whole number."""
    setting: Setting = {}
    for name, share in by.items():
        value = _value(module, name)
        if type(value) is int:
            after = value * share
            if after.denominator > 1 or after < 1:
                return None
            setting[name] = int(after)
        elif isinstance(value, list | tuple):
            several = [part * share for part in value]
            if any(part.denominator > 1 for part in several):
                return None
            setting[name] = type(value)(int(part) for part in several)
    return setting


@dataclass
class _Call:
    """One call of a module in the masked network."""

    output: list[Tensor]


@dataclass
class Fitter:
    """Runs a smaller network once, module by module beside the masked one, and sets what its modules count."""

    masked: nn.Module
    smaller: nn.Module
    kept: Mapping[str, list[tuple[Fraction, int, list[int]]]]
    calls: dict[str, list[_Call]] = field(default_factory=lambda: defaultdict(list))

    def fit(self, example: Example) -> list[Tensor]:
        """The answer of the smaller network, tensors of any shape.

        Misfit names the module that computes something else, whatever it counts.
        """
        hooks = [self.masked.get_submodule(name).register_forward_hook(self._record(name)) for name in self.kept]
        with torch.no_grad():
            outputs(self.masked, example)
        for hook in hooks:
            hook.remove()
        places: dict[str, int] = defaultdict(int)
        wrapped = [(name, self.smaller.get_submodule(name)) for name in self.kept]
        for name, module in wrapped:
            module.forward = self._checked(name, module, places)
        try:
            with torch.no_grad():
                return outputs(self.smaller, example)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            raise error if isinstance(error, Misfit) else Misfit("", culprit(error)) from error
        finally:
            for _, module in wrapped:
                del module.forward  # the class's own is back

    def _record(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
            self.calls[name].append(_Call([value.clone() for value in tensors(output) if value.is_floating_point()]))

        return hook

    def _checked(self, name: str, module: nn.Module, places: dict[str, int]) -> Callable[..., Any]:
        original = module.forward

        def forward(*args: Any, **options: Any) -> Any:
            expected = self.calls[name][places[name]].output
            places[name] += 1
            first: Exception | None = None
            before, calls = dict(vars(module)), dict(places)
            for setting in [{}] if places[name] > 1 else settings(module, self.kept[name]):
                change(module, setting)
                try:
                    copies = copy.deepcopy((args, options))
                    mine = original(*copies[0], **copies[1])
                    if alike(expected, mine):
                        if _untouched(copies, (args, options)):
                            return mine
                        _set(places, calls)  # of modules inside this one, which run once more
                        return original(*args, **options)
                    problem: Exception = Misfit(name, "the layers' channels are used in a way that the groups do not know")
                except Misfit:
                    raise
                except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
                    problem = error
                _set(places, calls)
                first = first or problem
                for key in ("config", "geometry", *setting):
                    _restore(module, key, before)
            assert first is not None
            raise first if isinstance(first, Misfit) else Misfit(name, culprit(first)) from first

        return forward


def _set(places: dict[str, int], calls: Mapping[str, int]) -> None:
    places.clear()
    places.update(calls)


def _untouched(copies: Any, originals: Any) -> bool:
    """True if nothing that a module was given was changed by it: no tensor in place, no cache that may have grown."""
    pairs = list(zip(tree_leaves(copies), tree_leaves(originals), strict=True))
    plain = all(a is None or isinstance(a, Tensor | int | float | str) for a, _ in pairs)
    return plain and all(torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor))


def _restore(module: nn.Module, key: str, before: Mapping[str, Any]) -> None:
    if key in before:
        setattr(module, key, before[key])
    elif key in vars(module):
        delattr(module, key)


def alike(wanted: list[Tensor], output: Any) -> bool:
    """True if the first tensor of an output that kept its shape kept its values; means over heads that went may follow."""
    mine = [value for value in tensors(output) if value.is_floating_point()]
    same = [(a, b) for a, b in zip(mine, wanted, strict=False) if a.shape == b.shape]
    return len(mine) == len(wanted) and all(near(a, b) for a, b in same[:1])


def near(mine: Tensor, right: Tensor) -> bool:
    """True if one tensor is the other, of the same shape, up to rounding."""
    largest = float(right.detach().nan_to_num().abs().max()) if right.numel() else 0.0
    allowed = max(SAME, 4 * torch.finfo(right.dtype).eps) * largest
    return mine.shape == right.shape and torch.allclose(mine, right, rtol=0, atol=allowed, equal_nan=True)


def settings(module: nn.Module, kept: list[tuple[Fraction, int, list[int]]]) -> Iterator[Setting]:
    """Values that a module's attributes might have now, the likeliest first."""
    yield {}
    ratios = list(dict.fromkeys(share for share, _, _ in kept if share != 1))
    config = [f"config.{name}" for name in HEAD_COUNTS if type(_value(module, f"config.{name}")) is int]
    for ratio in ratios:
        yield from filter(None, [_scaled(module, dict.fromkeys(config, ratio))])
    names = [name for name, value in vars(module).items() if not name.startswith("_") and _counts(value)]
    options = [(name, ratio) for name in (*names, *config) for ratio in ratios]
    for number in range(1, MOST + 1):
        for several in combinations(options, number):
            if len(dict(several)) == number:
                yield from filter(None, [_scaled(module, dict(several))])


def _counts(value: object) -> bool:
    return (type(value) is int and value > 1) or (
        isinstance(value, list | tuple) and len(value) > 1 and all(type(part) is int for part in value)
    )


def culprit(error: BaseException) -> str:
    """The message of an error, and the line of the model's own code in which it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [
        frame
        for frame in frames
        if f"{Path(torch.__file__).parent}" not in frame.filename
        and frame.filename != __file__
        and Path(frame.filename).name not in ("examples.py", "structured.py")
    ]
    line = f" at `{inside[-1].line}`" if inside and inside[-1].line else ""
    return f"{str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}{line}"
