"""One study for each seed: people to train on, people to calibrate on, and people who are judged and were never trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Float

from autoglm_lab.edge.intent.calibration import Isotonic
from autoglm_lab.edge.intent.events import KINDS
from autoglm_lab.edge.intent.judging import Forecasts
from autoglm_lab.edge.intent.personas import Persona, PersonaConfig, Stream, independent, stream
from autoglm_lab.edge.intent.predictors import Events, Forecaster, Frequency, Markov, Recency, Table, mix, online

Fit = Callable[[Sequence[Events], int, int], Forecaster]  # sequences, number of kinds, seed: `training.intent_gru.fit`
Blocks = dict[str, Forecasts]
WARM, DRIFT = 0.5, PersonaConfig.drift_at  # from which on events are judged, and from which on habits are others
CALIBRATION = "calibration"  # the block that the maps of confidence are fitted to


@dataclass(frozen=True)
class StudyConfig:
    """Number of people of each group, and of tasks of each. ValueError for an empty group or fewer than eight tasks."""

    n_train: int = 12
    n_calibration: int = 6
    n_test: int = 10
    tasks: int = 120
    persona: PersonaConfig = field(default_factory=PersonaConfig)
    independent: bool = False  # tasks of the world's `sample` instead of personas

    def __post_init__(self) -> None:
        if min(self.n_train, self.n_calibration, self.n_test) < 1 or self.tasks < 8:
            raise ValueError(f"a study needs one person or more in each group, and eight tasks or more; this is {self}")

    @property
    def people(self) -> int:
        """Number of people in all groups."""
        return self.n_train + self.n_calibration + self.n_test


def streams_of(seed: int, config: StudyConfig) -> list[Stream]:
    """The events of everybody in a study, those to train on first. No two seeds share a person."""
    people = range(1000 * seed, 1000 * seed + config.people)
    if config.independent:
        return [independent(person, config.tasks, config.persona.laid_down) for person in people]
    return [stream(Persona.random(person, config.persona), config.tasks) for person in people]


def predictors(early: Sequence[Events], seed: int = 0, fit: Fit | None = None) -> Callable[[Events], dict[str, Table]]:
    """All predictors by name, as tables for one person; `early` are the events to train on, `fit` trains a network on them."""
    kinds = len(KINDS)
    shared = {order: Markov(kinds, order).learn(early) for order in (1, 3)}
    forecasters: dict[str, Forecaster] = {
        "MFU": online(partial(Frequency, kinds)),
        "MRU": online(partial(Recency, kinds)),
        **{f"Markov-{order}, own": online(partial(Markov, kinds, order)) for order in (1, 2, 3)},
        **{f"Markov-{order}, all": online(counts.reader) for order, counts in shared.items()},
    }
    if fit is not None:
        forecasters["GRU, all"] = fit(early, kinds, seed)

    def tables(events: Events) -> dict[str, Table]:
        each = {name: forecast(events) for name, forecast in forecasters.items()}
        own = each["Markov-3, own"]
        each["Markov-3, mixed"] = mix(np.stack([own, each["Markov-3, all"]]), events)
        if fit is not None:
            each["GRU and Markov-3, mixed"] = mix(np.stack([own, each["GRU, all"]]), events)
        return each

    return tables


@dataclass(frozen=True)
class Study:
    """The forecasts of one seed by predictor and block, and `repeated_words` of the judged people by predictor.

    Blocks: "known" are people whose first half was trained on, from there to the drift; "new" are others in the same span; "drift"
    are those others after it; "calibration" are other people again, from a quarter of their time to the drift.
    """

    blocks: dict[str, Blocks]
    words: dict[str, tuple[int, int]]


def study(seed: int, config: StudyConfig, fit: Fit | None = None) -> Study:
    """Run the study of one seed; `fit` trains the network that takes part, if any."""
    everybody = streams_of(seed, config)
    tables = predictors([each.before(WARM).events for each in everybody[: config.n_train]], seed, fit)
    forecasts: dict[str, list[Forecasts]] = {}
    words: dict[str, list[tuple[int, int]]] = {}
    for person, each in enumerate(everybody):
        for name, table in tables(each.events).items():
            forecasts.setdefault(name, []).append(Forecasts.of(1000 * seed + person, each, table))
            if person >= config.n_train + config.n_calibration:
                words.setdefault(name, []).append(repeated_words(each, table))
    counts = {name: (sum(hits for hits, _ in each), sum(same for _, same in each)) for name, each in words.items()}
    return Study({name: _blocks(parts, config) for name, parts in forecasts.items()}, counts)


def _blocks(parts: Sequence[Forecasts], config: StudyConfig) -> Blocks:
    train, others = Forecasts.join(parts[: config.n_train]), parts[config.n_train :]
    fitting, new = Forecasts.join(others[: config.n_calibration]), Forecasts.join(others[config.n_calibration :])
    return {
        "known": train.between(WARM, DRIFT),
        "new": new.between(WARM, DRIFT),
        "drift": new.between(DRIFT, 1),
        CALIBRATION: fitting.between(WARM / 2, DRIFT),
    }


def calibrate(fitting: Forecasts, forecasts: Forecasts, *, by_place: bool = True) -> Float[np.ndarray, " events"]:
    """Confidences of some forecasts, calibrated on those for other people; the first steps of tasks on first steps alone.

    Which step is a first one is known when it comes: the step before it closed a task.
    """
    if not by_place:
        return Isotonic.fit(fitting.confidence, fitting.right)(forecasts.confidence)
    result = np.empty(len(forecasts))
    for place in (True, False):
        mine, theirs = forecasts.first == place, fitting.where(fitting.first == place)
        if mine.any():
            result[mine] = Isotonic.fit(theirs.confidence, theirs.right)(forecasts.confidence[mine])
    return result


def repeated_words(person: Stream, table: Table) -> tuple[int, int]:
    """Hits among first steps of tasks, and those of them whose task has the very words of the last one that began with that step.

    A request is prepared in words: the right kind of step with other words saves nothing but the picture.
    """
    last_words: dict[int, str] = {}
    hits = same_words = 0
    for moment in np.flatnonzero(person.first):
        kind, words = int(person.events[moment]), person.texts[person.task[moment]]
        if person.age[moment] >= WARM and table[moment].argmax() == kind:
            hits += 1
            same_words += last_words.get(kind) == words
        last_words[kind] = words
    return hits, same_words
