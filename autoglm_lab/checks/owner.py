"""Checks of chapter 13."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autoglm_lab.checks.exercise import Exercise

Vector = Mapping[str, int]  # replica -> number of its writes that are known
Dot = tuple[str, int]


def order(mine: Vector, yours: Vector) -> str:
    """The relation of two version vectors; a replica that is missing has written nothing."""
    behind = all(count <= yours.get(replica, 0) for replica, count in mine.items())
    ahead = all(count <= mine.get(replica, 0) for replica, count in yours.items())
    return "equal" if behind and ahead else "before" if behind else "after" if ahead else "concurrent"


def _by_sum(mine: Vector, yours: Vector) -> str:
    one, other = sum(mine.values()), sum(yours.values())
    return "equal" if one == other else "before" if one < other else "after"


def _known_only(mine: Vector, yours: Vector) -> str:
    both = mine.keys() & yours.keys()
    return order({r: mine[r] for r in both}, {r: yours[r] for r in both})


def _never_equal(mine: Vector, yours: Vector) -> str:
    relation = order(mine, yours)
    return "before" if relation == "equal" else relation


def _turned(mine: Vector, yours: Vector) -> str:
    return {"before": "after", "after": "before"}.get(relation := order(mine, yours), relation)


def merge(mine: Mapping[Dot, str], my_vector: Vector, yours: Mapping[Dot, str], your_vector: Vector) -> dict[Dot, str]:
    """The versions of a key after a merge: what the other one has replaced goes, what it has not seen stays, what is new comes."""
    remaining = {dot: value for dot, value in mine.items() if dot in yours or dot[1] > your_vector.get(dot[0], 0)}
    new = {dot: value for dot, value in yours.items() if dot[1] > my_vector.get(dot[0], 0)}
    return remaining | new


def _union(mine: Mapping[Dot, str], my_vector: Vector, yours: Mapping[Dot, str], your_vector: Vector) -> dict[Dot, str]:
    return {**mine, **yours}


def _one_side(mine: Mapping[Dot, str], my_vector: Vector, yours: Mapping[Dot, str], your_vector: Vector) -> dict[Dot, str]:
    return dict(yours)


def _highest(mine: Mapping[Dot, str], my_vector: Vector, yours: Mapping[Dot, str], your_vector: Vector) -> dict[Dot, str]:
    both = merge(mine, my_vector, yours, your_vector)
    return dict([max(both.items(), key=lambda item: item[0][::-1])]) if both else {}


def _in_both(mine: Mapping[Dot, str], my_vector: Vector, yours: Mapping[Dot, str], your_vector: Vector) -> dict[Dot, str]:
    return {dot: value for dot, value in mine.items() if dot in yours}


def _comes_back(mine: Mapping[Dot, str], my_vector: Vector, yours: Mapping[Dot, str], your_vector: Vector) -> dict[Dot, str]:
    return merge(mine, my_vector, yours, your_vector) | dict(yours)


def look_alikes(sizes: Mapping[str, int], step: int) -> list[list[str]]:
    """The commands that look alike on the wire after padding to whole steps (one byte of padding at least), by rising length."""
    groups: dict[int, list[str]] = {}
    for command, size in sizes.items():
        groups.setdefault(size // step + 1, []).append(command)
    return [sorted(groups[length]) for length in sorted(groups)]


def _no_mark(sizes: Mapping[str, int], step: int) -> list[list[str]]:
    return look_alikes({command: max(0, size - 1) for command, size in sizes.items()}, step)


def _bare(sizes: Mapping[str, int], step: int) -> list[list[str]]:
    return look_alikes(sizes, 1)


def _all_alike(sizes: Mapping[str, int], step: int) -> list[list[str]]:
    return [sorted(sizes)] if sizes else []


def _falling(sizes: Mapping[str, int], step: int) -> list[list[str]]:
    return look_alikes(sizes, step)[::-1]


def _inputs() -> Iterable[tuple[Vector, Vector]]:
    yield {"a": 3, "b": 1}, {"a": 2, "b": 4}
    yield {"a": 1}, {"a": 1, "b": 2}
    yield {"a": 2, "b": 2}, {"a": 2, "b": 2}
    yield {"a": 5}, {"b": 1}
    yield {"a": 3, "c": 1}, {"a": 2}
    yield {"a": 2, "b": 2}, {"a": 1, "b": 3}


A1, A2, B1 = ("a", 1), ("a", 2), ("b", 1)
EXERCISES = (
    Exercise(
        "13.order",
        order,
        (
            (_by_sum, "more writes are not later ones: compare counter by counter; if each knows one more, neither comes first."),
            (_known_only, "a replica that is missing has written nothing: its counter is 0."),
            (_never_equal, "two that know the same are equal."),
            (_turned, "before and after changed places: what knows less comes before."),
        ),
        tuple(_inputs()),
        "who knows all that the other knows, and more, comes after it; no clock was asked.",
        edges=(({}, {}), ({}, {"a": 1})),
    ),
    Exercise(
        "13.merge",
        merge,
        (
            (_union, "what the other one knows and no longer has was replaced or deleted there: it goes."),
            (_one_side, "what the other one has not seen stays."),
            (_highest, "two writes that did not see each other both stay, until somebody chooses."),
            (_in_both, "what only one of the two has seen stays, too: it is news to the other."),
            (_comes_back, "what I know and no longer have is not new: it was replaced or deleted here."),
        ),
        (
            ({A1: "x"}, {"a": 1}, {A2: "y"}, {"a": 2}),
            ({A2: "y"}, {"a": 2}, {A1: "x"}, {"a": 1}),
            ({A1: "x"}, {"a": 1}, {B1: "z"}, {"b": 1}),
            ({A1: "x"}, {"a": 1}, {}, {"a": 1, "b": 3}),
            ({A1: "x", B1: "z"}, {"a": 1, "b": 1}, {B1: "z"}, {"b": 1}),
        ),
        "nothing is lost that nobody replaced, and nothing that was deleted comes back.",
        edges=(({}, {}, {}, {}), ({A1: "x"}, {"a": 1}, {A1: "x"}, {"a": 1})),
    ),
    Exercise(
        "13.look_alikes",
        look_alikes,
        (
            (_no_mark, "a message of just one step needs a further one: without a byte of padding nobody could undo it."),
            (_bare, "messages of one step more or less look alike; only whole steps count."),
            (_all_alike, "padding hides the length within a step, not the number of steps."),
            (_falling, "the shortest come first."),
        ),
        (({"open": 40, "note": 64, "search": 90, "home": 5}, 64), ({"open": 40, "note": 16, "search": 90, "home": 15}, 16)),
        "who reads the wire sees the number of steps, and nothing finer.",
        edges=(({}, 64), ({"open": 10}, 1)),
    ),
)
