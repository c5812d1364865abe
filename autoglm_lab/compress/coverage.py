"""Coverage of an operation: the layers that it took, those that it left, and why."""

from __future__ import annotations

import builtins
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

MIN_SHARE = 0.95  # of the parameters that an operation is for
SPARED, VECTOR, OTHER_KIND = "spared as asked", "vectors (norms, biases)", "not what this operation is for"


@dataclass(frozen=True)
class Coverage:
    """Parameters that an operation took, by layer, and those that it left, by layer, with a reason for each layer."""

    operation: str
    taken: Mapping[str, int]
    left: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def missed(self) -> dict[str, int]:
        """The parameters by layer that the operation is for and could not take."""
        return {name: count for name, count in self.left.items() if self.reasons[name] not in (SPARED, VECTOR, OTHER_KIND)}

    @property
    def share(self) -> float:
        """The share taken of all parameters that the operation is for; spared ones, vectors and other kinds do not count."""
        taken_count, missed = sum(self.taken.values()), sum(self.missed.values())
        return taken_count / (taken_count + missed) if taken_count + missed else 1.0

    def __str__(self) -> str:
        """Report in two sentences at most the parameters taken, and those left, grouped by the reason.

        >>> print(Coverage("packed in 4 bits", {"0": 900, "2": 50}, {"1": 50}, {"1": "a LSTM is not known"}))
        packed in 4 bits: 95.0 % of the parameters it is for, 950 in 2 layers. Left: 50 (1: a LSTM is not known)
        """
        count = len(self.taken)
        text = (
            f"{self.operation}: {100 * self.share:.1f} % of the parameters it is for, {sum(self.taken.values()):,} in {count} layer"
        )
        places: dict[str, list[str]] = defaultdict(list)
        for name in self.left:
            places[self.reasons[name]].append(name)
        parts = [f"{sum(self.left[name] for name in names):,} ({_some(names, reason)})" for reason, names in places.items()]
        return text + "s" * (count != 1) + (f". Left: {', '.join(parts)}" if parts else "")

    def require(self, min_share: float) -> Coverage:
        """Return the same coverage. ValueError below the share `min_share`: it says what was left and why, and the remedy."""
        if not 0 <= min_share <= 1:
            raise ValueError(f"min_share is {min_share}; it is a share from 0 to 1")
        if self.share < min_share:
            remedy = "name in `skip` or `keep` what may stay as it is, or lower `min_share`"
            raise ValueError(f"{self}. At least {min_share:.0%} is wanted: {remedy}")
        return self


def _some(names: list[str], reason: str) -> str:
    """A reason with the names of the first layers; the reasons that every model has go without."""
    if reason in (VECTOR, OTHER_KIND):
        return reason
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}: {reason}"


def coverage_of(
    operation: str,
    model: nn.Module,
    taken: Iterable[str],
    *,
    spared: Callable[[str], bool] = lambda name: False,
    other_kinds: tuple[type[nn.Module], ...] = (),
    reasons: Mapping[str, str] | None = None,
) -> Coverage:
    """Compare the layers that an operation takes, by name, with all parameters of the model before it.

    A parameter with several names counts once, and as taken if one of its layers is. Layers that `spared` names, vectors, and
    layers of `other_kinds` do not count as missed; of all others `reasons` says why, or that their kind is not known.
    """
    taken_layers, known_reasons = set(taken), reasons or {}
    owners: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)].append(name)
    taken_counts: Counter[str] = Counter()
    left_counts: Counter[str] = Counter()
    why: dict[str, str] = {}
    for full, parameter in model.named_parameters():
        names = owners[id(parameter)]
        name, vector = full.rpartition(".")[0], parameter.numel() == max(parameter.shape, default=1)
        holder = next((owner for owner in names if owner in taken_layers), None)
        if holder is not None and not vector:
            taken_counts[holder] += parameter.numel()
            continue
        modules = [model.get_submodule(owner) for owner in names]
        if spared(full) or any(map(spared, names)):
            reason = SPARED
        elif vector:
            name, reason = full, VECTOR
        elif any(isinstance(module, other_kinds) for module in modules):
            reason = OTHER_KIND
        else:
            reason = known_reasons.get(name) or f"a {type(modules[0]).__name__} is not known to it"
            name = name or full  # a parameter of the model itself
        left_counts[name] += parameter.numel()
        why[name] = reason
    return Coverage(operation, dict(taken_counts), dict(left_counts), why)


def record(model: nn.Module, coverage: Coverage, quiet: bool = False) -> nn.Module:
    """Add a coverage to `model.coverage`, a tuple with one for each operation, and print it unless `quiet`; return the model.

    It is printed where progress bars are, on standard error: standard output belongs to the program that compresses. In a notebook,
    where that would look like a warning, it is plain output.
    """
    setattr(model, "coverage", (*getattr(model, "coverage", ()), coverage))  # noqa: B010
    if not quiet:
        in_notebook = hasattr(builtins, "__IPYTHON__")  # ipykernel may be loaded anywhere
        print(coverage, file=sys.stdout if in_notebook else sys.stderr)
    return model


def name_filter(model: nn.Module, patterns: Iterable[str], argument: str = "skip") -> Callable[[str], bool]:
    """A test of layer and parameter names: true for those that a pattern names, and for all that is inside them.

    A pattern is a dotted name of whole segments, in which `*`, `?` and `[...]` stand for others as in file names (`*` crosses
    dots): "layers.1" covers layers.1.mlp and not layers.10. ValueError for a pattern that covers nothing of the model; it
    names what is nearest.

    >>> inside = name_filter(nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.ReLU()), ["0"])
    >>> inside("0.0"), inside("0.0.weight"), inside("1")
    (True, True, False)
    """
    globs = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    names = list(
        dict.fromkeys(name for name, _ in (*model.named_modules(remove_duplicate=False), *model.named_parameters()) if name)
    )

    def covers(pattern: str, name: str) -> bool:
        return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")

    for pattern in globs:
        if not any(covers(pattern, name) for name in names):
            near = get_close_matches(pattern, names, 3, 0.3) or names[:3]
            raise ValueError(f"{argument} {pattern!r} names nothing in this model; near it are {', '.join(map(repr, near))}")
    return lambda name: any(covers(pattern, name) for pattern in globs)
