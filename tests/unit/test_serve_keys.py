"""Keys with names, their shares, and the log that says who asked."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import httpx
import pytest

from autoglm_lab.cli import main, parser
from autoglm_lab.serve import Limits, running
from autoglm_lab.serve.access import AccessLog
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.keys import Keys, read_keys, weaknesses
from autoglm_lab.serve.queue import FairQueue, Job
from autoglm_lab.serve.reading import GenerationRequest
from autoglm_lab.serve.sequential import SequentialScheduler
from tests.unit.served import Fake, asked

ANNA, BERT = "anna-0123456789abcdef", "bert-0123456789abcdef"


def written(path, text, mode=0o600):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("secret", {"key": "secret"}),
        ("secret\n", {"key": "secret"}),
        ("  secret \r\n\r\n# made by Bob\r\n", {"key": "secret"}),
        (b"\xef\xbb\xbfsecret\n", {"key": "secret"}),
        (b"\xef\xbb\xbfanna: secret\n", {"anna": "secret"}),
        ("correct horse battery\n", {"key": "correct horse battery"}),
        ("sk:abc/d=", {"key": "sk:abc/d="}),
        ("anna: one\n\n# two\nbert:\ttwo\nthree", {"anna": "one", "bert": "two", "key5": "three"}),
        ("schlüssel", {"key": "schlüssel"}),
    ],
)
def test_files_with_keys(tmp_path, text, keys):
    assert read_keys(written(tmp_path / "keys", text)) == keys


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only this\n", b"\xef\xbb\xbf", "a: x\na: y", "a: x\nb: x", "x\nx", b"\xff\xfe", b"\x00\xd8" * 9]
)
def test_files_without_are_refused_in_one_line(tmp_path, text, capsys):
    path = written(tmp_path / "keys", text)
    assert main(["serve", "--api-key-file", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "keys" in err
    with pytest.raises(FileNotFoundError):
        read_keys(tmp_path / "none")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such modes")
def test_weak_keys_and_open_files_are_told_of(tmp_path):
    path = written(tmp_path / "keys", f"anna: short\nbert: {BERT}", 0o644)
    first, second = weaknesses(path, read_keys(path))
    assert "anna" in first and "16" in first and "short" not in first and "chmod 600" in second
    assert weaknesses(written(path, ANNA), read_keys(path)) == []
    assert len(weaknesses(written(path, ANNA, 0o640), read_keys(path))) == 1


def test_holders_of_keys():
    keys = Keys({"anna": ANNA, "bert": "schlüssel"})
    assert keys.holder(f"Bearer {ANNA}") == "anna" and keys.holder(f"bearer  {ANNA} ") == "anna"
    assert keys.holder("Bearer schlüssel".encode().decode("latin-1")) == "bert"
    for wrong in ("", ANNA, f"Basic {ANNA}", "Bearer", "Bearer ", f"Bearer {ANNA[:-1]}", f"Bearer {ANNA}x", "Bearer anna"):
        assert keys.holder(wrong) is None
    assert Keys().first is None and not len(Keys()) and Keys("x").holder("Bearer x") == ""
    for wrong in ("", {"a": ""}, {"a": "x", "b": "x"}):
        with pytest.raises(ValueError, match="key of its own"):
            Keys(wrong)


# --- shares


def jobs(client, count=1, share=None):
    return [Job(GenerationRequest(f"{client} {number}"), None, client, share=share) for number in range(count)]


def test_nobody_waits_with_more_than_a_share_unless_nothing_of_theirs_waits():
    queue = FairQueue(8)
    queue.put(jobs("anna", 4, share=4))
    with pytest.raises(ApiError, match="4 requests of yours"):
        queue.put(jobs("anna", 1, share=4))
    queue.put(jobs("bert", 4, share=2))
    with pytest.raises(ApiError, match="8 requests are waiting"):
        queue.put(jobs("carl", 1, share=4))
    assert [queue.get().client for _ in range(8)] == ["anna", "bert"] * 4


def ask(url, key, **fields):
    return httpx.post(f"{url}/chat/completions", json=asked(**fields), headers={"Authorization": f"Bearer {key}"}, timeout=30)


class Gated(Fake):
    """Answers when the gate is open."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()

    def answer(self, task="", *given, **more):
        stream = super().answer(task, *given, **more)
        self.gate.wait(30)
        return stream


def soon(holds):
    until = time.monotonic() + 20
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    assert holds()


def test_who_has_a_key_of_their_own_is_not_kept_waiting_by_another():
    """Both ask from one address; the second comes when the first has filled its share of the queue."""
    engine, statuses = Gated(), []

    def one(key, words):
        body = asked(words)
        statuses.append(httpx.post(url + "/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60))

    with running(SequentialScheduler(engine, queue=8), limits=Limits(queue=8), api_key={"anna": ANNA, "bert": BERT}) as url:
        state = url.service.scheduler.state
        crowd = [threading.Thread(target=one, args=(ANNA, f"anna {number}")) for number in range(12)]
        crowd[0].start()
        soon(lambda: state()["writing"] == 1)
        for thread in crowd[1:]:
            thread.start()
        soon(lambda: len(statuses) == 7)
        assert {reply.status_code for reply in statuses} == {429} and state()["waiting"] == 4
        crowd.append(threading.Thread(target=one, args=(BERT, "bert")))
        crowd[-1].start()
        soon(lambda: state()["waiting"] == 5)
        engine.gate.set()
        for thread in crowd:
            thread.join()
    assert [reply.status_code for reply in statuses].count(200) == 6
    assert [one["task"] for one in engine.asked].index("bert") <= 2, "it waits for one of the other's at most"


def test_one_key_does_not_take_all_connections():
    engine = Gated()
    with running(engine, limits=Limits(connections=4), api_key={"anna": ANNA, "bert": BERT}) as url:
        crowd = [threading.Thread(target=ask, args=(url, ANNA)) for _ in range(2)]
        for thread in crowd:
            thread.start()
        soon(lambda: url.service.scheduler.state() == {"waiting": 1, "writing": 1})
        models = {key: httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}).status_code for key in (ANNA, BERT)}
        assert models == {ANNA: 503, BERT: 200}
        assert httpx.get(url.removesuffix("/v1") + "/health").status_code == 200
        engine.gate.set()
        for thread in crowd:
            thread.join()
        assert url.service.bytes_held == 0


