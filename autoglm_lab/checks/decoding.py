"""Checks of chapter 07."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.checks.exercise import Exercise

Array = NDArray[np.float64]
Edges = dict[int, dict[int, int]]


def append(buffer: Array, filled: int, new: Array) -> tuple[Array, int]:
    """The buffer with new rows after those that are filled, and how many are filled then."""
    end = filled + len(new)
    copy = buffer.copy()
    copy[filled:end] = new
    return copy, end


def _grown(buffer: Array, filled: int, new: Array) -> tuple[Array, int]:
    return np.concatenate((buffer[:filled], new)), filled + len(new)


def _first(buffer: Array, filled: int, new: Array) -> tuple[Array, int]:
    return append(buffer, 0, new)[0], filled + len(new)


def _last(buffer: Array, filled: int, new: Array) -> tuple[Array, int]:
    return np.concatenate((buffer[len(new) :], new)), filled + len(new)


def _uncounted(buffer: Array, filled: int, new: Array) -> tuple[Array, int]:
    return append(buffer, filled, new)[0], filled


def _one(buffer: Array, filled: int, new: Array) -> tuple[Array, int]:
    return append(buffer, filled, new)[0], filled + 1


def _emptied(buffer: Array, filled: int, new: Array) -> tuple[Array, int]:
    return append(np.where(np.arange(len(buffer))[:, None] < filled, buffer, 0.0), filled, new)


def jump(edges: Edges, state: int) -> list[int]:
    """The tokens that are forced from here, until there is a choice or the end."""
    forced = []
    while len(edges.get(state, {})) == 1:
        token, state = next(iter(edges[state].items()))
        forced.append(token)
    return forced


def _single(edges: Edges, state: int) -> list[int]:
    return jump(edges, state)[:1]


def _choosing(edges: Edges, state: int) -> list[int]:
    tokens = []
    while edges.get(state):
        token, state = next(iter(edges[state].items()))
        tokens.append(token)
    return tokens


def _states(edges: Edges, state: int) -> list[int]:
    passed = []
    while len(edges.get(state, {})) == 1:
        state = next(iter(edges[state].values()))
        passed.append(state)
    return passed


def _and_the_choice(edges: Edges, state: int) -> Any:
    forced = jump(edges, state)
    for token in forced:
        state = edges[state][token]
    return forced + sorted(edges.get(state, {}))[:1]


def confirm(scores: Array, drafts: list[int]) -> list[int]:
    """The likeliest tokens, up to and with the first that was not drafted."""
    tokens: list[int] = []
    for row, draft in zip(scores, [*drafts, None], strict=True):
        tokens.append(int(row.argmax()))
        if tokens[-1] != draft:
            break
    return tokens


def _only_drafts(scores: Array, drafts: list[int]) -> list[int]:
    return confirm(scores, drafts)[:-1]


def _all_drafts(scores: Array, drafts: list[int]) -> list[int]:
    return [*drafts, int(scores[-1].argmax())]


def _every_row(scores: Array, drafts: list[int]) -> list[int]:
    del drafts
    return [int(row.argmax()) for row in scores]


def _those_that_match(scores: Array, drafts: list[int]) -> list[int]:
    likely = [int(row.argmax()) for row in scores]
    return [t for t, draft in zip(likely, drafts, strict=False) if t == draft] + likely[-1:]


def _shifted(scores: Array, drafts: list[int]) -> list[int]:
    return confirm(scores[1:], drafts[:-1]) if drafts else []


_rng = np.random.default_rng(7)
_LIKELY = np.eye(6)[[1, 2, 3]]
_EDGES: Edges = {0: {11: 1}, 1: {12: 2}, 2: {20: 3, 21: 4}, 3: {30: 5}, 4: {31: 5}, 5: {32: 6}}
EXERCISES = (
    Exercise(
        "07.append",
        append,
        (
            (_grown, "that buffer has another size: a fixed one keeps its room, and what is not filled stays as it was."),
            (_first, "that writes over what is remembered: the new rows begin where the filled ones end."),
            (_emptied, "what is not filled yet stays as it was: begin with a copy of the buffer."),
            (_last, "nothing has to move: write after the filled rows, not at the end of the buffer."),
            (_uncounted, "the rows are written, but nobody counted them: the next ones would be written over them."),
            (_one, "count every new row: a prefill writes many at once."),
        ),
        (
            (_rng.normal(size=(6, 2)), 2, _rng.normal(size=(3, 2))),
            (np.zeros((4, 3)), 0, _rng.normal(size=(4, 3))),
            (_rng.normal(size=(5, 1)), 3, _rng.normal(size=(1, 1))),
        ),
        "no row moves, and the next token knows where to go.",
    ),
    Exercise(
        "07.jump",
        jump,
        (
            (_single, "go on: what follows a forced token may be forced, too."),
            (_choosing, "where several tokens may come, the model has to be asked: stop there."),
            (_states, "those are the states you passed; the tokens are what leads to them."),
            (_and_the_choice, "the last one was no longer forced; it is for the model to choose."),
        ),
        ((_EDGES, 0), (_EDGES, 2), (_EDGES, 3), (_EDGES, 6)),
        "these tokens cost no pass of their own.",
    ),
    Exercise(
        "07.confirm",
        confirm,
        (
            (_only_drafts, "the first token that differs is the model's own and counts: every pass writes one at least."),
            (_all_drafts, "a draft is a guess; it counts only if the model would have written it."),
            (_every_row, "after a wrong draft the scores follow on something that was never said: stop there."),
            (_those_that_match, "after the first that differs none of the others counts, even if it matches by chance."),
            (_shifted, "the first row is what follows the last known token; the first draft is compared with that one."),
        ),
        ((_LIKELY, [1, 2]), (_LIKELY, [1, 4]), (_LIKELY, [5, 2]), (_LIKELY[:1], [])),
        "a guess that is checked changes no answer.",
    ),
)
