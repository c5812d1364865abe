"""An agent that is not confident of a command asks back: how confidence is counted, and who does what with a question."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray

from autoglm_lab import widgets
from autoglm_lab.agent.loop import run
from autoglm_lab.evaluation.asking_back import confirm_threshold, typed_wish
from autoglm_lab.evaluation.success import Episode, OneByOne, is_meant, task_rate
from autoglm_lab.model.batch import BatchEngine, _confidences
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.processing import PhoneGLMProcessor
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.goals import goal, question, read_goal
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import Task
from autoglm_lab.runtime.bundle import MANIFEST, Bundle
from autoglm_lab.runtime.confidence import Confidence, confidence_of
from autoglm_lab.runtime.engine import Answer, Stream
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.runtime.understanding import Commands, Understood
from autoglm_lab.serve import RemoteEngine, running
from autoglm_lab.serve.batching import BatchingScheduler
from tests.unit.tiny_agent import write_tiny_bundle

OFF = Task("toggle_off", "en", (("setting", "bluetooth"),), "kill the blue thing")
TEXT = Task("send", "en", (("contact", "mum"), ("message", "home soon")))
BOTH = Task("two", "en", (), "blue off and tell Mum home soon", (OFF, TEXT))
GOAL = format_action(Action("Goal", text="turn off Bluetooth"))
SCREEN = np.full((64, 32, 3), 90, np.uint8)


# confidence


def test_a_confidence_is_the_geometric_mean_of_probabilities() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(7, 20)).astype(np.float32)
    tokens = [int(token) for token in rng.integers(20, size=7)]
    shares = np.exp(scores.astype(np.float64))
    shares /= shares.sum(1, keepdims=True)
    wanted = float(np.prod(shares[np.arange(7), tokens]) ** (1 / 7))
    assert confidence_of(scores, tokens) == pytest.approx(wanted, rel=1e-5)
    assert confidence_of(scores + 1000, tokens) == pytest.approx(wanted, rel=1e-3), "scores know no zero"
    watch, left = Confidence(), iter(tokens)
    pick = watch.watch(lambda row: next(left))
    assert [pick(row) for row in scores] == tokens and watch.value == pytest.approx(wanted, rel=1e-5)
    watch.add(0.0)
    assert watch.value == pytest.approx(wanted ** (7 / 8), rel=1e-5), "what is forced is certain"
    assert Confidence().value == 1.0


def test_a_batch_counts_each_text_up_to_its_end() -> None:
    rng = np.random.default_rng(1)
    scores = torch.tensor(rng.normal(size=(5, 2, 9)), dtype=torch.float32)  # [T, B, V]
    ids = torch.tensor([[4, 5, 1, 0, 0], [3, 3, 7, 8, 2]])  # 1 ends a text, 0 fills up
    first = confidence_of(scores[:3, 0].numpy(), ids[0, :3].tolist())
    second = confidence_of(scores[:, 1].numpy(), ids[1].tolist())
    assert _confidences(list(scores), ids, 1) == pytest.approx([first, second], rel=1e-5)


@pytest.fixture(scope="module")
def tiny() -> tuple[PhoneGLMForConditionalGeneration, PhoneGLMProcessor]:
    """An agent with weights of chance that understands commands first."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "gated_layers": (0,), "audio_blocks": 1}
    config = PhoneGLMConfig(understands=True, image_channels=(8, 8, 16, 16), audio_channels=16, **sizes)
    processor = PhoneGLMProcessor.from_pretrained(data_dir() / "model")
    return PhoneGLMForConditionalGeneration(config).eval(), processor


def test_one_by_one_and_in_batches_an_agent_is_as_confident(
    tiny: tuple[PhoneGLMForConditionalGeneration, PhoneGLMProcessor],
) -> None:
    one, many = TorchEngine(*tiny), BatchEngine(*tiny)
    requests = [typed_wish(number) for number in range(5)]
    for request, meaning in zip(requests, many.understand(requests), strict=True):
        text, confidence = one.read_command(request.task.text)
        assert Understood.read(text, request.task.text).refusal == meaning.refusal
        assert meaning.confidence == pytest.approx(confidence, rel=1e-3) and 0 < confidence < 1


