"""Measures an agent on phones, icons and voices that training never saw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.circles import Circles
from autoglm_lab.phone.goals import REFUSED, goal, read_goal, split_goal
from autoglm_lab.phone.icons import families
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone, effect_at
from autoglm_lab.phone.speech import SpeechBank
from autoglm_lab.phone.starts import EVALUATION_SEEDS, SIZES, compatible, mini_task, walk
from autoglm_lab.phone.state import Look, State
from autoglm_lab.phone.tasks import Task, sample
from autoglm_lab.progress import track
from autoglm_lab.runtime.engine import Answer, Engine, memory_length
from autoglm_lab.runtime.prompt import write_memory

BATCH = 32
MAX_STEPS = 9
MEASURES = ("typed_step", "spoken_step", "task", "unseen_icons", "unseen_voice", "screen_qa")


@dataclass
class Request:
    """One request to an engine, and the action of a right answer."""

    task: Task
    state: State
    start: State
    image: Any
    audio: np.ndarray | None = None
    last: str = ""
    app: str = ""
    wanted: Action | None = None
    steps: tuple[tuple[str, bool], ...] = ()  # name of each action so far, and whether it changed the screen
    goal: str = ""  # one wish of a task that the engine has understood before

    def memory(self, length: int) -> str:
        """Write `last` for an engine that reads its last `length` actions."""
        return write_memory(self.steps, length) if self.steps else self.last


class Answers(Protocol):
    """An engine that answers many requests at once (see `batch.BatchEngine`).

    One that reads more than one past action has their number as `memory`, as an `Engine` has.
    """

    def answer_many(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer for each request."""


