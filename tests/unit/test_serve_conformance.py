"""Suites and attacks of others: LangChain's tests, Schemathesis, broken media, slow clients, many clients.

A figure for each of them is written to the log: `pytest -rP`.
"""

import asyncio
import contextlib
import inspect
import io
import json
import random
import socket
import threading
import time
import warnings
from collections import Counter
from typing import ClassVar

import httpx
import numpy as np
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from langchain_openai import ChatOpenAI
from langchain_tests import integration_tests, unit_tests
from PIL import Image
from schemathesis.checks import CHECKS, load_all_checks

from autoglm_lab.runtime.features import image_features, log_mel
from autoglm_lab.serve import Limits, running
from autoglm_lab.serve.connections import TimeoutProtocol
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.media import open_picture, open_sound
from autoglm_lab.serve.queue import failure
from tests.unit.served import Fake, asked, audio_part, coded, data_url, image_part, picture, sound, text_part

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def url():
    with running(Fake(), limits=Limits(queue=1000)) as address:
        yield address


# --- LangChain

PARAMETERS = {"model": "autoglm-lab", "api_key": "EMPTY", "stream_usage": True, "max_retries": 0}
OFF = ("has_tool_calling", "has_tool_choice", "has_structured_output", "supports_json_mode")


def without_tools(cls):
    """Tools and structured answers are not what this model does."""
    for name in OFF:
        setattr(cls, name, property(lambda self: False))
    return cls


for _, coroutine in inspect.getmembers(integration_tests.ChatModelIntegrationTests, inspect.iscoroutinefunction):
    pytest.mark.asyncio(loop_scope="module")(coroutine)  # the clients are kept from test to test; the suite forbids overriding


class Whatever:
    """Equal to everything: what another version wrote is not looked at."""

    def __call__(self, **_):
        return self

    def __eq__(self, _):
        return True

    __hash__ = None


@pytest.mark.filterwarnings("ignore:The function `load`", "ignore:The method `BaseChatModel.dict`")
@without_tools
class TestLangChainUnits(unit_tests.ChatModelUnitTests):
    """LangChain's tests of the object itself."""

    chat_model_class = ChatOpenAI
    chat_model_params: ClassVar = {**PARAMETERS, "base_url": "http://127.0.0.1:9/v1"}
    init_from_env_params = (
        {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
        {"model": "m"},
        {"openai_api_key": "k"},
    )

    @pytest.fixture
    def snapshot(self):
        return Whatever()


@pytest.mark.filterwarnings("ignore:LANGCHAIN_TESTS_USER_AGENT")
@without_tools
class TestLangChainIntegration(integration_tests.ChatModelIntegrationTests):
    """LangChain's tests against the server."""

    chat_model_class = ChatOpenAI
    supports_image_inputs = supports_audio_inputs = returns_usage_metadata = True

    @pytest.fixture(autouse=True)
    def _served(self, url, monkeypatch):
        def fetched(address, **_):  # no test reaches the network
            return httpx.Response(200, content=sound() if address.endswith("wav") else picture())

        monkeypatch.setattr(httpx, "get", fetched)
        type(self).url = url

    @property
    def chat_model_params(self):
        return {**PARAMETERS, "base_url": self.url}


# --- the description of the interface, taken at its word

load_all_checks()
CHECKED = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
    )
]


def described():
    with running(Fake()) as address:
        return httpx.get(address.removesuffix("/v1") + "/openapi.json").json()


SCHEMA = schemathesis.openapi.from_dict(described())
SEEN = Counter()


