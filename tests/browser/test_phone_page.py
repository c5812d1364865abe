"""The phone in a browser: the same answers as in Python, and still there when the server has gone."""

import contextlib
import io
import time

import numpy as np
import pytest
import soundfile

from autoglm_lab.compress.agent import load_agent
from autoglm_lab.compress.recipe import apply, named
from autoglm_lab.device.browser.server import BrowserPhone
from autoglm_lab.evaluation.success import World, right, spoken_requests, typed_requests
from autoglm_lab.export.bundle import bundle
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.phone.actions import parse
from autoglm_lab.phone.screens import find
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.speech import SpeechBank
from autoglm_lab.runtime.engine import Answer
from autoglm_lab.runtime.features import mono_16k
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from tests.browser.driver import FLAGS, SCREENSHOTS, find_chromium
from tests.unit.tiny_agent import write_tiny_bundle

TIMEOUT_MS = 60_000
HAIR = 10  # thousandths of the screen
PIXEL = {"viewport": {"width": 412, "height": 839}, "device_scale_factor": 2.625, "is_mobile": True, "has_touch": True}
ASK = """async ({task, app, last, image, audio}) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes(image)]));
  const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
  context.drawImage(picture, 0, 0);
  const data = new Uint8Array(context.getImageData(0, 0, picture.width, picture.height).data.buffer);
  return phone.answer({task, app, last, image: {data, width: picture.width, height: picture.height},
    audio: audio && new Float32Array(bytes(audio).buffer)});
}"""


@pytest.fixture(scope="module")
def agent():
    return load_agent(None)


@pytest.fixture(scope="module")
def exported(agent, tmp_path_factory):
    made, _ = apply(agent.model, named("int8"), agent.example())
    folder = tmp_path_factory.mktemp("bundle") / "int8"
    bundle(TorchEngine(made, agent.processor), folder, named("int8"))
    return folder


@pytest.fixture
def served(exported):
    with BrowserPhone(exported) as phone:
        yield phone


@contextlib.contextmanager
def page_of(browser, served, **options):
    """The page, loaded and kept; nothing but this server is asked, and the console stays quiet while the server is there."""
    context = browser.new_context(viewport={"width": 900, "height": 800}, **options)
    page, foreign, errors = context.new_page(), [], []
    page.set_default_timeout(TIMEOUT_MS)
    page.on("request", lambda r: None if r.url.startswith((served.url, "data:", "blob:")) else foreign.append(r.url))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(served.url)
    page.wait_for_function("document.body.dataset.kept")
    assert not errors and page.evaluate("crossOriginIsolated"), "threads may share memory"
    yield page
    assert not foreign
    context.close()


def base64(content):
    import base64 as coder

    return coder.b64encode(content).decode()


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64(file.getvalue())


def both(page, engine, request):
    """What the page and what Python answer."""
    spoken = request.audio is not None
    audio = mono_16k(request.audio, 16_000) if spoken else None
    asked = {
        "task": "" if spoken else request.task.text,
        "app": request.app,
        "last": request.last,
        "image": png(request.image),
        "audio": base64(audio.tobytes()) if spoken else None,
    }
    told = page.evaluate(ASK, asked)
    assert told["ms"]["total"] >= 0.99 * sum(told["ms"][stage] for stage in ("features", "image", "prefill", "decode"))
    wanted = engine.answer(asked["task"], request.image, audio, current_app=request.app, last=request.last).answer
    return Answer.read(told["text"], len(told["tokens"]), told["ms"], passes=told["passes"]), wanted


@pytest.fixture(scope="module")
def requests():
    world = World(4242)
    return typed_requests(world, 12) + spoken_requests(world, 8, held_out=False)


def test_the_page_gives_the_tokens_that_python_gives(browser, agent, requests, tmp_path):
    bundle(agent, tmp_path / "whole")
    engine = OnnxEngine(tmp_path / "whole")
    with BrowserPhone(tmp_path / "whole") as served, page_of(browser, served) as page:
        for request in requests:
            told, wanted = both(page, engine, request)
            assert (told.text, told.tokens, told.passes) == (wanted.text, wanted.tokens, wanted.passes)


def test_with_integers_only_ties_fall_otherwise(browser, served, exported, requests):
    """The words are the same. Inputs are rounded to 8 bits: a last bit may turn one code into the next and move a point.

    How many points move depends on the processor. None goes further than a hair, far less than a finger is wide (a tenth of the
    screen), and on average they stay within a thousandth of it, the step in which points are written.
    """
    engine, apart = OnnxEngine(exported), []
    with page_of(browser, served) as page:
        for request in requests:
            told, wanted = both(page, engine, request)
            assert told.tokens == wanted.tokens and told.action.name == wanted.action.name
            apart += [abs(a - b) for a, b in zip(told.action.element or (), wanted.action.element or (), strict=True)]
            assert right(request, told) == right(request, wanted)
    assert len(apart) >= 10
    assert max(apart) <= HAIR and np.mean(apart) <= 1


def test_a_task_is_done_on_the_page_and_its_times_come_back_only_with_consent(browser, served):
    with page_of(browser, served) as page:
        for agreed in (False, True):
            page.get_by_role("button", name="Phone from the start").click()
            page.get_by_label("Send the times").set_checked(agreed)
            page.get_by_label("Command").fill("open Settings")
            page.get_by_label("Command").press("Enter")
            page.wait_for_function("document.getElementById('status').textContent.startsWith('Done')")
            told = page.get_by_label("What the agent did").locator("code").all_inner_texts()
            assert parse(told[0]).name in ("Tap", "Launch") and parse(told[-1]).name == "finish"
            page.wait_for_timeout(300)
            assert len(served.latencies) == (len(told) if agreed else 0)
        assert all(latency["ms"]["total"] > 0 for latency in served.latencies)
        page.get_by_label("Command").fill("   ")
        page.get_by_role("button", name="Ask").click()
        assert "The command is empty" in page.get_by_role("status").inner_text()
        page.set_input_files("#shot", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
        page.wait_for_function("document.getElementById('status').textContent.includes('not an image')")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "phone_page.png")


