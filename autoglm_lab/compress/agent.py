"""A PhoneGLM that was made small, as a folder that `lab.load` opens like any other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import nn

from autoglm_lab import atomic
from autoglm_lab.compress.checkpoint import STRUCTURE, load, save
from autoglm_lab.compress.recipe import Recipe
from autoglm_lab.evaluation.report import Report
from autoglm_lab.marks import read_whole
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.engine import LOADED, TorchEngine, readable
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.processing import PhoneGLMProcessor, save_tokenizer

REPORT = "report.json"


def save_agent(model: nn.Module, processor: PhoneGLMProcessor, folder: Path, recipe: Recipe, report: Report) -> None:
    """Write a compressed agent: weights, structure, configuration, tokenizer, and how it was made and measured.

    ValueError for a model that is no PhoneGLM.
    """
    if not isinstance(model, PhoneGLMForConditionalGeneration):
        raise ValueError(f"a {type(model).__name__} is no agent; write it with compress.save")

    def beside(part: Path) -> None:
        model.config.save_pretrained(part)
        save_tokenizer(processor.tokenizer, part)
        (part / "recipe.json").write_text(recipe.to_json() + "\n", "utf-8")
        (part / REPORT).write_text(report.to_json() + "\n", "utf-8")

    save(model, folder, half=True, also=beside)


def write_report(report: Report, folder: Path) -> None:
    """Write or replace the report of a folder that this package wrote; a kill at any moment leaves the old one or the new one."""
    atomic.update(folder, {REPORT: report.to_json() + "\n"})


def load_agent(folder: Path | str | None = None) -> TorchEngine:
    """Open the agent in a folder, compressed or not (default: the shipped one).

    FileNotFoundError names what is missing, ValueError what was changed.
    """
    if folder is None or not (Path(folder) / STRUCTURE).exists():
        return TorchEngine.load(folder)
    return read_whole(Path(folder), LOADED, partial(_load, Path(folder)))


def _load(folder: Path) -> TorchEngine:
    with readable(folder):
        model = load(PhoneGLMForConditionalGeneration(PhoneGLMConfig.from_pretrained(folder)), folder)
        assert isinstance(model, PhoneGLMForConditionalGeneration)
        return TorchEngine(model, PhoneGLMProcessor.from_pretrained(folder))
