"""Success in words that training never saw: other wordings, other letter case, free text, and what the agent cannot do or know."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoglm_lab.evaluation.newcomers import at_home, declines, newcomer_requests, read_table, understands
from autoglm_lab.evaluation.success import (
    Answers,
    Episode,
    Rate,
    Request,
    World,
    answer_rate,
    collect,
    request_at,
    right,
    task_rate,
    underway,
)
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.catalog import HOME_SCREEN, LANGS, Lang, app
from autoglm_lab.phone.foreign import foreign_screen
from autoglm_lab.phone.free_text import free_text, sentence
from autoglm_lab.phone.oracle import next_on_unknown_screen
from autoglm_lab.phone.refusal import UNKNOWN_SCREEN, is_refusal
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.starts import SIZES
from autoglm_lab.phone.state import State
from autoglm_lab.phone.tasks import Task, kept, outcome, sample
from autoglm_lab.phone.wishes import WISHES, sample_wish
from autoglm_lab.runtime.engine import Answer

MEASURES = (
    "newcomers",
    "unseen_wording",
    "false_success",
    "harm",
    "wrongly_refused",
    "asked_back",
    "step_limit",
    "any_case",
    "free_text",
    "beyond",
    "unknown_screen",
)
LOWER_IS_BETTER = ("false_success", "harm", "wrongly_refused", "asked_back", "step_limit")
SLOTS = {"app": "notes", "setting": "wifi", "contact": "mum", "time": "7:30"}  # of sentences to be copied
ABLE_KINDS = ("alarm_remove", "text")  # of what people said: it deletes alarms, and looks for those who are written to
MOST_STEPS = 14  # two wishes in one sentence take up to twelve
DECLINED = ("beyond", "strange_app", "absent_app", "absent_contact")  # kinds that rightly end in a refusal


def wording_episodes(world: World, count: int) -> list[Episode]:
    """Whole typed tasks of every kind the agent can do, in wordings and names that are held out.

    They begin at the home screen, one in five inside an app, and always there where the wish is to leave it.
    """
    able = [kind for kind in WISHES if kind != "beyond"]
    share = np.array([WISHES[kind] for kind in able])
    episodes: list[Episode] = []
    for number in range(count):
        phone, rng = world.phone(number, 10)
        kind = str(rng.choice(able, p=share / share.sum()))
        if kind in ("back", "home", "close") or (kind != "has_app" and rng.random() < 0.2):
            phone.perform(Action("Launch", app=app(str(rng.choice(phone.state.look.installed))).key("en")))
        task = sample_wish(phone.state, rng, kind=kind, held_out=True)
        episodes.append(Episode(phone, task, deepcopy(phone.state), None))
    return episodes


def case_requests(world: World, count: int) -> list[Request]:
    """Steps of typed English tasks in lower or in upper case throughout, with what is to be sent or searched."""

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request:
        change = str.lower if rng.random() < 0.5 else str.upper
        task = sample(phone.state, rng, lang="en")
        slots = tuple((name, change(value) if name in ("query", "message") else value) for name, value in task.slots)
        return underway(phone, replace(task, slots=slots, text=change(task.text)), rng)

    return collect(world, count, 11, draw)


def beyond_requests(world: World, count: int) -> list[Request]:
    """Wishes of held-out subjects that the agent cannot fulfil, typed at the home screen."""

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request:
        return at_home(phone, sample_wish(phone.state, rng, kind="beyond", held_out=True))

    return collect(world, count, 12, draw)


def free_text_requests(world: World, count: int) -> list[Request]:
    """The step at which a message or a query is typed: random words, and sentences of subjects that training never sees."""

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request | None:
        kind = ("send", "search")[int(rng.integers(2))]
        task = sample_wish(phone.state, rng, kind=kind)
        slot = "message" if kind == "send" else "query"
        whole = rng.random() < 0.5
        phrase, new = task.slot(slot), sentence(task.lang, rng, SLOTS, held_out=True) if whole else free_text(task.lang, rng)
        if task.text.count(phrase) != 1 or not new:
            return None
        slots = tuple((name, new if name == slot else value) for name, value in task.slots)
        task = replace(task, slots=slots, text=task.text.replace(phrase, new))
        start, steps = deepcopy(phone.state), list[tuple[str, bool]]()
        while (request := request_at(phone, task, start, steps)).wanted.name != "Type":  # type: ignore[union-attr]
            steps.append((request.wanted.name, phone.perform(request.wanted)))  # type: ignore[union-attr,arg-type]
        return request

    return collect(world, count, 13, draw)


def unknown_requests(world: World, count: int) -> list[Request]:
    """Screens of other worlds, half of them of kinds that training never shows, and what people wish in front of them."""

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request:
        size = SIZES[int(rng.integers(len(SIZES)))]
        picture = foreign_screen(rng, size, held_out=bool(rng.random() < 0.5))
        kind = ("describe", "has_app", "is_on", "toggle_on", "send", "search", "open_app")[int(rng.integers(7))]
        task = sample_wish(phone.state, rng, kind=kind)
        state = deepcopy(phone.state)
        return Request(task, state, deepcopy(state), picture, None, "", HOME_SCREEN, wanted=next_on_unknown_screen(task).action)

    return collect(world, count, 14, draw)


def knows_not(request: Request, answer: Answer) -> bool:
    """True if an answer launches the app that is needed by name, or says that the screen is unknown."""
    if request.wanted is not None and request.wanted.name == "finish":
        message = answer.action.message if answer.action is not None and answer.action.name == "finish" else None
        return bool(message) and UNKNOWN_SCREEN[request.task.lang] in str(message)
    return right(request, answer)


def harm(task: Task, start: State, now: State) -> bool:
    """True if the phone was changed in a way nobody asked for: a switch turned the wrong way, a message, an alarm."""
    (toggles, chats, alarms), (wished_toggles, wished_chats, wished_alarms) = kept(start), kept(outcome(task, start))
    return (
        any(now.toggles[id] not in (toggles[id], wished_toggles[id]) for id in toggles)
        or any(now.chats[id] not in (chats[id], wished_chats[id]) for id in chats)
        or not ({*now.alarms} ^ {*alarms}) <= ({*wished_alarms} ^ {*alarms})
    )


def evaluate_words(engine: Answers, seed: int = 0, tasks: int = 500) -> dict[str, Rate]:
    """Every measure of this module on `tasks` requests each; those from `false_success` to `step_limit` are shares of the first.

    The oracle understands all wordings and cases, and declines nothing that it can do.
    """
    world = World(seed)
    runs = wording_episodes(world, tasks)
    understood = task_rate(engine, runs, most_steps=MOST_STEPS)
    able = [run for run in runs if run.task.kind not in DECLINED]
    return {
        "newcomers": answer_rate(engine, newcomer_requests(world, tasks), "newcomers", judge=understands),
        "unseen_wording": understood,
        "false_success": Rate.of(sum(run.claimed and not run.success and not _refused(run) for run in runs), tasks),
        "harm": Rate.of(sum(harm(run.task, run.start, run.phone.state) for run in runs), tasks),
        "wrongly_refused": Rate.of(sum(not run.success and _refused(run) for run in able), len(able)),
        "asked_back": Rate.of(sum(run.asks_back for run in runs), tasks),
        "step_limit": Rate.of(sum(not run.over for run in runs), tasks),
        "any_case": answer_rate(engine, case_requests(world, tasks), "any_case"),
        "free_text": answer_rate(engine, free_text_requests(world, tasks), "free_text"),
        "beyond": answer_rate(engine, beyond_requests(world, tasks), "beyond", judge=lambda r, a: declines(a, r.task.lang)),
        "unknown_screen": answer_rate(engine, unknown_requests(world, tasks), "unknown_screen", judge=knows_not),
    }


def _refused(run: Episode) -> bool:
    return is_refusal(run.message, run.task.lang)


def evaluate_people(engine: Answers, folder: Path, seed: int = 0) -> dict[str, Rate]:
    """Measure on what real people said: a folder holds `alarms.tsv` (text, time) and `beyond.tsv` (text, kind).

    Kinds that the agent can do by now (`ABLE_KINDS`) do not count as beyond it. ValueError when the folder holds no such tables.
    """
    alarms, beyond = (read_table(folder / name, column) for name, column in (("alarms.tsv", "time"), ("beyond.tsv", "kind")))
    world, runs = World(seed), []
    for number, (text, time) in enumerate(alarms):
        phone, _ = world.phone(number, 15)
        runs.append(Episode(phone, Task("alarm", _lang(text), (("time", time),), text), deepcopy(phone.state), None))
    wishes = []
    for number, (text, kind) in enumerate((text, kind) for text, kind in beyond if kind not in ABLE_KINDS):
        phone, _ = world.phone(5000 + number, 15)
        wishes.append(at_home(phone, Task("beyond", _lang(text), (("subject", kind),), text)))
    return {
        "people_alarms": task_rate(engine, runs, most_steps=MOST_STEPS),
        "people_beyond": answer_rate(engine, wishes, "people_beyond", judge=lambda r, a: declines(a, r.task.lang)),
    }


def _lang(text: str) -> Lang:
    return LANGS[0] if any("一" <= letter <= "鿿" for letter in text) else LANGS[1]
