"""Pictures from other hosts: looked up once, fetched from that very address, and from no other place."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from autoglm_lab.cli import main
from autoglm_lab.serve import Limits
from autoglm_lab.serve import fetch as fetching
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.fetch import fetch, get, is_public, resolve
from autoglm_lab.serve.media import open_picture
from tests.unit.served import picture

HOST = "pictures.example"


@contextlib.contextmanager
def answering(content, *, apart_s=0.0, parts=1):
    """A server on this machine that says some bytes to everybody; its port, and what it was asked."""
    asked, stop = [], threading.Event()

    def serve():
        while not stop.is_set():
            with contextlib.suppress(OSError), listening.accept()[0] as link:
                asked.append(link.recv(65_536))
                for _ in range(parts):
                    link.sendall(content)
                    time.sleep(apart_s)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1], asked
        finally:
            stop.set()
            thread.join(10)


def reply(body, status="200 OK", *lines):
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]).encode() + body


@pytest.fixture
def unnamed(monkeypatch):
    """Nobody may look a name up: what was resolved is used."""
    real = socket.getaddrinfo

    def only_numbers(host, *more):
        assert host == "127.0.0.1", f"{host} was looked up"
        return real(host, *more)

    monkeypatch.setattr(socket, "getaddrinfo", only_numbers)


def test_a_picture_comes_from_the_address_that_was_checked_whatever_the_name_and_the_proxy(unnamed, monkeypatch):
    with answering(reply(b"not from a proxy")) as (proxy, through), answering(reply(picture())) as (port, asked):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        content = get(urlsplit(f"http://{HOST}:{port}/a/b.png?c=d"), port, "127.0.0.1", 10_000)
    assert content == picture() and through == []
    assert asked[0].startswith(b"GET /a/b.png?c=d HTTP/1.1\r\n") and f"Host: {HOST}:{port}".encode() in asked[0]


def test_a_name_is_looked_up_once(monkeypatch):
    looked, connected = [], []

    def look(host, port, *_):
        looked.append((host, port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1" if len(looked) > 1 else "93.184.215.14", port))]

    def connect(address, *_):
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", look)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ApiError, match="could not be fetched"):
        fetch(f"http://{HOST}/x.png", {HOST}, 1000, "p")
    assert looked == [(HOST, 80)] and connected == [("93.184.215.14", 80)]


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}:22/x",
        f"http://{HOST}:8080/x",
        f"https://{HOST}:80/x",
        f"http://user@{HOST}/x",
        f"http://{HOST}.evil/x",
        f"http://{HOST}@evil.example/x",
        f"http://{HOST}:99999/x",
        f"http://{HOST}:x/",
        "http:///x",
        "http://[::1",
        f"http://{HOST}\\@evil/",
        "https://other.example/x",
        "https://other.example:444/x",
    ],
)
def test_other_hosts_and_ports_are_not_asked(url, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("nobody is to be looked up"))
    with pytest.raises(ApiError, match="not fetched from other hosts or ports"):
        open_picture(url, Limits(image_hosts=frozenset({HOST, "other.example:8443"})), "p")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:1::5601:aff",
    ],
)
def test_private_addresses_are_refused_also_in_disguise(address, monkeypatch):
    assert not is_public(address)
    entries = [(0, 0, 0, "", ("8.8.8.8", 0)), (0, 0, 0, "", (address, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: entries)
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("it was asked"))
    with pytest.raises(PermissionError, match="not a public address"):
        resolve(HOST, 443)
    with pytest.raises(ApiError, match="not a public address"):
        open_picture(f"https://{HOST}/x.png", Limits(image_hosts=frozenset({HOST})), "p")


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "content",
    [
        reply(b"", "302 Found", "Location: http://127.0.0.1/secret"),
        reply(b"no", "404 Not Found"),
        b"SSH-2.0-x\r\n",
        b"",
    ],
)
def test_only_an_answer_is_taken(content, unnamed):
    with answering(content) as (port, asked), pytest.raises((ValueError, OSError, fetching.HTTPException)):
        get(urlsplit(f"http://{HOST}:{port}/"), port, "127.0.0.1", 1000)
    assert len(asked) == 1, "nobody is asked again"


def test_a_picture_has_an_end(unnamed, monkeypatch):
    with answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000) as (port, _):
        assert 1000 < len(get(urlsplit(f"http://{HOST}:{port}/"), port, "127.0.0.1", 1000)) < 200_000
    monkeypatch.setattr(fetching, "FETCH_S", 0.5)
    with answering(b"HTTP/1.1 200 OK\r\n\r\nx", apart_s=0.05, parts=100) as (port, _), pytest.raises(TimeoutError):
        get(urlsplit(f"http://{HOST}:{port}/"), port, "127.0.0.1", 10_000)


def test_a_certificate_is_that_of_the_name(unnamed):
    with answering(b"no certificate at all") as (port, _), pytest.raises(OSError):
        get(urlsplit(f"https://{HOST}:{port}/"), port, "127.0.0.1", 1000)


@pytest.mark.parametrize("host", ["http://pictures.example", "a b", "", "x:0", "x:99999", "x:y", "*"])
def test_what_is_no_host_is_refused_in_one_line(host, capsys):
    with pytest.raises(ValueError, match="is no host"):
        Limits(image_hosts=frozenset({host}))
    assert main(["serve", "--image-host", host]) == 2
    assert "is no host" in capsys.readouterr().err
