"""The last actions in the prompt: as many as a model reads, those marked that changed nothing, the same text in every engine."""

import json
import queue
import shutil
import subprocess
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autoglm_lab import SimulatedPhone, agent
from autoglm_lab.device.browser.server import STATIC, settings
from autoglm_lab.device.folder import device_folder
from autoglm_lab.evaluation.success import OneByOne, World, ask, episodes, task_rate, typed_requests
from autoglm_lab.export import bundle as exporting
from autoglm_lab.model import PhoneGLMConfig, PhoneGLMForConditionalGeneration, PhoneGLMProcessor
from autoglm_lab.model.batch import BatchEngine
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import SIGNATURES, format_action
from autoglm_lab.phone.catalog import LANGS
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.refusal import CANNOT, UNCLEAR, UNKNOWN_SCREEN, declined, refusal_patterns, refuse
from autoglm_lab.runtime.bundle import FEATURES, GRAPHS, MANIFEST, Bundle
from autoglm_lab.runtime.engine import Answer, Stream, memory_length
from autoglm_lab.runtime.prompt import MAX_MEMORY, read_memory, write_memory, write_prompt
from autoglm_lab.serve.client import RemoteEngine, conversation
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.queue import Job
from autoglm_lab.serve.reading import GenerationRequest, read_request
from autoglm_lab.serve.schema import ChatRequest
from autoglm_lab.serve.sequential import SequentialScheduler
from tests.unit.test_model import TINY

NAMES = sorted(set(SIGNATURES) - {"finish"})
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=MAX_MEMORY)
FIVE = [("Launch", True), ("Tap", True), ("Swipe", False), ("Wait", False), ("Home", True)]
DEAD_END = 'do(action="Swipe", start=[200,500], end=[800,500])'
LAUNCH, HOME, END = 'do(action="Launch", app="Chrome")', 'do(action="Home")', 'finish(message="done")'
FORTNITE, TAKE_OVER = 'do(action="Launch", app="Fortnite")', 'do(action="Take_over", message="log in")'


class Scripted:
    """Gives the answers of a list, and notes what it is told of earlier actions."""

    def __init__(self, *texts, memory=None):
        self.texts, self.told, self.histories = list(texts), [], []
        if memory is not None:
            self.memory = memory

    def answer(self, task="", image=None, audio=None, *, last="", history=(), **_):
        self.told.append(last)
        self.histories.append(history)
        text = self.texts.pop(0)
        return Stream(iter([text, Answer.read(text, 1, {"total": 1.0})]))


# the text


def test_a_memory_of_one_is_the_bare_name_as_before():
    for name, changed in FIVE:
        prompt = write_prompt("x", "Chrome", write_memory([("Back", True), (name, changed)], 1))
        assert prompt == f'<|user|><|image|>x\n{{"current_app": "Chrome"}}\nlast: {name}<|assistant|><think></think>'
    assert "\nlast: none<|assistant|>" in write_prompt("x", "Chrome", write_memory([], 1))


def test_a_memory_of_four_names_four_actions():
    assert write_memory(FIVE, 4) == "Tap, Swipe=, Wait=, Home"
    assert write_memory(FIVE[:1], 4) == "Launch" and write_memory([("Tap", False)], 4) == "Tap=" and write_memory([], 4) == ""
    assert '"}\nlast: Tap, Swipe=, Wait=, Home<|assistant|>' in write_prompt("x", "Chrome", write_memory(FIVE, 4))


def test_an_answer_without_an_action_takes_a_place_and_has_no_name():
    assert write_memory([*FIVE, ("", False)], 4) == "Swipe=, Wait=, Home" and write_memory([*FIVE, ("", False)], 1) == ""


@given(STEPS, st.integers(2, MAX_MEMORY))
def test_what_is_written_is_read_again(steps, length):
    assert read_memory(write_memory(steps, length)) == steps[-length:]


def test_a_memory_has_a_length():
    with pytest.raises(ValueError, match="length 0"):
        write_memory(FIVE, 0)


# how many a model reads


def test_the_length_is_saved_with_the_model(tmp_path):
    PhoneGLMConfig(**TINY, memory=4).save_pretrained(tmp_path)
    assert PhoneGLMConfig.from_pretrained(tmp_path).memory == 4
    assert PhoneGLMConfig().memory == PhoneGLMConfig.from_pretrained(data_dir() / "model").memory == 1


@pytest.mark.parametrize("memory", [0, -1, MAX_MEMORY + 1, "four"])
def test_a_length_that_is_none_is_refused(memory):
    with pytest.raises(Exception, match="memory"):
        PhoneGLMConfig(**TINY, memory=memory)


@pytest.fixture(scope="module")
def processor():
    return PhoneGLMProcessor.from_pretrained(data_dir() / "model")


