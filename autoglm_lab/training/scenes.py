"""Training scenes: screens met on the way through tasks, with what the oracle would do there.

Each scene is one picture with several samples (a wish and the right next step), so that a batch encodes a picture once and
learns from it several times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.catalog import app, named
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.screens import Element, elements, find
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.spoken import wish_key
from autoglm_lab.phone.starts import SIZES, compatible, mini_task, walk
from autoglm_lab.phone.state import Look, State
from autoglm_lab.phone.tasks import QUESTIONS, Task, sample
from autoglm_lab.runtime.features import IMAGE_SIDE, gaussian_blur

UNREADABLE_SHARE = 0.08
SAME_WAY_SHARE = 0.5  # of the further wishes on a screen: the agent has come there by the same action
LEFT_APP_SHARE = 0.15  # of the wishes on a home page where nothing was done yet: the agent has just left another app


@dataclass(frozen=True)
class SceneSpec:
    """Size of a set of scenes: their number, the samples of each, and the world that they are drawn from.

    `mini` has typed and spoken app tasks on one page only; `people` has every wish in people's own words (`people_scenes`).
    """

    scenes: int = 30_000
    typed: int = 3
    spoken: int = 3
    seed: int = 0
    first: int = 0  # phone seed of the first scene
    mini: bool = False
    people: bool = False


def make_scene(seed: int, spec: SceneSpec) -> tuple[np.ndarray, dict[str, Any]]:
    """One scene: a [224, 224, 3] uint8 picture, and its concepts and samples as plain data."""
    rng = np.random.default_rng([seed, 10, spec.seed])
    look = Look.random(seed)
    state = State.fresh(look)
    if spec.mini or rng.random() < 0.4:
        state.page = int(rng.integers(len(look.pages)))
    spoken_first = bool(rng.random() < 0.5)
    first = _sample(state, rng, spoken_first, spec.mini)
    steps = 0 if spec.mini else int(rng.integers(0, 6))
    state, last = walk(state, first, steps)
    readable = bool(rng.random() >= UNREADABLE_SHARE)
    samples = []
    for number in range(spec.typed + spec.spoken):
        spoken = number >= spec.typed
        if number == (spec.typed if spoken_first else 0):
            task, before = first, last
        else:
            task = _sample(state, rng, spoken, spec.mini)
            if not compatible(task, state):
                continue
            before = "" if spec.mini else _way_here(task, state, last, rng)
        samples.append(_record(task, state, before, readable, spoken))
    return picture_and_facts(state, samples, readable, rng)


def picture_and_facts(
    state: State, samples: list[dict[str, Any]], readable: bool, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, Any]]:
    """Draw a screen as a camera delivers it; returns a [224, 224, 3] uint8 picture, and its concepts and samples as plain data."""
    phone = SimulatedPhone(look=state.look, size=SIZES[int(rng.integers(len(SIZES)))])
    phone.state = state
    pixels, noise = degrade(phone.screenshot(), rng, readable)
    concepts = [(item.centre, item.concept) for item in elements(state) if item.concept and item.kind != "button"]
    switches = [(item.centre, item.on) for item in elements(state) if item.kind == "toggle"]
    facts = {"concepts": concepts if readable else [], "switches": switches if readable else []}
    return pixels, facts | {"samples": samples, "app": phone.current_app(), "noise": round(noise, 3)}


def _way_here(task: Task, state: State, last: str, rng: np.random.Generator) -> str:
    """The name of an action of the agent's that may have led to this screen, or "" if the task begins here."""
    if task.kind == "back" or (task.kind in QUESTIONS and task.kind != "is_on"):
        return ""
    before = last if rng.random() < SAME_WAY_SHARE else ""
    return "Home" if state.view is None and not before and rng.random() < LEFT_APP_SHARE else before


_HERE = {"settings": ("toggle_on", "toggle_off", "is_on"), "wechat": ("send",), "clock": ("alarm",)}


