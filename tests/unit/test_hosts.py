"""Whom local servers answer: names that are their own, pages that are their own."""

import http.client
import json

import pytest

from autoglm_lab.cli import main
from autoglm_lab.device.browser.handler import PageServer
from autoglm_lab.device.browser.latency import Latencies
from autoglm_lab.device.browser.server import File
from autoglm_lab.hosts import AllowedHosts
from autoglm_lab.serve import running
from tests.unit.served import Fake, asked

OWN = ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "127.0.0.2"]
FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example@localhost",
    "localhost evil",
    "x",
    "",
    "2130706433",
    "0177.0.0.1",
    "192.168.0.1",
    "[::2]",
    "localhost\t",
    "é",
    "localhost:80:80",
    "a" * 3000,
]


@pytest.mark.parametrize("port", ["", ":8000", ":1"])
def test_own_names_are_answered(port):
    hosts = AllowedHosts()
    for name in OWN:
        assert hosts.refusal(name + port, None) is None
        assert hosts.refusal(name + port, f"http://{name}{port}") is None
    assert AllowedHosts("192.168.0.7").refusal(f"192.168.0.7{port}", None) is None
    assert AllowedHosts("::").refusal(f"[fe80::1]{port}", None, here="fe80:0:0::1") is None, "the address at which it arrived"
    assert AllowedHosts(more=["Phone.local"]).refusal(f"phone.LOCAL{port}", "https://phone.local") is None


@pytest.mark.parametrize("host", [*FOREIGN, None])
def test_other_names_are_not(host):
    assert "--allow-host" in AllowedHosts().refusal(host, None)
    assert AllowedHosts("0.0.0.0").refusal(host, None, here="10.0.0.5") is not None


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://localhost:3000",
        "http://localhost",
        "http://127.0.0.1:8000",
        "file://localhost:8000",
        "localhost:8000",
        "http://localhost:8000.evil.example",
        "http://localhost:8000/",
        "chrome-extension://localhost:8000",
    ],
)
def test_pages_of_another_origin_are_refused(origin):
    assert "another origin" in AllowedHosts().refusal("localhost:8000", origin)


@pytest.mark.parametrize("name", ["http://phone.local", "phone.local:80", "", "*", "a b", "a" * 300])
def test_what_is_no_name_is_refused_in_one_line(name, capsys, tmp_path):
    with pytest.raises(ValueError, match="is no host"):
        AllowedHosts(more=[name])
    assert main(["serve", "--allow-host", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def request(port, method, path, body=None, **headers):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        link.putheader(name.replace("_", "-"), value.encode())
    if body is not None:
        link.putheader("Content-Length", str(len(body)))
    link.endheaders(body)
    answer = link.getresponse()
    content = answer.read()
    link.close()
    return answer, content


HOSTILE = [
    {"Host": "evil.example"},
    {"Host": "evil.example:PORT"},
    {"Host": "localhost:PORT", "Origin": "https://evil.example"},
    {"Host": "localhost:PORT", "Origin": "null"},
    {"Host": "127.0.0.1:PORT", "Origin": "http://localhost:PORT"},
]


@pytest.fixture(scope="module")
def serve_port():
    with running(Fake()) as url:
        yield int(url.split(":")[2].split("/")[0])


@pytest.mark.parametrize("headers", HOSTILE)
@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/chat/completions", "/metrics", "/openapi.json", "/v1/models/"])
def test_the_server_answers_no_foreign_page(serve_port, path, headers):
    method, body = ("POST", json.dumps(asked()).encode()) if "chat" in path else ("GET", None)
    headers = {name: value.replace("PORT", str(serve_port)) for name, value in headers.items()}
    answer, content = request(serve_port, method, path, body, Content_Type="application/json", **headers)
    assert answer.status == 403 and json.loads(content)["error"]["code"] == "foreign_request"
    assert "evil" not in content.decode() + str(answer.headers)
    own = {"Host": f"localhost:{serve_port}", "Origin": f"http://localhost:{serve_port}", "Content_Type": "application/json"}
    answer, content = request(serve_port, method, path, body, **own)
    assert answer.status in (200, 404) and answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Access-Control-Allow-Origin"] is None and answer.headers["Location"] is None


def test_a_server_with_another_name_is_asked_under_it():
    with running(Fake(), allow_hosts=["phone.local"]) as url:
        port = int(url.split(":")[2].split("/")[0])
        assert request(port, "GET", "/health", Host="phone.local")[0].status == 200
        assert request(port, "GET", "/health", Host="phone.local", Origin="https://phone.local")[0].status == 200
        assert request(port, "GET", "/health", Host="tablet.local")[0].status == 403


class Page:
    """As much of a page as the handler asks for."""

    def __init__(self):
        self.files, self.hosts, self.token, self.latencies = (
            {"index.html": File("index.html", b"page")},
            AllowedHosts(),
            "t",
            Latencies(),
        )


@pytest.mark.parametrize("headers", HOSTILE)
def test_the_phone_page_answers_no_foreign_page(headers):
    import threading

    with PageServer(("127.0.0.1", 0), Page()) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        headers = {name: value.replace("PORT", str(port)) for name, value in headers.items()}
        times = json.dumps({"device": "x", "ms": {"total": 1}}).encode()
        more = {"Content_Type": "application/json", "X_Page_Token": "t"}
        assert request(port, "GET", "/", **headers)[0].status == 403
        assert request(port, "POST", "/latency", times, **headers, **more)[0].status == 403
        own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
        assert request(port, "GET", "/", **own)[1] == b"page"
        assert request(port, "POST", "/latency", times, **own, **more)[0].status == 204
        assert len(server.page.latencies) == 1
        server.shutdown()
