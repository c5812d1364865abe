"""A bundle is read as it was hashed: only listed plain files, sizes first, nothing from elsewhere, one clear error for all else."""

import hashlib
import json
import os
import shutil
import time
from contextlib import closing, suppress

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from autoglm_lab.cli import main
from autoglm_lab.runtime.bundle import FEATURES, GRAPHS, MANIFEST, ROWS, TOKENIZER, Bundle
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.serve.batching import BatchingScheduler
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.sequential import SequentialScheduler
from autoglm_lab.serve.server import scheduler

NAMES = (*GRAPHS.values(), *FEATURES.values(), TOKENIZER)


@pytest.fixture(scope="module")
def whole(tiny_bundle, tmp_path_factory):
    return shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "b")


def entry(path):
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def rewrite(folder, change):
    """Change a manifest: `change` gets it as a dict."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def put(folder, name, content):
    """Exchange a file, in the manifest as well."""
    (folder / name).write_bytes(content)
    rewrite(folder, lambda manifest: manifest["files"].update({name: entry(folder / name)}))


def test_a_file_that_is_not_listed_is_not_used(copy):
    rewrite(copy, lambda manifest: manifest["files"].pop(ROWS))
    bundle = Bundle.open(copy)
    with pytest.raises(FileNotFoundError, match=r"b holds no rows\.onnx; write it with `autoglm-lab export --rows`"):
        bundle.path("rows")


def test_a_graph_that_is_not_listed_does_not_decide_how_a_server_answers(copy):
    for kind in (BatchingScheduler, SequentialScheduler):
        with closing(scheduler(copy, Limits(), workers=1, threads=1)) as queue:
            assert isinstance(queue, kind)
        rewrite(copy, lambda manifest: manifest["files"].pop(ROWS, None))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside.txt", "..", ".", "", "deep/file", "a\\b", "a\nb", ".hidden", MANIFEST, "x" * 5000]
)
def test_names_that_lead_elsewhere_are_refused(copy, name):
    (copy.parent / "outside.txt").write_text("x")
    rewrite(copy, lambda manifest: manifest["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))
    with pytest.raises(ValueError, match="no plain name of a file"):
        Bundle.open(copy)


@pytest.mark.parametrize("kind", ["link out", "link in", "folder", "pipe"])
def test_only_plain_files_are_read(copy, kind):
    path = copy / "image.onnx"
    elsewhere = copy / "other.onnx" if kind == "link in" else copy.parent / "other.onnx"
    path.rename(elsewhere)
    if kind.startswith("link"):
        path.symlink_to(elsewhere)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)  # reading it would wait for ever
    with pytest.raises(ValueError, match=r"image\.onnx of b is no plain file"):
        Bundle.open(copy)


def test_sizes_come_first_and_have_a_bound(copy):
    with (copy / "big.bin").open("wb") as file:
        file.truncate(200 * 10**9)  # takes no room on the disk, and minutes to hash
    began = time.monotonic()
    for size in (200 * 10**9, 2**31):
        rewrite(copy, lambda manifest, size=size: manifest["files"].update({"big.bin": {"bytes": size, "sha256": "0" * 64}}))
        with pytest.raises(ValueError, match=r"bytes is no whole number|has 200,000,000,000 bytes"):
            Bundle.open(copy)
    assert time.monotonic() - began < 20


def test_a_manifest_of_any_size_is_read_no_further_than_its_bound(copy):
    with (copy / MANIFEST).open("r+b") as file:
        file.truncate(10**11)
    with pytest.raises(ValueError, match="over 1,000,000 bytes"):
        Bundle.open(copy)


def test_weights_in_another_file_are_refused(copy):
    (copy.parent / "weights.bin").write_bytes(bytes(16))
    for location in ("weights.bin", "../weights.bin"):
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
        inner = helper.make_graph(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", 1, [4])],
            [helper.make_tensor_value_info("y", 1, [4])],
            initializer=[tensor],
        )
        put(copy, "image.onnx", helper.make_model(inner).SerializeToString())
        with pytest.raises(ValueError, match="keeps weights in another file"):
            Bundle.open(copy)
    padded = helper.make_model(inner).SerializeToString().replace(b"\n\x08location", b"\n\x88\x00location")
    put(copy, "image.onnx", padded)
    with pytest.raises(ValueError, match="keeps weights in another file"):
        Bundle.open(copy)


def test_a_word_that_looks_like_it_is_no_reason(copy):
    graph = onnx.load(copy / "image.onnx")
    graph.doc_string = "the location of an icon; a relocation"
    put(copy, "image.onnx", graph.SerializeToString())
    Bundle.open(copy)


@pytest.mark.parametrize("name", [*GRAPHS.values(), TOKENIZER])
@pytest.mark.parametrize("content", [b"", b"no graph", b"{}", b'{"version": "1.0"}'], ids=range(4))
def test_what_the_runtime_refuses_is_a_value_error(copy, name, content):
    put(copy, name, content)
    with pytest.raises(ValueError, match=r"cannot be run|is no tokenizer"):
        OnnxEngine(copy)


def test_graphs_that_do_not_fit_together_are_refused(copy):
    put(copy, "image.onnx", (copy / "step.onnx").read_bytes())
    with pytest.raises(ValueError, match="do not fit together"):
        OnnxEngine(copy)
    put(copy, "step.onnx", (copy / "audio.onnx").read_bytes())
    with pytest.raises(ValueError, match="do not fit together"):
        OnnxEngine(copy)


def test_an_encoder_that_does_not_fit_is_refused_when_it_is_needed(copy):
    put(copy, "image.onnx", (copy / "step.onnx").read_bytes())
    engine = OnnxEngine(copy, lazy=True)
    assert engine.answer("open Settings", max_new_tokens=2).answer.tokens
    for _ in range(2):
        with pytest.raises(ValueError, match="do not fit together"):
            _ = engine.answer("open Settings", np.zeros((40, 20, 3), np.uint8), max_new_tokens=2).answer
    assert engine.sessions.open == ("step",)


def test_an_end_that_the_tokenizer_does_not_have_is_refused(copy):
    rewrite(copy, lambda manifest: manifest.update(end=10**6))
    with pytest.raises(ValueError, match="token 1000000, which ends answers"):
        OnnxEngine(copy)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "3",
        '"x"',
        "{",
        "[" * 50_000,
        '{"a":' * 20_000,
        "\ud800".encode("utf-16-le", "surrogatepass"),
        b"\xff\xfe",
        '{"format": 1e999, "opset": 20}',
        '{"format": NaN, "opset": 20}',
        '{"format": 4}',
        '{"format": true, "opset": 20}',
        '{"format": 4, "opset": 20, "recipe": {}, "shared_scale": false, "end": 1, "places": 9, "files": []}',
        '{"format": 4, "opset": 20, "recipe": {}, "shared_scale": false, "end": 1, "places": 9, "files": {"a": 3}}',
        '{"format": 4, "opset": 20, "recipe": {}, "shared_scale": false, "end": 1, "places": 9, "files": {"a": {"bytes": 1}}}',
        '{"format": 4, "opset": 20, "recipe": [], "shared_scale": 0, "end": -1, "places": 9, "files": {}}',
        "9" * 5000,
    ],
    ids=range(19),
)
def test_a_damaged_manifest_is_a_value_error_and_exit_2(copy, text, capsys):
    (copy / MANIFEST).write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"manifest\.json of b is broken"):
        Bundle.open(copy)
    assert main(["ask", "open Settings", "--model", str(copy)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("format", "opset", "recipe", "places", "shared_scale", "end", "files", "apart", "memory")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(KEYS), value=JSON)
def test_any_value_of_any_field_is_read_or_refused(whole, field, value):
    _tried(whole, lambda manifest: manifest.update({field: value}))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES) | st.text(max_size=20), facts=JSON | st.fixed_dictionaries({"bytes": JSON, "sha256": JSON}))
def test_any_entry_of_a_file_is_read_or_refused(whole, name, facts):
    _tried(whole, lambda manifest: manifest["files"].update({name: facts}))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_manifest_with_any_byte_changed_is_read_or_refused(whole, data):
    text = bytearray((whole / MANIFEST).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    _tried(whole, bytes(text))


def _tried(whole, change):
    before = (whole / MANIFEST).read_bytes()
    try:
        if isinstance(change, bytes):
            (whole / MANIFEST).write_bytes(change)
        else:
            rewrite(whole, change)
        with suppress(ValueError, FileNotFoundError):
            assert Bundle.open(whole).files >= set(NAMES)
    finally:
        (whole / MANIFEST).write_bytes(before)
