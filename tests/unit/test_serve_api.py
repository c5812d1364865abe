"""OpenAI's chat completions as its own client sees them: answers, streams, refusals, and who goes away."""

import asyncio
import contextlib
import io
import json
import logging
import socket
import struct
import threading
import time
import zlib
from urllib.request import urlopen

import numpy as np
import openai
import psutil
import pytest
import soundfile
from starlette.testclient import TestClient

import autoglm_lab as lab
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.serve import Limits, running
from autoglm_lab.serve.api import application
from autoglm_lab.serve.sequential import SequentialScheduler
from autoglm_lab.serve.server import listen
from autoglm_lab.serve.service import Service
from tests.unit.served import ACTION, Fake, asked, audio_part, data_url, image_part, picture, sound, text_part, user

SAID = 'do(action="Launch", app="设置")'
CHAT = "/v1/chat/completions"


@contextlib.contextmanager
def app(engine=None, limits=None, api_key=None, **facts):
    """A server in this process, without a socket."""
    limits = limits or Limits()
    service = Service(SequentialScheduler(engine or Fake(), queue=limits.queue), limits, api_key)
    with TestClient(application(service), raise_server_exceptions=False, **facts) as client:
        client.service = service
        yield client


@pytest.fixture(scope="module")
def inside():
    with app() as client:
        yield client


@pytest.fixture(scope="module")
def url():
    with running(Fake()) as address:
        yield address


@pytest.fixture(params=["in process", "over a socket"])
def client(request, inside, url):
    if request.param == "in process":
        return openai.OpenAI(base_url="http://testserver/v1", api_key="EMPTY", http_client=inside, max_retries=0)
    return openai.OpenAI(base_url=url, api_key="EMPTY", max_retries=0)


def create(client, *parts, **fields):
    return client.chat.completions.create(**asked(*parts, **fields))


def lines(response):
    """The chunks of a stream, and the last line."""
    *chunks, done = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line.startswith("data: ")]
    return [json.loads(chunk) for chunk in chunks], done


# --- answers


def test_an_answer(client):
    answer = create(client)
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", SAID, "stop")
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == "autoglm-lab"
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (7, 5, 12)
    assert usage.completion_tokens_details.reasoning_tokens == 0
    assert abs(answer.created - time.time()) < 60


def test_a_stream(client):
    chunks = list(create(client, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content is None
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-1]] == ACTION[:5]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)