def test_a_bundle_is_as_confident_however_it_writes(tmp_path: Path) -> None:
    """Drafts are confirmed and cost no pass; a grammar restricts the choice, its confidence is still the model's own."""
    folder = write_tiny_bundle(tmp_path / "bundle")
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"understands": True, "confirm_below": 0.5}))
    plain, drafts = OnnxEngine(folder, speculate=False), OnnxEngine(folder, speculate=True)
    for text in ("turn it off", "关掉蓝牙"):
        (words, confidence), (same, again) = plain._read_command(text, None), drafts._read_command(text, None)
        assert words == same and again == pytest.approx(confidence, rel=1e-4) and 0 < confidence < 1
        held, least = OnnxEngine(folder, grammar=True)._read_command(text, None)
        assert held and 0 < least <= 1


def test_an_answer_says_how_confident_the_model_was_of_it(tmp_path: Path) -> None:
    """The same with drafts and without, and the geometric mean of what the step graph gives for the very tokens."""
    folder = write_tiny_bundle(tmp_path / "bundle")
    plain, drafts = (OnnxEngine(folder, speculate=speculate) for speculate in (False, True))
    prepared = plain.prepare("open Settings", SCREEN, max_new_tokens=8)
    answer, again = (engine.answer("open Settings", SCREEN, max_new_tokens=8).answer for engine in (plain, drafts))
    tokens = list(plain._tokens(plain.prepare("open Settings", SCREEN, max_new_tokens=8)))
    assert len(tokens) == answer.tokens == 8
    rows = plain.new_step(prepared.states or {}, 600).read(prepared.ids, tokens[:-1])
    assert answer.confidence == pytest.approx(confidence_of(rows, tokens), rel=1e-4) and answer.confidence < 1
    assert again.text == answer.text and again.confidence == pytest.approx(answer.confidence, rel=1e-4)
    assert Answer.read(answer.text, 8, {}).confidence == 1, "who does not tell is taken at its word"


def test_a_threshold_makes_goals_unsure_and_nothing_else() -> None:
    commands = Commands(0.8)
    assert commands.keep("blue off", None, GOAL, 0.79).unsure and not commands.keep("Blue off", None, GOAL, 0.8).unsure
    declined = commands.keep("call Mum", None, 'finish(message="I cannot do that.")', 0.1)
    assert declined.refusal and not declined.unsure and declined.confidence == 0.1
    assert not Commands().keep("blue off", None, GOAL, 0.01).unsure, "an agent without a threshold never asks back"


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "high", True, None])
def test_a_confidence_that_is_none_is_refused(tmp_path: Path, threshold: object) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle")
    manifest = json.loads((folder / MANIFEST).read_text())
    assert Bundle.open(folder).confirm_below == 0
    (folder / MANIFEST).write_text(json.dumps(manifest | {"confirm_below": threshold}))
    with pytest.raises(ValueError, match="confirm_below is no number from 0 to 1"):
        Bundle.open(folder)
    if threshold in (-0.1, 1.5):
        with pytest.raises(StrictDataclassError, match="from 0 to 1"):
            PhoneGLMConfig(confirm_below=threshold)


# the loop, and who is asked


class Unsure:
    """An engine that works by goals as the oracle does, and is not sure of the one that it understood."""

    def __init__(self, phone: SimulatedPhone, meaning: str) -> None:
        self.phone, self.meaning, self.calls = phone, meaning, 0

    def answer(self, task: str = "", image: object = None, audio: object = None, *, goal: str = "", **_: object) -> Stream:
        self.calls += 1
        meaning = goal or self.meaning
        part = read_goal(meaning)[0]
        wish = Task(part.kind, part.lang, tuple(part.slots.items()))
        text = format_action(next_step(wish, self.phone.state).action)
        answer = Answer.read(text, 1, {"total": 1.0}, goal=meaning, unsure=not goal)
        return Stream(iter((text, answer)), goal=meaning, unsure=not goal)


