"""Preparing in advance on a real engine: the answer is the same, nothing is performed, nothing is done twice, and it ends."""

import threading
import time
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from autoglm_lab.edge.intent.costs import measure, reading_requests
from autoglm_lab.edge.intent.foresight import Request, foresee
from autoglm_lab.edge.intent.precompute import Precomputer
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import kept, sample
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.runtime.sampling import Sampling

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def engine(tiny_bundle):
    return OnnxEngine(tiny_bundle, threads=1)


@pytest.fixture(scope="module")
def requests():
    return reading_requests(4)


def plain(engine, request):
    return engine.answer(request.task, request.picture, current_app=request.current_app, last=request.last).answer


class SlowEngine:
    """An engine whose units of work wait for a sign, and that notes which are done."""

    def __init__(self):
        self.units, self.gate, self.began = [], threading.Event(), threading.Event()
        self.error = None

    def prepare(self, task="", image=None, *, current_app="", last=""):
        self.units.append(("prepare", task, threading.current_thread().name))
        if threading.current_thread().name == "precompute":
            self.began.set()
            assert self.gate.wait(PATIENCE_S)
            if self.error:
                raise self.error
        return task

    def prefill(self, asked):
        self.units.append(("prefill", asked, threading.current_thread().name))
        return asked

    def write(self, asked):
        return f"answer to {asked}"

    def of(self, unit):
        return [task for name, task, _ in self.units if name == unit]


def wish(task, shade=0):
    return Request(task, np.full((4, 4, 3), shade, np.uint8))


# The engine


@pytest.mark.parametrize("manner", [{}, {"grammar": True}, {"speculate": False}, {"grammar": True, "speculate": False}])
@pytest.mark.parametrize("think", [False, True])
def test_an_answer_after_prefill_is_the_one_without(engine, requests, manner, think):
    writing = engine.writing(**manner)
    for request in requests[:2]:
        asks = {"current_app": request.current_app, "last": request.last, "think": think, "max_new_tokens": 48}
        without = writing.answer(request.task, request.picture, **asks).answer
        prepared = writing.prefill(writing.prepare(request.task, request.picture, **asks))
        answer = writing.write(prepared).answer
        assert answer.text == without.text and answer.tokens == without.tokens
        assert writing.write(prepared).answer.text == without.text, "what was read is used once, then the prompt is read again"


def test_a_draw_by_chance_is_the_same_after_prefill(engine, requests):
    sampling, first = Sampling(temperature=1.5, seed=7), requests[0]
    writing = engine.writing(speculate=False)
    asks = {"current_app": first.current_app, "sampling": sampling, "max_new_tokens": 24}
    without = writing.answer(first.task, first.picture, **asks).answer.text
    assert writing.write(writing.prefill(writing.prepare(first.task, first.picture, **asks))).answer.text == without


def test_prefill_reads_the_prompt_and_needs_no_prepare(engine):
    asked = engine.prepare("open Settings")
    asked.states = None
    answer = engine.write(engine.prefill(asked)).answer
    assert answer.text == engine.answer("open Settings").answer.text
    assert answer.ms["prefill"] > 0 and answer.prompt_tokens > 0


def test_an_answer_in_one_call_has_no_place_to_stop(tiny_bundle, engine):
    from autoglm_lab.runtime import onnx_engine

    class OneCall(onnx_engine.OnnxEngine):
        def __init__(self):
            self.sessions = {"answer": None}

    with pytest.raises(ValueError, match="without one_call"):
        OneCall().prefill(engine.prepare("open Settings"))


# What may be foreseen


def test_foreseeing_performs_nothing_and_shows_the_real_screen():
    phone = SimulatedPhone(1)
    before = deepcopy(phone.state)
    task = sample(phone.state, np.random.default_rng(1), kind="search")
    history = []
    while (action := next_step(task, phone.state, history=history).action).name != "finish":
        request = foresee(task.text, phone, action, history, memory=2)
        assert phone.state == before, "a prediction acts on a copy"
        history.append((action.name, phone.perform(action)))
        before = deepcopy(phone.state)
        assert request is not None and request.equals(Request.of(task.text, phone, history, 2))
    assert len(history) > 3 and foresee(task.text, phone, action) is None


