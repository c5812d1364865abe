"""Every engine understands a command once, tells what it understood, and types what was said; weights of chance, in ONNX."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import openai
import pytest

from autoglm_lab.agent.loop import run
from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.bundle import MANIFEST, Bundle
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.serve.batching import BatchingScheduler
from autoglm_lab.serve.server import running
from tests.unit.tiny_agent import write_tiny_bundle

SCREEN = np.full((64, 32, 3), 90, np.uint8)
GOAL = format_action(Action("Goal", text="text Mum: on my way"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"understands": True}))
    return folder


@pytest.fixture
def engine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> OnnxEngine:
    """An engine that understands everything as one goal, and counts how often it was asked."""
    engine = OnnxEngine(bundle)
    engine.read = []  # type: ignore[attr-defined]

    def read(task: str, audio: object) -> tuple[str, float]:
        engine.read.append(task)  # type: ignore[attr-defined]
        return GOAL if "kill" not in task else 'finish(message="I cannot do that.")', 1.0

    monkeypatch.setattr(engine, "_read_command", read)
    return engine


def test_a_bundle_says_whether_it_understands(bundle: Path, tmp_path: Path) -> None:
    assert Bundle.open(bundle).understands and not Bundle.open(write_tiny_bundle(tmp_path / "old")).understands
    manifest = json.loads((bundle / MANIFEST).read_text())
    (tmp_path / "old" / MANIFEST).write_text(json.dumps(manifest | {"understands": "yes"}))
    with pytest.raises(ValueError, match="understands is no bool"):
        Bundle.open(tmp_path / "old")


def test_an_answer_is_that_to_the_goal(engine: OnnxEngine, bundle: Path) -> None:
    answer = engine.answer("Tell Mum: On MY way", SCREEN, max_new_tokens=12).answer
    assert answer.goal == "text Mum: On MY way" and answer.ms["understand"] >= 0
    plain = OnnxEngine(bundle)
    plain.bundle = replace(plain.bundle, understands=False)
    assert plain.answer("text Mum: On MY way", SCREEN, max_new_tokens=12).answer.text == answer.text


def test_a_command_is_understood_once_however_often_it_is_asked(engine: OnnxEngine) -> None:
    for _ in range(3):
        engine.answer("tell Mum on my way", SCREEN, max_new_tokens=4).answer  # noqa: B018
    sound = np.ones(8000, np.float32)
    for _ in range(2):
        engine.answer("", SCREEN, sound, max_new_tokens=4).answer  # noqa: B018
    assert engine.read == ["tell Mum on my way", ""]  # type: ignore[attr-defined]
    assert "understand" not in engine.answer("tell Mum on my way", SCREEN, max_new_tokens=4).answer.ms
    engine.forget()
    assert "understand" in engine.answer("tell Mum on my way", SCREEN, max_new_tokens=4).answer.ms
    assert len(engine.read) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("think", [False, True])
def test_what_is_declined_needs_no_look_at_the_screen(engine: OnnxEngine, think: bool) -> None:
    answer = engine.answer("kill it", SCREEN, think=think).answer
    assert answer.action == Action("finish", message="I cannot do that.") and {*answer.ms} == {"understand", "total"}
    steps = run("kill it", SimulatedPhone(1), engine, think=think)
    assert [step.end for step in steps] == ["finished: I cannot do that."]


@pytest.mark.parametrize("options", [{}, {"speculate": False}, {"grammar": True}])
def test_what_is_typed_is_what_was_said(bundle: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]) -> None:
    """A model that wants to type nonsense, made to: its answer starts with `Type`."""
    engine = OnnxEngine(bundle, **options)
    monkeypatch.setattr(engine, "_read_command", lambda task, audio: (GOAL, 1.0))
    opener = engine.tokenizer.encode('do(action="Type", text="', add_special_tokens=False).ids
    from autoglm_lab.runtime import constraints

    allowed = constraints.Typing.allowed

    def begun(self: constraints.Typing, written: list[int]) -> list[int] | None:
        return [opener[len(written)]] if len(written) < len(opener) else allowed(self, written)

    monkeypatch.setattr(constraints.Typing, "allowed", begun)
    answer = engine.answer("Tell Mum: On MY way", SCREEN).answer
    assert answer.action == Action("Type", text="On MY way")


def test_commands_are_read_by_the_graphs(bundle: Path) -> None:
    """Nothing patched: weights of chance understand nothing, which is said, in the language of the command."""
    for options in ({}, {"speculate": False}, {"grammar": True}):
        engine = OnnxEngine(bundle, **options)
        texts = [engine._read_command(text, None) for text in ("turn it off", "关掉它")]
        assert texts == [OnnxEngine(bundle, **options)._read_command(text, None) for text in ("turn it off", "关掉它")]
        said = engine.answer("turn it off", SCREEN, max_new_tokens=16).answer
        assert said.goal or (said.action is not None and said.action.name == "finish")


def test_a_prepared_answer_and_one_that_was_read_ahead_are_the_same(engine: OnnxEngine) -> None:
    for command in ("tell Mum on my way", "kill it"):
        plain = engine.answer(command, SCREEN, max_new_tokens=12).answer
        assert engine.write(engine.prepare(command, SCREEN, max_new_tokens=12)).answer.text == plain.text
        assert engine.write(engine.prefill(engine.prepare(command, SCREEN, max_new_tokens=12))).answer.text == plain.text


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_server_declines_and_answers(bundle: Path, monkeypatch: pytest.MonkeyPatch, batched: bool, stream: bool) -> None:
    def read(self: OnnxEngine, task: str, audio: object) -> tuple[str, float]:
        return GOAL if "kill" not in task else 'finish(message="I cannot do that.")', 1.0

    monkeypatch.setattr(OnnxEngine, "_read_command", read)
    with running(BatchingScheduler(bundle) if batched else OnnxEngine(bundle)) as url:
        client = openai.OpenAI(base_url=url, api_key="x", max_retries=0)

        def ask(text: str) -> str:
            asked = {"model": "any", "max_tokens": 12, "messages": [{"role": "user", "content": text}]}
            if not stream:
                return str(client.chat.completions.create(**asked).choices[0].message.content)  # type: ignore[call-overload]
            parts = client.chat.completions.create(**asked, stream=True)  # type: ignore[call-overload]
            return "".join(part.choices[0].delta.content or "" for part in parts if part.choices)

        assert ask("kill it") == 'finish(message="I cannot do that.")'
        whole = OnnxEngine(bundle).answer("tell Mum on my way", max_new_tokens=12).answer.text
        assert ask("tell Mum on my way").removesuffix("\ufffd") == whole.removesuffix("\ufffd")  # half a character at the cut
