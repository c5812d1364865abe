"""Compression of a model as one record: the steps of all chapters in the order in which they go together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

from autoglm_lab.compress.checkpoint import stored_bytes
from autoglm_lab.compress.coverage import MIN_SHARE, name_filter
from autoglm_lab.compress.dependency_graph import IN, Example, outputs
from autoglm_lab.compress.distillation import drop_layers
from autoglm_lab.compress.importance import Importance
from autoglm_lab.compress.layers import weight_layers
from autoglm_lab.compress.low_rank import factorise_layers, record_inputs
from autoglm_lab.compress.plain import is_plain, plain
from autoglm_lab.compress.qat import ACTIVATIONS, calibrate, convert, prepare
from autoglm_lab.compress.quantization import RANGES, Scheme, quantize_weights
from autoglm_lab.compress.reconstruction import input_moments, refit_channels, refit_masked
from autoglm_lab.compress.sparsity import Masks, Scope, magnitude_masks, prune
from autoglm_lab.compress.structured import answer_prices, prune_structured
from autoglm_lab.compress.work import layer_macs
from autoglm_lab.evaluation.report import Report, read_reports, strict_object, within
from autoglm_lab.paths import data_dir

Train = Callable[[nn.Module, Masks | None], None]  # trains a model in place; masks, if any, have to be applied after each step


REST = Scheme(8, granularity="channel")  # for convolutions and embeddings where only linear layers are trained or calibrated


@dataclass(frozen=True)
class Recipe:
    """Settings of all steps of a compression. Every field's default does nothing."""

    name: str = "as it is"
    layers: tuple[int, ...] = ()  # of the stack only these stay: a student
    stack: str = "layers"
    channels: float = 0.0  # share of MACs that go with channels, neurons and key/value groups
    importance: Importance = "l1"  # of channels
    answer: int = 0  # tokens written after the examples: what "fisher" ranks is worth the weights they read, besides MACs
    multiple: int = 1  # channels of a layer go in packs of so many: kernels like round widths
    rank: float = 0.0  # share of parameters that stay as low-rank factors; 0 leaves matrices whole
    rank_layers: str = "mlp"  # regular expression: names of the layers that are factorised
    sparsity: float = 0.0  # share of single weights that become zero
    scope: Scope = "scaled"  # where one threshold holds for them
    refit: bool = False  # what stays of channels, ranks and weights is set by least squares to answer examples as before
    bits: int = 16  # of stored weights
    group_size: int = 32  # weights that share a scale; 0 for one scale for each output channel
    symmetric: bool = True
    method: str = "mse"  # how ranges are chosen
    round_inputs: bool = False  # 8-bit inputs of layers as well
    train_rounding: bool = False  # quantisation-aware training; otherwise weights are rounded afterwards
    keep: tuple[str, ...] = ()  # names of layers, whole segments or with * and ?, that stay as they are

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_names()
        if self.answer and self.importance != "fisher":
            raise ValueError(f"answer prices channels ranked by 'fisher', not by {self.importance!r}")
        if (self.train_rounding or self.round_inputs) and self.bits == 16:
            raise ValueError("train_rounding and round_inputs round nothing with 16 bits; choose 2 to 8")
        if self.sparsity and self.train_rounding:
            raise ValueError("sparsity and train_rounding do not go together: zeros would grow back while the grid is learned")

    def _check_numbers(self) -> None:
        for field in ("channels", "rank", "sparsity"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}; it is a share from 0 up to, but not, 1")
        if self.bits != 16 and not 2 <= self.bits <= 8:
            raise ValueError(f"bits is {self.bits}; weights are stored with 2 to 8 bits, or as they are with 16")
        if self.group_size < 0 or self.group_size == 1:
            raise ValueError(f"group_size is {self.group_size}; a group has at least two weights, 0 means whole channels")
        if self.answer < 0:
            raise ValueError(f"answer is {self.answer}; it is a number of tokens, and 0 prices channels by MACs alone")
        if self.multiple < 1:
            raise ValueError(f"multiple is {self.multiple}; channels go one by one (1) or in packs")

    def _check_names(self) -> None:
        if self.importance not in get_args(Importance):
            raise ValueError(f"importance is {self.importance!r}; there are {', '.join(get_args(Importance))}")
        if self.scope not in get_args(Scope):
            raise ValueError(f"scope is {self.scope!r}; there are {', '.join(get_args(Scope))}")
        if self.method not in RANGES:
            raise ValueError(f"method is {self.method!r}; there are {', '.join(RANGES)}")
        try:
            re.compile(self.rank_layers)
        except re.error as error:
            raise ValueError(f"rank_layers is {self.rank_layers!r}, no regular expression: {error}") from None

    @property
    def wants_examples(self) -> bool:
        """True if `apply` needs a loss or calibration."""
        return self.importance != "l1" or self.round_inputs or self.refit

    @property
    def scheme(self) -> Scheme:
        """The integers that weights are stored as."""
        if self.group_size:
            return Scheme(self.bits, self.symmetric, "group", self.group_size)
        return Scheme(self.bits, self.symmetric, "channel")

    def to_json(self) -> str:
        """The recipe as JSON: its name and every field that differs from its default."""
        plain = asdict(Recipe())
        changed = {name: value for name, value in asdict(self).items() if name == "name" or value != plain[name]}
        return json.dumps(changed, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe in a JSON text. ValueError for broken JSON, unknown fields, or values of the wrong kind.

        >>> Recipe.from_json('{"name": "four", "bits": 4}').scheme.bits
        4
        """
        facts = strict_object(text, {field.name for field in fields(cls)}, "a recipe")
        plain = asdict(cls())
        for name, value in facts.items():
            facts[name] = tuple(value) if isinstance(value, list) else value
            right = float | int if isinstance(plain[name], float) else type(plain[name])
            if not isinstance(facts[name], right) or (isinstance(value, bool) and not isinstance(plain[name], bool)):
                raise ValueError(f"{name} is {value!r}; it is of the kind of {plain[name]!r}")
        return cls(**facts)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe in a file. FileNotFoundError or ValueError name the file."""
        if not path.is_file():
            raise FileNotFoundError(f"there is no recipe file {path.name!r}")
        try:
            return cls.from_json(path.read_text("utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name}: {error}") from None

    @classmethod
    def for_budget(
        cls, *, megabytes: float | None = None, milliseconds: float | None = None, reports: Path | None = None
    ) -> Recipe:
        """The named recipe whose agent has the most success within a size and a time for a whole answer.

        Sizes and times are those in the reports (default: the shipped ones of bundles in ONNX Runtime; times are of the machine
        that made them).
        ValueError when nothing fits, or without a budget; FileNotFoundError without reports.
        """
        if megabytes is None and milliseconds is None:
            raise ValueError("a budget is needed: megabytes or milliseconds")
        reports_by_name = read_reports(data_dir() / "reports" / "onnx" if reports is None else reports)
        best = within(reports_by_name.values(), megabytes=megabytes, milliseconds=milliseconds)
        return cls() if best.name == cls().name else named(best.name)


def names() -> list[str]:
    """The recipes that have a name."""
    return sorted(path.stem for path in (data_dir() / "recipes").glob("*.json"))


def named(name: str) -> Recipe:
    """A recipe by its name. ValueError says which there are."""
    if name not in names():
        raise ValueError(f"there is no recipe {name!r}; there are {', '.join(names())}, or give a JSON file")
    return Recipe.read(data_dir() / "recipes" / f"{name}.json")


def apply(
    model: nn.Module,
    recipe: Recipe,
    example: Example,
    *,
    train: Train | None = None,
    loss: Callable[[nn.Module], Float[Tensor, ""]] | None = None,
    calibration: Iterable[Example] = (),
    half: bool = False,
    min_share: float = MIN_SHARE,
    quiet: bool = False,
) -> tuple[nn.Module, Report]:
    """Make a model small as a recipe says; the model that is given stays as it was.

    First what changes shapes (layers, channels, rank), then zeros, then integers. `train` is called after shapes and zeros, so
    that the model recovers, and once more while it computes with rounded weights if `train_rounding` is set; without it
    nothing is trained. `loss` is needed by the importances that are measured with gradients, `calibration` (examples of real
    input) by `refit`, and by `round_inputs` where nothing is trained. The report holds parameters, MACs, and the bytes that
    `save` writes with the same `half`. Each step prints what it took, and what not and why, unless `quiet`; the result's
    `coverage` has an entry for each. ValueError when a step cannot be done, or takes less than the share `min_share` of the
    parameters that it is for: it names the step. Channels are excepted, since those of the first and last layers are always tied.
    """
    examples = list(calibration)
    if recipe.refit and not examples:
        raise ValueError("refit needs calibration: examples of real input, by which weights are set")
    smaller, masks = _with_step(model, recipe, example, loss, examples, min_share, quiet), None
    if recipe.sparsity:
        masks = magnitude_masks(smaller, recipe.sparsity, scope=recipe.scope, skip=recipe.keep)
        if recipe.refit:
            moments = input_moments(smaller, _run(examples))
            smaller = refit_masked(smaller, masks, moments, quiet=quiet)
        else:
            smaller = prune(smaller, masks)
    if train is not None and (recipe.layers or recipe.channels or recipe.rank or recipe.sparsity):
        train(smaller, masks)
    macs = sum(layer_macs(smaller, example).values())  # before rounding: calibration may have left parts unseen
    parameters = sum(p.numel() for p in smaller.parameters())
    if recipe.bits < 16:
        smaller = _rounded(smaller, recipe, examples, train, min_share, quiet)
    return smaller.train(False), Report(recipe.name, stored_bytes(smaller, half=half), parameters, macs)


def _with_step(
    model: nn.Module,
    recipe: Recipe,
    example: Example,
    loss: Callable[[nn.Module], Float[Tensor, ""]] | None,
    examples: Sequence[Example],
    min_share: float,
    quiet: bool,
) -> nn.Module:
    step = ""
    smaller = model if is_plain(model) else plain(model)  # layer names are those of the plain model
    try:
        if recipe.layers:
            step = "layers"
            smaller = drop_layers(smaller, recipe.layers, stack=recipe.stack)
        if recipe.channels:
            step = "channels"
            prices = answer_prices(smaller, example, recipe.answer, recipe.stack) if recipe.answer else None
            pruned = prune_structured(
                smaller,
                example,
                recipe.channels,
                importance=recipe.importance,
                loss=loss,
                multiple=recipe.multiple,
                prices=prices,
                ignore=recipe.keep,
                quiet=quiet,
            )
            if recipe.refit:
                readers = {layer for group in pruned.removed for layer, side in group.parts if side == IN}
                moments = input_moments(smaller, _run(examples), readers)
                smaller = refit_channels(pruned.model, smaller, pruned.removed, moments, quiet=quiet)
            else:
                smaller = pruned.model
        if recipe.rank:
            step = "rank"
            inputs = record_inputs(smaller, _run(examples)) if recipe.refit else None
            spared = name_filter(smaller, recipe.keep, "keep")
            layer_names = [name for name, _ in smaller.named_modules() if re.search(recipe.rank_layers, name) and not spared(name)]
            smaller = factorise_layers(
                smaller, recipe.rank, select=layer_names.__contains__, activations=inputs, min_share=min_share, quiet=quiet
            )
    except ValueError as error:
        raise ValueError(f"{step}: {error}") from error
    return smaller


def _run(examples: Sequence[Example]) -> Callable[[nn.Module], None]:
    """Return a function that runs every example through a model, one after the other."""

    def run(model: nn.Module) -> None:
        for example in tqdm(examples, desc="examples", unit="example", leave=False):
            outputs(model, example)

    return run


def _rounded(
    model: nn.Module, recipe: Recipe, calibration: Iterable[Example], train: Train | None, min_share: float, quiet: bool
) -> nn.Module:
    share: Any = {"min_share": min_share, "quiet": quiet}
    try:
        if not recipe.train_rounding and not recipe.round_inputs:
            return quantize_weights(model, recipe.scheme, method=recipe.method, skip=recipe.keep, **share)
        inputs, spared = ACTIVATIONS if recipe.round_inputs else None, name_filter(model, recipe.keep, "keep")
        learning = prepare(model, recipe.scheme, method=recipe.method, inputs=inputs, select=lambda name: not spared(name), **share)
        if train is not None and recipe.train_rounding:
            train(learning, None)
        elif recipe.round_inputs:
            calibrate(learning, calibration)
        converted_model = convert(learning)
        rest = any(not spared(name) for name, _ in weight_layers(converted_model))
        return quantize_weights(converted_model, REST, method=recipe.method, skip=recipe.keep, **share) if rest else converted_model
    except ValueError as error:
        raise ValueError(f"bits: {error}") from error