def test_a_spoken_command_is_heard_through_the_microphone_with_the_server_gone(browser, exported, tmp_path):
    """A WAV file is what the emulated phone's microphone hears."""
    simulated = SimulatedPhone(7, lang="en")
    assert "settings" in simulated.state.look.pages[0]
    bank = SpeechBank.load()
    clip = next(c for c in bank.clips("en") if c.utterance.text == "open Settings")
    wave = np.concatenate((np.zeros(4_000), bank.waveform(clip), np.zeros(8_000))).astype(np.float32)
    soundfile.write(tmp_path / "command.wav", wave, 16_000, subtype="PCM_16")
    microphone = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path / 'command.wav'}%noloop",
    ]
    hearing = browser.browser_type.launch(executable_path=find_chromium(), headless=True, args=[*FLAGS, *microphone])
    context = hearing.new_context(**PIXEL, permissions=["microphone"])
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    with BrowserPhone(exported, phone=simulated) as served:
        page.goto(served.url)
        page.wait_for_function("document.body.dataset.kept")
    context.set_offline(True)
    page.reload()
    page.wait_for_function("document.body.dataset.kept")
    assert page.evaluate("crossOriginIsolated"), "what was kept is served with its headers"
    page.get_by_role("button", name="Speak").tap()
    page.wait_for_function("document.getElementById('status').textContent.startsWith('Listening')")
    time.sleep(len(wave) / 16_000 + 0.5)
    page.get_by_role("button", name="Stop").tap()
    page.wait_for_function("document.querySelector('#steps .bar')")
    action = parse(page.get_by_label("What the agent did").locator("code").first.inner_text())
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "phone_page_offline.png")
    hearing.close()
    assert action.name == "Tap"
    assert find(simulated.state, concept="settings").covers(action.element[0] + 0.5, action.element[1] + 0.5)


# A worker that understands any command as two wishes, does each with one action and says so.
TWO_WISHES = """
const goals = ["turn on Hotspot", "open Clock"];
const requests = [];
self.onmessage = async ({ data: { id, kind, request } }) => {
  if (kind === "load") return postMessage({ id, done: await (await fetch("page.json")).json() });
  requests.push([request.goal ?? "", request.last]);
  const isSecond = request.goal === goals[1];
  const done = `finish(message="${isSecond ? "Opened." : "Turned on."}")`;
  const text = request.last ? done : 'do(action="Wait", duration="2 seconds")';
  const shown = request.task === "tell" ? `finish(message=${JSON.stringify(JSON.stringify(requests))})` : text;
  postMessage({ id, done: { text: shown, tokens: [], passes: 1, ms: { total: 1 }, goals: request.task === "tell" ? [] : goals } });
};
"""


@contextlib.contextmanager
def page_with(browser, folder, worker):
    """The page of a tiny bundle, with another worker in the place of its agent."""
    write_tiny_bundle(folder / "tiny")
    with BrowserPhone(folder / "tiny", phone=SimulatedPhone(1, lang="en", size=(120, 240))) as served:
        page = browser.new_page(service_workers="block")
        page.route("**/agent.js", lambda route: route.fulfill(response=route.fetch(), body=worker))
        page.goto(served.url)
        page.wait_for_selector("#task:enabled")
        yield page
        page.close()


def test_two_wishes_are_done_one_after_the_other(browser, tmp_path):
    with page_with(browser, tmp_path, TWO_WISHES) as page:
        page.fill("#task", "hotspot and clock, please")
        page.press("#task", "Enter")
        page.wait_for_function("document.getElementById('status').textContent.startsWith('Done')")
        assert page.inner_text("#status") == "Done: Turned on. Opened."
        assert "Understood: turn on Hotspot, then open Clock" in page.inner_text("#steps")
        answer = page.evaluate("phone.answer({task: 'tell'})")
        requests = str(parse(answer["text"]).message)
        assert requests.startswith('[["",""],["turn on Hotspot","Wait') and '["open Clock",""]' in requests, requests


# A worker that is not sure of any command and works at what was confirmed.
UNSURE = """
const goals = ["turn on Hotspot", "open Clock"];
self.onmessage = async ({ data: { id, kind, request } }) => {
  if (kind === "load") return postMessage({ id, done: await (await fetch("page.json")).json() });
  const asks = request.goal ? "" : "Did you mean: turn on Hotspot, then open Clock?";
  const text = `finish(message="${request.goal}.")`;
  postMessage({ id, done: { text, tokens: [], passes: 1, ms: { total: 1 }, goals: request.goal ? [request.goal] : goals, asks } });
};
"""


def test_the_page_asks_back_and_hears_a_yes(browser, tmp_path):
    with page_with(browser, tmp_path, UNSURE) as page:
        page.fill("#task", "spot and time")
        page.press("#task", "Enter")
        yes = page.get_by_role("button", name="Yes. Did you mean: turn on Hotspot, then open Clock?")
        yes.wait_for()
        assert page.inner_text("#status").startswith("Not sure what you mean, so nothing was done.")
        page.wait_for_function("document.activeElement.textContent === 'Yes'")
        page.keyboard.press("Enter")
        page.wait_for_function("document.getElementById('status').textContent.startsWith('Done')")
        assert page.inner_text("#status") == "Done: turn on Hotspot. open Clock."
