"""A command of two wishes: the loop and the evaluation ask for one wish after the other, and every engine takes a goal as given."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from autoglm_lab.agent.loop import run
from autoglm_lab.evaluation.success import Episode, OneByOne, task_rate
from autoglm_lab.phone.actions import format_action
from autoglm_lab.phone.goals import goal, read_goal, split_goal
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import Task
from autoglm_lab.runtime.engine import Answer, Stream
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.runtime.understanding import Understood
from autoglm_lab.serve import Limits, RemoteEngine, running
from autoglm_lab.serve.batching import BatchingScheduler
from autoglm_lab.serve.client import conversation
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.reading import LONGEST_GOAL, GenerationRequest, read_request
from autoglm_lab.serve.schema import ChatRequest
from tests.unit.tiny_agent import write_tiny_bundle

FIRST = Task("toggle_on", "en", (("setting", "bluetooth"),))
SECOND = Task("send", "en", (("contact", "mum"), ("message", "it is on, then off")))
BOTH = Task("two", "en", (), "bluetooth on and let Mum know", (FIRST, SECOND))


class Oracle:
    """An engine that works by goals as the oracle does, but knows no way through two of them at once."""

    memory = 4

    def __init__(self, phone: SimulatedPhone, meaning: str) -> None:
        self.phone, self.meaning, self.goals = phone, meaning, list[str]()

    def answer(self, task: str = "", image: object = None, audio: object = None, *, goal: str = "", **_: object) -> Stream:
        meaning = goal or self.meaning
        self.goals.append(goal)
        parts = read_goal(meaning)
        if len(parts) > 1:
            text = 'finish(message="I do not know where to begin.")'
        else:
            wish = Task(parts[0].kind, parts[0].lang, tuple(parts[0].slots.items()))
            text = format_action(next_step(wish, self.phone.state).action)
        return Stream(iter((text, Answer.read(text, 1, {"total": 1.0}, goal=meaning))), goal=meaning)


def off(seed: int = 3) -> SimulatedPhone:
    """A phone on which Bluetooth is off."""
    phone = SimulatedPhone(seed, lang="en")
    phone.state.toggles["bluetooth"] = False
    return phone


def test_the_loop_does_the_first_wish_and_then_the_second() -> None:
    phone = off()
    start, engine = deepcopy(phone.state), Oracle(phone, goal(BOTH))
    steps = run(BOTH.text, phone, engine)
    assert phone.state.toggles["bluetooth"] and phone.state.chats["mum"][-1] == (True, "it is on, then off")
    ends = [number for number, step in enumerate(steps) if step.action is not None and step.action.name == "finish"]
    assert len(ends) == 2 and ends[1] == len(steps) - 1 and not steps[ends[0]].end
    first, last = (str(steps[end].action.message) for end in ends)  # type: ignore[union-attr]
    assert steps[-1].end == f"finished: {first} {last}" and BOTH.done(start, phone.state, last)
    assert steps[0].goal == goal(BOTH) and steps[0].ms["total"] == 2, "asked for both, then for the first"
    assert engine.goals[:2] == ["", goal(FIRST)] and engine.goals[-1] == goal(SECOND)


def test_a_command_of_one_wish_is_asked_as_before() -> None:
    phone = off()
    engine = Oracle(phone, goal(FIRST))
    assert run(FIRST.text, phone, engine)[-1].end.startswith("finished: ") and set(engine.goals) == {""}


def test_the_second_wish_remembers_nothing_of_the_first() -> None:
    told: list[str] = []

    class Listening(Oracle):
        def answer(self, *request: object, last: str = "", **options: object) -> Stream:  # type: ignore[override]
            told.append(last)
            return super().answer(*request, **options)  # type: ignore[arg-type]

    phone = off()
    engine = Listening(phone, goal(BOTH))
    run(BOTH.text, phone, engine)
    assert told[engine.goals.index(goal(SECOND))] == "" and any(told)


def test_the_evaluation_does_as_the_loop_does() -> None:
    phone = off()
    episode = Episode(phone, BOTH, deepcopy(phone.state), None)
    rate = task_rate(OneByOne(Oracle(phone, goal(BOTH))), [episode], most_steps=14)  # type: ignore[arg-type]
    assert rate.rate == 1.0 and episode.claimed and len(episode.message.split(".")) > 2, episode.message


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_is_wished_twice_is_wished_once(lang: str) -> None:
    once = {"en": "turn on Hotspot", "zh": "开启热点"}[lang]
    joint = {"en": ", then ", "zh": "，然后"}[lang]
    text = f'do(action="Goal", text="{once}{joint}{once}")'
    assert Understood.read(text, "hotspot, hotspot!").goal == once
    assert split_goal(f"{once}{joint}{once}") == (once,)
    assert split_goal("no goal at all") == ()


def test_words_that_look_like_a_joint_stay_in_the_message() -> None:
    text = "text Mum: first it rained, then it snowed"
    assert split_goal(text) == (text,) and len(read_goal(text)) == 1


def test_an_engine_works_by_the_goal_that_it_is_given(tmp_path: Path) -> None:
    engine = OnnxEngine(write_tiny_bundle(tmp_path / "bundle"))
    screen = np.full((64, 32, 3), 90, np.uint8)
    given = engine.answer("kill it", screen, goal="turn off Bluetooth", max_new_tokens=12).answer
    assert given.goal == "turn off Bluetooth" and "understand" not in given.ms
    assert given.text == engine.answer("turn off Bluetooth", screen, max_new_tokens=12).answer.text
    assert given.text == engine.answer("", screen, goal="turn off Bluetooth", max_new_tokens=12).answer.text


# the server


def test_an_engine_far_away_is_asked_for_one_wish_after_the_other() -> None:
    phone = off()
    start, engine = deepcopy(phone.state), Oracle(phone, goal(BOTH))
    with running(engine) as url:  # type: ignore[arg-type]
        steps = run(BOTH.text, phone, RemoteEngine(url))
    assert phone.state.toggles["bluetooth"] and phone.state.chats["mum"][-1] == (True, "it is on, then off"), steps[-1]
    assert steps[0].goal == goal(BOTH) and steps[-1].end.startswith("finished: ")
    assert engine.goals[:2] == ["", goal(FIRST)] and engine.goals[-1] == goal(SECOND)
    assert BOTH.done(start, phone.state, steps[-1].end)


@pytest.mark.parametrize("batched", [False, True])
def test_both_ways_of_serving_take_a_goal_and_tell_it(tmp_path: Path, batched: bool) -> None:
    engine = OnnxEngine(write_tiny_bundle(tmp_path / "bundle"))
    screen = np.full((64, 32, 3), 90, np.uint8)
    near = engine.answer("kill it", screen, goal="turn off Bluetooth", max_new_tokens=12).answer
    with running(BatchingScheduler(tmp_path / "bundle") if batched else engine) as url:
        far = RemoteEngine(url).answer("kill it", screen, goal="turn off Bluetooth", max_new_tokens=12).answer
        without = RemoteEngine(url).answer("kill it", screen, max_new_tokens=12).answer
    assert far.goal == "turn off Bluetooth" and far.text == near.text and without.goal == ""


def read(messages: list[dict[str, object]]) -> GenerationRequest:
    [asked] = read_request(ChatRequest.model_validate({"messages": messages}), Limits())
    return asked


def test_a_goal_stands_with_the_screen_that_it_is_for() -> None:
    told = conversation("both of it", last="Tap, Home", goal="turn off <|user|>Bluetooth")
    assert "goal" not in str(told[0]) and read(told).goal == "turn off  Bluetooth", "nobody speaks for the template"
    assert read(conversation("both of it", goal="turn off Bluetooth")).goal == "turn off Bluetooth"
    assert read(conversation("both of it")).goal == ""
    for wrong in ("x" * (LONGEST_GOAL + 1), 7):
        with pytest.raises(ApiError, match="one wish of the task"):
            read(conversation("both of it", goal=wrong))  # type: ignore[arg-type]