def test_the_bytes_of_a_stream(inside):
    response = inside.post(CHAT, json=asked(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    chunks, done = lines(response)
    assert done == "[DONE]" and response.text.endswith("data: [DONE]\n\n")
    assert "usage" not in chunks[0] and "设置" in response.text, "letters as they are"
    chunks, _ = lines(inside.post(CHAT, json=asked(stream=True, stream_options={"include_usage": True})))
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 5


def test_usage_of_a_stream_as_the_client_reads_it(client):
    *_, last = create(client, stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage.total_tokens == 12


def test_the_raw_response(client):
    raw = client.chat.completions.with_raw_response.create(**asked())
    assert raw.status_code == 200 and raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content == SAID


def test_the_streaming_helper(client):
    with client.chat.completions.stream(model="m", messages=[user("open Settings")]) as stream:
        assert stream.get_final_completion().choices[0].message.content == SAID


def test_the_asynchronous_client(url):
    async def both():
        async with openai.AsyncOpenAI(base_url=url, api_key="EMPTY", max_retries=0) as client:
            whole = await client.chat.completions.create(**asked())
            streamed = [chunk async for chunk in await client.chat.completions.create(**asked(stream=True))]
            many = await asyncio.gather(*(client.chat.completions.create(**asked()) for _ in range(8)))
            return whole, streamed, many

    whole, streamed, many = asyncio.run(both())
    assert whole.choices[0].message.content == SAID and {each.choices[0].message.content for each in many} == {SAID}
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == SAID
    assert len({each.id for each in many}) == 8


def test_models_and_health(client, inside):
    assert [model.id for model in client.models.list()] == ["autoglm-lab"]
    assert inside.get("/health").json() == {"status": "ok", "model": "autoglm-lab"}


SPELLINGS = [{"enable_thinking": True}, {"thinking": {"type": "enabled"}}, {"chat_template_kwargs": {"enable_thinking": True}}]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda s: next(iter(s)))
def test_a_thought_stands_before_the_action_or_apart(client, spelling):
    answer = create(client, extra_body=spelling)
    assert answer.choices[0].message.content == f"It is 设置.\n{SAID}"
    assert answer.usage.completion_tokens == 9 and answer.usage.completion_tokens_details.reasoning_tokens == 3
    message = create(client, extra_body={**spelling, "return_reasoning": True}).choices[0].message
    assert message.content == SAID and message.reasoning_content == message.reasoning == "It is 设置."
    deltas = [chunk.choices[0].delta for chunk in create(client, stream=True, extra_body={**spelling, "return_reasoning": True})]
    assert "".join(delta.content or "" for delta in deltas) == SAID
    for field in ("reasoning_content", "reasoning"):
        assert "".join(getattr(delta, field, None) or "" for delta in deltas) == "It is 设置."
    deltas = [chunk.choices[0].delta for chunk in create(client, stream=True, extra_body=spelling)]
    assert "".join(delta.content or "" for delta in deltas) == f"It is 设置.\n{SAID}"


def test_several_answers(client):
    answer = create(client, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {SAID}
    assert answer.usage.prompt_tokens == 7 and answer.usage.completion_tokens == 15
    ends, texts = {}, {}
    for chunk in create(client, n=3, stream=True):
        [choice] = chunk.choices
        assert choice.index not in ends, "nothing follows an end"
        texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert ends == {0: "stop", 1: "stop", 2: "stop"} and texts == {0: SAID, 1: SAID, 2: SAID}


def test_how_long_and_where_it_stops(client):
    for field in ("max_tokens", "max_completion_tokens"):
        answer = create(client, **{field: 2})
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ('do(action="Launch"', "length")
        assert answer.usage.completion_tokens == 2
    answer = create(client, stop=[", app", "zzz"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ('do(action="Launch"', "stop")
    assert create(client, stop='ch"').choices[0].message.content == 'do(action="Laun'


def test_what_the_engine_is_asked():
    engine = Fake()
    with app(engine) as client:
        parts = image_part(data_url(picture())), audio_part(sound()), text_part('x\n\n{"current_app": "Chrome"}')
        more = {"tools": [], "user": "u", "temperature": 0.7, "top_p": 0.5, "frequency_penalty": 0.1, "seed": 5, "max_tokens": 9}
        assert client.post(CHAT, json=asked(*parts, **more)).status_code == 200
        assert client.post(CHAT, json={"query": "y", "image": data_url(picture())}).status_code == 200
    first, second = engine.asked
    assert first["task"] == "x" and first["image"].size == (8, 12) and len(first["audio"]) == 1600
    assert (first["current_app"], first["last"], first["think"], first["max_new_tokens"]) == ("Chrome", "", False, 9)
    rules = first["sampling"]
    assert (rules.temperature, rules.top_p, rules.frequency_penalty, rules.seed) == (0.7, 0.5, 0.1, 5)
    assert second["task"] == "y" and second["image"].size == (8, 12) and "sampling" not in second


def test_the_shipped_agent_answers_as_it_does_without_a_server():
    engine, screen, file = lab.load(), SimulatedPhone(7, lang="en").screenshot(), io.BytesIO()
    screen.save(file, "PNG")
    near = engine.answer("open Settings", screen, think=True).answer
    with app(engine) as client:
        parts = image_part(data_url(file.getvalue())), text_part("open Settings")
        body = client.post(CHAT, json=asked(*parts, enable_thinking=True, return_reasoning=True)).json()
        drawn = [client.post(CHAT, json=asked(*parts, temperature=1.5, seed=seed)).json() for seed in (3, 3)]
        short = client.post(CHAT, json=asked(*parts, max_tokens=3)).json()
    message = body["choices"][0]["message"]
    assert near.action is not None and near.text.startswith(message["reasoning_content"])
    assert near.text.endswith(message["content"]) and body["usage"]["completion_tokens"] == near.tokens
    assert body["usage"]["prompt_tokens"] == near.prompt_tokens
    assert drawn[0]["choices"] == drawn[1]["choices"] and drawn[0]["id"] != drawn[1]["id"]
    assert short["choices"][0]["finish_reason"] == "length" and short["usage"]["completion_tokens"] == 3


# --- refusals


def refusal(response, status):
    """The error of a refusal, which has OpenAI's shape and nothing else."""
    assert response.status_code == status, response.text[:300]
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["type"]
    return error


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "x"}, "messages"),
        ({"messages": [{"role": "x", "content": "y"}]}, "messages.0.role"),
        ({"messages": []}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 99}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"top_p": 2}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"frequency_penalty": 9}, "frequency_penalty"),
        ({"stop": list("abcde")}, "stop"),
        ({"stop": 5}, "stop.str"),
        ({"thinking": {"type": "maybe"}}, "thinking.type"),
        ({"stream": "perhaps"}, "stream"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x"}] * 2_001}, "messages"),
    ],
)
def test_400_names_the_field(inside, fields, param):
    error = refusal(inside.post(CHAT, json={**asked(), **fields}), 400)
    assert error["type"] == "invalid_request_error" and (error["param"] or "").startswith(param)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"messages": ' + b"[" * 90_000,
        b'{"temperature": NaN, "query": "x"}',
        b'{"temperature": Infinity, "query": "x"}',
        b'{"query": "\\ud800"}',
        b'{"max_tokens": 1e999, "query": "x"}',
        b'{"seed": ' + b"9" * 5000 + b', "query": "x"}',
    ],
)
def test_400_for_what_is_no_request(inside, body):
    refusal(inside.post(CHAT, content=body, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize(
    "field", ["n", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "frequency_penalty", "stop"]
)
@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, "9" * 5000, "9" * 400 + ".5", "1e400"])
def test_endless_numbers_get_an_answer(inside, field, number):
    body = f'{{"messages": [{{"role": "user", "content": "x"}}], "{field}": {number}}}'
    response = inside.post(CHAT, content=body.encode(), headers={"content-type": "application/json"})
    if "max" in field and number == "9" * 400:
        assert response.status_code == 200, "who asks for more gets as much as there is"
    else:
        assert len(refusal(response, 400)["message"]) < 600