@pytest.mark.parametrize("kind", ["toggle_on", "toggle_off", "send", "alarm"])
def test_no_screen_behind_a_lasting_change_is_foreseen(kind):
    """A prefetched "log out" logs out: whatever leaves something behind is never run ahead."""
    refused = 0
    for seed in range(6):
        phone = SimulatedPhone(seed)
        task, history = sample(phone.state, np.random.default_rng(seed), kind=kind), []
        while (action := next_step(task, phone.state, history=history).action).name != "finish":
            before = deepcopy(kept(phone.state))
            request = foresee(task.text, phone, action, history)
            assert kept(phone.state) == before
            history.append((action.name, phone.perform(action)))
            assert (request is None) == (kept(phone.state) != before)
            refused += request is None
    assert refused > 0


def test_handing_over_is_not_foreseen():
    assert foresee("pay", SimulatedPhone(0), Action("Take_over", message="your password")) is None


# Preparing


def test_what_is_ready_gives_the_same_answer(engine, requests):
    with Precomputer(engine) as precomputer:
        for request in requests:
            precomputer.expect([request])
            precomputer.wait()
            answer = precomputer.answer(request).answer
            assert answer.text == plain(engine, request).text
        assert precomputer.counts == {"ready": len(requests)} and precomputer.wasted_ms == 0


@pytest.mark.parametrize("change", ["a pixel", "a word", "the app", "the memory"])
def test_what_was_prepared_is_dropped_when_anything_differs(engine, requests, change):
    real = requests[0]
    picture = real.picture.copy()
    picture[100:140, 100:140] = 255 - picture[100:140, 100:140]
    guess = {
        "a pixel": replace(real, picture=picture),
        "a word": replace(real, task=f"{real.task}!"),
        "the app": replace(real, current_app="Chrome"),
        "the memory": replace(real, last=f"{real.last}="),
    }[change]
    with Precomputer(engine) as precomputer:
        precomputer.expect([guess])
        precomputer.wait()
        answer = precomputer.answer(real).answer
        assert answer.text == plain(engine, real).text
        assert precomputer.counts == {"plain": 1, "dropped": 1} and precomputer.wasted_ms > 0
        assert precomputer.answer(guess).answer.text == plain(engine, guess).text
        assert precomputer.counts["ready"] == 0, "what was dropped does not come back"


def test_one_pixel_is_enough_to_differ():
    one_pixel = wish("a").picture.copy()
    one_pixel[3, 3, 2] = 1
    assert not wish("a").equals(Request("a", one_pixel))
    assert wish("a").equals(wish("a")) and not wish("a").equals(wish("a", 1)) and not wish("a").equals(wish("b"))
    assert not wish("a").equals(Request("a", np.zeros((4, 5, 3), np.uint8)))


def test_a_click_on_what_is_under_way_waits_for_it_and_does_it_once():
    """A prefetch beside the click that it foresaw must not fetch twice."""
    engine = SlowEngine()
    with Precomputer(engine) as precomputer:
        precomputer.expect([wish("a")])
        assert engine.began.wait(PATIENCE_S)
        threading.Timer(0.05, engine.gate.set).start()
        assert precomputer.answer(wish("a")) == "answer to a"
        assert engine.of("prepare") == ["a"] and engine.of("prefill") == ["a"]
        assert precomputer.counts == {"running": 1}


def test_what_has_not_begun_is_done_at_once_and_not_again_behind():
    engine = SlowEngine()
    with Precomputer(engine) as precomputer:
        precomputer.expect([wish("a"), wish("b")])
        assert engine.began.wait(PATIENCE_S)
        assert precomputer.answer(wish("b")) == "answer to b", "it does not queue behind a wrong guess"
        engine.gate.set()
        precomputer.wait()
        assert sorted(engine.of("prepare")) == ["a", "b"] and engine.of("prefill") == [], "the wrong guess stops after its unit"
        assert precomputer.counts == {"plain": 1, "dropped": 2}


def test_at_most_two_are_prepared_the_likeliest_first():
    engine = SlowEngine()
    engine.gate.set()
    with Precomputer(engine) as precomputer:
        precomputer.expect([wish("a"), wish("a"), wish("b"), wish("c")])
        precomputer.wait()
        assert engine.of("prefill") == ["a", "b"]
        precomputer.expect([wish("b"), wish("d")])
        precomputer.wait()
        assert engine.of("prefill") == ["a", "b", "d"], "what is still expected is not prepared anew"
        assert precomputer.counts == {"dropped": 1}
    with pytest.raises(ValueError, match="1 request or more"):
        Precomputer(engine, most=0)


