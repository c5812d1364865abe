"""Who asks the server: the engine that is somewhere else, LangChain with thoughts, and the command line."""

import json
import subprocess
import sys
import time
from urllib.request import urlopen

import numpy as np
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

import autoglm_lab as lab
from autoglm_lab.cli import main
from autoglm_lab.evaluation.success import World, right, spoken_requests, typed_requests
from autoglm_lab.runtime.sampling import Sampling
from autoglm_lab.serve import ChatAutoGLM, Limits, RemoteEngine, running
from autoglm_lab.serve.client import data_url, wav


@pytest.fixture(scope="module")
def engine():
    return lab.load()


@pytest.fixture(scope="module")
def url(engine):
    with running(engine) as address:
        yield address


@pytest.fixture(scope="module")
def requests():
    world = World(3)
    return [*typed_requests(world, 8), *spoken_requests(world, 4, held_out=False)]


def words(request):
    """What is asked in words: nothing where it is spoken."""
    return "" if request.audio is not None else request.task.text


def test_a_remote_engine_answers_as_the_one_behind_it(engine, url, requests):
    remote = lab.connect(url)
    for number, asked in enumerate(requests):
        given = {"current_app": asked.app, "last": asked.last, "think": bool(number % 2)}
        near = engine.answer(words(asked), asked.image, asked.audio, **given).answer
        far = remote.answer(words(asked), asked.image, asked.audio, **given).answer
        assert (far.action, far.thinking) == (near.action, near.thinking)
        assert far.tokens == near.tokens and far.prompt_tokens == near.prompt_tokens
        assert 0 < far.ms["first"] <= far.ms["total"]


def test_the_agent_works_over_http(url):
    phone = lab.SimulatedPhone(7, lang="en")
    done = lab.agent.run("open Settings", phone, lab.connect(url))
    assert done[-1].error is None and phone.current_app() == "Settings"


def test_a_remote_engine_says_what_is_wrong(url):
    with pytest.raises(ValueError, match="no address"):
        RemoteEngine("localhost")
    with pytest.raises(ConnectionError, match="is the server running"):
        RemoteEngine("http://127.0.0.1:9/v1").answer("open Settings")
    with pytest.raises(ValueError, match=r"refused .400.*512"):
        list(lab.connect(url).answer("word " * 3000))
    with pytest.raises(ValueError, match="empty"):
        lab.connect(url).answer(" ")


def test_sampling_is_handed_on(engine, url):
    screen, sampling = lab.SimulatedPhone(7).screenshot(), Sampling(1.5, seed=11)
    near = [engine.answer("open Settings", screen, sampling=sampling).answer.text for _ in range(2)]
    assert near[0] == near[1]
    assert lab.connect(url).answer("open Settings", screen, sampling=sampling).answer.tokens > 0


SCREEN = lab.SimulatedPhone(7, lang="en").screenshot()
QUESTION = HumanMessage(
    [
        {"type": "image_url", "image_url": {"url": data_url(SCREEN)}},
        {"type": "text", "text": "open Settings"},
    ]
)


def test_the_call_of_the_articles_works_as_it_stands(url):
    chat = ChatOpenAI(
        model="autoglm-phone-9b",
        base_url=url,
        api_key="EMPTY",
        streaming=True,
        extra_body={"enable_thinking": True, "return_reasoning": True},
    )
    said = chat.invoke([QUESTION])
    assert said.content.startswith("do(action=") and said.content.endswith(")")
    assert "".join(part.content for part in chat.stream([QUESTION])) == said.content
    thoughts = ChatOpenAI(model="m", base_url=url, api_key="EMPTY", extra_body={"enable_thinking": True}).invoke([QUESTION]).content
    assert thoughts.endswith("\n" + said.content) and len(thoughts) > len(said.content) + 3


@pytest.mark.parametrize("streaming", [False, True])
def test_thoughts_are_kept(url, streaming):
    chat = ChatAutoGLM(model="m", base_url=url, api_key="EMPTY", think=True, streaming=streaming, stream_usage=True)
    said = chat.invoke([QUESTION])
    assert "Settings" in said.additional_kwargs["reasoning_content"]
    assert said.content.startswith("do(action=")
    assert said.usage_metadata["output_token_details"]["reasoning"] > 0
    parts = list(chat.stream([QUESTION]))
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    assert whole.additional_kwargs["reasoning_content"] == said.additional_kwargs["reasoning_content"]
    assert "reasoning_content" not in ChatAutoGLM(model="m", base_url=url, api_key="EMPTY").invoke([QUESTION]).additional_kwargs


def test_a_spoken_question_and_several_turns(url, engine):
    [asked] = spoken_requests(World(5), 1, held_out=False)
    sound = {"type": "input_audio", "input_audio": {"data": wav(asked.audio), "format": "wav"}}
    picture = {"type": "image_url", "image_url": {"url": data_url(asked.image)}}
    chat = ChatAutoGLM(model="m", base_url=url, api_key="EMPTY")
    app = {"type": "text", "text": json.dumps({"current_app": asked.app})}
    said = chat.invoke([HumanMessage([picture, sound, app])])
    assert said.content == engine.answer("", asked.image, asked.audio, current_app=asked.app).answer.text
    again = chat.invoke([HumanMessage("go back"), said, QUESTION])  # the last words count, not the first
    assert again.content == chat.invoke([QUESTION]).content


def test_the_flat_form_of_a_question(url):
    chat = ChatOpenAI(
        model="m", base_url=url, api_key="EMPTY", extra_body={"image": data_url(SCREEN).partition(",")[2], "query": "open Settings"}
    )
    assert chat.invoke("ignored").content == ChatAutoGLM(model="m", base_url=url, api_key="EMPTY").invoke([QUESTION]).content


def test_success_over_http_is_that_of_the_engine(engine, url):
    world = World(17)
    asked = typed_requests(world, 40)
    remote = lab.connect(url)
    near = [right(one, engine.answer(one.task.text, one.image, current_app=one.app, last=one.last).answer) for one in asked]
    far = [right(one, remote.answer(one.task.text, one.image, current_app=one.app, last=one.last).answer) for one in asked]
    assert near == far and np.mean(far) > 0.85


def test_serve_as_a_command(tmp_path):
    key = tmp_path / "key"
    key.write_text("secret\n")
    command = [sys.executable, "-m", "autoglm_lab.cli", "serve", "--port", "0", "--api-key-file", str(key), "--name", "mine"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            address = line.split()[3]
            assert json.loads(urlopen(address.removesuffix("/v1") + "/health", timeout=10).read()) == {
                "status": "ok",
                "model": "mine",
            }
            assert lab.connect(address, api_key="secret").answer("open Settings", SCREEN).answer.action is not None
            with pytest.raises(ValueError, match=r"refused .401"):
                list(lab.connect(address, api_key="wrong", model="mine").answer("open Settings", SCREEN))
        finally:
            process.terminate()
            began = time.monotonic()
            process.wait(timeout=20)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "can be reached by others"),
        (["--api-key-file", "nowhere"], "no key file"),
        (["--bundle", "nowhere"], "is no bundle"),
    ],
)
def test_serve_refuses_what_is_not_safe_or_not_there(arguments, said, capsys):
    assert main(["serve", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_limits_have_to_be_some():
    with pytest.raises(ValueError, match="queue is 0"):
        Limits(queue=0)