def _sample(state: State, rng: np.random.Generator, spoken: bool, mini: bool) -> Task:
    """A task for this screen, mostly of the open app; those whose first step is only to leave it are drawn rarely."""
    if mini:
        return mini_task(state, rng, spoken)
    here = _HERE.get(state.view.app, ("search",) if app(state.view.app).searchable else ()) if state.view else ()
    for _ in range(8):
        kind = str(rng.choice(here)) if here and rng.random() < 0.6 else ""
        task = sample(state, rng, kind=kind, spoken=spoken)
        if next_step(task, state).action.name not in ("Home", "Back") or rng.random() < 0.04:
            break
    return task


def evidence(task: Task, state: State, action: Action) -> tuple[int, int] | None:
    """The place on the screen that decides a step, in agent coordinates: what is tapped, or what shows that it is done."""
    if action.element is not None:
        return action.element
    items = elements(state)

    def first(**facts: object) -> Element | None:
        return next((item for item in items if all(getattr(item, k) == v for k, v in facts.items())), None)

    page = first(kind="dot", on=True)
    element = None
    if task.kind == "has_app":
        element = first(kind="icon", concept=task.slot("app")) or page
    elif action.name == "Swipe":
        element = page or first(kind="scrollbar")
    elif action.name == "Type":
        element = first(effect="focus")
    elif task.kind in ("toggle_on", "toggle_off", "is_on"):
        element = first(kind="toggle", concept=task.slot("setting"))
    elif task.kind == "alarm":
        element = first(kind="alarm", text=task.slot("time"))
    elif task.kind == "send":
        element = next((item for item in reversed(items) if item.kind == "bubble"), None)
    if (element is None and task.kind in ("open_app", "describe")) or action.name in ("Home", "Back"):
        element = first(kind="header")
    return element.centre if element else None


def looks(task: Task, state: State, action: Action) -> list[tuple[str, tuple[int, int]]]:
    """Pairs of words and a place: from these words of the answer on ("" for its start) the model should look there."""
    if task.kind != "describe" or state.view is not None:
        place = evidence(task, state, action)
        return [] if place is None else [("", place)]
    page = next(item for item in elements(state) if item.kind == "dot" and item.on)
    icons = [(named(id).name(task.lang), find(state, concept=id)) for id in state.look.pages[state.page][:2]]
    return [("", page.centre), *((name, icon.centre) for name, icon in icons if icon)]


def _record(task: Task, state: State, last: str, readable: bool, spoken: bool) -> dict[str, Any]:
    step = next_step(task, state, last=last, sees=readable)
    blind = next_step(task, state, last=last, sees=False)
    record = {
        "kind": task.kind,
        "lang": task.lang,
        "last": last,
        "text": task.text,
        "thinking": step.thinking,
        "action": format_action(step.action),
        "looks": looks(task, state, step.action) if readable else [],
        "blind": [blind.thinking, format_action(blind.action)],
    }
    return record | ({"utterance": wish_key(task)} if spoken else {})


def degrade(image: Image.Image, rng: np.random.Generator, readable: bool) -> tuple[np.ndarray, float]:
    """The screen as a camera or a bad line would deliver it, [224, 224, 3] uint8, and how spoilt it is, from 0 to 1."""
    pixels = np.asarray(image.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR), np.float32) / 255
    if readable and rng.random() < 0.7:
        return np.asarray(pixels * 255 + 0.5, np.uint8), 0.0
    sigma = rng.uniform(0.2, 1.2) if readable else rng.uniform(3.5, 14)
    noise = rng.uniform(0, 0.06)
    if not readable and rng.random() < 0.25:  # snow, or a black screen
        noise, pixels = rng.uniform(0.5, 1.5), pixels * (rng.random() < 0.5)
    soft = gaussian_blur(np.moveaxis(pixels, 2, 0).astype(np.float32), float(sigma))
    gain, shift = rng.uniform(0.8, 1.2), rng.uniform(-0.1, 0.1)
    spoilt = np.moveaxis(soft, 0, 2) * gain + shift + rng.normal(0, noise, pixels.shape)
    return np.asarray(np.clip(spoilt, 0, 1) * 255 + 0.5, np.uint8), float(sigma / (sigma + 4))