@SCHEMA.parametrize()
@settings(max_examples=60, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_request_of_schemathesis_is_answered_as_described(case, url):
    if isinstance(case.body, dict):
        case.body.pop("stream", None)  # a stream has tests of its own
    response = case.call(base_url=url.removesuffix("/v1"))
    SEEN[case.path, response.status_code] += 1
    case.validate_response(response, checks=CHECKED)


def test_schemathesis_reached_good_and_bad():
    if not SEEN:
        pytest.skip("the test before this one ran elsewhere")
    print(dict(SEEN))
    assert SEEN[CHAT, 400] > 5 and all(SEEN[path, 200] for path in (CHAT, "/health", "/metrics", "/v1/models"))


# --- broken pictures and sounds

KINDS = [
    *(
        ("picture", picture(kind, (24, 16), mode))
        for kind, mode in (
            ("PNG", "RGB"),
            ("PNG", "RGBA"),
            ("PNG", "P"),
            ("PNG", "L"),
            ("JPEG", "RGB"),
            ("JPEG", "CMYK"),
            ("JPEG", "L"),
            ("WEBP", "RGB"),
            ("WEBP", "RGBA"),
            ("GIF", "P"),
            ("BMP", "RGB"),
            ("BMP", "1"),
        )
    ),
    ("sound", sound(0.02)),
    ("sound", sound(0.02, 44_100)),
    ("sound", sound(0.05, 8000)),
    ("sound", sound(0.02, kind="FLAC")),
]


def mutated(content, rng):
    """A file with some bits turned, bytes replaced by extremes, cut off, or with a piece taken out or put in twice."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(min(len(content), rng.choice([40, 10**6])))
        match rng.randrange(5):
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                content[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\1\0\0\0"])
            case 2:
                del content[at + 1 :]
            case 3:
                del content[at : at + rng.randrange(1, 20)]
            case _:
                content[at:at] = content[at : at + rng.randrange(1, 200)]
        content = content or bytearray(b"\0")
    return bytes(content)


def opened(kind, content):
    """The status of what a server and its engine make of a file."""
    try:
        if kind == "picture":
            features = image_features(open_picture(data_url(content), Limits(), "p"))
        else:
            features = log_mel(open_sound(coded(content), Limits(), "p"))
    except Exception as error:
        return failure(error).status
    assert np.isfinite(features).all()
    return 200


def test_two_thousand_broken_pictures_and_sounds():
    rng, seen, process = random.Random(0), Counter(), psutil.Process()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a picture is broken
        for kind, content in KINDS:  # decoders keep a little from their first file on
            opened(kind, content)
        before, worst = process.memory_info().rss, 0.0
        for number in range(2000):
            kind, content = KINDS[number % len(KINDS)]
            began = time.thread_time()
            seen[kind, opened(kind, mutated(content, rng))] += 1
            worst = max(worst, time.thread_time() - began)
    print(dict(seen), f"slowest {worst:.2f} s, memory {(process.memory_info().rss - before) / 1e6:.0f} MB more")
    assert {status for _, status in seen} <= {200, 400, 413, 415}
    assert all(seen[kind, status] > 50 for kind in ("picture", "sound") for status in (200, 415))
    assert worst < 2 and process.memory_info().rss - before < 80e6


class Seeing(Fake):
    """An engine that looks and listens as all engines do."""

    def answer(self, task="", image=None, audio=None, **given):
        if image is not None:
            image_features(image)
        if audio is not None:
            log_mel(audio)
        return super().answer(task, image, audio, **given)


def test_two_hundred_of_them_in_requests():
    rng, seen = random.Random(1), Counter()
    with warnings.catch_warnings(), running(Seeing(["ok"])) as address, httpx.Client() as client:
        warnings.simplefilter("ignore")
        for number in range(200):
            kind, content = KINDS[number % len(KINDS)]
            content = mutated(content, rng)
            part = image_part(data_url(content)) if kind == "picture" else audio_part(content)
            response = client.post(address + "/chat/completions", json=asked(part, text_part("x"), stream=number % 3 == 0))
            seen[response.status_code] += 1
            if response.status_code != 200:
                assert response.json()["error"]["param"] in ("messages[0].content[0]", "messages"), response.text
    print(dict(seen))
    assert set(seen) <= {200, 400, 413, 415} and seen[200] > 20 and seen[415] > 20


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_a_whole_picture_is_seen_as_it_is(mode, tmp_path):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    made = (
        Image.new("I;16", (9, 7), 30_000)
        if mode == "I;16"
        else Image.open(_file(picture("PNG", (9, 7), "RGBA"), tmp_path)).convert(mode)
    )
    made.save(path := tmp_path / "made", kind)
    given = image_features(open_picture(data_url(path.read_bytes()), Limits(), "p"))
    assert np.abs(given - image_features(Image.open(path))).max() <= 1 / 255


def _file(content, folder):
    (folder / "one.png").write_bytes(content)
    return folder / "one.png"


def test_clear_parts_are_white():
    clear = Image.new("P", (4, 4), 0)
    clear.info["transparency"] = 0
    for made in (Image.new("RGBA", (4, 4), (9, 9, 9, 0)), Image.new("LA", (4, 4), (9, 0)), clear):
        content = io.BytesIO()
        made.save(content, "PNG")
        assert open_picture(data_url(content.getvalue()), Limits(), "p").getpixel((1, 1)) == (255, 255, 255)


# --- slow clients, and many


def connected(address):
    host, port = address.removeprefix("http://").removesuffix("/v1").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def dripping(links, content, stop):
    """Send a byte over each connection now and then, for as long as it lasts."""
    at = 0
    while not stop.is_set():
        for link in links:
            with contextlib.suppress(OSError):
                link.sendall(content[at % len(content) : at % len(content) + 1])
        at += 1
        time.sleep(0.05)


STARTS = {
    "nothing": (b"", b"G"),
    "a line": (b"", b"GET /health HTTP/1.1\r\nX-A: " + b"a" * 10_000),
    "after a request": (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /health HTTP/1.1\r\nX-A: " + b"a" * 10_000),
    "a body nobody reads": (b"POST /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999\r\n\r\n", b"a"),
}


@pytest.mark.parametrize("kind", STARTS)
def test_clients_that_say_a_byte_now_and_then_keep_nobody_out_and_are_cut_off(kind, monkeypatch):
    monkeypatch.setattr(TimeoutProtocol, "HEADERS_S", 1.0)
    start, drip = STARTS[kind]
    with running(Fake(), limits=Limits(connections=20)) as address:
        links, stop = [], threading.Event()
        for _ in range(60):  # more than there is room for
            links.append(connected(address))
            links[-1].sendall(start)
            if start:
                assert links[-1].recv(4096).startswith(b"HTTP/1.1 ")
        thread = threading.Thread(target=dripping, args=(links, drip, stop))
        thread.start()
        try:
            for _ in range(12):
                with httpx.Client(timeout=3) as client:
                    response = client.post(address + "/chat/completions", json=asked())
                assert response.status_code == 200, response.text
                time.sleep(0.05)
            port = int(address.split(":")[2].split("/")[0])

            def connections():
                mine = psutil.Process().net_connections("tcp")
                return [each for each in mine if each.laddr.port == port and each.status == "ESTABLISHED"]

            until = time.monotonic() + 20
            while len(connections()) > 2 and time.monotonic() < until:
                time.sleep(0.1)
            assert len(connections()) <= 2, f"{len(connections())} of 60 are still there"
        finally:
            stop.set()
            thread.join()
            for link in links:
                link.close()


def test_slow_bodies_are_cut_off_and_health_is_answered_meanwhile():
    head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n".encode()
    with running(Fake(), limits=Limits(connections=20, upload_s=3.0)) as address, httpx.Client(timeout=30) as client:

        def answer(status):
            """Send a request again and again until its answer has this status."""
            until = time.monotonic() + 60
            while (response := client.post(address + "/chat/completions", json=asked())).status_code != status:
                assert time.monotonic() < until, response.text
                time.sleep(0.02)
            return response

        links, stop = [], threading.Event()
        for _ in range(30):
            links.append(connected(address))
            links[-1].sendall(head)
        thread = threading.Thread(target=dripping, args=(links, b" ", stop))
        thread.start()
        try:
            assert answer(503).headers["retry-after"] == "1"
            assert client.get(address.removesuffix("/v1") + "/health").status_code == 200
            answer(200)
            until = time.monotonic() + 60
            while address.service.bytes_held and time.monotonic() < until:
                time.sleep(0.02)
            assert address.service.bytes_held == 0
        finally:
            stop.set()
            thread.join()
            for link in links:
                link.close()


@pytest.mark.parametrize("stream", [False, True])
def test_sixty_four_clients_at_once_with_a_short_queue(stream):
    process, engine = psutil.Process(), Fake(apart_s=0.001)
    content = np.random.default_rng(0).integers(0, 255, (600, 400, 3)).astype(np.uint8)
    Image.fromarray(content).save(file := io.BytesIO(), "PNG")
    body = json.dumps(asked(image_part(data_url(file.getvalue())), text_part("open Settings"), stream=stream)).encode()

    async def load(address):
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=100)) as client:

            async def one():
                return await client.post(address + "/chat/completions", content=body, headers={"Content-Type": "application/json"})

            return await asyncio.gather(*(one() for _ in range(64)), *(one() for _ in range(64)))

    with running(engine, limits=Limits(queue=8)) as address:
        asyncio.run(load(address))
        before = process.memory_info().rss
        answers = [answer for _ in range(2) for answer in asyncio.run(load(address))]
        more = process.memory_info().rss - before
        for _ in range(100):  # the last answer is out before its place is free
            if address.service.scheduler.state() == {"waiting": 0, "writing": 0}:
                break
            time.sleep(0.05)
        assert address.service.bytes_held == 0 and address.service.scheduler.state() == {"waiting": 0, "writing": 0}
    seen = Counter(answer.status_code for answer in answers)
    print(dict(seen), f"{more / 1e6:.0f} MB more")
    assert set(seen) == {200, 429} and seen[200] >= 9 and sum(seen.values()) == 256
    for answer in answers:
        if answer.status_code == 429:
            assert answer.headers["retry-after"] == "1" and answer.json()["error"]["code"] in ("queue_full", "memory_full")
        else:
            assert "设置" in answer.text and (not stream or answer.text.endswith("data: [DONE]\n\n"))
    assert more < 200e6


def test_messages_by_the_hundred_thousand_cost_little():
    body = b'{"messages":[' + b",".join([b'{"role":"user"}'] * 600_000) + b"]}"
    process = psutil.Process()
    with running(Fake()) as address:
        before = process.memory_info().rss
        response = httpx.post(address + "/chat/completions", content=body, headers={"Content-Type": "application/json"}, timeout=20)
        assert response.status_code == 413 and response.json()["error"]["code"] == "request_too_large"
        assert process.memory_info().rss - before < 100e6


def test_base64_with_a_blank_after_each_letter_costs_little():
    process, data = psutil.Process(), "ab \n" * 2_500_000
    before = process.memory_info().rss
    with pytest.raises(ApiError):
        open_picture(f"data:image/png;base64,{data}", Limits(), "p")
    assert process.memory_info().rss - before < 100e6
    broken = "\n".join(coded(picture()))
    assert open_picture(f"data:image/png;base64,{broken}", Limits(), "p").size == (8, 12)