def test_a_bundle_and_its_copies_know_the_length(tmp_path, monkeypatch, processor):
    engine = TorchEngine(PhoneGLMForConditionalGeneration(PhoneGLMConfig(**TINY, memory=4)), processor)
    assert engine.memory == memory_length(engine) == 4
    stubs = {
        "agent_graphs": dict.fromkeys(GRAPHS, b"graph"),
        "feature_graphs": dict.fromkeys(FEATURES, b"graph"),
        "verify": {},
        "_check_integers": None,
        "count_nodes": {"DynamicQuantizeLinear": 0},
    }
    for name, made in stubs.items():
        monkeypatch.setattr(exporting, name, lambda *_, made=made, **__: made)
    exporting.bundle(engine, tmp_path / "b")
    device_folder(tmp_path / "b", tmp_path / "device")
    for folder in (tmp_path / "b", tmp_path / "device" / "bundle"):
        bundle = Bundle.open(folder)
        assert bundle.memory == settings(bundle, {})["memory"] == 4
    manifest = json.loads((tmp_path / "b" / MANIFEST).read_text("utf-8"))
    del manifest["memory"]
    for facts, reads in (({}, 1), ({"memory": 1}, 1), ({"memory": MAX_MEMORY}, MAX_MEMORY)):
        (tmp_path / "b" / MANIFEST).write_text(json.dumps(manifest | facts), "utf-8")
        assert Bundle.open(tmp_path / "b").memory == reads
    for memory in (0, MAX_MEMORY + 1, -1, True, 4.0, "4", None):
        (tmp_path / "b" / MANIFEST).write_text(json.dumps(manifest | {"memory": memory}), "utf-8")
        with pytest.raises(ValueError, match=r"manifest\.json of b is broken .*memory"):
            Bundle.open(tmp_path / "b")


# the loop


RUN = (LAUNCH, HOME, DEAD_END, FORTNITE, TAKE_OVER, END)
TOLD = ["", "Launch", "Launch, Home", "Launch, Home, Swipe=", "Launch, Home, Swipe=, Launch=", "Home, Swipe=, Launch=, Take_over"]


def go(engine, **options):
    return agent.run("open Chrome", SimulatedPhone(1, lang="en"), engine, take_over=lambda _: True, **options)


def test_the_loop_tells_an_engine_as_many_actions_as_it_reads():
    engine, plain = Scripted(*RUN, memory=4), Scripted(*RUN)
    assert go(engine)[-1].end == "finished: done" and go(plain)[-1].end == "finished: done"
    assert engine.told == TOLD
    assert plain.told == ["", "Launch", "Home", "Swipe", "Launch", "Take_over"]


def test_an_action_that_failed_changed_nothing():
    class Clumsy(SimulatedPhone):
        def perform(self, action):
            if action.name == "Type":
                raise ValueError("no key for x")
            return super().perform(action)

    engine = Scripted(LAUNCH, 'do(action="Type", text="x")', HOME, "words", END, memory=4)
    engine.reads_history = True
    agent.run("x", Clumsy(1, lang="en"), engine)
    assert engine.told[1:] == ["Launch", "Launch, Type=", "Launch, Type=, Home", "Launch, Type=, Home"]


# the server


def read(messages):
    [asking] = read_request(ChatRequest.model_validate({"messages": messages}), Limits())
    return asking


def test_a_server_tells_its_engine_what_the_loop_would():
    engine = Scripted(*RUN, memory=4)
    engine.reads_history = True
    go(engine)
    assert engine.told == TOLD
    for history, told in zip(engine.histories, TOLD, strict=True):
        given = {"task": "open Chrome", "image": Image.new("RGB", (4, 6)), "current_app": "Chrome"}
        asking = read(conversation(**given, history=history))
        assert asking.opened(memory=4).last == told
        assert asking.opened().last == asking.last == ([name for name, _ in read_memory(told)] or [""])[-1]
        assert read(conversation(**given, last=told)).opened(memory=4).last == told, "without a history"
    assert RemoteEngine("http://127.0.0.1:9/v1").memory == MAX_MEMORY


@pytest.mark.parametrize(("memory", "told"), [(4, "Tap, Swipe=, Wait=, Home"), (None, "Home")])
def test_the_engine_behind_a_server_is_told_as_many_as_it_reads(memory, told):
    engine, mailbox = Scripted(END, memory=memory), queue.Queue()
    scheduler = SequentialScheduler(engine)
    scheduler.submit([Job(GenerationRequest("x", steps=tuple(FIVE)), mailbox)])
    mailbox.get(timeout=30)
    scheduler.close()
    assert engine.told == [told]


def picture(colour):
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{colour}"}}


def screen(*parts, **facts):
    told = json.dumps({"current_app": "X", **facts})
    return {"role": "user", "content": [*parts, {"type": "text", "text": f"** Screen Info **\n\n{told}"}]}


def said(action):
    return {"role": "assistant", "content": f"<think>now</think><answer>{action}</answer>"}