# --- the log


def test_the_log_says_who_and_how_and_nothing_of_what(tmp_path):
    path, secret = tmp_path / "log", "Xyzzy-4711"
    keys = {"anna": f"{secret}-0123456789", "bert": BERT}
    with open(path, "w", encoding="utf-8") as out, running(Fake([secret]), api_key=keys) as url:
        url.service.log = AccessLog(out)
        for key in (f"{secret}-0123456789", BERT, f"{secret}-wrong"):
            ask(url, key)
            ask(url, key, stream=True, user=secret)
            httpx.get(
                f"{url}/{secret}?{secret}",
                headers={"Authorization": f"Bearer {key}", "User-Agent": secret, "X-Forwarded-For": secret},
            )
            httpx.request(secret, url.removesuffix("/v1") + "/health")
        httpx.get(url.removesuffix("/v1") + "/health", headers={"Host": "evil.example"})
    assert secret not in path.read_text()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 13 and {line["who"] for line in lines} == {"anna", "bert", "127.0.0.1"}
    first = lines[0]
    assert (first["who"], first["method"], first["path"], first["status"]) == ("anna", "POST", "/v1/chat/completions", 200)
    assert first["ms"] > 0 and first["bytes_in"] > 50 and first["bytes_out"] > 100 and first["time"].endswith("+00:00")
    assert [line["status"] for line in lines].count(401) == 3 and lines[-1]["status"] == 403
    assert {line["path"] for line in lines} == {"/v1/chat/completions", "/health", "other"}
    assert {line["method"] for line in lines} == {"POST", "GET", "other"}


def test_a_full_disk_costs_the_line_not_the_request():
    if not os.path.exists("/dev/full"):
        pytest.skip("no device that is always full")
    out = open("/dev/full", "w")  # noqa: SIM115  (what it holds cannot be written when it is closed, either)
    with running(Fake()) as url:
        url.service.log = AccessLog(out)
        assert [ask(url, "any").status_code for _ in range(3)] == [200] * 3
    with contextlib.suppress(OSError):
        out.close()


# --- the command line


def test_a_server_with_two_keys_from_the_command_line(tmp_path):
    keys, log = written(tmp_path / "keys", f"\ufeffanna: {ANNA}\nbert: short\n", 0o644), tmp_path / "access"
    command = [
        sys.executable,
        "-m",
        "autoglm_lab.cli",
        "serve",
        "--port",
        "0",
        "--api-key-file",
        str(keys),
        "--access-log",
        str(log),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().split(" at ")[1].split()[0]
            for key, status in ((ANNA, 200), ("short", 200), (f"\ufeff{ANNA}", 401)):
                reply = httpx.get(f"{address}/models", headers={"Authorization": f"Bearer {key}".encode()})
                assert reply.status_code == status
            far = [sys.executable, "-m", "autoglm_lab.cli", "ask", "open Settings", "--url", address]
            plain = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
            for more, environment, code in (
                (["--api-key-file", str(keys)], {}, 0),
                ([], {"OPENAI_API_KEY": ANNA}, 0),
                ([], {}, 2),
                (["--api-key", ANNA], {}, 0),
            ):
                done = subprocess.run([*far, *more], env=plain | environment, capture_output=True, text=True, check=False)
                assert done.returncode == code, done.stderr
                assert ("list of processes" in done.stderr) == ("--api-key" in more)
        finally:
            process.terminate()
            errors = process.communicate(timeout=30)[1]
    assert "the key of bert has fewer than 16 letters" in errors and "chmod 600" in errors
    assert json.loads(log.read_text().splitlines()[0])["who"] == "anna"
    assert log.stat().st_mode & 0o077 == 0


def test_keys_where_there_is_no_server(tmp_path, capsys):
    path = written(tmp_path / "keys", ANNA)
    for arguments, word in (
        (["--api-key-file", str(path)], "give its --url"),
        (["--api-key", "x"], "give its --url"),
        (["--url", "http://127.0.0.1:9/v1", "--api-key", "x", "--api-key-file", str(path)], "not both"),
        (["--url", "http://127.0.0.1:9/v1", "--api-key-file", "nowhere"], "no key file"),
    ):
        assert main(["ask", "open Settings", *arguments]) == 2
        assert word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://127.0.0.1:1/v1", "k"),
        ("https://models.example/v1", "k"),
        ("http://models.example/v1", "EMPTY"),
        ("http://127.0.0.1.models.example/v1", "EMPTY"),
    ],
)
def test_the_key_of_the_environment_goes_over_no_network_in_plain_text(url, sent, monkeypatch):
    from autoglm_lab.cli.engines import api_key

    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert api_key(parser().parse_args(["ask", "x", "--url", url])) == sent


def test_an_access_log_that_cannot_be_written_is_told_of_at_once(capsys, tmp_path):
    assert main(["serve", "--access-log", str(tmp_path / "none" / "log")]) == 2
    assert "access log" in capsys.readouterr().err
