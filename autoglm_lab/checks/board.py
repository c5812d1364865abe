"""Checks of chapter 14."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autoglm_lab.checks.exercise import Exercise

Interval = tuple[float, float]  # low, high
FACTS = ("model", "device", "input", "n", "spread", "baseline")
RATIOS = ("saved", "faster")  # kinds of claim that compare with something
TOLERANCE = 0.05  # of figures that were rounded


def judge(claimed: float, interval: Interval | None, more_is_better: bool) -> str:
    """The verdict on a claimed number by a measured interval; None if nothing was measured.

    A claim holds if the interval is at the claimed number or better, in part if the number lies within it, and not otherwise.
    """
    if interval is None:
        return "cannot be judged"
    low, high = interval if more_is_better else (-interval[1], -interval[0])
    number = claimed if more_is_better else -claimed
    return "holds" if low >= number else "holds in part" if high >= number else "does not hold"


def _by_middle(claimed: float, interval: Interval | None, more_is_better: bool) -> str:
    if interval is None:
        return "cannot be judged"
    middle = sum(interval) / 2
    return "holds" if (middle >= claimed if more_is_better else middle <= claimed) else "does not hold"


def _one_way(claimed: float, interval: Interval | None, more_is_better: bool) -> str:
    return judge(claimed, interval, True)


def _false_if_unknown(claimed: float, interval: Interval | None, more_is_better: bool) -> str:
    return "does not hold" if interval is None else judge(claimed, interval, more_is_better)


def _within_holds(claimed: float, interval: Interval | None, more_is_better: bool) -> str:
    verdict = judge(claimed, interval, more_is_better)
    return "holds" if verdict == "holds in part" else verdict


def _within_fails(claimed: float, interval: Interval | None, more_is_better: bool) -> str:
    verdict = judge(claimed, interval, more_is_better)
    return "does not hold" if verdict == "holds in part" else verdict


def _exactly(claimed: float, interval: Interval | None, more_is_better: bool) -> str:
    if interval is None:
        return "cannot be judged"
    return "holds in part" if interval[0] <= claimed <= interval[1] else "does not hold"


def missing(claim: Mapping[str, object], kind: str) -> list[str]:
    """The facts that a claim lacks, in the order of `FACTS`. A baseline is needed only by a claim that compares.

    A fact that is None or empty is not given; n has to be 2 or more for a spread to mean anything.
    """
    needed = [fact for fact in FACTS if fact != "baseline" or kind in RATIOS]
    return [fact for fact in needed if claim.get(fact) in (None, "") or (fact == "n" and _too_few(claim["n"]))]


def _too_few(n: object) -> bool:
    return isinstance(n, int) and n < 2


def _keys_only(claim: Mapping[str, object], kind: str) -> list[str]:
    return [fact for fact in FACTS if fact not in claim and (fact != "baseline" or kind in RATIOS)]


def _always_baseline(claim: Mapping[str, object], kind: str) -> list[str]:
    return missing(claim, RATIOS[0])


def _never_baseline(claim: Mapping[str, object], kind: str) -> list[str]:
    return missing(claim, "")


def _one_run(claim: Mapping[str, object], kind: str) -> list[str]:
    return missing({**claim, "n": 2} if claim.get("n") not in (None, "") else claim, kind)


def _zero_is_empty(claim: Mapping[str, object], kind: str) -> list[str]:
    lacking = missing(claim, kind)
    return [fact for fact in FACTS if fact in lacking or ((fact != "baseline" or kind in RATIOS) and not claim.get(fact))]


def _any_order(claim: Mapping[str, object], kind: str) -> list[str]:
    return sorted(missing(claim, kind))


def littles_law(seconds: float, per_second: float, clients: int | None) -> tuple[float, bool]:
    """The mean number of requests under way, and whether so many clients can cause it, each with one request at a time.

    Little (1961): under way = rate x time. None is one worker that answers one after the other: at most one is under way.
    """
    under_way = seconds * per_second
    return under_way, under_way <= (1 if clients is None else clients) * (1 + TOLERANCE)


def _divided(seconds: float, per_second: float, clients: int | None) -> tuple[float, bool]:
    return per_second / seconds, per_second / seconds <= (1 if clients is None else clients) * (1 + TOLERANCE)


def _milliseconds(seconds: float, per_second: float, clients: int | None) -> tuple[float, bool]:
    return 1000 * seconds * per_second, 1000 * seconds * per_second <= (1 if clients is None else clients) * (1 + TOLERANCE)


def _no_limit(seconds: float, per_second: float, clients: int | None) -> tuple[float, bool]:
    under_way, can = littles_law(seconds, per_second, clients)
    return under_way, True if clients is None else can


def _rate_against_clients(seconds: float, per_second: float, clients: int | None) -> tuple[float, bool]:
    return seconds * per_second, per_second <= (1 if clients is None else clients) * (1 + TOLERANCE)


def _no_tolerance(seconds: float, per_second: float, clients: int | None) -> tuple[float, bool]:
    return seconds * per_second, seconds * per_second <= (1 if clients is None else clients)


def _all_busy(seconds: float, per_second: float, clients: int | None) -> tuple[float, bool]:
    under_way, can = littles_law(seconds, per_second, clients)
    return under_way, can and under_way >= (1 if clients is None else clients) * (1 - TOLERANCE)


COMPLETE = {"model": "whole", "device": "two cores", "input": "64 tokens", "n": 20, "spread": 0.3, "baseline": "ondemand"}


def _claims() -> Iterable[tuple[dict[str, object], str]]:
    yield COMPLETE, "saved"
    yield {name: value for name, value in COMPLETE.items() if name not in ("baseline", "device")}, "saved"
    yield {name: value for name, value in COMPLETE.items() if name != "baseline"}, "time"
    yield {**COMPLETE, "n": 1, "spread": None}, "faster"
    yield {**COMPLETE, "model": "", "spread": 0.0}, "time"


EXERCISES = (
    Exercise(
        "14.judge",
        judge,
        (
            (_by_middle, "the middle alone does not decide: a number inside the interval holds in part."),
            (_one_way, "for a time or a loss, less is better: turn the comparison round."),
            (_false_if_unknown, "what was not measured is not refuted: it cannot be judged."),
            (_within_holds, "a number inside the interval may be reached or not: it holds in part."),
            (_within_fails, "a number inside the interval is not refuted: it holds in part."),
            (_exactly, "who measures better than was claimed has not refuted the claim."),
        ),
        (
            (27.0, (5.3, 5.4), True),
            (27.0, (68.6, 69.0), True),
            (3.4, (3.1, 4.4), True),
            (87.0, (66.6, 67.1), False),
            (120.0, (34.0, 478.0), False),
            (1.0, (1.5, 2.5), False),
            (3.4, (2.0, 3.6), True),
            (1.8, None, True),
            (10.0, (8.0, 13.0), False),
        ),
        "the interval judges, in the direction that the claim means, and what nobody measured stays open.",
        edges=((5.0, (5.0, 6.0), True), (5.0, (4.0, 5.0), False), (5.0, (4.0, 5.0), True)),
    ),
    Exercise(
        "14.missing",
        missing,
        (
            (_keys_only, "a fact that is None or empty was not given either; and of one run there is no spread."),
            (_always_baseline, "a time of its own needs no baseline; only what is saved or faster compares with something."),
            (_never_baseline, "saved against what? A claim that compares needs its baseline."),
            (_one_run, "with n = 1 nobody knows whether it comes again: n is missing until it is 2."),
            (_zero_is_empty, "a spread of 0 is a spread; only None and empty texts are missing."),
            (_any_order, "give them in the order of the list of facts."),
        ),
        tuple(_claims()),
        "now a claim can be sent back with a list of what it lacks.",
        edges=(({}, "faster"), ({}, "time")),
    ),
    Exercise(
        "14.littles_law",
        littles_law,
        (
            (_divided, "multiply: so many arrive each second, and each stays so many seconds."),
            (_milliseconds, "the time is in seconds already."),
            (_no_limit, "one worker that answers one after the other has at most one request under way."),
            (_rate_against_clients, "compare what is under way with the clients, not the rate."),
            (_no_tolerance, "figures are rounded: allow 5 % more than the clients."),
            (_all_busy, "clients may rest between requests: fewer under way than clients is possible."),
        ),
        ((0.120, 85.0, None), (0.120, 85.0, 10), (0.045, 210.0, 10), (0.0157, 305.0, 8), (0.2, 12.0, 2), (0.5, 2.0, None)),
        "rate times time: whoever claims both has claimed how many wait.",
        edges=((1.0, 0.0, None), (0.1, 100.0, 10)),
    ),
)