@pytest.mark.parametrize("inner", [b"[" * 90_000, b'{"a":' * 50_000, b"[" * 90_000 + b"]" * 90_000])
def test_what_is_nested_deeply_gets_an_answer(inside, inner):
    for start in (b'{"messages": ', b'{"messages": [{"role": "user", "content": ', b'{"query": "x", "tools": '):
        refusal(inside.post(CHAT, content=start + inner, headers={"content-type": "application/json"}), 400)
    for screen in ("[" * 4000, "9" * 5000, "{" * 4000 + "}" * 4000):
        assert inside.post(CHAT, json=asked(f'x\n\n{{"current_app": {screen}}}')).status_code == 200


def test_the_description_says_that_there_is_a_message_or_a_question(inside):
    schema = inside.get("/openapi.json").json()["components"]["schemas"]["ChatRequest"]
    assert schema["properties"]["messages"]["minItems"] == 1
    assert schema["anyOf"] == [{"required": ["messages"]}, {"required": ["query"]}]
    refusal(inside.post(CHAT, json={"messages": [], "query": "x"}), 400)
    refusal(inside.post(CHAT, json={}), 400)
    assert inside.post(CHAT, json={"query": "x"}).status_code == 200


def test_400_when_the_engine_says_that_it_does_not_fit(inside):
    for stream in (False, True):
        error = refusal(inside.post(CHAT, json=asked("too long", stream=stream)), 400)
        assert error["code"] == "context_length_exceeded" and "512" in error["message"]


