"""The agent in training: alone and in batches it understands the same, in any letters, and types what was said."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from autoglm_lab.evaluation.success import Request, World, typed_requests
from autoglm_lab.model.batch import BatchEngine
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import Action, parse
from autoglm_lab.phone.goals import goal
from autoglm_lab.phone.oracle import meaning
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import Task
from autoglm_lab.runtime.prompt import END
from autoglm_lab.training import pipeline
from autoglm_lab.training.finetune import Recovery

COMMANDS = (
    "open the clock",
    "turn the wifi off please",
    "把蓝牙关掉",
    "wake me at half past six",
    "what is 2+2?",
    "text Mum: on my way",
)


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    folder = data_dir() / "training" / "people"
    if not folder.exists():
        pytest.skip("the wheel does not bring the agent in training")
    return TorchEngine.load(folder)


def request(text: str) -> Request:
    phone = SimulatedPhone(3, lang="en")
    return Request(Task("open_app", "en", (), text), phone.state, phone.state, phone.screenshot(), None, "", phone.current_app())


def test_alone_and_in_a_batch_commands_mean_the_same(engine: TorchEngine) -> None:
    requests = [request(text) for text in COMMANDS]
    together = BatchEngine(engine.model, engine.processor).answer_many(requests)
    for asked, answer in zip(requests, together, strict=True):
        alone = engine.answer(asked.task.text, asked.image, current_app=asked.app, max_new_tokens=64).answer
        assert (alone.goal, alone.action) == (answer.goal, answer.action), asked.task.text
    assert sum(bool(answer.goal) for answer in together) >= 4


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_letters_change_nothing_but_what_is_quoted(engine: TorchEngine, change) -> None:  # type: ignore[no-untyped-def]
    for text in COMMANDS:
        usual, other = (
            engine.answer(said, np.zeros((64, 32, 3), np.uint8), max_new_tokens=8).answer for said in (text, change(text))
        )
        assert other.goal.lower() == usual.goal.lower(), text


def test_a_message_is_typed_as_it_was_said(engine: TorchEngine) -> None:
    """A chat in front and nothing typed yet: whatever the model likes to write, it is this."""
    from autoglm_lab.phone.oracle import next_step

    task = Task("send", "en", (("contact", "mum"), ("message", "On My WAY")), "text Mum: On My WAY")
    phone, history = SimulatedPhone(3, lang="en"), list[tuple[str, bool]]()
    while (action := next_step(task, phone.state, history=history).action).name != "Type":
        history.append((action.name, phone.perform(action)))
    answer = engine.answer(task.text, phone.screenshot(), current_app=phone.current_app(), last="Tap, Tap").answer
    assert answer.goal == "text Mum: On My WAY"
    assert answer.action == Action("Type", text="On My WAY")


def test_what_it_is_calibrated_on_is_what_it_reads(engine: TorchEngine) -> None:
    """Commands and steps, the steps by the right goal: an agent that was trained for both is at home in both."""
    many = BatchEngine(engine.model, engine.processor)
    requests = typed_requests(World(5), 6)
    (commands, meanings), (steps, answers) = many.examples(requests)
    assert "pixel_values" in steps and "pixel_values" not in commands
    tokenizer = engine.processor.tokenizer
    prompts = tokenizer.batch_decode(steps["input_ids"])
    assert all(goal(request.task) in prompt for request, prompt in zip(requests, prompts, strict=True))
    texts = [tokenizer.decode(row[-meanings.shape[1] :][kept]) for row, kept in zip(commands["input_ids"], meanings, strict=True)]
    assert [parse(text.removesuffix(END)).text for text in texts] == [plain_goal(request) for request in requests]
    apart = [float(many.loss([request])) for request in requests]
    assert float(np.median(apart)) < 0.3, "nats of a token"
    count = int(meanings.sum() + answers.sum())
    assert many._losses(requests, engine.model).shape == (count,)


def plain_goal(request: Request) -> str:
    return str(meaning(request.task).text)


def test_a_small_world_for_it_has_commands_of_both_sorts(engine: TorchEngine, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Chapters recover the shipped agent in a small world; shipped, this one is to practise commands there."""
    (tmp_path / "model").symlink_to(data_dir() / "training" / "people", target_is_directory=True)
    monkeypatch.setattr(pipeline, "data_dir", lambda: tmp_path)
    monkeypatch.setattr(pipeline, "FEW_WISHES", 120)
    world = pipeline.few_scenes(tmp_path / "world", scenes=6)
    assert len(world.wishes) == 120 and len(world.tokenizer) == engine.model.config.vocab_size
    rows: list[dict[str, float]] = []
    recovery = Recovery(world, steps=1, pictures=2, samples=2, commands=4, clips=2, bfloat16=False, on_step=rows.append)
    recovery(copy.deepcopy(engine.model))
    assert rows[0]["answer"] < 1, "nats of a token: it is at home in what it reads"
