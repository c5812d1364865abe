"""Utility of what is published: an answer to "where is the nearest", a guess at the next app, and commands that still work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from autoglm_lab.edge.privacy.personas import N_TRAINING, Traces
from autoglm_lab.edge.privacy.redaction import is_private, redact
from autoglm_lab.edge.privacy.release import Publication, Release
from autoglm_lab.edge.race import Interval
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.screens import Element, elements
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import Task, sample
from autoglm_lab.runtime.engine import Engine, memory_length
from autoglm_lab.runtime.prompt import write_memory

OFFERS = 3  # apps that are offered as the next one


def nearest_shop(traces: Traces, publication: Publication, n_training: int = N_TRAINING) -> float:
    """Share of later sessions in which the shop that is nearest to the published place is the nearest one.

    Without a place the shop that is nearest most often is named each time.
    """
    right = _nearest(traces.positions[:, n_training:], traces.shops)
    if publication.positions is None:
        return float(np.bincount(right.ravel()).max() / right.size)
    return float((_nearest(publication.positions[:, n_training:], traces.shops) == right).mean())


def _nearest(positions: NDArray[np.float64], shops: NDArray[np.float64]) -> NDArray[np.int64]:
    squares = ((positions[:, :, None] - shops[None, None]) ** 2).sum(axis=-1)
    return np.asarray(squares.argmin(axis=-1), np.int64)


def next_app(traces: Traces, release: Release, n_training: int = N_TRAINING) -> float:
    """Share of later sessions whose last app is among three that a service offers, from what it learned of the sessions before.

    It counts what follows what: of the person where a name links the sessions, else of all. Without apps it knows what is popular.
    """
    people, kinds = len(traces.apps), int(traces.apps.max()) + 1
    training, last = traces.apps[:, :n_training], traces.apps[:, n_training:, -1]
    popular = np.bincount(training.ravel(), minlength=kinds) + 1.0
    weights = np.broadcast_to(popular / popular.sum(), (people, kinds, kinds))
    if release.apps:
        pairs = np.zeros((people, kinds, kinds))
        np.add.at(pairs, (np.arange(people)[:, None, None], training[..., :-1], training[..., 1:]), 1)
        weights = pairs.sum(axis=0) + weights
        if release.links_sessions:
            taste = np.stack([np.bincount(own.ravel(), minlength=kinds) for own in training])
            weights = weights / weights.sum(axis=-1, keepdims=True) + taste[:, None] / taste.sum(axis=-1)[:, None, None] + pairs
    offers = np.argsort(-weights[np.arange(people)[:, None], traces.apps[:, n_training:, -2]], axis=-1)[..., :OFFERS]
    return float((offers == last[..., None]).any(axis=-1).mean())


@dataclass(frozen=True)
class Request:
    """A step of a task on a simulated phone, as an agent would ask for it, and the oracle's action."""

    task: Task
    phone: SimulatedPhone
    history: tuple[tuple[str, bool], ...]
    action: Action

    def is_right(self, action: Action | None) -> bool:
        """True if an action does what the oracle's does: the same one, and a tap on the same thing."""
        if action is None or action.name != self.action.name:
            return False
        if action.name == "Tap":
            return _target(self.phone, action) == _target(self.phone, self.action)
        return action.text == self.action.text and (action.name != "finish" or action.message == self.action.message)


def _target(phone: SimulatedPhone, action: Action) -> str:
    x, y = action.element or (0, 0)
    return next((item.effect for item in reversed(elements(phone.state)) if item.effect and item.covers(x + 0.5, y + 0.5)), "")


def requests(seed: int, count: int) -> list[Request]:
    """A step by chance of each of so many tasks, as the oracle goes through them. ValueError for none."""
    if count < 1:
        raise ValueError(f"count is {count}; 1 request or more is needed")
    rng, rows = np.random.default_rng([seed, 53]), []
    for number in range(count):
        phone = SimulatedPhone(200_000 * (seed + 1) + number)
        task, history = sample(phone.state, rng), list[tuple[str, bool]]()
        action = next_step(task, phone.state).action
        for _ in range(int(rng.integers(4))):
            if action.name == "finish":
                break
            history.append((action.name, phone.perform(action)))
            action = next_step(task, phone.state, history=history).action
        rows.append(Request(task, phone, tuple(history), action))
    return rows


Reduce = Callable[[Request], tuple[Image.Image, str]]  # a request to the picture and the current app that leave the phone


def _all_fields(request: Request) -> tuple[Image.Image, str]:
    return request.phone.screenshot(), request.phone.current_app()


def _without_app(request: Request) -> tuple[Image.Image, str]:
    return request.phone.screenshot(), ""


def _cover(private: Callable[[Element], bool]) -> Reduce:
    def reduce(request: Request) -> tuple[Image.Image, str]:
        return redact(request.phone.screenshot(), elements(request.phone.state), private), request.phone.current_app()

    return reduce


REDUCTIONS: dict[str, Reduce] = {
    "nothing": _all_fields,
    "current_app": _without_app,
    "messages": _cover(lambda element: element.kind == "bubble"),
    "all that is private": _cover(is_private),
    "the picture": _cover(lambda element: True),
}


def wilson(right: Sequence[bool], z: float = 1.96) -> Interval:
    """Share that is right, with its 95 % score interval (Wilson 1927), which is honest at 0 and 1 as well. ValueError for none."""
    n = len(right)
    if not n:
        raise ValueError("there are no answers; a share needs one or more")
    share = sum(right) / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def still_right(engine: Engine, whole: Sequence[Request], reduce: Reduce) -> list[bool]:
    """Ask an engine each request, reduced, and judge its action by the oracle's."""
    rows = []
    for request in whole:
        picture, app = reduce(request)
        last = write_memory(request.history, memory_length(engine))
        rows.append(request.is_right(engine.answer(request.task.text, picture, current_app=app, last=last).answer.action))
    return rows