def test_401_on_every_path_but_health_and_always_the_same():
    with app(api_key="sesame-schlüssel") as client:
        seen = set()
        for path in (CHAT, "/v1/models", "/metrics", "/openapi.json", "/docs", "/nowhere", "/health/", "/Health", "//health"):
            for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic sesame"}, {"authorization": "Bearer"}):
                response = client.request("POST" if path == CHAT else "GET", path, headers=headers, follow_redirects=False)
                assert refusal(response, 401)["code"] == "invalid_api_key"
                assert response.headers["www-authenticate"] == "Bearer"
                seen.add(response.text)
        assert len(seen) == 1
        assert client.get("/health").status_code == 200
        right = {"authorization": "bearer sesame-schlüssel".encode()}
        assert client.get("/v1/models", headers=right).status_code == 200
        assert client.post(CHAT, json=asked(), headers=right).status_code == 200


def test_404_and_405(inside):
    assert refusal(inside.get("/v1/nowhere"), 404)["type"] == "not_found_error"
    response = inside.get(CHAT)
    assert "GET" in refusal(response, 405)["message"] and response.headers["allow"] == "POST"
    refusal(inside.post("/health"), 405)
    for path in ("/v1/models/", "/v1/chat/completions/", "/health/", "/docs", "/redoc"):
        response = inside.get(path, follow_redirects=False)
        refusal(response, 404)
        assert "location" not in response.headers, "no address is made of the Host header"


def test_408_for_what_does_not_arrive():
    with running(Fake(), limits=Limits(upload_s=0.3)) as url, connected(url) as link:
        link.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        assert b"408" in received(link).split(b"\r\n")[0]


def test_413_for_what_is_too_large():
    with app(limits=Limits(body_bytes=1000, audio_seconds=0.2, pixels=100, side=50)) as client:
        assert refusal(client.post(CHAT, json=asked("x" * 2000)), 413)["code"] == "request_too_large"
        parts = (b"{" + b" " * 400 for _ in range(9))  # nobody says beforehand how long it is
        assert refusal(client.post(CHAT, content=parts, headers={"content-type": "application/json"}), 413)
    with app(limits=Limits(audio_seconds=0.2, pixels=100, side=50)) as client:
        assert refusal(client.post(CHAT, json=asked(audio_part(sound(0.3)))), 413)["code"] == "audio_too_long"
        assert client.post(CHAT, json=asked(audio_part(sound(0.15)))).status_code == 200
        many = io.BytesIO()
        soundfile.write(many, np.zeros((3000, 8)), 192_000, format="FLAC")
        assert client.post(CHAT, json=asked(audio_part(many.getvalue()))).status_code == 200
        soundfile.write(many := io.BytesIO(), np.zeros((30_000, 8)), 192_000, format="FLAC")
        assert refusal(client.post(CHAT, json=asked(audio_part(many.getvalue()))), 413)["code"] == "audio_too_long"
        for size in ((11, 10), (51, 1), (1, 51)):
            error = refusal(client.post(CHAT, json=asked(image_part(data_url(picture(size=size))), text_part("x"))), 413)
            assert error["code"] == "image_too_large" and error["param"] == "messages[0].content[0]"
        assert client.post(CHAT, json=asked(image_part(data_url(picture(size=(10, 10)))), text_part("x"))).status_code == 200


