"""Checks of chapter 12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoglm_lab.checks.exercise import Exercise

Outcome = tuple[float, float, str]  # probability, reward, next state
Event = tuple[float, str, str, str | None]  # second, request, engine, answer or None for a failure
Guess = tuple[str, float, bool]  # screen, probability, only reads


def best_action(outcomes: Mapping[str, Sequence[Outcome]], values: Mapping[str, float]) -> str:
    """The action with the most expected reward, now and later."""
    worth = {action: sum(p * (reward + values[state]) for p, reward, state in each) for action, each in outcomes.items()}
    return max(worth, key=lambda action: worth[action])


def _now(outcomes: Mapping[str, Sequence[Outcome]], values: Mapping[str, float]) -> str:
    return best_action(outcomes, dict.fromkeys(values, 0.0))


def _later(outcomes: Mapping[str, Sequence[Outcome]], values: Mapping[str, float]) -> str:
    return best_action({action: [(p, 0.0, state) for p, _, state in each] for action, each in outcomes.items()}, values)


def _likeliest(outcomes: Mapping[str, Sequence[Outcome]], values: Mapping[str, float]) -> str:
    return best_action({action: [(1.0, *max(each)[1:])] for action, each in outcomes.items()}, values)


def _unweighted(outcomes: Mapping[str, Sequence[Outcome]], values: Mapping[str, float]) -> str:
    return best_action({action: [(1.0, *each[1:]) for each in some] for action, some in outcomes.items()}, values)


def _hopeful(outcomes: Mapping[str, Sequence[Outcome]], values: Mapping[str, float]) -> str:
    best = {action: max(reward + values[state] for _, reward, state in each) for action, each in outcomes.items()}
    return max(best, key=lambda action: best[action])


def first_answers(asked: Mapping[str, float], events: Sequence[Event], deadline: float) -> dict[str, str | None]:
    """The answer that each request gets: the first that is one and is in time; None where there is none."""
    answers: dict[str, str | None] = dict.fromkeys(asked)
    for second, request, _, answer in sorted(events, key=lambda event: event[0]):
        if request in answers and answers[request] is None and answer is not None and second <= asked[request] + deadline:
            answers[request] = answer
    return answers


def _last(requests: Mapping[str, float], events: Sequence[Event], deadline: float) -> dict[str, str | None]:
    in_time = [e for e in sorted(events, key=lambda event: event[0]) if e[1] in requests and e[0] <= requests[e[1]] + deadline]
    return dict.fromkeys(requests) | {request: answer for _, request, _, answer in in_time if answer is not None}


def _late_too(requests: Mapping[str, float], events: Sequence[Event], deadline: float) -> dict[str, str | None]:
    return first_answers(requests, events, 1e9)


def _from_zero(requests: Mapping[str, float], events: Sequence[Event], deadline: float) -> dict[str, str | None]:
    return {name: first_answers({name: 0.0}, [e for e in events if e[1] == name], deadline)[name] for name in requests}


def _first_event(requests: Mapping[str, float], events: Sequence[Event], deadline: float) -> dict[str, str | None]:
    answers: dict[str, str | None] = {}
    for second, request, _, answer in sorted(events, key=lambda event: event[0]):
        if request in requests and request not in answers and second <= requests[request] + deadline:
            answers[request] = answer
    return {name: answers.get(name) for name in requests}


def _cloud_only(requests: Mapping[str, float], events: Sequence[Event], deadline: float) -> dict[str, str | None]:
    return first_answers(requests, [event for event in events if event[2] == "cloud"], deadline)


def _no_none(requests: Mapping[str, float], events: Sequence[Event], deadline: float) -> dict[str, str | None]:
    return {name: answer for name, answer in first_answers(requests, events, deadline).items() if answer is not None}


def to_prepare(guesses: Sequence[Guess], saving: float, cost: float) -> list[str]:
    """The screens to prepare: at most two, the surest first, each worth more than it costs, and none that does something."""
    gate = cost / (cost + saving)
    sure = [(probability, name) for name, probability, only_reads in guesses if only_reads and probability > gate]
    return [name for _, name in sorted(sure, reverse=True)[:2]]


def _point_eight(guesses: Sequence[Guess], saving: float, cost: float) -> list[str]:
    return to_prepare(guesses, 0.2, 0.8)


def _turned(guesses: Sequence[Guess], saving: float, cost: float) -> list[str]:
    return to_prepare(guesses, cost, saving)


def _ratio(guesses: Sequence[Guess], saving: float, cost: float) -> list[str]:
    share = min(1.0, cost / saving)
    return to_prepare(guesses, 1 - share, share)


def _acts(guesses: Sequence[Guess], saving: float, cost: float) -> list[str]:
    return to_prepare([(name, probability, True) for name, probability, _ in guesses], saving, cost)


def _all(guesses: Sequence[Guess], saving: float, cost: float) -> list[str]:
    gate = cost / (cost + saving)
    return [name for p, name in sorted(((p, n) for n, p, reads in guesses if reads and p > gate), reverse=True)]


def _unsorted(guesses: Sequence[Guess], saving: float, cost: float) -> list[str]:
    gate = cost / (cost + saving)
    return [name for name, p, reads in guesses if reads and p > gate][:2]


HERE_OR_THERE = {
    "local": [(1.0, 10.0, "busy")],
    "edge": [(0.7, 10.0, "idle"), (0.3, -8.0, "idle")],
    "wait": [(0.5, 0.0, "asked"), (0.5, -8.0, "idle")],
}
LUCKY = {"local": [(1.0, 4.0, "idle")], "edge": [(0.6, 10.0, "idle"), (0.4, -8.0, "busy")], "wait": [(1.0, 0.0, "asked")]}
MANY = {
    "local": [(0.9, 1.0, "idle"), (0.1, 1.0, "busy")],
    "edge": [(0.2, 3.0, "idle"), (0.2, 3.0, "idle"), (0.2, 2.0, "idle"), (0.4, -2.0, "idle")],
    "wait": [(0.5, 0.0, "asked"), (0.5, 0.0, "idle")],
}
VALUES = {"idle": 0.0, "busy": -9.0, "asked": 2.0}
CALM = {"idle": 0.0, "busy": -1.0, "asked": 0.0}
ASKED = {"a": 0.0, "b": 1.0, "c": 2.0, "d": 4.0}
EVENTS: list[Event] = [
    (0.5, "a", "cloud", None),
    (0.9, "a", "device", "A1"),
    (1.4, "a", "cloud", "A2"),
    (1.3, "b", "cloud", "B1"),
    (1.5, "b", "device", "B2"),
    (3.9, "c", "device", None),
    (4.6, "c", "cloud", "C late"),
    (4.3, "d", "cloud", "D1"),
    (4.2, "x", "cloud", "of nobody"),
]
GUESSES: list[Guess] = [
    ("Wi-Fi", 0.35, True),
    ("send", 0.9, False),
    ("Home", 0.15, True),
    ("Clock", 0.45, True),
    ("Chat", 0.4, True),
]

EXERCISES = (
    Exercise(
        "12.best_action",
        best_action,
        (
            (_now, "that counts the reward of this moment alone: add the value of the state that comes after it."),
            (_later, "that forgets the reward of this moment: add it to the value of the next state."),
            (_likeliest, "that looks at the likeliest outcome only; weigh each by its probability."),
            (_unweighted, "outcomes count by how probable they are: multiply by the probability."),
            (_hopeful, "that hopes for the best outcome; take the mean over all of them."),
        ),
        ((HERE_OR_THERE, VALUES), (LUCKY, VALUES), (LUCKY, CALM), (MANY, CALM), (MANY, VALUES)),
        "the mean over all outcomes of what comes now and what it leads to.",
    ),
    Exercise(
        "12.first_answers",
        first_answers,
        (
            (_last, "that takes the last answer; the first one is performed already when the second comes."),
            (_late_too, "an answer after the deadline belongs to nobody: the agent has gone on."),
            (_from_zero, "the deadline counts from the moment at which that request was asked."),
            (_first_event, "a failure is no answer: go on waiting for the other engine."),
            (_cloud_only, "whoever answers first counts, the device as well."),
            (_no_none, "every request has an end: None for one without an answer, so that nobody waits for ever."),
        ),
        ((ASKED, EVENTS, 1.2), (ASKED, EVENTS, 3.0), (ASKED, EVENTS[::-1], 1.2)),
        "one end for each request, and nothing is performed twice.",
        edges=((ASKED, [], 1.0),),
    ),
    Exercise(
        "12.to_prepare",
        to_prepare,
        (
            (_point_eight, "0.8 is right for one ratio only; the gate is cost / (cost + saving)."),
            (_turned, "cost and saving changed places: the dearer a miss, the higher the gate."),
            (_ratio, "that is cost / saving; a hit is worth the saving, a miss takes the cost: p x saving > (1 - p) x cost."),
            (_acts, "what does something may not be done on a guess: only what reads."),
            (_all, "at most two at once: each takes from what the reader asks for now."),
            (_unsorted, "where there is room for two, the surest come first."),
        ),
        ((GUESSES, 1.0, 0.25), (GUESSES, 0.3, 0.2), (GUESSES, 0.25, 1.0), (GUESSES, 1.0, 0.02)),
        "worth it on average, at most two, and nothing is done that nobody asked for.",
        edges=(([], 1.0, 1.0),),
    ),
)