def lit(seed: int = 3) -> SimulatedPhone:
    """A phone on which Bluetooth is on."""
    phone = SimulatedPhone(seed, lang="en")
    phone.state.toggles["bluetooth"] = True
    return phone


def test_without_a_person_the_agent_asks_and_does_nothing() -> None:
    phone = lit()
    before = deepcopy(phone.state)
    [step] = run(OFF.text, phone, Unsure(phone, goal(OFF)))
    assert phone.state == before and step.end == step.question == "Did you mean: turn off Bluetooth?"
    assert step.action == Action("Goal", text="turn off Bluetooth") and step.error is None and not step.changed


@pytest.mark.parametrize("yes", [True, False])
def test_a_person_is_asked_once(yes: bool) -> None:
    phone, questions = lit(), list[Action]()

    def confirm(action: Action, screenshot: object) -> bool:
        questions.append(action)
        return yes

    steps = run(OFF.text, phone, Unsure(phone, goal(OFF)), confirm=confirm)
    assert questions == [Action("Goal", text="turn off Bluetooth")]
    assert phone.state.toggles["bluetooth"] is not yes
    assert bool(steps[-1].question) is not yes and steps[-1].end.startswith("finished" if yes else "Did you mean")


def test_of_two_wishes_a_person_is_asked_once() -> None:
    phone, questions = lit(), list[Action]()
    start = deepcopy(phone.state)

    def confirm(action: Action, screenshot: object) -> bool:
        questions.append(action)
        return True

    steps = run(BOTH.text, phone, Unsure(phone, goal(BOTH)), confirm=confirm)
    assert [action.text for action in questions] == [goal(BOTH)] and BOTH.done(start, phone.state, steps[-1].end)


@pytest.mark.parametrize("wish", [OFF, BOTH])
def test_a_goal_that_was_confirmed_later_is_worked_at(wish: Task) -> None:
    phone = lit()
    start, engine = deepcopy(phone.state), Unsure(phone, "open Maps")
    steps = run(wish.text, phone, engine, goal=goal(wish))
    assert wish.done(start, phone.state, steps[-1].end.removeprefix("finished: ")), steps[-1]
    with pytest.raises(ValueError, match="'no goal' is no goal"):
        run(OFF.text, phone, engine, goal="no goal")


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("is Wi-Fi on?", "Did you mean: is Wi-Fi on?"),
        ("屏幕上有什么？", "您的意思是：屏幕上有什么？"),
        ("关闭蓝牙，然后打开地图", "您的意思是：关闭蓝牙，然后打开地图？"),
        ("text Mum: 晚安", "Did you mean: text Mum: 晚安?"),
    ],
)
def test_a_question_is_in_the_goals_language_and_ends_in_one_mark(text: str, asks: str) -> None:
    assert question(text) == asks


# the evaluation


@pytest.mark.parametrize(("meaning", "done"), [(goal(OFF), True), ("turn on Airplane mode", False)])
def test_a_person_of_the_evaluation_knows_what_they_wish(meaning: str, done: bool) -> None:
    phone = lit()
    before = deepcopy(phone.state)
    episode = Episode(phone, OFF, deepcopy(phone.state), None)
    rate = task_rate(OneByOne(Unsure(phone, meaning)), [episode], most_steps=14)  # type: ignore[arg-type]
    assert episode.asks_back and episode.over and rate.rate == done and episode.claimed is done
    assert done or phone.state == before, "what is not meant is not begun"


def test_what_the_agent_cannot_do_is_never_meant() -> None:
    assert is_meant(OFF, "turn off Bluetooth") and not is_meant(OFF, "turn on Bluetooth") and not is_meant(OFF, "nonsense")
    assert not is_meant(Task("beyond", "en", (("subject", "weather"),), "rain?"), "open Maps")