@dataclass(frozen=True)
class OneByOne:
    """Any engine as one that answers many requests: one after the other, as a phone does."""

    engine: Engine

    @property
    def memory(self) -> int:
        """Number of past actions that the engine reads."""
        return memory_length(self.engine)

    def answer_many(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer for each request; spoken requests show the engine no text."""
        return [self._answer(request) for request in requests]

    def _answer(self, r: Request) -> Answer:
        task, last = "" if r.audio is not None else r.task.text, r.memory(self.memory)
        options: dict[str, Any] = {"goal": r.goal} if r.goal else {}
        return self.engine.answer(task, r.image, r.audio, current_app=r.app, last=last, max_new_tokens=64, **options).answer


@dataclass(frozen=True)
class Rate:
    """A share of successes with its 95 % interval."""

    n: int
    rate: float
    ci95: tuple[float, float]

    @classmethod
    def of(cls, successes: int, n: int) -> Rate:
        """The Wilson score interval (Wilson 1927): honest also near 0 and 1.

        >>> Rate.of(98, 100)
        Rate(n=100, rate=0.98, ci95=(0.93, 0.9945))
        """
        if n == 0:
            return cls(0, math.nan, (0.0, 1.0))
        p, z = successes / n, 1.96
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return cls(n, round(p, 4), (round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)))


@dataclass
class World:
    """Phones, tasks and voices of the evaluation. No seed here can meet a training seed."""

    seed: int = 0
    bank: SpeechBank = field(default_factory=SpeechBank.load)

    def phone(self, number: int, stream: int, **look: Any) -> tuple[SimulatedPhone, np.random.Generator]:
        """A phone no training run has seen, and the generator for what happens on it."""
        key = EVALUATION_SEEDS + ((self.seed * 16 + stream) << 20) + number
        rng = np.random.default_rng([key, 77])
        phone = SimulatedPhone(look=Look.random(key, **look), size=SIZES[int(rng.integers(len(SIZES)))])
        if rng.random() < 0.4:
            phone.state.page = int(rng.integers(2))
        return phone, rng

    def speak(self, task: Task, rng: np.random.Generator) -> np.ndarray:
        """A fresh recording [samples] of a task: a training voice at a rate and pitch of its own, half of the time in noise."""
        from autoglm_lab.phone.room import through_the_air
        from autoglm_lab.phone.synthesis import ACCENTS, VARIANTS, synthesise

        voice = f"{rng.choice(ACCENTS[task.lang])}+{rng.choice(VARIANTS)}"
        wave = synthesise(task.text, voice, rate_wpm=int(rng.integers(120, 221)), pitch=int(rng.integers(25, 76)))
        return through_the_air(wave, rng)[0].astype(np.float32) / 32768

    def unseen(self, rng: np.random.Generator) -> tuple[Task, np.ndarray]:
        """A spoken task in a voice that training never heard, and its waveform [samples]."""
        clips = self.bank.clips(held_out=True)
        clip = clips[int(rng.integers(len(clips)))]
        return Task.of(clip.utterance), self.bank.waveform(clip)


def ask(engine: Answers, requests: Sequence[Request]) -> list[Answer]:
    """Answer requests, each of which tells the engine as many past actions as it reads."""
    length = memory_length(engine)
    return engine.answer_many([replace(request, last=request.memory(length)) for request in requests])


def right(request: Request, answer: Answer) -> bool:
    """True if an answer does what the oracle would: taps may land anywhere on the same thing, swipes go the same way."""
    expected, action = request.wanted, answer.action
    if expected is None or action is None or action.name != expected.name:
        return False
    if expected.name == "Tap":
        return effect_at(request.state, action.element) == effect_at(request.state, expected.element) != ""
    if expected.name == "Swipe":
        return _way(action) == _way(expected)
    return action == expected


def _way(action: Action) -> tuple[bool, bool]:
    (x0, y0), (x1, y1) = action.start or (0, 0), action.end or (0, 0)
    across = abs(x1 - x0) > abs(y1 - y0)
    return across, (x1 > x0) if across else (y1 > y0)


def collect(
    world: World, count: int, stream: int, draw: Callable[[SimulatedPhone, np.random.Generator], Request | None], **look: Any
) -> list[Request]:
    """Call `draw` with phone after phone until there are `count` requests; where it returns None the phone is skipped."""
    draws = (draw(*world.phone(number, stream, **look)) for number in itertools.count())
    requests = itertools.islice((request for request in draws if request is not None), count)
    return list(track(requests, "drawing requests", "request", total=count))


def typed_requests(world: World, count: int, *, stream: int = 0, family: str | None = None, kind: str = "") -> list[Request]:
    """One step of each of `count` typed tasks, somewhere on the oracle's way through it."""

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request | None:
        request = underway(phone, sample(phone.state, rng, kind=kind), rng)
        return request if family is None or _taps_icon(request) else None

    return collect(world, count, stream, draw, family=family)


def _taps_icon(request: Request) -> bool:
    expected = request.wanted
    return expected is not None and expected.name == "Tap" and effect_at(request.state, expected.element).startswith("open:")


def spoken_requests(world: World, count: int, *, held_out: bool, stream: int = 1) -> list[Request]:
    """One step of each of `count` spoken tasks."""

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request | None:
        task, audio = world.unseen(rng) if held_out else (sample(phone.state, rng, spoken=True), None)
        if not _possible(task, phone.state):
            return None
        request = underway(phone, task, rng)
        request.audio = world.speak(task, rng) if audio is None else audio
        return request

    return collect(world, count, stream, draw)


def mini_requests(world: World, count: int, *, spoken: bool) -> list[Request]:
    """Requests that the small preset is trained for: questions and wishes about the home page on the screen."""

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request:
        task = mini_task(phone.state, rng, spoken)
        request = request_at(phone, task, deepcopy(phone.state))
        request.audio = world.speak(task, rng) if spoken else None
        return request

    return collect(world, count, 7 + spoken, draw)


def underway(phone: SimulatedPhone, task: Task, rng: np.random.Generator) -> Request:
    """A request after up to five right steps of a task."""
    start = deepcopy(phone.state)
    steps: list[tuple[str, bool]] = []
    for _ in range(int(rng.integers(0, 6))):
        action = next_step(task, phone.state, history=steps).action
        if action.name == "finish":
            break
        steps.append((action.name, phone.perform(action)))
    return request_at(phone, task, start, steps)


def _possible(task: Task, state: State) -> bool:
    if task.kind in ("open_app", "search") and task.slot("app") not in state.look.installed:
        return False
    return compatible(task, state) and not (task.kind == "back" and not state.route)


def request_at(phone: SimulatedPhone, task: Task, start: State, steps: Sequence[tuple[str, bool]] = ()) -> Request:
    """The request to take the next step of a task that began at `start`, after some `steps`."""
    state, last = deepcopy(phone.state), write_memory(steps, 1)
    expected = next_step(task, state, history=steps).action
    return Request(task, state, start, phone.screenshot(), None, last, phone.current_app(), expected, tuple(steps))


def question_requests(world: World, count: int) -> list[Request]:
    """Questions about what is on the screen, in both languages."""

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request | None:
        kind = ("describe", "is_on", "has_app", "who")[int(rng.choice(4, p=[0.35, 0.35, 0.25, 0.05]))]
        route = sample(phone.state, rng, kind="is_on") if kind == "is_on" else sample(phone.state, rng)
        start = deepcopy(phone.state)
        if kind != "has_app":
            phone.state, _ = walk(phone.state, route, int(rng.integers(0, 6)))
        task = route if kind == "is_on" else sample(phone.state, rng, kind=kind)
        request = request_at(phone, task, start)
        return request if request.wanted is not None and request.wanted.name == "finish" else None

    return collect(world, count, 4, draw)


def answer_rate(
    engine: Answers,
    requests: list[Request],
    name: str,
    batch: int = BATCH,
    judge: Callable[[Request, Answer], bool] = right,
) -> Rate:
    """The share of requests whose answer `judge` accepts, `batch` of them at a time: fewer need less memory."""
    hits = 0
    for first in track(range(0, len(requests), batch), name, "batch"):
        part = requests[first : first + batch]
        hits += sum(judge(r, a) for r, a in zip(part, ask(engine, part), strict=True))
    return Rate.of(hits, len(requests))


@dataclass
class Episode:
    """One whole task on one phone."""

    phone: SimulatedPhone
    task: Task
    start: State
    audio: np.ndarray | None
    steps: list[tuple[str, bool]] = field(default_factory=list)  # name of each action, and whether it changed the screen
    circles: Circles = field(default_factory=Circles)
    goals: tuple[str, ...] = ()  # of a command with two wishes, those that are still to be done
    asks_back: bool = False  # the agent had its goal confirmed
    over: bool = False
    claimed: bool = False  # the agent said that it is done
    success: bool = False
    message: str = ""  # the agent's closing sentence, or both of two wishes


def episodes(world: World, count: int) -> list[Episode]:
    """Whole tasks from the home screen or from inside an app, half of them spoken."""
    runs: list[Episode] = []
    number = 0
    while len(runs) < count:
        phone, rng = world.phone(number, 2)
        number += 1
        spoken = len(runs) % 2 == 1
        if rng.random() < 0.2:
            phone.state, _ = walk(phone.state, sample(phone.state, rng), 2)
        task = sample(phone.state, rng, spoken=spoken)
        if not _possible(task, phone.state):
            continue
        runs.append(Episode(phone, task, deepcopy(phone.state), world.speak(task, rng) if spoken else None))
    return runs


def task_rate(engine: Answers, runs: list[Episode], most_steps: int = MAX_STEPS) -> Rate:
    """The share of tasks that the engine, left alone with the phone, finishes as wished."""
    for _ in tqdm(range(most_steps), desc="task", unit="round", leave=False):
        going = [run for run in runs if not run.over]
        for first in range(0, len(going), BATCH):
            part = going[first : first + BATCH]
            requests = [_next_request(run) for run in part]
            for run, request, answer in zip(part, requests, ask(engine, requests), strict=True):
                _advance(run, answer, request.image)
    return Rate.of(sum(run.success for run in runs), len(runs))


def _next_request(run: Episode) -> Request:
    phone, last = run.phone, write_memory(run.steps, 1)
    app, steps = phone.current_app(), tuple(run.steps)
    goal = run.goals[0] if run.goals else ""
    return Request(run.task, phone.state, run.start, phone.screenshot(), run.audio, last, app, steps=steps, goal=goal)


def _advance(run: Episode, answer: Answer, screenshot: Image.Image) -> None:
    """Do what the agent's loop does with an answer: one wish after the other, and no further where the agent goes in circles.

    A goal of which the agent is unsure is confirmed by somebody who knows what they wish; else the episode is over.
    """
    if answer.unsure and not run.asks_back:
        run.asks_back = True
        if not is_meant(run.task, answer.goal):
            run.over = True
            return
    action, goals = answer.action, split_goal(answer.goal)
    if len(goals) > 1 and not run.goals:
        run.goals = goals  # and the engine is asked again
    elif action is None or action.name == "Take_over":
        run.over = True
    elif action.name == "finish":
        _finish(run, action.message or "")
    elif run.circles.check(action, screenshot):
        run.over = True
    else:
        run.steps.append((action.name, run.phone.perform(action)))


def is_meant(task: Task, text: str) -> bool:
    """True if a goal is that of a task; what the agent cannot do has none."""
    return task.kind not in REFUSED and read_goal(text) == read_goal(goal(task))


def _finish(run: Episode, message: str) -> None:
    """End an episode, or go on with the second wish."""
    run.message = f"{run.message} {message}".lstrip()
    run.goals = run.goals[1:]
    if run.goals:
        run.steps, run.circles = [], Circles()
        return
    run.over = run.claimed = True
    run.success = run.task.done(run.start, run.phone.state, run.message)


def evaluate_mini(engine: Answers, seed: int = 0, tasks: int = 500) -> dict[str, Rate]:
    """The two measures of the small preset, on `tasks` requests each."""
    world = World(seed)
    return {
        name: answer_rate(engine, mini_requests(world, tasks, spoken=spoken), name)
        for name, spoken in (("typed_step", False), ("spoken_step", True))
    }


def evaluate(engine: Answers, seed: int = 0, tasks: int = 500, measures: Sequence[str] = MEASURES) -> dict[str, Rate]:
    """Every measure on `tasks` requests each. The oracle itself scores 1.0 on all of them."""
    world = World(seed)
    held_out = families(held_out=True)[0]
    requests: dict[str, Callable[[], list[Request]]] = {
        "typed_step": lambda: typed_requests(world, tasks),
        "spoken_step": lambda: spoken_requests(world, tasks, held_out=False),
        "unseen_icons": lambda: typed_requests(world, tasks, stream=3, family=held_out),
        "unseen_voice": lambda: spoken_requests(world, tasks, held_out=True, stream=5),
        "screen_qa": lambda: question_requests(world, tasks),
    }
    results = {}
    for name in measures:
        results[name] = task_rate(engine, episodes(world, tasks)) if name == "task" else answer_rate(engine, requests[name](), name)
    return results
