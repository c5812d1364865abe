"""Files of an agent's run: every step as JSON, every screen beside it, and all of them as one picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from autoglm_lab import atomic
from autoglm_lab.agent.loop import Step
from autoglm_lab.phone.actions import format_action
from autoglm_lab.phone.filmstrip import Frame, filmstrip


def frames(steps: Sequence[Step]) -> list[Frame]:
    """The steps that can be seen, for a filmstrip: those with a screen and an action."""
    return [Frame(s.screenshot, s.action, s.thinking) for s in steps if s.screenshot is not None and s.action is not None]


def save_trace(task: str, steps: Sequence[Step], folder: Path) -> None:
    """Write `trace.json`, `screen-N.png` and `filmstrip.png`; a kill at any moment leaves the old folder or the new one.

    ValueError for a run without a step.
    """
    if not steps:
        raise ValueError("there is no step to save; run the agent first")
    records = [
        {
            "screen": None if step.screenshot is None else f"screen-{step.index}.png",
            "thinking": step.thinking,
            "answer": step.answer_text,
            "action": None if step.action is None else format_action(step.action),
            "changed": step.changed,
            "error": step.error,
            "irregularities": step.irregularities,
            "end": step.end,
            "ms": {stage: round(value, 2) for stage, value in step.ms.items()},
        }
        for step in steps
    ]
    with atomic.folder(folder, "trace") as part:
        for step in steps:
            if step.screenshot is not None:
                step.screenshot.save(part / f"screen-{step.index}.png")
        if pictures := frames(steps):
            filmstrip(pictures).save(part / "filmstrip.png")
        (part / "trace.json").write_text(json.dumps({"task": task, "steps": records}, ensure_ascii=False, indent=1) + "\n", "utf-8")
