"""Choose the answers of a small model that a large one is asked again: by confidence, by length, by kind of task, or by chance.

A signal is judged by how well it tells wrong answers from right ones, and by the success of both models together when some share of
the requests goes to the large one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from autoglm_lab.edge.race import Interval
from autoglm_lab.runtime.onnx_engine import OnnxEngine

SHARES = (0.1, 0.2, 0.35, 0.5)  # of the requests, to the large model
DRAWS = 1000  # of the requests, for an interval
LEAST_ERRORS = 50  # of the small model: with fewer nothing can be said of a signal


@dataclass(frozen=True)
class Outcomes:
    """N requests: the kind of each, length and confidence of the small model's answer, and which model was right."""

    kind: np.ndarray  # [N] of str
    tokens: Float[np.ndarray, " N"]  # of the answer
    least: Float[np.ndarray, " N"]  # log-probability of its least probable token
    mean: Float[np.ndarray, " N"]  # of all its tokens
    small: Bool[np.ndarray, " N"]
    large: Bool[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def join(cls, parts: Iterable[Outcomes]) -> Outcomes:
        """All requests of some parts, in order."""
        some = list(parts)
        return cls(*(np.concatenate([getattr(part, field.name) for part in some]) for field in fields(cls)))

    def where(self, chosen: np.ndarray) -> Outcomes:
        """Some of the requests, by a mask [N] or their numbers [M]."""
        return Outcomes(*(getattr(self, field.name)[chosen] for field in fields(self)))


def log_probabilities(engine: OnnxEngine, text: str, prepared: Any) -> Float[np.ndarray, " T"]:
    """The log-probability of each token of an answer, its end included, read in one pass after what was prepared."""
    tokens = [*engine.tokenizer.encode(text, add_special_tokens=False).ids, engine.bundle.end]
    step = engine.new_step(prepared.states, len(prepared.ids) + len(tokens))
    logits = step.read(prepared.ids, tokens[:-1]).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits[np.arange(len(tokens)), tokens] - np.log(np.exp(logits).sum(axis=1)))


Signal = Callable[
    [Outcomes, Outcomes], Float[np.ndarray, " N"]
]  # requests to fit on, requests to judge: the higher, the more doubt


def kind_errors(fitting: Outcomes, rows: Outcomes) -> Float[np.ndarray, " N"]:
    """The share of errors of each kind of task, as it was where the signal was fitted."""
    rate = {kind: 1 - fitting.small[fitting.kind == kind].mean() for kind in np.unique(fitting.kind)}
    return np.array([rate.get(kind, 1.0) for kind in rows.kind])


SIGNALS: Mapping[str, Signal] = {
    "least token probability": lambda fitting, rows: -rows.least,
    "mean log-probability": lambda fitting, rows: -rows.mean,
    "summed log-probability": lambda fitting, rows: -rows.mean * rows.tokens,
    "length of the answer": lambda fitting, rows: rows.tokens,
    "kind of task": kind_errors,
    "chance": lambda fitting, rows: np.random.default_rng(0).random(len(rows)),
    "who knows both answers": lambda fitting, rows: (rows.large & ~rows.small).astype(float),
}


def auroc(doubt: Float[np.ndarray, " N"], is_wrong: Bool[np.ndarray, " N"]) -> float:
    """The chance that a wrong answer is in more doubt than a right one, ties counting half. ValueError without one of each."""
    if is_wrong.all() or not is_wrong.any():
        raise ValueError("there have to be wrong answers and right ones to tell apart")
    order = np.sort(doubt)
    ranks = (np.searchsorted(order, doubt, "left") + np.searchsorted(order, doubt, "right") + 1) / 2
    n_wrong = int(is_wrong.sum())
    return float((ranks[is_wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * (len(doubt) - n_wrong)))


def success(rows: Outcomes, doubt: Float[np.ndarray, " N"], limit: float) -> tuple[float, float]:
    """The success of both together when what is in more doubt than `limit` is asked again, and the share that is."""
    again = doubt > limit
    return float(np.where(again, rows.large, rows.small).mean()), float(again.mean())


def break_ties(doubt: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Break ties by chance, so that any share can be asked again even if a signal has few values."""
    return doubt + 1e-9 * np.random.default_rng(1).random(len(doubt))


def limit_for(doubt: Float[np.ndarray, " N"], share: float) -> float:
    """The limit above which about this share of the requests lies."""
    return float(np.quantile(doubt, 1 - share))


def halves(rows: Outcomes, seed: int = 0) -> tuple[Outcomes, Outcomes]:
    """Two halves, drawn by chance: one to fit limits on, one to judge them."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.where(order[: len(rows) // 2]), rows.where(order[len(rows) // 2 :])


def judge(rows: Outcomes, shifted: Outcomes) -> dict[str, Any]:
    """Each signal on the half that it was not fitted on, and on shifted requests. ValueError for fewer than 50 errors."""
    n_errors = int((~rows.small).sum())
    if n_errors < LEAST_ERRORS:
        raise ValueError(f"the small model made {n_errors} errors; give so many requests that it makes {LEAST_ERRORS}")
    fitting, judging = halves(rows)
    return {
        "n": len(rows),
        "errors": n_errors,
        "small": float(rows.small.mean()),
        "large": float(rows.large.mean()),
        "shifted": {"n": len(shifted), "small": float(shifted.small.mean()), "large": float(shifted.large.mean())},
        "signals": {name: _judged(signal, fitting, judging, shifted) for name, signal in SIGNALS.items()},
    }


def _judged(signal: Signal, fitting: Outcomes, judging: Outcomes, shifted: Outcomes) -> dict[str, Any]:
    base, doubt, shifted_doubt = (break_ties(signal(fitting, rows)) for rows in (fitting, judging, shifted))
    limits = {share: limit_for(base, share) for share in SHARES}
    return {
        "auroc": vars(_bootstrap(doubt, ~judging.small)),
        "shares": {f"{share:g}": success(judging, doubt, limit) for share, limit in limits.items()},
        "shifted": {f"{share:g}": success(shifted, shifted_doubt, limit) for share, limit in limits.items()},
    }


def _bootstrap(doubt: Float[np.ndarray, " N"], is_wrong: Bool[np.ndarray, " N"]) -> Interval:
    """The AUROC, with the interval of requests drawn again with replacement."""
    rng = np.random.default_rng(0)
    draws: Iterable[np.ndarray] = (rng.integers(len(doubt), size=len(doubt)) for _ in range(DRAWS))
    values = [auroc(doubt[rows], is_wrong[rows]) for rows in draws if is_wrong[rows].any() and not is_wrong[rows].all()]
    low, high = np.percentile(values, (2.5, 97.5))
    return Interval(auroc(doubt, is_wrong), float(low), float(high))
