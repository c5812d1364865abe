"""Answers and times as the commands print them."""

from __future__ import annotations

from typing import Any


def action_text(action: Any) -> str:
    """An action as the agent writes it; "" for none."""
    from autoglm_lab.phone.actions import format_action

    return "" if action is None else format_action(action)


def rounded(ms: dict[str, float]) -> dict[str, float]:
    """Times of stages, to a hundredth of a millisecond."""
    return {stage: round(value, 2) for stage, value in ms.items()}