def test_screenshots_tell_where_no_words_do():
    task = {"role": "user", "content": [picture("red"), {"type": "text", "text": "open Chrome"}]}
    address = {"type": "image_url", "image_url": {"url": "https://127.0.0.1/screen.png"}}
    tool = {"role": "tool", "content": "nothing changed"}
    for after, told in (
        ([screen(picture("red"))], "Home="),
        ([screen(picture("blue"))], "Home"),
        ([screen()], "Home"),
        ([], "Home"),
        ([screen(picture("red"), last_action="the screen changed")], "Home"),
        ([screen(picture("blue"), last_action="nothing changed")], "Home="),
        ([screen(picture("blue"), last_action=7)], "Home"),
        ([tool, screen(picture("red"))], "Home="),
        ([said(DEAD_END)], "Home, Swipe"),
        ([screen(picture("red")), said(DEAD_END), screen(picture("red"))], "Home=, Swipe="),
        ([screen(address), said(DEAD_END), screen(address)], "Home, Swipe"),
        ([screen(), said("words"), screen()], "Home"),
        ([screen(last_action="there is no app 'X' on this phone")], "Home="),
    ):
        assert write_memory(read([task, said(HOME), *after]).steps, 4) == told, after
    long = [task, *[message for _ in range(40) for message in (said(HOME), screen(picture("red")))]]
    assert len(read(long).steps) == MAX_MEMORY
    fresh = {"role": "user", "content": "open Settings"}
    assert read([task, said(HOME), screen(), fresh]).steps == ()


# evaluation


class Watching:
    """Does what the oracle does, after a swipe against the edge, and notes what it is told."""

    def __init__(self, memory=None):
        self.told = []
        if memory is not None:
            self.memory = memory

    def answer_many(self, requests):
        self.told.append([request.last for request in requests])
        return [Answer.read(self._text(request), 0, {}) for request in requests]

    def _text(self, request):
        if len(self.told) == 1:
            return 'do(action="Swipe", start=[500,500], end=[500,500])'  # no way at all
        last = request.steps[-1][0] if len(request.steps) > 1 else ""
        return format_action(next_step(request.task, request.state, last=last).action)


def test_evaluation_tells_an_agent_as_many_actions_as_it_reads():
    longer, plain = Watching(memory=4), Watching()
    for engine in (longer, plain):
        assert task_rate(engine, episodes(World(3), 8)).rate == 1.0
    assert longer.told[0] == plain.told[0] == [""] * 8
    assert longer.told[1] == ["Swipe="] * 8 and plain.told[1] == ["Swipe"] * 8
    assert all(told.startswith("Swipe=, ") for told in longer.told[2])
    assert not any("," in told or "=" in told for told in chain(*plain.told))
    assert max(len(read_memory(told)) for told in chain(*longer.told)) <= 4


def test_a_request_under_way_knows_all_its_steps(processor):
    requests = typed_requests(World(3), 12)
    assert all(r.last == r.memory(1) == (r.steps[-1][0] if r.steps else "") for r in requests)
    assert any(len(r.steps) > 1 for r in requests) and all(changed for r in requests for _, changed in r.steps)
    engine = Scripted(*[END] * 12, memory=4)
    ask(OneByOne(engine), requests)
    assert engine.told == [write_memory(r.steps, 4) for r in requests]
    many = BatchEngine(PhoneGLMForConditionalGeneration(PhoneGLMConfig(**TINY, memory=4)), processor)
    prompts = [processor.tokenizer.decode(row) for row in many.inputs(requests[:4])["input_ids"]]
    assert all(f"last: {r.memory(4) or 'none'}<" in prompt for r, prompt in zip(requests, prompts, strict=False))
    assert OneByOne(engine).memory == many.memory == 4 and OneByOne(object()).memory == 1


# the page


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_writes_the_same_text():
    cases = [(steps, length) for steps in (FIVE, FIVE[:1], [], [*FIVE, ("", False)]) for length in (1, 2, 4, MAX_MEMORY)]
    script = (STATIC / "memory.js").read_text("utf-8")
    script += f"\nconsole.log(JSON.stringify({json.dumps(cases)}.map(([steps, length]) => writeMemory(steps, length))));"
    node = ["node", "--input-type=module", "-"]
    found = subprocess.run(node, input=script, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(found.stdout) == [write_memory(steps, length) for steps, length in cases]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_knows_a_refusal():
    said = [refuse(reason[lang], lang) for lang in LANGS for reason in (CANNOT, UNCLEAR, UNKNOWN_SCREEN)]
    said += ["Sent to Dad.", "Yes, I cannot do that.", "好的，这个我做不到", "PhoneGLM", "", "No, it is not here.", "I CAN'T."]
    script = (STATIC / "action.js").read_text("utf-8")
    script += f"\nconst patterns = {json.dumps(refusal_patterns())};"
    script += f"\nconsole.log(JSON.stringify({json.dumps(said)}.map((message) => declined(message, patterns))));"
    node = ["node", "--input-type=module", "-"]
    found = subprocess.run(node, input=script, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(found.stdout) == [declined(message) for message in said]
    assert sum(map(declined, said)) == 7
