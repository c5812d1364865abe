"""The agent's loop: what it asks before, when it ends, and what it leaves behind."""

import json

import numpy as np
import pytest
from PIL import Image

from autoglm_lab import SimulatedPhone, agent
from autoglm_lab.phone.actions import Action
from autoglm_lab.runtime.engine import Answer, Stream


class Scripted:
    """Gives the answers of a list, and remembers what it was asked."""

    def __init__(self, *texts):
        self.texts, self.asked = list(texts), []

    def answer(self, task="", image=None, audio=None, *, current_app="", last="", **_):
        self.asked.append((task, current_app, last))
        text = self.texts.pop(0)
        return Stream(iter([text, Answer.read(text, 1, {"total": 1.0})]))


SENSITIVE = 'do(action="Tap", element=[500,500], message="pay 30")'
END = 'finish(message="done")'


def test_each_turn_knows_the_action_before():
    engine = Scripted('do(action="Launch", app="Chrome")', 'do(action="Home")', END)
    done = agent.run("open Chrome", SimulatedPhone(1, lang="en"), engine)
    assert [last for _, _, last in engine.asked] == ["", "Launch", "Home"]
    assert done[-1].error is None and done[-1].action.name == "finish"


@pytest.mark.parametrize(("confirm", "done"), [(None, False), (lambda *_: False, False), (lambda *_: True, True)])
def test_what_is_sensitive_is_done_only_when_somebody_agrees(confirm, done):
    class Counting(SimulatedPhone):
        performed = 0

        def perform(self, action):
            self.performed += 1
            return super().perform(action)

    phone = Counting(1)
    last = agent.run("pay", phone, Scripted(SENSITIVE, END), confirm=confirm)[-1]
    assert phone.performed == (1 if done else 0)
    assert (last.error is None) is done
    if not done:
        assert "pay 30" in last.error


def test_the_call_back_sees_what_it_agrees_to():
    seen = []
    phone = SimulatedPhone(1)
    agent.run("pay", phone, Scripted(SENSITIVE, END), confirm=lambda action, screen: seen.append((action, screen)) or True)
    [(action, screen)] = seen
    assert action == Action("Tap", element=(500, 500), message="pay 30") and isinstance(screen, Image.Image)


def test_a_person_takes_over_and_the_agent_goes_on():
    told = []
    engine = Scripted('do(action="Take_over", message="log in")', END)
    done = agent.run("log in", SimulatedPhone(1), engine, take_over=lambda message: told.append(message) or True)
    assert told == ["log in"] and [step.action.name for step in done] == ["Take_over", "finish"]
    assert engine.asked[1][2] == "Take_over"
    ended = agent.run("log in", SimulatedPhone(1), Scripted('do(action="Take_over", message="log in")'))
    assert len(ended) == 1


def test_what_does_not_parse_is_a_failure_and_ends_the_run():
    [only] = agent.run("x", SimulatedPhone(1), Scripted('do(action="Fly")'))
    assert only.action is None and "Fly" in only.error


def test_it_does_not_run_in_circles():
    engine = Scripted(*['do(action="Tap", element=[1,1])'] * 9)
    done = agent.run("x", SimulatedPhone(1), engine)
    assert len(done) == 3 and "changed nothing" in done[-1].error


def test_a_trace_holds_every_step(tmp_path):
    done = agent.run("open Chrome", SimulatedPhone(1, lang="en"), Scripted('think first do(action="Launch", app="Chrome")', END))
    agent.save_trace("open Chrome", done, tmp_path / "trace")
    told = json.loads((tmp_path / "trace" / "trace.json").read_text("utf-8"))
    assert told["task"] == "open Chrome"
    assert [step["action"] for step in told["steps"]] == ['do(action="Launch", app="Chrome")', END]
    assert told["steps"][0]["thinking"] == "think first"
    screen = np.asarray(Image.open(tmp_path / "trace" / told["steps"][1]["screen"]))
    assert (screen == np.asarray(done[1].screenshot)).all()
    assert (tmp_path / "trace" / "filmstrip.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="no step"):
        agent.save_trace("x", [], tmp_path / "none")


def test_an_engine_that_reads_history_is_told_what_came_of_each_turn():
    histories = []

    class Reading(Scripted):
        reads_history = True

        def answer(self, *given, history=(), **known):
            histories.append(history)
            return super().answer(*given, **known)

    engine = Reading(
        'do(action="Launch", app="Chrome")', 'do(action="Tap", element=[1,1])', 'do(action="Take_over", message="log in")', END
    )
    agent.run("open Chrome", SimulatedPhone(1, lang="en"), engine, take_over=lambda message: True)
    *earlier, last = histories
    assert earlier == [last[:count] for count in range(3)]
    assert [turn.result for turn in last] == ["the screen changed", "nothing changed", "a person took over"]
    assert [turn.app for turn in last] == ["System Home", "Chrome", "Chrome"] and last[1].said == 'do(action="Tap", element=[1,1])'
