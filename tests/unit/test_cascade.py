"""Signals that send answers to a larger model: their measure, their limits, and what they may not see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.edge.hybrid.cascade import (
    SIGNALS,
    Outcomes,
    auroc,
    break_ties,
    halves,
    judge,
    kind_errors,
    limit_for,
    log_probabilities,
    success,
)
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.onnx_engine import OnnxEngine


def made(count=2000, seed=0):
    """Requests of which long answers are wrong more often; probabilities say a little, the kind something."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["open", "alarm"], count)
    small = rng.random(count) > np.where(kind == "alarm", 0.3, 0.1)
    tokens = np.where(small, 8.0, 14.0) + rng.integers(0, 5, count)
    least = -np.where(small, 0.2, 0.5) * rng.exponential(1, count)
    return Outcomes(kind, tokens, least, least / 2, small, rng.random(count) > 0.02)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_counts_pairs(rows):
    doubt, wrong = np.array([d for d, _ in rows], float), np.array([w for _, w in rows])
    if wrong.all() or not wrong.any():
        with pytest.raises(ValueError, match="wrong answers and right ones"):
            auroc(doubt, wrong)
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in doubt[wrong] for b in doubt[~wrong]]
    assert auroc(doubt, wrong) == pytest.approx(np.mean(pairs))


def test_what_is_in_doubt_is_asked_again():
    rows = made()
    nothing, everything = success(rows, rows.tokens, np.inf), success(rows, rows.tokens, -np.inf)
    assert nothing == (rows.small.mean(), 0) and everything == (rows.large.mean(), 1)
    doubt = break_ties(rows.tokens)
    assert success(rows, doubt, limit_for(doubt, 0.2))[1] == pytest.approx(0.2, abs=0.001)


def test_signals_stand_in_their_order():
    figures = judge(made(), made(800, 7))
    at = {name: each["shares"]["0.2"][0] for name, each in figures["signals"].items()}
    assert figures["signals"]["chance"]["auroc"]["low"] < 0.5 < figures["signals"]["chance"]["auroc"]["high"]
    assert at["chance"] < at["kind of task"] < at["length of the answer"] <= at["who knows both answers"]
    assert (
        figures["signals"]["length of the answer"]["auroc"]["low"] > figures["signals"]["least token probability"]["auroc"]["high"]
    )
    assert figures["errors"] >= 50


def test_limits_are_fitted_on_one_half_and_judged_on_the_other():
    rows = made()
    fitting, judging = halves(rows)
    assert len(fitting) + len(judging) == len(rows) and abs(len(fitting) - len(judging)) <= 1
    cheat = Outcomes(*(vars(judging) | {"kind": np.array(["new"] * len(judging))}).values())
    assert (kind_errors(fitting, cheat) == 1).all(), "a kind that was not seen is in doubt"
    assert set(kind_errors(fitting, judging)) == {1 - fitting.small[fitting.kind == kind].mean() for kind in ("open", "alarm")}


def test_few_errors_say_nothing():
    rows = made(100)
    with pytest.raises(ValueError, match=r"made \d+ errors; give so many requests"):
        judge(rows, rows)


def test_no_signal_but_the_last_sees_who_was_right():
    rows = made()
    turned = Outcomes(**(vars(rows) | {"small": ~rows.small, "large": ~rows.large}))
    for name in SIGNALS:
        same = np.array_equal(SIGNALS[name](rows, rows), SIGNALS[name](rows, turned))
        assert same == (name != "who knows both answers"), name


def test_probabilities_of_an_answer_are_those_with_which_it_was_written(tiny_bundle):
    engine = OnnxEngine(tiny_bundle, speculate=False)
    screen = SimulatedPhone(3).screenshot()
    answer = engine.answer("open Settings", screen, max_new_tokens=12).answer
    scores = log_probabilities(engine, answer.text, engine.prepare("open Settings", screen))
    tokens = engine.tokenizer.encode(answer.text, add_special_tokens=False).ids
    assert len(scores) == len(tokens) + 1 and (scores <= 0).all()
    worse = log_probabilities(engine, "do(action=", engine.prepare("open Settings", screen))
    assert len(worse) >= 2 and np.isfinite(worse).all()