def test_a_new_expectation_stops_what_runs():
    engine = SlowEngine()
    with Precomputer(engine) as precomputer:
        precomputer.expect([wish("a")])
        assert engine.began.wait(PATIENCE_S)
        precomputer.expect([wish("b")])
        engine.gate.set()
        precomputer.wait()
        assert engine.of("prepare") == ["a", "b"] and engine.of("prefill") == ["b"]
        assert precomputer.answer(wish("b")) == "answer to b" and precomputer.counts == {"dropped": 1, "ready": 1}


def test_a_guess_that_fails_is_no_error_of_the_real_request():
    engine = SlowEngine()
    engine.error = ValueError("no such screen")
    engine.gate.set()
    with Precomputer(engine) as precomputer:
        precomputer.expect([wish("a")])
        precomputer.wait()
        assert precomputer.answer(wish("a")) == "answer to a" and precomputer.counts == {"plain": 1, "dropped": 1}
        engine.error = None
        precomputer.expect([wish("b")])
        precomputer.wait()
        assert precomputer.answer(wish("b")) == "answer to b" and precomputer.counts["ready"] == 1, "the thread goes on"


def test_an_error_while_it_is_waited_for_is_no_error_either():
    engine = SlowEngine()
    engine.error = RuntimeError("out of memory")
    with Precomputer(engine) as precomputer:
        precomputer.expect([wish("a")])
        assert engine.began.wait(PATIENCE_S)
        threading.Timer(0.05, engine.gate.set).start()
        assert precomputer.answer(wish("a")) == "answer to a" and precomputer.counts == {"plain": 1, "dropped": 1}


def test_it_ends_at_shutdown_and_answers_plainly_afterwards():
    engine = SlowEngine()
    precomputer = Precomputer(engine)
    precomputer.expect([wish("a"), wish("b")])
    assert engine.began.wait(PATIENCE_S)
    threading.Timer(0.05, engine.gate.set).start()
    precomputer.close()
    assert "precompute" not in {thread.name for thread in threading.enumerate()}
    assert engine.of("prepare") == ["a"] and engine.of("prefill") == [], "nothing is begun after the flag"
    assert precomputer.answer(wish("a")) == "answer to a"
    with pytest.raises(RuntimeError, match="closed"):
        precomputer.expect([wish("a")])
    precomputer.close()


def test_what_is_ready_outlives_the_encoder_that_is_dropped(tiny_bundle, requests):
    """An engine that unloads what lay idle must not lose what was prepared."""
    lazy = OnnxEngine(tiny_bundle, threads=1, lazy=0.05)
    with Precomputer(lazy) as precomputer:
        precomputer.expect(requests[:1])
        precomputer.wait()
        time.sleep(0.1)
        lazy.sessions.sweep()
        assert "image" not in lazy.sessions.open
        answer = precomputer.answer(requests[0])
        text = answer.answer.text
        assert "image" not in lazy.sessions.open, "nothing was encoded again"
        assert precomputer.counts == {"ready": 1} and text == plain(lazy, requests[0]).text


def test_many_real_requests_beside_many_guesses(engine, requests):
    texts = [plain(engine, request).text for request in requests]
    rng = np.random.default_rng(0)
    with Precomputer(engine) as precomputer:
        for _ in range(24):
            real = int(rng.integers(len(requests)))
            precomputer.expect([requests[int(n)] for n in rng.permutation(len(requests))[:2]])
            time.sleep(float(rng.choice([0, 0.002, 0.02])))
            assert precomputer.answer(requests[real]).answer.text == texts[real]
        assert sum(precomputer.counts[each] for each in ("ready", "running", "plain")) == 24
        precomputer.wait()
        assert precomputer.counts["dropped"] + precomputer.counts["ready"] + precomputer.counts["running"] == 48


# Costs


def test_costs_are_means_over_requests_of_what_the_clock_says(engine):
    costs = measure(engine, count=3, runs=1)
    assert costs.requests == 3 and 0 < costs.hit.mean < costs.plain.mean
    assert costs.saving.mean == pytest.approx(costs.plain.mean - costs.hit.mean)
    assert costs.delay.mean == pytest.approx(costs.busy.mean - costs.plain.mean)
    assert costs.saving.low <= costs.saving.mean <= costs.saving.high and costs.work.mean > 0
    for count, runs in ((1, 1), (3, 0)):
        with pytest.raises(ValueError, match="two requests or more"):
            measure(engine, count, runs)
