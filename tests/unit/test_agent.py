"""The agent's loop: what it asks before, when it ends, and what it leaves behind."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autoglm_lab import SimulatedPhone, agent
from autoglm_lab.evaluation.own_words import wording_episodes
from autoglm_lab.evaluation.success import World, task_rate
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.screens import find
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
    [ended] = agent.run("log in", SimulatedPhone(1), Scripted('do(action="Take_over", message="log in")'))
    assert "nobody takes over" in ended.error and "log in" in ended.error


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


# whoever can be told of a bad answer may answer once more


class Remote(Scripted):
    """Reads history, as engines behind an address do, and answers with what a list says."""

    reads_history = True

    def answer(self, *task, history=(), **known):
        self.history = history
        return super().answer(*task, **known)


@pytest.mark.parametrize(("bad", "reason"), [('do(action="Fly")', "'Fly' is unknown"), ("I am stuck", "no action")])
def test_a_bad_answer_is_told_once(bad, reason):
    engine = Remote(bad, 'do(action="Launch", app="Chrome")', bad, END)
    done = agent.run("open Chrome", SimulatedPhone(1, lang="en"), engine)
    assert [step.error is None for step in done] == [False, True, False, True]
    assert [step.end for step in done] == ["", "", "", "finished: done"]
    assert reason in engine.history[0].result and engine.history[0].result.startswith("not done: ")
    twice = agent.run("open Chrome", SimulatedPhone(1, lang="en"), Remote(bad, bad, END))
    assert len(twice) == 2 and reason in twice[-1].end == twice[-1].error


def test_what_an_app_is_missing_is_said():
    engine = Remote(
        'do(action="Launch", app="Fortnite")', 'do(action="Launch", app="Chrome")', 'do(action="Launch", app="chrome")', END
    )
    agent.run("play", SimulatedPhone(1, lang="en"), engine)
    assert [turn.result for turn in engine.history] == [
        "there is no app 'Fortnite' on this phone",
        "the screen changed",
        "nothing changed",
    ]


# a phone that fails


class Failing(SimulatedPhone):
    """Fails at the look or the action of a number."""

    def __init__(self, *, look=None, act=None, error=None):
        super().__init__(1, lang="en")
        self.look, self.act, self.error = look, act, error or RuntimeError("phone a is gone")

    def screenshot(self):
        self.look = None if self.look is None else self.look - 1
        if self.look == -1:
            raise self.error
        return super().screenshot()

    def perform(self, action):
        self.act = None if self.act is None else self.act - 1
        if self.act == -1:
            raise self.error
        return super().perform(action)


CHROME, MAIL = 'do(action="Launch", app="Chrome")', 'do(action="Launch", app="Contacts")'


@pytest.mark.parametrize("error", [RuntimeError("phone a is gone"), OSError("phone a is gone")])
@pytest.mark.parametrize(("fails", "count"), [({"look": 0}, 1), ({"look": 2}, 3), ({"act": 0}, 1), ({"act": 1}, 2)])
def test_a_phone_that_fails_is_a_step_with_an_error(tmp_path, fails, count, error):
    done = agent.run("x", Failing(**fails, error=error), Remote(CHROME, MAIL, CHROME, END))
    assert len(done) == count and done[-1].error == done[-1].end == "phone a is gone"
    assert all(step.error is None and step.changed for step in done[:-1])
    assert (done[-1].screenshot is None) is ("look" in fails)
    agent.save_trace("x", done, tmp_path / "trace")
    assert json.loads((tmp_path / "trace" / "trace.json").read_text("utf-8"))["steps"][-1]["end"] == "phone a is gone"


def test_an_action_that_the_phone_cannot_do_is_told_once():
    engine = Remote(CHROME, 'do(action="Type", text="x")', MAIL, END)
    done = agent.run("x", Failing(act=1, error=ValueError("no key for x")), engine)
    assert [step.error for step in done] == [None, "no key for x", None, None]
    assert engine.history[1].result == "Type was not done: no key for x"
    [first, last] = agent.run("x", Failing(act=1, error=ValueError("no key for x")), Scripted(CHROME, MAIL, END))
    assert first.error is None and last.end == "no key for x"


def test_an_engine_that_goes_away_loses_no_step():
    class Gone(Remote):
        def answer(self, *task, **known):
            if not self.texts:
                raise ConnectionError("there is no answer")
            return super().answer(*task, **known)

    done = agent.run("x", SimulatedPhone(1, lang="en"), Gone(CHROME))
    assert [step.error for step in done] == [None, "there is no answer"]
    with pytest.raises(ConnectionError):
        agent.run("x", SimulatedPhone(1, lang="en"), Gone())


# circles


@pytest.mark.parametrize("circle", [[CHROME, MAIL], [CHROME, 'do(action="Home")'], [CHROME, MAIL, 'do(action="Home")']])
def test_two_or_three_actions_in_a_circle_are_noticed(circle):
    done = agent.run("x", SimulatedPhone(1, lang="en"), Remote(*circle * 9), max_steps=20)
    assert len(done) <= 2 * len(circle) + 2 and "going in circles" in done[-1].end
    assert all(action in done[-1].end for action in circle)
    assert not done[-1].changed


def test_a_switch_that_is_put_to_and_fro_is_a_circle():
    phone = SimulatedPhone(7, lang="en")
    phone.perform(Action("Launch", app="Settings"))
    x, y = find(phone.state, concept="bluetooth").centre
    done = agent.run("x", phone, Remote(*[f'do(action="Tap", element=[{x},{y}])'] * 9), max_steps=9)
    assert len(done) == 5 and "going in circles" in done[-1].end


def test_a_circle_of_places_that_are_a_little_off_is_one():
    """A model reads coordinates off a picture: no two taps are quite alike."""
    rng = np.random.default_rng(0)
    texts = []
    for number in range(12):
        left, right = rng.integers(840, 860), rng.integers(140, 160)
        start, end = (left, right) if number % 2 == 0 else (right, left)
        texts.append(f'do(action="Swipe", start=[{start},{rng.integers(495, 506)}], end=[{end},500])')
    done = agent.run("open nothing", SimulatedPhone(1, lang="en"), Remote(*texts), max_steps=12)
    assert len(done) == 5 and "going in circles" in done[-1].end


def test_an_evaluation_stops_where_the_agent_would():
    class Swiping:
        def answer_many(self, requests):
            way = ("[850,500], end=[150,500]", "[150,500], end=[850,500]")
            return [Answer.read(f'do(action="Swipe", start={way[len(one.steps) % 2]})', 1, {}) for one in requests]

    runs = wording_episodes(World(0), 3)
    assert task_rate(Swiping(), runs, most_steps=12).rate == 0
    assert all(run.over and not run.claimed and len(run.steps) <= 4 for run in runs if run.phone.state.app is None)


def test_the_same_actions_on_new_screens_are_no_circle():
    class Feed(SimulatedPhone):
        swipes = 0

        def screenshot(self):
            picture = super().screenshot()
            picture.putpixel((100 + self.swipes, 600), (255, 0, 0))
            return picture

        def perform(self, action):
            self.swipes += action.name == "Swipe"
            return action.name == "Swipe"

    texts = ['do(action="Swipe", start=[500,800], end=[500,300])', 'do(action="Wait", duration="1 seconds")'] * 8
    assert agent.run("x", Feed(1), Remote(*texts, END), max_steps=20)[-1].end == "finished: done"


def test_a_person_is_not_asked_for_ever():
    count = []
    done = agent.run(
        "x",
        SimulatedPhone(1),
        Scripted(*['do(action="Take_over", message="log in")'] * 30),
        max_steps=30,
        take_over=lambda message: count.append(1) or True,
    )
    assert len(count) == 3 and len(done) == 4 and "log in" in done[-1].error == done[-1].end
    assert [step.end for step in done[:-1]] == ["", "", ""]
    shorter = agent.run(
        "x",
        SimulatedPhone(1),
        Scripted(*['do(action="Take_over", message="log in")'] * 2),
        max_steps=2,
        take_over=lambda message: True,
    )
    assert shorter[-1].end == "gave up after 2 steps"


def test_an_agent_needs_a_step():
    with pytest.raises(ValueError, match="max_steps is 0"):
        agent.run("x", SimulatedPhone(1), Scripted(END), max_steps=0)


ANSWERS = st.sampled_from(
    [
        CHROME,
        MAIL,
        'do(action="Home")',
        'do(action="Tap", element=[500,500])',
        'do(action="Type", text="x")',
        'do(action="Take_over", message="log in")',
        'do(action="Fly")',
        "words",
        SENSITIVE,
        END,
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANSWERS, min_size=16, max_size=16), st.booleans(), st.sampled_from([None, 0, 1, 3]), st.booleans())
def test_every_run_ends_and_says_why(texts, told, fails, agrees):
    phone = Failing(act=fails)
    phone.size = (64, 140)
    done = agent.run("x", phone, (Remote if told else Scripted)(*texts), confirm=lambda *_: agrees, take_over=lambda _: agrees)
    assert done and done[-1].end and not any(step.end for step in done[:-1])
    last = done[-1]
    assert (last.error is None) is (last.action is not None and last.action.name == "finish")
    assert last.error in (None, last.end)
