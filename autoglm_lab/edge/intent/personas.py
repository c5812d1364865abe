"""Personas: invented people with habits of their own. Each gives its phone tasks in a chain of its own, which changes one day.

The events are the real steps of a simulated phone (`phone.oracle.next_step`); habits and chains are drawn by chance. With
independent tasks (`independent`) there is nothing to learn between two tasks: the control that every such study needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from autoglm_lab.edge.intent.events import NUMBERS, kind_of
from autoglm_lab.edge.measured import MOST_STEPS
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.phrasing import PHRASINGS, SPOKEN
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.state import State
from autoglm_lab.phone.tasks import Task, sample, wording

Watch = Callable[[SimulatedPhone, Action], None]
Chain = Float[np.ndarray, "habits habits"]


@dataclass(frozen=True)
class PersonaConfig:
    """Regularity of the people. The values are chosen by hand: a study reports how its figures move with them.

    ValueError for shares outside 0 to 1, fewer than two habits, or a concentration that is not above 0.
    """

    habits: int = 8
    concentration: float = 0.3  # of the Dirichlet rows of a chain: near 0 each task has one that follows it
    laid_down: float = 0.5  # chance that the phone shows its home screen when the next task comes
    drift_at: float = 0.75  # share of the tasks after which half of the habits, and the chain, are others

    def __post_init__(self) -> None:
        shares = (self.laid_down, self.drift_at)
        if self.habits < 2 or not self.concentration > 0 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(
                f"habits is {self.habits}, concentration {self.concentration}, laid_down and drift_at {shares}; "
                "take two habits or more, a concentration above 0, and shares from 0 to 1"
            )


@dataclass(frozen=True)
class Habit:
    """A kind of task that somebody often has: its app, contact or setting and its wording stay, the rest is new each time."""

    task: Task
    phrasing: int

    def on(self, state: State, rng: np.random.Generator) -> Task:
        """The task as it comes up now. A switch is turned to where it is not."""
        kind, slots = self.task.kind, dict(self.task.slots)
        if kind in ("toggle_on", "toggle_off"):
            kind = "toggle_off" if state.toggles[slots["setting"]] else "toggle_on"
        fresh = sample(state, rng, kind=kind, lang=self.task.lang, spoken=True)
        slots = {name: slots[name] if name in ("app", "setting", "contact") else value for name, value in fresh.slots}
        phrasing = PHRASINGS[kind][self.task.lang][self.phrasing % SPOKEN[kind]]
        return Task(kind, fresh.lang, tuple(slots.items()), wording(phrasing, fresh.lang, slots, rng, spoken=True))


@dataclass(frozen=True)
class Persona:
    """The habits of somebody and how they follow each other, before and after the drift. `seed` is that of the phone as well."""

    seed: int
    config: PersonaConfig
    habits: tuple[tuple[Habit, ...], tuple[Habit, ...]]
    chains: tuple[Chain, Chain]

    @classmethod
    def random(cls, seed: int, config: PersonaConfig | None = None) -> Persona:
        """A persona drawn from a seed."""
        config = config or PersonaConfig()
        rng, phone = np.random.default_rng([seed, 23]), SimulatedPhone(seed)
        early = _habits(config.habits, phone.state, rng)
        late = (*early[: config.habits // 2], *_habits(config.habits - config.habits // 2, phone.state, rng))
        return cls(seed, config, (early, late), (_chain(config, rng), _chain(config, rng)))


def _habits(count: int, state: State, rng: np.random.Generator) -> tuple[Habit, ...]:
    tasks = (sample(state, rng, lang=state.look.lang, spoken=True) for _ in range(count))
    return tuple(Habit(task, int(rng.integers(1000))) for task in tasks)


def _chain(config: PersonaConfig, rng: np.random.Generator) -> Chain:
    """Rows of probabilities around one mix of tasks; nothing follows itself."""
    mix = rng.dirichlet(np.ones(config.habits))
    rows = rng.dirichlet(config.concentration * config.habits * mix + 1e-3, config.habits)
    rows[np.diag_indices(config.habits)] = 0
    rows += 1e-9 * (1 - np.eye(config.habits))  # where all was on the diagonal
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Stream:
    """Everything that happened on one phone: the kind of each event, the number of its task, and the words of each task."""

    events: Int[np.ndarray, " events"]
    task: Int[np.ndarray, " events"]
    texts: tuple[str, ...]

    @property
    def first(self) -> Bool[np.ndarray, " events"]:
        """True for the first step of a task: nothing forces it."""
        return np.asarray(np.diff(self.task, prepend=-1) > 0)

    @property
    def age(self) -> Float[np.ndarray, " events"]:
        """The share of all tasks that came before the one of each event."""
        return np.asarray(self.task / len(self.texts))

    def before(self, age: float) -> Stream:
        """The events of the tasks before an age."""
        return Stream(self.events[self.age < age], self.task[self.age < age], self.texts)


def stream(persona: Persona, tasks: int = 120, watch: Watch | None = None) -> Stream:
    """The events of so many tasks of a persona, always the same ones. ValueError for fewer than one task.

    `watch` is called before each step with the phone as it is, and the action that comes.
    """
    rng, phone = np.random.default_rng([persona.seed, 29]), SimulatedPhone(persona.seed)
    drift_at, habit = persona.config.drift_at * tasks, 0

    def pick(number: int) -> Task:
        nonlocal habit
        era = int(number >= drift_at)
        habit = int(rng.choice(persona.config.habits, p=persona.chains[era][habit]))
        return persona.habits[era][habit].on(phone.state, rng)

    return _play(phone, pick, tasks, persona.config.laid_down, rng, watch)


def independent(seed: int, tasks: int = 120, laid_down: float = PersonaConfig.laid_down) -> Stream:
    """The events of tasks that are drawn independently, as `phone.tasks.sample` does."""
    rng, phone = np.random.default_rng([seed, 31]), SimulatedPhone(seed)
    return _play(phone, lambda _: sample(phone.state, rng), tasks, laid_down, rng)


def _play(
    phone: SimulatedPhone,
    pick: Callable[[int], Task],
    count: int,
    laid_down: float,
    rng: np.random.Generator,
    watch: Watch | None = None,
) -> Stream:
    if count < 1:
        raise ValueError(f"tasks is {count}; a stream has one at least")
    events: list[tuple[int, int]] = []
    texts = []
    for number in range(count):
        _pass_time(phone.state)
        if rng.random() < laid_down:
            phone.perform(Action("Home"))
        task = pick(number)
        texts.append(task.text)
        events += ((NUMBERS[kind], number) for kind in _steps(phone, task, watch))
    kinds, numbers = np.array(events).T
    return Stream(kinds, numbers, tuple(texts))


def _steps(phone: SimulatedPhone, task: Task, watch: Watch | None) -> list[str]:
    kinds, history = list[str](), list[tuple[str, bool]]()
    while len(history) <= MOST_STEPS:
        action = next_step(task, phone.state, history=history).action
        if watch is not None:
            watch(phone, action)
        kinds.append(kind_of(action, phone.state, task.kind))
        if action.name == "finish":
            return kinds
        history.append((action.name, phone.perform(action)))
    raise ValueError(f"the oracle does not end {task.text!r} within {MOST_STEPS} actions")


def _pass_time(state: State) -> None:
    """Let alarms ring and messages be answered between two tasks, so that no task is done before it begins."""
    state.alarms, state.typed, state.notice = [], "", ""
    state.chats = {contact: [(False, chat[0][1])] for contact, chat in state.chats.items()}