def test_a_threshold_is_where_so_many_right_ones_are_asked_about() -> None:
    class Guesses:
        """Right in every second wish, and more confident there."""

        def understand(self, requests):
            for number, request in enumerate(requests):
                right = goal(request.task) if request.task.kind not in ("beyond", "strange_app") else ""
                confidence = 0.5 + 0.5 * float(np.random.default_rng(abs(hash(request.task.text)) % 2**32).random())
                wrong = "open Maps" if right != "open Maps" else "open Notes"
                yield Understood(right, "" if right else "no", confidence) if number % 2 else Understood(wrong, "", 0.1)

    shares = {share: confirm_threshold(Guesses(), share, 320) for share in (0.0, 0.1, 0.5, 1.0)}
    assert 0.5 <= shares[0.0] < shares[0.1] < shares[0.5] < shares[1.0] <= 1
    assert shares[0.1] == pytest.approx(0.55, abs=0.04) and shares[0.5] == pytest.approx(0.75, abs=0.08)
    assert confirm_threshold(Nothing(), 0.1, 32) == 0
    with pytest.raises(ValueError, match=r"share is 1\.2"):
        confirm_threshold(Guesses(), 1.2)


class Nothing:
    """Understands nothing."""

    def understand(self, requests):
        return [Understood(refusal="I did not understand that.") for _ in requests]


# over HTTP, and in a notebook


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_a_server_says_that_it_is_unsure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batched: bool, threshold: float) -> None:
    folder = write_tiny_bundle(tmp_path / "bundle")
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"understands": True, "confirm_below": threshold}))
    monkeypatch.setattr(OnnxEngine, "_read_command", lambda self, task, audio: (GOAL, 0.6))
    with running(BatchingScheduler(folder) if batched else OnnxEngine(folder)) as url:
        far = RemoteEngine(url).answer(OFF.text, SCREEN, max_new_tokens=12).answer
        message = _whole(url)
    assert far.goal == "turn off Bluetooth" and far.unsure is (threshold > 0.6)
    assert message["goal"] == "turn off Bluetooth" and message.get("unsure", False) is (threshold > 0.6)


def _whole(url: str) -> dict[str, object]:
    import openai

    client = openai.OpenAI(base_url=url, api_key="x", max_retries=0)
    messages = [{"role": "user", "content": OFF.text}]
    answer = client.chat.completions.create(model="any", max_tokens=12, messages=messages)  # type: ignore[arg-type]
    return answer.choices[0].message.model_dump()


def test_the_widget_takes_a_yes() -> None:
    phone = lit()
    widget = widgets.phone(phone, Unsure(phone, goal(OFF)))
    with pytest.raises(RuntimeError, match="asks nothing"):
        widget.say_yes()
    widget.run(OFF.text)
    assert not widget.busy and widget.history[-1]["question"] == "Did you mean: turn off Bluetooth?"
    assert widget.said.startswith("Not sure") and phone.state.toggles["bluetooth"] and widget.message == ""
    widget.handle({"kind": "yes"})
    assert widget.busy and widget.said == "Yes: turn off Bluetooth"
    while widget.step():
        pass
    assert not phone.state.toggles["bluetooth"] and not any(entry["question"] for entry in widget.history)
    with pytest.raises(RuntimeError, match="asks nothing"):
        widget.say_yes()


def test_a_spoken_command_is_confirmed_as_well() -> None:
    phone, sounds = lit(), list[NDArray[np.float32] | None]()

    class Listening(Unsure):
        def answer(self, task: str = "", image: object = None, audio: object = None, **options: object) -> Stream:  # type: ignore[override]
            sounds.append(audio)  # type: ignore[arg-type]
            return super().answer(task, image, audio, **options)  # type: ignore[arg-type]

    clip = np.zeros(1600, np.float32)
    widget = widgets.phone(phone, Listening(phone, goal(OFF)), clips=[("kill the blue thing", clip)])
    widget.run(clip=0)
    widget.say_yes()
    while widget.step():
        pass
    assert widget.task == "kill the blue thing" and not phone.state.toggles["bluetooth"]
    assert all(sound is clip for sound in sounds)


def test_an_answer_keeps_what_it_was_told() -> None:
    answer = Answer.read(GOAL, 1, {}, goal="turn off Bluetooth", unsure=True)
    assert answer.unsure and replace(answer, text="").unsure and not Answer.read("?", 1, {}).unsure
    assert math.isclose(Understood("turn off Bluetooth").confidence, 1.0)
