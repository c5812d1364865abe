"""Contents of the phone widget, computed from phones, steps and sounds: no browser, no torch."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.filmstrip import caption
from autoglm_lab.phone.refusal import declined
from autoglm_lab.phone.screens import Element, elements
from autoglm_lab.phone.simulator import Phone, SimulatedPhone

SAMPLE_RATE_HZ = 16_000
Entry = dict[str, Any]


class Step(Protocol):
    """One step of the agent, as attributes."""

    @property
    def index(self) -> int:
        """Number of the step, from 0."""

    @property
    def thinking(self) -> str:
        """The thought before the action."""

    @property
    def action(self) -> Action | None:
        """Action of the step; None where the answer did not parse."""

    @property
    def answer_text(self) -> str:
        """The answer as the model wrote it."""

    @property
    def ms(self) -> Mapping[str, float]:
        """Milliseconds per stage, and "total"."""

    @property
    def error(self) -> str | None:
        """Message of the error, or None."""


Runner = Callable[..., Iterator[Step]]


def entry(step: Step) -> Entry:
    """One step as the page draws it: plain JSON values. Stages that took no time are left out."""
    action = step.action
    stages = {name: round(ms, 1) for name, ms in step.ms.items() if name != "total" and ms > 0}
    total = step.ms.get("total", sum(stages.values()))
    return {
        "thinking": step.thinking,
        "goal": _goal(step),
        "question": _question(step),
        "action": step.answer_text if action is None else format_action(action),
        "name": "" if action is None else action.name,
        "points": [list(p) for p in (action.element, action.start, action.end) if p] if action else [],
        "stages": stages,
        "total_ms": round(total, 1),
        "error": step.error or "",
        "declined": _declined(step),
    }


def _goal(step: Step) -> str:
    """The goal that the command was understood as, at the first step; "" from a runner that gives none."""
    return "" if step.index else str(getattr(step, "goal", ""))


def _question(step: Step) -> str:
    """The question that an agent asks back where it is not sure of the goal; "" from a runner that asks nothing."""
    return str(getattr(step, "question", ""))


def _declined(step: Step) -> bool:
    return step.action is not None and step.action.name == "finish" and declined(step.action.message or "")


def said_of(step: Step) -> str:
    """One step in a sentence."""
    if asks := _question(step):
        return f"Not sure, nothing was done. {asks}"
    parts = [f"Step {step.index + 1}: {caption(step.action)} after {entry(step)['total_ms']:.0f} ms."]
    parts += ["The agent declined: it did not do what was asked."] if _declined(step) else []
    parts += [f"Understood: {_goal(step)}."] if _goal(step) else []
    parts += [f"Thought: {step.thinking}"] if step.thinking else []
    parts += [f"Error: {step.error}"] if step.error else []
    return " ".join(parts)


def targets(phone: Phone) -> list[dict[str, Any]]:
    """Elements of a simulated phone that can be tapped, back to front, as {"name", "box"}; none for other phones."""
    if not isinstance(phone, SimulatedPhone):
        return []
    return [{"name": _name(item), "box": list(item.box)} for item in elements(phone.state) if item.effect]


def target_at(found: Sequence[Mapping[str, Any]], x: int, y: int) -> str:
    """The name of the last target that covers the point, or ""."""
    hits = [t["name"] for t in found if t["box"][0] <= x + 0.5 < t["box"][2] and t["box"][1] <= y + 0.5 < t["box"][3]]
    return str(hits[-1]) if hits else ""


def _name(item: Element) -> str:
    return item.text or item.concept or item.effect.partition(":")[0]


def wav_url(sound: NDArray[np.float32]) -> str:
    """A waveform of 16 kHz in [-1, 1] as a data URL for an audio element. ValueError for other shapes."""
    samples = np.asarray(sound)
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise ValueError(f"a clip is [samples] of finite numbers at 16 kHz, got shape {list(samples.shape)}")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE_HZ)
        out.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(file.getvalue()).decode()
