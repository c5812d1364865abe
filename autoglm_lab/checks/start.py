"""Checks of chapter 00."""

from __future__ import annotations

from autoglm_lab.checks.exercise import Exercise


def tap(x: int, y: int, width: int, height: int) -> str:
    """The action that taps pixel (x, y) of a screen."""
    return f'do(action="Tap", element=[{min(999, x * 1000 // width)},{min(999, y * 1000 // height)}])'


def _raw(x: int, y: int, width: int, height: int) -> str:
    return f'do(action="Tap", element=[{x},{y}])'


def _floats(x: int, y: int, width: int, height: int) -> str:
    return f'do(action="Tap", element=[{x * 1000 / width},{y * 1000 / height}])'


def _swapped(x: int, y: int, width: int, height: int) -> str:
    return f'do(action="Tap", element=[{y * 1000 // height},{x * 1000 // width}])'


def _one_side(x: int, y: int, width: int, height: int) -> str:
    return f'do(action="Tap", element=[{x * 1000 // width},{y * 1000 // width}])'


def _spaced(x: int, y: int, width: int, height: int) -> str:
    return f'do(action="Tap", element=[{x * 1000 // width}, {y * 1000 // height}])'


def _percent(x: int, y: int, width: int, height: int) -> str:
    return f'do(action="Tap", element=[{x * 100 // width},{y * 100 // height}])'


def shares(ms: dict[str, float]) -> dict[str, float]:
    """Each stage's share of the time, from milliseconds per stage and their total."""
    stages = {stage: value for stage, value in ms.items() if stage != "total"}
    return {stage: value / sum(stages.values()) for stage, value in stages.items()}


def _with_total(ms: dict[str, float]) -> dict[str, float]:
    return {stage: value / ms["total"] for stage, value in ms.items()}


def _twice(ms: dict[str, float]) -> dict[str, float]:
    return {stage: value / sum(ms.values()) for stage, value in ms.items()}


def _twice_without(ms: dict[str, float]) -> dict[str, float]:
    return {stage: value / sum(ms.values()) for stage, value in ms.items() if stage != "total"}


def _hundred(ms: dict[str, float]) -> dict[str, float]:
    return {stage: 100 * share for stage, share in shares(ms).items()}


def _rounded(ms: dict[str, float]) -> dict[str, float]:
    return {stage: round(share, 2) for stage, share in shares(ms).items()}


def _of_the_slowest(ms: dict[str, float]) -> dict[str, float]:
    return {stage: share / max(shares(ms).values()) for stage, share in shares(ms).items()}


def _whole(ms: dict[str, float]) -> dict[str, float]:
    return {stage: share // 1 for stage, share in shares(ms).items()}


def _nearest(x: int, y: int, width: int, height: int) -> str:
    return f'do(action="Tap", element=[{round(x * 1000 / width)},{round(y * 1000 / height)}])'


def _slowest(ms: dict[str, float]) -> str:
    return max(shares(ms), key=shares(ms).__getitem__)


EXERCISES = (
    Exercise(
        "00.tap",
        tap,
        (
            (_raw, "these are pixels; the agent counts in thousandths of the screen: x * 1000 // width."),
            (_floats, "the scale is right, but the grammar takes whole numbers; use // instead of /."),
            (_swapped, "x and y changed places: element is [x, y], x from the left edge, y from the top."),
            (_one_side, "both coordinates are divided by the width; y has to be divided by the height."),
            (_spaced, "nearly: there is no space after the comma inside [x,y]; the strict parser refuses it."),
            (_nearest, "rounded up, the last pixels of a screen would be 1000; cut off instead: x * 1000 // width."),
            (_percent, "these are hundredths; the agent counts in thousandths: multiply by 1000."),
        ),
        ((270, 600, 540, 1200), (33, 1151, 540, 1200), (100, 50, 720, 1280), (719, 3, 720, 1280), (539, 1199, 540, 1200)),
        "your taps land where they should, on any screen.",
    ),
    Exercise(
        "00.shares",
        shares,
        (
            (_with_total, "`total` is not a stage: leave it out, or it takes a whole share for itself."),
            (_twice, "`total` was added to the stages that it already sums up; leave it out before you sum."),
            (_twice_without, "`total` is still in the sum that you divide by, so the shares add up to one half."),
            (_hundred, "these are per cent; the shares should add up to 1."),
            (_rounded, "the shares are rounded, and no longer add up to 1: leave them as they are."),
            (_of_the_slowest, "that compares with the slowest stage; a share is one of the sum of all stages."),
            (_whole, "// gives whole numbers, and a share is less than one: divide with /."),
            (_slowest, "that names the slowest stage; what is asked for is a dict with the share of every stage."),
        ),
        (
            ({"image": 6.0, "prefill": 4.0, "decode": 10.0, "total": 20.0},),
            ({"audio": 1.0, "decode": 3.0, "total": 4.0},),
            ({"image": 1.0, "prefill": 2.0, "decode": 4.0, "total": 7.0},),
        ),
        "the shares add up to one, whatever the stages are.",
        edges=(({"audio": 0.0137, "decode": 29.9863, "total": 30.0},), ({"decode": 5.0, "total": 5.0},)),
    ),
)