def bomb(width, height):
    """A PNG of a few kilobytes that unpacks to as many pixels as are wanted."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_413_for_a_bomb_which_does_not_go_off(inside):
    process = psutil.Process()
    before = process.memory_info().rss
    for width, height in ((50_000, 50_000), (10_000, 10_000), (16_000_000, 1), (1, 16_000_000), (2**31 - 1, 2**31 - 1)):
        for stream in (False, True):
            parts = image_part(data_url(bomb(width, height))), text_part("x")
            error = refusal(inside.post(CHAT, json=asked(*parts, stream=stream)), 413)
            assert error["code"] == "image_too_large"
    assert process.memory_info().rss - before < 100e6


def test_415_for_what_is_neither_picture_nor_sound(inside):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    for part in (
        image_part(data_url(svg, "image/svg+xml")),
        image_part(data_url(b"%PDF-1.4", "application/pdf")),
        image_part(data_url(b"")),
        image_part(data_url(picture("TIFF"))),
        audio_part(b"RIFF"),
        audio_part(sound(), "mp3"),
        audio_part(sound(kind="OGG")),
    ):
        error = refusal(inside.post(CHAT, json=asked(part, text_part("x")) if "image_url" in part else asked(part)), 415)
        assert error["param"] == "messages[0].content[0]"
    for kind in ({"content-type": "application/x-www-form-urlencoded"}, {"content-type": "text/plain"}, {"content-type": ""}, {}):
        refusal(inside.post(CHAT, content=json.dumps(asked()).encode(), headers=kind), 415)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1/x.png",
        "https://example.com/x.png",
        "file:///etc/passwd",
        "HTTP://localhost/x",
        "ftp://x/y",
        "/etc/passwd",
        "",
        "data:,x",
        "data:image/png,abc",
        "gopher://x",
    ],
)
def test_no_address_is_followed(inside, address, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("nobody is to be looked up"))
    assert refusal(inside.post(CHAT, json=asked(image_part(address), text_part("x"))), 400)["code"].startswith("invalid_image")


def test_429_says_when_to_come_again():
    with app(Fake(before_s=0.3), Limits(queue=1)) as client:
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(client.post(CHAT, json=asked()))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 3 <= len(refused) <= 5 and sum(answer.status_code == 200 for answer in answers) == 6 - len(refused)
        for answer in refused:
            assert refusal(answer, 429)["code"] == "queue_full" and answer.headers["retry-after"] == "1"
        assert refusal(client.post(CHAT, json=asked(n=2)), 429)["type"] == "rate_limit_error"


def test_429_when_too_many_bytes_are_held():
    with app(Fake(before_s=0.5), Limits(held_bytes=3000)) as client:
        first = threading.Thread(target=client.post, args=(CHAT,), kwargs={"json": asked("x" * 2000)})
        first.start()
        time.sleep(0.2)
        assert refusal(client.post(CHAT, json=asked("x" * 2000)), 429)["code"] == "memory_full"
        first.join()
        assert client.post(CHAT, json=asked("x" * 2000)).status_code == 200 and client.service.bytes_held == 0


class Held(Fake):
    """Hangs after some pieces, until it may go on."""

    def __init__(self, pieces):
        super().__init__()
        self.after, self.waits, self.go_on = pieces, False, threading.Event()

    def hang(self):
        self.waits = True
        self.go_on.wait(20)
        self.waits = False

    def answer(self, task="", image=None, audio=None, **given):
        if not self.after:
            self.hang()
        return super().answer(task, image, audio, **given)

    def _spoken(self, given):
        for number, piece in enumerate(super()._spoken(given)):
            if number == self.after:
                self.hang()
            yield piece


class Paced(Fake):
    """Says the next piece once it is told that the one before was heard."""

    def __init__(self, pieces):
        super().__init__(pieces)
        self.heard, self.told = threading.Semaphore(0), 0

    def _spoken(self, given):
        for piece in super()._spoken(given):
            yield piece
            if isinstance(piece, str) and not self.heard.acquire(timeout=20):
                raise TimeoutError("nobody heard it")


def test_503_when_it_takes_too_long_or_too_many_ask():
    for pieces in (0, 2):
        engine = Held(pieces)
        with app(engine, Limits(deadline_s=0.3)) as client:
            response = client.post(CHAT, json=asked())
            assert refusal(response, 503)["code"] == "deadline_exceeded" and response.headers["retry-after"] == "1"
            assert engine.waits, "an engine that hangs keeps nobody"
            engine.go_on.set()
    with app(Fake(before_s=0.4), Limits(connections=1)) as client:
        first = threading.Thread(target=client.post, args=(CHAT,), kwargs={"json": asked()})
        first.start()
        time.sleep(0.1)
        response = client.get("/v1/models")
        assert refusal(response, 503)["code"] == "busy" and response.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200
        first.join()
        assert client.get("/v1/models").status_code == 200


def test_500_says_nothing_of_what_happened_inside():
    with app(Fake([], error=RuntimeError("secret"))) as client:
        error = refusal(client.post(CHAT, json=asked()), 500)
        assert error["code"] == "engine_failed" and "secret" not in json.dumps(error)
        client.service.scheduler.submit = lambda jobs: 1 / 0
        assert "ZeroDivisionError" in refusal(client.post(CHAT, json=asked()), 500)["message"]


def test_the_errors_of_the_client(client):
    for fields, kind in (({"n": 99}, openai.BadRequestError), ({"messages": [user("too long")]}, openai.BadRequestError)):
        with pytest.raises(kind) as caught:
            client.chat.completions.create(**{**asked(), **fields})
        assert caught.value.body["message"] and caught.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="m", input="x")


# --- streams that take long, and clients that go


def test_an_error_after_the_headers_is_an_event():
    with running(Fake(["a", "b"], error=RuntimeError("secret"))) as url:
        client, read = openai.OpenAI(base_url=url, api_key="x", max_retries=0), []
        with pytest.raises(openai.APIError) as caught:
            read.extend(chunk.choices[0].delta.content or "" for chunk in create(client, stream=True))
        assert caught.value.code == "engine_failed" and "secret" not in str(caught.value)
    with app(Fake(["a"] * 50, apart_s=0.05), Limits(deadline_s=0.4)) as inside:
        chunks, last = lines(inside.post(CHAT, json=asked(stream=True)))
        assert len(chunks) > 2 and json.loads(last)["error"]["code"] == "deadline_exceeded"


def test_comments_keep_a_slow_stream_alive():
    with app(Fake(["a", "b", "c"], before_s=0.35, apart_s=0.25), Limits(keep_alive_s=0.1)) as client:
        response = client.post(CHAT, json=asked(stream=True))
        assert response.text.count(": still writing\n\n") >= 5
        chunks, done = lines(response)
        assert done == "[DONE]" and [c["choices"][0]["delta"].get("content") for c in chunks] == [None, "a", "b", "c", None]
        read = openai.OpenAI(base_url="http://testserver/v1", api_key="x", http_client=client)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in create(read, stream=True)) == "abc"


def test_pieces_come_one_by_one():
    engine = Paced(["a"] * 6)
    with running(engine) as url:
        for chunk in create(openai.OpenAI(base_url=url, api_key="x"), stream=True):
            if chunk.choices[0].delta.content:
                assert engine.said == engine.told + 1, "each is here before the next one is said"
                engine.told += 1
                engine.heard.release()
    assert engine.told == 6


def connected(url):
    host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def received(link):
    content = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while part := link.recv(65536):
            content += part
            if b"\r\n\r\n" in content and b"text/event-stream" not in content:
                break
    return content


def sent(url, **fields):
    """A connection over which a request was sent."""
    body = json.dumps(asked(**fields)).encode()
    link = connected(url)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    link.sendall(head.encode() + body)
    return link


@pytest.mark.parametrize("stream", [True, False])
def test_nothing_is_computed_for_a_client_that_went_away(stream):
    engine = Fake(["a"] * 2000, apart_s=0.005)
    late = []
    with running(engine, limits=Limits(max_tokens=2000)) as url:
        for _ in range(5):
            link = sent(url, stream=stream, max_tokens=2000)
            until = time.monotonic() + 10
            while not engine.running and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(0.2)
            assert engine.running == 1
            before = engine.said
            link.close()
            until = time.monotonic() + 60
            while engine.running and time.monotonic() < until:
                time.sleep(0.002)
            assert engine.running == 0
            late.append(engine.said - before)
    assert sorted(late)[2] < 40 and max(late) < 400, f"{late} pieces of 2,000 were written for clients that had gone"


def test_a_client_that_goes_while_it_waits_costs_nothing():
    engine = Fake(["a"] * 3, before_s=0.5)
    with running(engine) as url:
        first, waits = sent(url), sent(url, stream=True)
        time.sleep(0.2)
        waits.close()
        received(first)
        time.sleep(0.2)
        assert len(engine.asked) == 1 and engine.said == 3
        first.close()


def test_measurements_count():
    with app() as client:
        client.post(CHAT, json=asked())
        client.post(CHAT, json=asked(stream=True))
        client.post(CHAT, json=asked(n=99))
        client.get("/some/where")
        text = client.get("/metrics").text
    for line in (
        'autoglm_requests_total{path="/v1/chat/completions",status="200"} 2.0',
        'status="400"} 1.0',
        'autoglm_requests_total{path="other",status="404"} 1.0',
        "autoglm_completion_tokens_total 10.0",
        "autoglm_prompt_tokens_total 14.0",
        "autoglm_time_to_first_token_seconds_count 2.0",
        "autoglm_queue_length 0.0",
        "autoglm_rows 0.0",
    ):
        assert line in text, line
    assert "some" not in text


def test_nothing_of_a_request_is_logged(caplog, capfd):
    secret = "Xyzzy-4711"
    with caplog.at_level(logging.DEBUG), running(Fake([secret]), api_key=f"key-{secret}") as url:
        for body in (
            asked(f"{secret} open"),
            asked(f"{secret}", stream=True),
            asked(secret, n=99),
            {"messages": secret},
            asked(image_part(f"data:image/png;base64,{secret}"), text_part(secret)),
            asked("too long", user=secret),
        ):
            for key in (f"key-{secret}", "wrong"):
                content = json.dumps(body).encode()
                with connected(url) as link:
                    link.sendall(
                        (
                            f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
                            "Content-Type: application/json\r\n"
                            f"Content-Length: {len(content)}\r\n\r\n"
                        ).encode()
                        + content
                    )
                    assert b"HTTP/1.1" in received(link)
    printed = capfd.readouterr()
    assert secret not in caplog.text + printed.out + printed.err


# --- a server that runs


def test_an_address_that_others_reach_wants_a_key():
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.com"):
        with pytest.raises(ValueError, match="api-key-file"), running(Fake(), host=host):
            pass
    with running(Fake(), host="0.0.0.0", api_key="k") as url:
        assert url.startswith("http://0.0.0.0:")


def test_a_port_that_is_taken_is_named(url):
    taken = int(url.split(":")[2].split("/")[0])
    before = threading.active_count()
    with pytest.raises(OSError, match=f"port {taken}"), running(Fake(), port=taken):
        pass
    assert threading.active_count() == before, "no thread is left behind"


def test_when_it_ends_what_was_taken_is_answered():
    answers = []
    with running(Fake(apart_s=0.05)) as url:
        link = sent(url)
        time.sleep(0.1)
        answers.append(link)
    assert b"200 OK" in received(link)
    with pytest.raises(OSError):
        urlopen(f"{url}/models", timeout=1)


def test_another_engine_over_http_while_requests_come():
    with running(Fake(["one"], apart_s=0.01)) as url:
        client, answers, stop = openai.OpenAI(base_url=url, api_key="x", max_retries=0), [], threading.Event()

        def ask():
            while not stop.is_set():
                answers.append(create(client).choices[0].message.content)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for said in ("two", "three"):
            time.sleep(0.3)
            url.service.swap(SequentialScheduler(Fake([said], apart_s=0.01)))
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join(10)
        assert set(answers) == {"one", "two", "three"} and answers[-1] == "three"


def test_small_packets_are_sent_at_once():
    with listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP, "without it asyncio does not set TCP_NODELAY, and answers wait for 40 ms"
