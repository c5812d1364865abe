"""The phone in a browser, as far as no browser is needed: the deck, what is served, what is taken, and the pinned runtime."""

import gzip
import io
import json
import socket
import tarfile
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from autoglm_lab.cli import main
from autoglm_lab.device.browser import assets
from autoglm_lab.device.browser.deck import deck
from autoglm_lab.device.browser.handler import CONNECTIONS, PageHandler
from autoglm_lab.device.browser.latency import MAX_DEVICES, MAX_TIMES, read_latency
from autoglm_lab.device.browser.server import BrowserPhone, File
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.bundle import FEATURES, FORMAT, GRAPHS, MANIFEST, TOKENIZER, digest

TIMES = {"device": "Pixel", "ms": {"image": 20.0, "decode": 30.0, "total": 50.0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle as far as a server looks at one."""
    place = tmp_path_factory.mktemp("bundle")
    files = (*GRAPHS.values(), *FEATURES.values(), TOKENIZER)
    for name in files:
        (place / name).write_bytes(name.encode() * 400)
    facts = {name: {"bytes": (place / name).stat().st_size, "sha256": digest(place / name)} for name in files}
    manifest = {
        "format": FORMAT,
        "opset": 20,
        "recipe": {"name": "int8"},
        "places": 640,
        "end": 1,
        "shared_scale": True,
        "files": facts,
    }
    (place / MANIFEST).write_text(json.dumps(manifest))
    return place


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("runtime")
    (place / "ort.mjs").write_text("export const ort = 1;")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoglm_lab.device.browser.server.runtime_files", lambda: {"ort.mjs": place / "ort.mjs"})
        with BrowserPhone(folder, phone=SimulatedPhone(3, size=(120, 240))) as phone:
            yield phone


@pytest.fixture
def served(page):
    page.latencies.clear()
    return page


def got(served, path, **headers):
    with urllib.request.urlopen(urllib.request.Request(served.url + path, headers=headers), timeout=10) as answer:
        return answer.headers, answer.read()


def told(served, content, path="latency", **headers):
    headers = {"Content-Type": "application/json", "X-Page-Token": served.token} | headers
    try:
        with urllib.request.urlopen(urllib.request.Request(served.url + path, content, headers), timeout=10) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def test_the_deck_is_what_the_phone_would_show():
    phone = SimulatedPhone(7, lang="en", size=(180, 400))
    cards, pictures = deck(phone, most=20)
    assert len(cards["screens"]) == len(pictures) == 20 and cards["size"] == [180, 400]
    first = cards["screens"][0]
    assert first["app"] == "System Home"
    for way in first["ways"]:
        other = SimulatedPhone(7, lang="en", size=(180, 400))
        if "tap" in way:
            left, top, right, bottom = way["tap"]
            other.perform(Action("Tap", element=(int((left + right) / 2), int((top + bottom) / 2))))
        elif "launch" in way:
            other.perform(Action("Launch", app=way["launch"]))
        else:
            continue
        if way["to"] is not None:
            shown = Image.open(io.BytesIO(pictures[way["to"]])).convert("RGB")
            assert cards["screens"][way["to"]]["app"] == other.current_app()
            assert np.array_equal(np.asarray(shown), np.asarray(other.screenshot())), "pictures lose nothing"
    assert {way["to"] for screen in cards["screens"] for way in screen["ways"]} >= {None, 0}
    assert next(way for way in first["ways"] if way.get("home"))["to"] == 0
    assert SimulatedPhone(7, lang="en", size=(180, 400)).state == phone.state, "the phone itself was not touched"
    with pytest.raises(ValueError, match="one screen at least"):
        deck(phone, most=0)


def test_files_are_served_whole_and_packed(served, folder):
    headers, page = got(served, "")
    assert headers["Content-Type"].startswith("text/html") and headers["Cache-Control"] == "no-cache"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin" and headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    version = page.decode().split("v/")[1].split("/")[0]
    headers, content = got(served, f"v/{version}/bundle/step.onnx", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip" and "immutable" in headers["Cache-Control"]
    assert gzip.decompress(content) == (folder / "step.onnx").read_bytes() == got(served, f"v/{version}/bundle/step.onnx")[1]
    _, worker = got(served, "sw.js")
    kept = json.loads(worker.decode().split("const FILES = ")[1].split(";\n")[0])
    assert "@" not in worker.decode().split("\n")[2] and kept[0] == "./"
    for name in kept:
        assert got(served, name.removeprefix("./"))[1], name
    assert served.transfer_bytes < sum(len(file.content) for file in served.files.values())
    with pytest.raises(urllib.error.HTTPError, match="404"):
        got(served, "../pyproject.toml")


def test_the_page_is_told_how_requests_are_written(served):
    version = got(served, "")[1].decode().split("v/")[1].split("/")[0]
    page = json.loads(got(served, f"v/{version}/page.json")[1])
    assert set(page["prompts"]) == {"", "image", "audio", "image audio"}
    assert page["prompts"]["image"].count("<|image|>") == 1 and "{task}" in page["prompts"]["image"]
    assert page["end"] == 1 and set(page["sizes"]) == {*GRAPHS, *FEATURES}


def test_another_bundle_has_other_paths(served, folder, tmp_path):
    with BrowserPhone(folder, phone=SimulatedPhone(4, size=(120, 240))) as other:
        assert {name for name in served.files if name.startswith("v/")} & {
            name for name in other.files if name.startswith("v/")
        } == set()


def test_only_times_are_taken(served):
    assert told(served, json.dumps(TIMES).encode()) == (204, "")
    assert served.latencies == [TIMES]
    wrong = ('{"image": 3}', '{"total": -1}', '{"total": 1, "lunch": 2}', '{"total": NaN}', "[1]", '{"total": "soon"}')
    contents = [b"", b"[]", b'{"device": "x"}', b"\xff", *(f'{{"device": "x", "ms": {ms}}}'.encode() for ms in wrong)]
    for content in contents:
        assert told(served, content)[0] == 400
    assert told(served, b"x" * 5_000)[0] == 413 and told(served, b"{}", "other")[0] == 400
    assert len(served.latencies) == 1
    with pytest.raises(ValueError, match="stages are understand, features, image"):
        read_latency(b'{"device": "x", "ms": {"total": -3}}')


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 4000,
        b'{"device": "x", "ms": {"total": ' + b"9" * 400 + b"}}",
        b'{"device": "x", "ms": {"total": ' + b"9" * 3900 + b"}}",
        b'{"device": "x", "ms": {"total": 1e999}}',
        b'{"device": "x", "ms": {"total": true}}',
        b'{"device": "x", "ms": {"total": "1"}}',
        b'{"device": 3, "ms": {"total": 1}}',
        b'{"device": "", "ms": {"total": 1}}',
        b'{"device": "a\\nb", "ms": {"total": 1}}',
        b'{"device": "' + b"x" * 81 + b'", "ms": {"total": 1}}',
        b'{"device": "x", "ms": {"total": 1}, "more": 1}',
    ],
)
def test_times_that_are_none_are_refused_and_the_connection_stays(served, content):
    status, reason = told(served, content)
    assert status == 400 and reason
    assert served.latencies == []


def test_only_a_page_that_was_loaded_here_may_send_times(served):
    content, page = json.dumps(TIMES).encode(), got(served, "")[1].decode()
    assert f'content="{served.token}"' in page and len(served.token) > 16
    for wrong in ({"X-Page-Token": ""}, {"X-Page-Token": served.token[:-1]}, {"X-Page-Token": "\xe9"}):
        assert told(served, content, **wrong)[0] == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert told(served, content, **{"Content-Type": kind})[0] == 415
    assert served.latencies == []


def test_devices_and_their_times_are_counted(served):
    for number in range(MAX_DEVICES + 5):
        status, _ = told(served, json.dumps(TIMES | {"device": f"phone {number}"}).encode())
        assert status == (204 if number < MAX_DEVICES else 400)
    for number in range(MAX_TIMES + 5):
        assert told(served, json.dumps({"device": "phone 3", "ms": {"total": number}}).encode())[0] == 204
    assert len({one["device"] for one in served.latencies}) == MAX_DEVICES
    kept = [one["ms"]["total"] for one in served.latencies if one["device"] == "phone 3"]
    assert kept == list(range(5, MAX_TIMES + 5)), "the newest are kept"


def raw(served, content):
    """What the server says to some bytes, and whether it then ends the connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as link:
        link.sendall(content)
        link.shutdown(socket.SHUT_WR)
        answer = b""
        while part := link.recv(65_536):
            answer += part
    return answer


@pytest.mark.parametrize("length", ["\xb2", "-1", "+5", "1_0", "9" * 400, "x", ""])
def test_lengths_that_are_none_get_an_answer(served, length):
    head = f"POST /latency HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    assert raw(served, head.encode("latin-1")).startswith(b"HTTP/1.1 400")


def test_a_client_that_half_closes_gets_the_whole_file(served, folder):
    version = got(served, "")[1].decode().split("v/")[1].split("/")[0]
    answer = raw(served, f"GET /v/{version}/bundle/step.onnx HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.partition(b"\r\n\r\n")[2] == (folder / "step.onnx").read_bytes()


def test_clients_that_never_read_or_say_nothing_keep_nobody_out_and_are_cut_off(served, monkeypatch):
    monkeypatch.setattr(PageHandler, "timeout", 1)
    served.files["large"] = File("large.wasm", bytes(20_000_000))
    links, before = [], threading.active_count()
    for number in range(CONNECTIONS + 40):
        links.append(link := socket.create_connection(("127.0.0.1", served.port)))
        link.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" if number % 2 else b"GET / HT")
        if number % 20 == 0:
            assert got(served, "")[1]
    assert threading.active_count() - before <= CONNECTIONS + 5
    assert got(served, "")[1]
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.1)
    assert threading.active_count() <= before
    for link in links:
        link.close()


def test_a_qr_code_of_the_address(served):
    assert served.qr_svg().startswith("<svg") and served.url.startswith("http://127.0.0.1:")


def test_bad_ports_and_bundles_are_refused(served, folder, tmp_path, capsys):
    with pytest.raises(ValueError, match="port is 70000"):
        BrowserPhone(folder, port=70_000)
    with pytest.raises(ValueError, match=f"port {served.port} of 127.0.0.1 cannot be used"):
        BrowserPhone(folder, port=served.port)
    assert main(["phone", "--bundle", str(tmp_path / "none")]) == 2
    assert "holds no manifest.json" in capsys.readouterr().err


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """An npm that packs one package with one file."""
    content = tmp_path / "content.mjs"
    content.write_text("export {};")

    def pinned(sha256):
        monkeypatch.setattr(assets, "PINNED", {"page@1.0.0": {"dist/page.mjs": sha256}})

    program = tmp_path / "npm"
    with tarfile.open(tmp_path / "page.tar.gz", "w:gz") as archive:
        archive.add(content, "package/dist/page.mjs")
    program.write_text(f"#!/bin/sh\n[ $2 = page@1.0.0 ] && cp {tmp_path / 'page.tar.gz'} page-1.0.0.tgz\n")
    program.chmod(0o755)
    monkeypatch.setattr(assets.shutil, "which", lambda name: str(program))
    return pinned, digest(content)


def test_the_runtime_is_fetched_once_and_checked(registry, tmp_path, monkeypatch):
    pinned, right = registry
    pinned(right)
    place = tmp_path / "kept"
    found = assets.runtime_files(place)
    assert found == {"page.mjs": place / "page.mjs"} and found["page.mjs"].read_text() == "export {};"
    monkeypatch.setattr(assets.subprocess, "run", lambda *_, **__: pytest.fail("fetched again"))
    assert assets.runtime_files(place) == found


def test_another_file_than_the_pinned_one_is_refused(registry, tmp_path):
    pinned, _ = registry
    pinned("0" * 64)
    with pytest.raises(ValueError, match="is not the file that was pinned"):
        assets.runtime_files(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_without_npm_or_network_it_says_what_helps(registry, tmp_path, monkeypatch):
    pinned, right = registry
    pinned(right)
    monkeypatch.setattr(assets, "PINNED", {"absent@1.0.0": {"dist/page.mjs": right}})
    with pytest.raises(FileNotFoundError, match=r"npm cannot fetch absent@1\.0\.0"):
        assets.runtime_files(tmp_path / "kept")
    monkeypatch.setattr(assets.shutil, "which", lambda name: None)
    with pytest.raises(ImportError, match="needs npm once"):
        assets.runtime_files(tmp_path / "kept")
