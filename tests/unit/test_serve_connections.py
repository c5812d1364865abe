"""Clients that do not read, that half-close, and that send what is no HTTP: each gets an answer or goes, and nobody else waits."""

import contextlib
import json
import socket
import time

import httpx
import psutil
import pytest

from autoglm_lab.serve import Limits, running
from autoglm_lab.serve.connections import TimeoutProtocol
from tests.unit.served import Fake, asked

CHAT = "/v1/chat/completions"
JSON = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def connected(url, timeout_s=10):
    """A connection whose buffers are small, so that few bytes fill them."""
    port = int(url.split(":")[2].split("/")[0])
    link = socket.socket()
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        link.setsockopt(socket.SOL_SOCKET, buffer, 4096)
    link.settimeout(timeout_s)
    link.connect(("127.0.0.1", port))
    return link


def head(url, line, *lines):
    return "\r\n".join([f"{line} HTTP/1.1", f"Host: {url.split('/')[2]}", *lines, "", ""]).encode()


def posted(url, *lines, **fields):
    body = json.dumps(asked(**fields)).encode()
    return head(url, f"POST {CHAT}", "Content-Type: application/json", f"Content-Length: {len(body)}", *lines) + body


def everything(link):
    content = b""
    with contextlib.suppress(ConnectionError):
        while part := link.recv(65_536):
            content += part
    return content


def never_reading(url, path="/v1/models", count=8):
    """Connections over which requests are sent until nobody takes any more; not a byte is read."""
    links = [connected(url) for _ in range(count)]
    for link in links:
        link.settimeout(0.3)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while True:
                link.sendall(head(url, f"GET {path}") * 20)
    return links


def established(url):
    port = int(url.split(":")[2].split("/")[0])
    return sum(each.laddr.port == port and each.status == "ESTABLISHED" for each in psutil.Process().net_connections("tcp"))


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
def test_clients_that_never_read_keep_nobody_out_and_are_cut_off(path, monkeypatch):
    monkeypatch.setattr(TimeoutProtocol, "HEADERS_S", 1.5)  # a kernel may take all answers: who reads none of them is then idle
    with running(Fake(), limits=Limits(connections=8, send_s=1.5)) as url, contextlib.ExitStack() as closing:
        for link in never_reading(url, path):
            closing.callback(link.close)
        for _ in range(5):
            with httpx.Client(timeout=3) as client:
                assert client.get(url.removesuffix("/v1") + "/health").status_code == 200
                assert client.post(url + "/chat/completions", json=asked()).status_code == 200
        until = time.monotonic() + 10
        while (left := established(url)) and time.monotonic() < until:
            time.sleep(0.1)
        assert left == 0


def test_a_slow_reader_gets_a_long_stream_whole():
    pieces = [f"{number:04d} " + "x" * 2000 for number in range(100)]
    with running(Fake(pieces), limits=Limits(max_tokens=200, send_s=2.0)) as url, connected(url) as link:
        link.sendall(posted(url, "Connection: close", stream=True, max_tokens=200))
        content = b""
        while part := link.recv(8_192):
            content += part
            time.sleep(0.01)
        assert b"0099 x" in content and content.rstrip().endswith(b"0") and b"data: [DONE]" in content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("before_s", [0.0, 1.5])
def test_a_client_that_half_closes_gets_its_answer(stream, before_s):
    with running(Fake(before_s=before_s, apart_s=0.05)) as url, connected(url) as link:
        link.sendall(posted(url, stream=stream))
        link.shutdown(socket.SHUT_WR)
        content = everything(link)
    final = content.rpartition(b"HTTP/1.1 100")[2]
    assert b"HTTP/1.1 200" in final and "设置".encode() in final and (not stream or b"[DONE]" in final)


def test_all_requests_before_a_half_close_are_answered():
    with running(Fake(apart_s=0.05)) as url, connected(url) as link:
        link.sendall(posted(url) + head(url, "GET /v1/models") + posted(url))
        link.shutdown(socket.SHUT_WR)
        assert everything(link).count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("end", [-5, -100, 20])
def test_half_a_request_and_a_half_close_are_refused(end, capfd):
    with running(Fake()) as url, connected(url) as link:
        link.sendall(posted(url)[:end])
        link.shutdown(socket.SHUT_WR)
        first, _, body = everything(link).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 400 Bad Request") and json.loads(body)["error"]["code"] == "invalid_http"
    assert capfd.readouterr().err == "", "nobody fills the terminal"


def test_a_client_that_half_closes_and_then_goes_costs_nothing():
    engine = Fake(["a"] * 2000, apart_s=0.005)
    with running(engine, limits=Limits(max_tokens=2000)) as url:
        link = connected(url)
        link.sendall(posted(url, max_tokens=2000))
        link.shutdown(socket.SHUT_WR)
        time.sleep(0.5)
        assert engine.running == 1
        link.close()
        until = time.monotonic() + 5
        while engine.running and time.monotonic() < until:
            time.sleep(0.02)
        assert not engine.running


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\r\n\r\n",
        JSON + b"Content-Length: \xb2\r\n\r\n{}",
        JSON + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n{}",
        JSON + b"Content-Length: -1\r\n\r\n{}",
        JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000,
    ],
)
def test_what_is_no_http_is_refused_in_the_shape_that_clients_read(content):
    with running(Fake()) as url, connected(url) as link:
        link.sendall(content)
        first, _, body = everything(link).partition(b"\r\n\r\n")
        assert first.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")) and b"application/json" in first
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_broken_chunks_after_an_answer_leave_no_traceback(caplog):
    with running(Fake()) as url, connected(url) as link:
        link.sendall(head(url, "POST /nowhere", "Transfer-Encoding: chunked"))
        assert link.recv(4096).startswith(b"HTTP/1.1 404")
        link.sendall(b"zz\r\n")
        everything(link)
    assert "Traceback" not in caplog.text and "Fatal" not in caplog.text
