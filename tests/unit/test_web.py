"""The phone in a browser, as far as no browser is needed: the deck, what is served, what is taken, and the pinned runtime."""

import gzip
import io
import json
import tarfile
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from autoglm_lab.cli import main
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.bundle import FEATURES, FORMAT, GRAPHS, MANIFEST, TOKENIZER, digest
from autoglm_lab.web import assets
from autoglm_lab.web.deck import deck
from autoglm_lab.web.server import BrowserPhone, read_latency

TIMES = {"device": "Pixel", "ms": {"image": 20.0, "decode": 30.0, "total": 50.0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle as far as a server looks at one."""
    place = tmp_path_factory.mktemp("bundle")
    files = (*GRAPHS.values(), *FEATURES.values(), TOKENIZER)
    for name in files:
        (place / name).write_bytes(name.encode() * 400)
    facts = {name: {"bytes": (place / name).stat().st_size, "sha256": digest(place / name)} for name in files}
    manifest = {"format": FORMAT, "opset": 20, "recipe": {"name": "int8"}, "places": 640, "end": 1, "shared_scale": True,
                "files": facts}  # fmt: skip
    (place / MANIFEST).write_text(json.dumps(manifest))
    return place


@pytest.fixture
def served(folder, tmp_path, monkeypatch):
    (tmp_path / "ort.mjs").write_text("export const ort = 1;")
    monkeypatch.setattr("autoglm_lab.web.server.runtime_files", lambda: {"ort.mjs": tmp_path / "ort.mjs"})
    with BrowserPhone(folder, phone=SimulatedPhone(3, size=(120, 240))) as phone:
        yield phone


def got(served, path, **headers):
    with urllib.request.urlopen(urllib.request.Request(served.url + path, headers=headers), timeout=10) as answer:
        return answer.headers, answer.read()


def told(served, content, path="latency"):
    try:
        with urllib.request.urlopen(served.url + path, data=content, timeout=10) as answer:
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
    assert told(served, b"x" * 5_000)[0] == 400 and told(served, b"{}", "other")[0] == 400
    assert len(served.latencies) == 1
    with pytest.raises(ValueError, match="stages are features, image"):
        read_latency(b'{"device": "x", "ms": {"total": -3}}')


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
