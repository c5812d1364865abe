"""Requests to engines: one record, whoever asks."""

from dataclasses import FrozenInstanceError, fields
from inspect import signature

import pytest

from autoglm_lab.edge.hybrid.engine import HybridEngine
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.runtime.engine import Answer, Engine, Request, Stream, Turn, ask
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.runtime.sampling import Sampling
from autoglm_lab.serve.client import RemoteEngine


class Echo(Engine):
    """Says what it was asked."""

    def stream(self, request):
        self.request = request
        return Stream(iter([Answer.read("do(action='Home')", 1, {})]))


class Own:
    """An engine of somebody who knows nothing of requests."""

    def answer(self, task, picture, sound, **given):
        self.given = (task, picture, sound, given)
        return Stream(iter([Answer.read('do(action="Home")', 1, {})]))


def test_an_answer_is_asked_by_a_request():
    engine, sampling = Echo(), Sampling(0.5, 0.9)
    history = (Turn("Chrome", "do()", "nothing changed"),)
    engine.answer("a", "b", "c", current_app="d", last="e", think=True, max_new_tokens=7, sampling=sampling, history=history)
    assert engine.request == Request("a", "b", "c", "d", "e", True, 7, sampling, history)
    engine.answer()
    assert engine.request == Request()


def test_the_arguments_of_an_answer_are_the_parts_of_a_request():
    arguments = {name: each.default for name, each in signature(Engine.answer).parameters.items() if name != "self"}
    assert arguments == {each.name: each.default for each in fields(Request)}
    assert all(engine.answer is Engine.answer for engine in (TorchEngine, OnnxEngine, RemoteEngine, HybridEngine))


def test_an_engine_is_told_what_it_can_read():
    engine, turns = Own(), (Turn("Chrome", "do()", "nothing changed"),)
    assert ask(engine, Request("a", "b", "c", "d", history=turns)).answer.action.name == "Home"
    assert engine.given == ("a", "b", "c", {"current_app": "d", "last": "", "think": False})
    engine.reads_history = True
    ask(engine, Request("a", max_new_tokens=9, sampling=Sampling(1.0), history=turns))
    known = {"current_app": "System Home", "last": "", "think": False}
    assert engine.given[3] == known | {"max_new_tokens": 9, "sampling": Sampling(1.0), "history": turns}


def test_a_request_does_not_change():
    with pytest.raises(FrozenInstanceError):
        Request("a").task = "b"
