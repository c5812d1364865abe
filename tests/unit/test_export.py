"""Graphs, integers in them, bundles, and the engine that runs them without PyTorch."""

import copy
import json
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from autoglm_lab.cli import main
from autoglm_lab.compress.agent import load_agent
from autoglm_lab.compress.qat import ACTIVATIONS, calibrate, convert, prepare
from autoglm_lab.compress.quantization import Scheme, packed_layer, quantize_weights
from autoglm_lab.compress.recipe import apply, named
from autoglm_lab.evaluation.bench import questions
from autoglm_lab.evaluation.layers import layer_times
from autoglm_lab.evaluation.success import OneByOne, World, right, spoken_requests, typed_requests
from autoglm_lab.export.bundle import bundle, count_nodes, integer_products
from autoglm_lab.export.convolutions import integer_convolutions, runtime_nodes
from autoglm_lab.export.graphs import agent_graphs, onnx_module
from autoglm_lab.export.greedy import greedy_graph
from autoglm_lab.export.quantized_layers import ConcatLinear, exportable, fuse_projections, rowwise
from autoglm_lab.export.verify import verify
from autoglm_lab.measure import race
from autoglm_lab.model.batch import BatchEngine
from autoglm_lab.model.engine import TorchEngine
from autoglm_lab.runtime.bundle import MANIFEST, Bundle
from autoglm_lab.runtime.onnx_engine import OnnxEngine, Step, confirmed
from autoglm_lab.runtime.pipeline import answers
from autoglm_lab.runtime.sampling import Sampling


def run(graph, **inputs):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in inputs.items()})


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Small(nn.Module):
    """A stranger's network with everything that can be packed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Embedding(50, 64)
        self.conv = nn.Conv1d(64, 32, 3, padding=1)
        self.up, self.down = nn.Linear(32, 96), nn.Linear(96, 32, bias=False)

    def forward(self, ids):
        x = self.conv(self.table(ids).transpose(1, 2)).relu().transpose(1, 2)
        return x + self.down(self.up(x).relu())


def test_a_strangers_module_becomes_a_file_that_takes_any_length():
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)).eval()
    graph = onnx_module(model, {"x": normal(2, 3, 8)}, dynamic={"x": {0: "batch", 1: "length"}})
    for shape in ((1, 1, 8), (5, 2, 8), (2, 40, 8)):
        x = normal(*shape, seed=7)
        np.testing.assert_allclose(run(graph, x=x)[0], model(x).detach().numpy(), atol=1e-5)


def test_what_cannot_be_exported_is_named():
    model, x = nn.Linear(8, 4), normal(1, 8)
    with pytest.raises(ValueError, match="dynamic names 'y'; the inputs are 'x'"):
        onnx_module(model, {"x": x}, dynamic={"y": {0: "batch"}})
    with pytest.raises(ValueError, match="axis 0 of 'x' has length 1"):
        onnx_module(model, {"x": x}, dynamic={"x": {0: "batch"}})
    odd = nn.Sequential(nn.Linear(96, 4))
    with pytest.raises(ValueError, match="layer '0': it has groups of 24; there are kernels for 16, 32"):
        exportable(quantize_weights(odd, Scheme(4, granularity="group", group_size=24)))
    learning = prepare(odd, Scheme(4, granularity="group", group_size=32), inputs=ACTIVATIONS)
    calibrate(learning, [(normal(4, 96),)])
    with pytest.raises(ValueError, match="layer '0': its inputs have ranges, its weights groups"):
        exportable(convert(learning))
    with pytest.raises(ValueError, match="layer '0': channels with zero points have no fast kernel"):
        exportable(quantize_weights(odd, Scheme(8, symmetric=False, granularity="channel")))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_groups_are_multiplied_block_by_block(bits, symmetric):
    layer = packed_layer(nn.Linear(96, 24), Scheme(bits, symmetric, "group", 32))
    holder = nn.Sequential(layer)
    graph = onnx_module(exportable(holder), {"x": normal(2, 5, 96)}, dynamic={"x": {1: "length"}})
    assert count_nodes(graph)["MatMulNBits"] == 1
    x = normal(2, 9, 96, seed=5)
    wanted = holder(x).detach().numpy()
    error = np.abs(run(graph, x=x)[0] - wanted).max() / np.abs(wanted).max()
    assert error < 0.02, "no more than inputs rounded to 8 bits cost"


def test_channels_are_multiplied_as_integers():
    layer = packed_layer(nn.Linear(64, 24), Scheme(7, granularity="channel"))
    graph = onnx_module(exportable(nn.Sequential(layer)), {"x": normal(2, 5, 64)}, dynamic={"x": {1: "length"}})
    assert count_nodes(graph)["MatMulInteger"] == count_nodes(graph)["DynamicQuantizeLinear"] == 1
    x = normal(2, 7, 64, seed=5)
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    scale = (high - low) / 255
    zero = round(-low / scale)
    seen = (torch.clamp(torch.round(x / scale) + zero, 0, 255) - zero) * scale  # what the standard says the operator does
    wanted = (seen @ layer.weight.T + layer.bias).detach().numpy()
    np.testing.assert_allclose(run(graph, x=x)[0], wanted, atol=2e-5 * np.abs(wanted).max())


def test_a_row_is_rounded_whatever_stands_beside_it():
    layer = packed_layer(nn.Linear(64, 24), Scheme(7, granularity="channel"))
    x = normal(1, 5, 64) * torch.tensor([0.01, 1, 0, 30, 2])[:, None]
    shares, by_rows = (
        onnx_module(module, {"x": x}, dynamic={"x": {1: "length"}})
        for module in (exportable(nn.Sequential(layer)), nn.Sequential(rowwise(exportable(nn.Sequential(layer))[0])))
    )
    assert count_nodes(by_rows)["DynamicQuantizeLinear"] == 0 and integer_products(by_rows) == 1
    together, alone = run(by_rows, x=x)[0], [run(by_rows, x=x[:, row : row + 1])[0][:, 0] for row in range(5)]
    np.testing.assert_array_equal(together[0], np.concatenate(alone))
    wanted = layer(x).detach().numpy()[0]
    errors = [
        np.abs(given[0] - wanted).max(1) / np.abs(wanted - wanted[2]).max(1).clip(1e-9) for given in (together, run(shares, x=x)[0])
    ]
    assert np.isfinite(together).all() and errors[0][[0, 1, 3, 4]].max() < 0.02 and errors[1][0] > 0.2, (
        "the small one is lost where all share a scale"
    )
    assert rowwise(layer) is layer and isinstance(rowwise(exportable(nn.Sequential(ranged(three())))), nn.Sequential)


def test_trained_ranges_are_those_of_the_file():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    learning = prepare(model, Scheme(7, granularity="channel"), inputs=ACTIVATIONS)
    calibrate(learning, [(normal(40, 64, seed=s),) for s in range(4)])
    made = convert(learning)
    graph = onnx_module(exportable(made), {"x": normal(3, 64)}, dynamic={"x": {0: "batch"}})
    assert count_nodes(graph)["QuantizeLinear"] == integer_products(graph) == 2
    x = normal(11, 64, seed=9) * 1.5  # beyond the ranges as well
    between = made[1](made[0](x)).detach()
    for layer, given in ((made[0], x), (made[2], between)):
        alone = onnx_module(exportable(nn.Sequential(layer)), {"x": given[:3]}, dynamic={"x": {0: "batch"}})
        wanted = layer(given).detach().numpy()
        np.testing.assert_allclose(run(alone, x=given)[0], wanted, atol=1e-5 * np.abs(wanted).max())
    # through both: a value between two codes may be rounded to either, as sums are taken in another order
    apart = np.abs(run(graph, x=x)[0] - made(x).detach().numpy()).max(1)
    code = float(between.max()) / 255 * float(made[2].weight.abs().max())
    assert np.median(apart) < 1e-5 * float(between.max()) and apart.max() < 3 * code


class Three(nn.Module):
    """Query, key and value of one input."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return torch.cat([layer(x) for layer in self.layers], -1)


def three(bias=False):
    torch.manual_seed(1)
    return Three(*(nn.Linear(64, width, bias=bias) for width in (48, 16, 16)))


def ranged(model):
    learning = prepare(model, Scheme(7, granularity="channel"), inputs=ACTIVATIONS)
    calibrate(learning, [(normal(40, 64, seed=s),) for s in range(4)])
    return convert(learning)


ALIKE = {
    "floats": (three, "MatMul"),
    "channels": (lambda: quantize_weights(three(), Scheme(7, granularity="channel")), "MatMulInteger"),
    "groups": (lambda: quantize_weights(three(), Scheme(4, granularity="group", group_size=32)), "MatMulNBits"),
    "zero points": (
        lambda: quantize_weights(three(), Scheme(4, symmetric=False, granularity="group", group_size=32)),
        "MatMulNBits",
    ),
    "ranges": (lambda: ranged(three()), "MatMul"),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_layers_that_see_the_same_are_one_product(kind):
    make, product = ALIKE[kind]
    model = make()
    layers = exportable(model).layers
    x = normal(1, 7, 64, seed=5)
    counted, found = [], []
    for module in (Three(*layers), fuse_projections(list(layers))):
        graph = onnx_module(module, {"x": normal(1, 5, 64)}, dynamic={"x": {1: "length"}})
        counted.append(count_nodes(graph)[product])
        found += run(graph, x=x)
    assert counted == [3, 1]
    np.testing.assert_allclose(*found, atol=1e-5)
    assert np.linalg.norm(found[0] - model(x).detach().numpy()) < 0.01 * np.linalg.norm(found[0])


def test_layers_that_differ_stay_products_of_their_own():
    x = normal(1, 7, 64, seed=5)
    mixed = three()
    mixed.layers[2] = quantize_weights(nn.Sequential(mixed.layers[2]), Scheme(7, granularity="channel"))[0]
    other = Three(*ranged(three()).layers[:2], *ranged(Three(nn.Linear(64, 8, bias=False))).layers)
    other.layers[2].inputs.high.mul_(2)
    for model in (mixed, three(bias=True), quantize_weights(three(bias=True), Scheme(7, granularity="channel")), other):
        layers = list(exportable(model).layers)
        assert isinstance(fuse_projections(layers), ConcatLinear)
        [found] = run(onnx_module(fuse_projections(layers), {"x": normal(1, 5, 64)}, dynamic={"x": {1: "length"}}), x=x)
        assert np.linalg.norm(found - model(x).detach().numpy()) < 0.02 * np.linalg.norm(found)


@pytest.mark.parametrize("scheme", [Scheme(7, granularity="channel"), Scheme(4, granularity="group", group_size=32)])
def test_convolutions_and_embeddings_are_stored_as_integers_and_give_the_same(scheme):
    model = quantize_weights(Small(), scheme).eval()
    ids = torch.randint(0, 50, (2, 6))
    graph = onnx_module(exportable(model), {"ids": ids}, dynamic={"ids": {1: "length"}})
    wanted = model(ids).detach().numpy()
    assert np.abs(run(graph, ids=ids)[0] - wanted).max() < 0.02 * np.abs(wanted).max()


@pytest.fixture(scope="module")
def agent():
    return load_agent(None)


@pytest.fixture(scope="module")
def requests():
    world = World(31337)
    return typed_requests(world, 12) + spoken_requests(world, 12, held_out=False)


@pytest.fixture(scope="module")
def whole(agent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "whole"
    bundle(agent, folder)
    return folder


def test_a_bundle_answers_as_pytorch_does_token_for_token(agent, whole, requests):
    mine, theirs = OneByOne(OnnxEngine(whole)), OneByOne(agent)
    assert [a.text for a in mine.answer_many(requests)] == [a.text for a in theirs.answer_many(requests)]


def test_thoughts_and_blind_requests_are_the_same_too(agent, whole):
    engine = OnnxEngine(whole, threads=1)
    for task in ("who are you", "打开设置"):
        for image in (None, np.zeros((50, 20, 3), np.uint8)):
            wanted = agent.answer(task, image, think=True, last="Tap", current_app="Clock").answer
            given = engine.answer(task, image, think=True, last="Tap", current_app="Clock").answer
            assert (given.text, given.thinking, given.action, given.tokens) == (
                wanted.text,
                wanted.thinking,
                wanted.action,
                wanted.tokens,
            )
            assert set(given.ms) >= {"features", "prefill", "decode", "total"}


def test_drafts_change_no_answer_and_save_passes(whole, requests):
    ways = [OnnxEngine(whole, speculate=speculate) for speculate in (False, True)]
    one_by_one, drafted = (OneByOne(way).answer_many(requests) for way in ways)
    for mine, wanted in zip(drafted, one_by_one, strict=True):
        assert (mine.text, mine.tokens) == (wanted.text, wanted.tokens)
        assert wanted.passes == wanted.tokens + 1 and mine.passes <= wanted.passes - (mine.action.name != "finish")
    taps = [answer for answer in drafted if answer.action.name == "Tap"]
    assert taps and all(answer.passes == 3 for answer in taps), "where across, where down, the end"
    for think, sampling in ((True, Sampling()), (True, Sampling(1.5, seed=3)), (False, Sampling(2, frequency_penalty=0.5, seed=4))):
        said = [way.answer("who are you", think=think, max_new_tokens=30, sampling=sampling).answer.text for way in ways]
        assert said[0] == said[1], "whatever was drafted, the same tokens are drawn"


def test_engines_that_write_otherwise_share_their_graphs(whole, requests):
    drafted = OnnxEngine(whole)
    ways = [{"speculate": False}, {"grammar": True}, {"grammar": True, "speculate": False}, {}]
    for asked in ways:
        shared = drafted.writing(**asked)
        assert all(shared.sessions[name] is session for name, session in drafted.sessions.items())
        mine, wanted = (OneByOne(engine).answer_many(requests[:6]) for engine in (shared, OnnxEngine(whole, **asked)))
        assert [(one.text, one.passes) for one in mine] == [(one.text, one.passes) for one in wanted]
    assert drafted.speculates and not drafted.constrained, "the engine itself stays as it is"


def test_who_looks_and_hears_at_once_hears_the_same(whole, requests):
    spoken = [{"image": r.image, "audio": r.audio, "current_app": r.app, "last": r.last} for r in requests if r.audio is not None]
    both, turns = OnnxEngine(whole, threads=2), OnnxEngine(whole, threads=1)
    prepared = both.prepare(**spoken[0])
    assert set(prepared.features) == {"image"} and prepared.hearing.done() and turns.prepare(**spoken[0]).hearing is None
    assert prepared.states["present"].tolist() == [1, 1]
    for asked in spoken:
        mine, wanted = both.answer(**asked).answer, turns.answer(**asked).answer
        assert mine.text == wanted.text and set(mine.ms) == set(wanted.ms)
    with pytest.raises(ValueError, match="the sound has no samples"):
        both.answer("", requests[0].image, np.zeros(0, np.float32))


@pytest.mark.parametrize("most", range(1, 9))
def test_a_drafted_answer_ends_where_its_room_ends(whole, requests, most):
    asked = {"task": requests[0].task.text, "image": requests[0].image, "max_new_tokens": most}
    mine, wanted = (OnnxEngine(whole, speculate=speculate).answer(**asked).answer for speculate in (True, False))
    assert (mine.text, mine.tokens) == (wanted.text, wanted.tokens) and mine.tokens <= most


def test_only_what_was_drafted_is_confirmed():
    rows = np.eye(5, dtype=np.float32)
    scores = [rows[[1, 2, 3]], rows[[1, 4, 3]], rows[[0, 2, 3]]]
    assert [confirmed(given, [1, 2], lambda row: int(row.argmax())) for given in scores] == [[1, 2, 3], [1, 4], [0]]


def test_the_grammar_changes_no_answer_that_parses_and_saves_questions(whole, requests):
    free, held = (OneByOne(OnnxEngine(whole, grammar=grammar, speculate=False)).answer_many(requests) for grammar in (False, True))
    both = OneByOne(OnnxEngine(whole, grammar=True)).answer_many(requests)
    assert [answer.text for answer in both] == [answer.text for answer in held]
    assert all(mine.passes <= wanted.passes for mine, wanted in zip(both, held, strict=True))
    for mine, wanted in zip(held, free, strict=True):
        assert mine.action is not None
        if wanted.action is not None:
            assert (mine.text, mine.tokens) == (wanted.text, wanted.tokens)
    assert all(answer.passes == answer.tokens + 1 for answer in free)
    taps = [answer for answer in held if answer.action.name == "Tap"]
    assert taps and all((answer.passes, answer.tokens) == (4, 7) for answer in taps), "what, where across, where down"
    assert all(mine.passes < wanted.passes for mine, wanted in zip(held, free, strict=True))
    short = OnnxEngine(whole, grammar=True)
    assert short.answer("who are you", max_new_tokens=5).answer.action.name == "finish"
    with pytest.raises(ValueError, match="max_new_tokens is 2; the shortest answer has 3 tokens"):
        short.answer("who are you", max_new_tokens=2)


def test_scores_are_those_of_pytorch_at_any_length(agent, whole):
    engine, model = OnnxEngine(whole), agent.model
    step = Step(engine.sessions["step"], {"present": np.zeros(2, np.float32), **engine.nothing}, room=40)
    other = Step(engine.sessions["step"], {"present": np.zeros(2, np.float32), **engine.nothing}, room=12)
    past, said = None, []
    memories = model.remember(None, None, 1)
    for length in (1, 7, 1, 3):  # prefill with nothing before, decoding, several tokens at once
        ids = torch.randint(10, 2000, (1, length), generator=torch.Generator().manual_seed(length))
        said += ids[0].tolist()
        with torch.no_grad():
            out = model(ids, memories=memories, past_key_values=past, use_cache=True)
        past = out.past_key_values
        np.testing.assert_allclose(step.scores(ids[0].tolist()), out.logits[0, -1].numpy(), atol=1e-4)
    np.testing.assert_allclose(other.scores(said), out.logits[0, -1].numpy(), atol=1e-4, err_msg="all at once, beside the first")
    assert (step.total, other.total) == (12, 12)
    with pytest.raises(ValueError, match="room for 12 tokens; 12 are there, 1 more do not fit"):
        other.scores([10])
    with pytest.raises(ValueError, match="no tokens to read"):
        step.scores([])
    rows = step.read([11], [12, 13])
    step.forget(3)
    found = [step.scores([token]) for token in (11, 12, 13)]
    np.testing.assert_allclose(rows, found, atol=1e-4, err_msg="asked at once, and one by one after it was forgotten")
    with pytest.raises(ValueError, match="16 tokens cannot be forgotten; 15 are there"):
        step.forget(16)


def test_every_layer_of_a_bundle_is_timed(agent, whole):
    found = layer_times(whole, count=2, rounds=1)
    last = len(agent.model.image_encoder.stages) - 1
    assert set(found) == {"step", "image", "audio"}
    wanted = {
        "step": ("lm_head", "layers.3.mlp", "looks.0.image", "looks.1.audio"),
        "image": ("gated.0.image", f"image_encoder.stages.{last}"),
        "audio": ("audio_encoder.blocks", "gated.2.audio"),
    }
    for graph, layers in wanted.items():
        for layer in layers:
            assert sum(ms for name, ms in found[graph].items() if name.startswith(layer)) > 0, layer
        assert list(found[graph].values()) == sorted(found[graph].values(), reverse=True)
    assert sum(found["step"][f"layers.{n}.mlp"] for n in range(4)) > found["step"]["norm"]
    with pytest.raises(ValueError, match="rounds is 0"):
        layer_times(whole, rounds=0)


def test_two_answers_at_once_do_not_mix(agent, whole):
    engine = OnnxEngine(whole)
    alone = [engine.answer(task).answer.text for task in ("who are you", "打开设置")]
    streams = [iter(engine.answer(task)) for task in ("who are you", "打开设置")]
    pieces: list[list[str]] = [[], []]
    for _ in range(100):
        for mine, stream in zip(pieces, streams, strict=True):
            mine += [piece for piece in [next(stream, None)] if piece is not None]
    assert ["".join(part) for part in pieces] == alone


@pytest.mark.parametrize(("recipe", "share", "kind"), [("int8", 0.27, "MatMulInteger"), ("int4", 0.18, "MatMulNBits")])
def test_integer_bundles_are_small_and_keep_what_they_can(agent, requests, tmp_path, recipe, share, kind):
    made, _ = apply(agent.model, named(recipe), agent.example())
    engine = TorchEngine(made, agent.processor)
    bundle(engine, tmp_path / recipe, named(recipe))
    exported = OnnxEngine(tmp_path / recipe)
    assert exported.bundle.bytes <= share * 4 * sum(p.numel() for p in agent.model.parameters()), "everything included"
    step, layers = exported.bundle.path("step").read_bytes(), 4 * 4 + 2 * 6
    assert integer_products(step) == layers + 1, "every layer of the decoder, and the head"
    assert count_nodes(step)[kind] == layers + (recipe == "int4"), "a head of bytes rounds each row by itself"
    assert exported.bundle.recipe["name"] == recipe
    shares = recipe == "int8"  # its scales are found at run time, one for all tokens that are read at once
    assert (exported.bundle.shared_scale, exported.speculates) == (shares, not shares)
    assert OnnxEngine(tmp_path / recipe, speculate=True).speculates
    given, wanted = (OneByOne(e).answer_many(requests) for e in (exported, agent))
    hits, most = (sum(right(r, a) for r, a in zip(requests, answers, strict=True)) for answers in (given, wanted))
    assert hits >= most - 1


def test_a_damaged_bundle_is_refused_in_one_sentence(whole, tmp_path):
    def copy():
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        return shutil.copytree(whole, tmp_path / "b")

    def refused(error, words):
        with pytest.raises(error, match=words):
            Bundle.open(tmp_path / "b")

    changed = copy() / "audio.onnx"
    content = bytearray(changed.read_bytes())
    content[1000] ^= 1
    changed.write_bytes(content)
    refused(ValueError, "audio.onnx was changed after it was exported")
    (copy() / "step.onnx").write_bytes(b"")
    refused(ValueError, "step.onnx has 0 bytes, not ")
    (copy() / "image.onnx").unlink()
    refused(FileNotFoundError, "b holds no image.onnx")
    (copy() / MANIFEST).unlink()
    refused(FileNotFoundError, f"b holds no {MANIFEST}")
    path = copy() / MANIFEST
    known = json.loads(path.read_text())
    for change, words in (
        ({"format": 99}, "format 99, this runtime reads 4; update"),
        ({"opset": 9}, "opset 9; this runtime reads 17"),
        ({"format": 3}, "format 3, this runtime reads 4; export the bundle anew"),
        ({"files": {}}, "does not list audio.onnx, image.onnx"),
        ({"format": "x"}, "is broken"),
    ):
        path.write_text(json.dumps(known | change))
        refused(ValueError, words)
    path.write_text("{")
    refused(ValueError, "is broken")


def test_integers_that_became_floats_are_noticed(agent, tmp_path, monkeypatch):
    made, _ = apply(agent.model, named("int8"), agent.example())
    floats = agent_graphs(agent.model)
    monkeypatch.setattr("autoglm_lab.export.bundle.agent_graphs", lambda model, **_: floats)
    with pytest.raises(ValueError, match=r"the files multiply 0 channels as integers, the layers of the model have \d+: some were"):
        bundle(TorchEngine(made, agent.processor), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_bad_requests_are_refused_before_anything_runs(whole):
    engine = OnnxEngine(whole)
    with pytest.raises(ValueError, match="the request is empty"):
        engine.answer("  ")
    with pytest.raises(ValueError, match="at most 512 fit"):
        engine.answer("open " * 600)
    with pytest.raises(ValueError, match="no samples"):
        engine.answer(audio=np.zeros(0, np.float32))
    with pytest.raises(ValueError, match=r"max_new_tokens is 1024; after this request at most 10\d\d fit"):
        engine.answer("open", max_new_tokens=1024)


def test_a_failed_export_leaves_the_old_bundle(agent, whole, tmp_path, monkeypatch):
    out = shutil.copytree(whole, tmp_path / "b")
    monkeypatch.setattr("autoglm_lab.export.bundle.agent_graphs", lambda *_, **__: dict.fromkeys(("image", "audio", "step"), b""))
    monkeypatch.setattr("autoglm_lab.export.bundle._check_integers", lambda *_: None)
    monkeypatch.setattr("autoglm_lab.export.bundle.verify", lambda *_: {})
    monkeypatch.setattr("autoglm_lab.export.bundle.digest", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bundle(agent, out)
    assert Bundle.open(out).bytes == Bundle.open(whole).bytes


def test_the_command_line_takes_a_bundle_and_loads_no_torch(whole):
    code = (
        "import sys; from autoglm_lab.cli import main; code = main(['ask', 'open Settings', '--model', *sys.argv[1:]]);"
        "print('torch' in sys.modules, 'transformers' in sys.modules); sys.exit(code)"
    )
    for more in ([], ["--grammar"]):
        done = subprocess.run([sys.executable, "-c", code, str(whole), *more], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "False False" and "do(" in done.stdout + done.stderr


def test_export_writes_a_bundle_from_the_command_line(tmp_path, capsys):
    assert main(["export", "--model", str(tmp_path / "none"), "--out", str(tmp_path / "b")]) == 2
    assert "holds no config.json" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_bundle_is_raced(whole, capsys, monkeypatch):
    monkeypatch.setattr(race, "read_bytes_per_s", lambda threads, runs: [1e9] * runs)  # caches make it any number
    opens, open_bundle = [], Bundle.open
    monkeypatch.setattr(Bundle, "open", lambda folder: opens.append(folder) or open_bundle(folder))
    asked = ["bench", "--bundle", str(whole), "--against", "generate", "--requests", "2", "--rounds", "1", "--json"]
    assert main(asked) == 0
    assert len(opens) <= 2, "one with all threads and one with a thread for each stage"
    told = json.loads(capsys.readouterr().out)
    ratios = told["ratios"]
    assert set(ratios) == {
        "cache_vs_recompute",
        "drafts_vs_token_by_token",
        "grammar_vs_free",
        "pipeline_vs_one_by_one",
        "answer_vs_generate",
        "answer_by_grammar_vs_generate",
    }
    for ratio in ratios.values():
        assert ratio["lo"] <= ratio["median"] <= ratio["hi"] and ratio["runs"] >= 1
    assert ratios["cache_vs_recompute"]["median"] > 1.5, "128 tokens read again and again"
    assert 0 < told["cold_start_s"]["median"] < 60 and 20 < told["peak_rss_mb"]["median"] < 400
    assert told["decode_tokens_per_s"]["median"] < told["prefill_tokens_per_s"]["median"]
    read_a_second = OnnxEngine(whole).bundle.path("step").stat().st_size * told["decode_tokens_per_s"]["median"]
    assert told["bandwidth_share"]["median"] == pytest.approx(read_a_second / 1e9)


def test_a_stream_of_requests_gives_the_answers_in_their_order(whole):
    engine, asked = OnnxEngine(whole), questions(4)
    wanted = [engine.answer(**request).answer for request in asked]
    found = list(answers(engine, asked))
    assert [answer.text for answer in found] == [answer.text for answer in wanted]
    assert all({"features", "image", "waiting", "prefill"} <= set(answer.ms) for answer in found)
    assert list(answers(engine, [])) == []
    coming = answers(engine, [asked[0], {"task": " "}, asked[1]])
    assert next(coming).text == wanted[0].text, "an error comes when it is its turn"
    with pytest.raises(ValueError, match="the request is empty"):
        next(coming)


def test_a_whole_answer_in_one_call_is_the_same(agent, whole, tmp_path):
    with pytest.raises(FileNotFoundError, match="--one-call"):
        OnnxEngine(whole, one_call=True)
    bundle(agent, tmp_path / "b", one_call=True)
    once, steps = OnnxEngine(tmp_path / "b", one_call=True), OnnxEngine(tmp_path / "b")
    for request in questions(4):
        mine, wanted = once.answer(**request).answer, steps.answer(**request).answer
        assert (mine.text, mine.tokens, mine.passes) == (wanted.text, wanted.tokens, 1)
        for most in (1, 3):
            assert (
                once.answer(**request, max_new_tokens=most).answer.text == steps.answer(**request, max_new_tokens=most).answer.text
            )
    assert once.cache_bytes_per_token == steps.cache_bytes_per_token
    size = [(tmp_path / "b" / name).stat().st_size for name in ("answer.onnx", "step.onnx")]
    assert size[0] < size[1] + 10_000, "weights stand outside the loop, once"
    with pytest.raises(ValueError, match="give one of the two"):
        OnnxEngine(tmp_path / "b", grammar=True, one_call=True)
    with pytest.raises(ValueError, match="open the bundle without one_call"):
        once.writing(grammar=True)
    with pytest.raises(ValueError, match="a step reads input_ids"):
        greedy_graph(onnx_module(nn.Linear(2, 2), {"x": normal(3, 2)}), end=1)


def test_generate_is_a_witness(agent):
    many = BatchEngine(agent.model, agent.processor)
    for request in questions(2):
        assert many.generate(**request) == agent.answer(**request).answer.text


def test_a_strangers_convolutions_are_computed_with_integers():
    torch.manual_seed(1)
    layers = [
        part
        for i, o in ((3, 16), (16, 16), (16, 32))
        for part in (nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
    ]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 5))
    for _ in range(3):
        network(normal(8, 3, 32, 32))  # batch norms that have seen something
    graph = onnx_module(network, {"pixels": normal(1, 3, 32, 32)})
    examples = [normal(1, 3, 32, 32, seed=seed).numpy() for seed in range(8)]
    made = integer_convolutions(graph, examples)
    assert runtime_nodes(graph)["QLinearConv"] == 0 and runtime_nodes(made)["QLinearConv"] == 3
    assert len(made) < 0.75 * len(graph)
    x = normal(1, 3, 32, 32, seed=99)
    [rounded], [wanted] = run(made, pixels=x), run(graph, pixels=x)
    assert 0 < np.linalg.norm(rounded - wanted) < 0.1 * np.linalg.norm(wanted)
    with pytest.raises(ValueError, match="no example"):
        integer_convolutions(graph, [])
    with pytest.raises(ValueError, match="none of the convolutions"):
        integer_convolutions(onnx_module(nn.Linear(4, 2), {"x": normal(3, 4)}), [normal(3, 4).numpy()])


def test_an_agent_that_sees_with_integers_answers_as_before(agent, requests, tmp_path):
    bundle(agent, tmp_path / "seeing", screens=[request.image for request in typed_requests(World(4242), 16)])
    exported = OnnxEngine(tmp_path / "seeing")
    graph = exported.bundle.path("image").read_bytes()
    assert runtime_nodes(graph)["QLinearConv"] == sum(isinstance(m, nn.Conv2d) for m in agent.model.modules())
    apart = json.loads((tmp_path / "seeing" / MANIFEST).read_text())["apart"]
    assert 1e-3 < apart["image"] < 0.2 and apart["step"] < 1e-4, "what ships is what was compared"
    given, wanted = (OneByOne(e).answer_many(requests) for e in (exported, agent))
    hits, most = (sum(right(r, a) for r, a in zip(requests, answers, strict=True)) for answers in (given, wanted))
    assert hits >= most - 1


def test_a_graph_that_computes_something_else_is_not_written(agent, whole, tmp_path, monkeypatch):
    assert all(share < 1e-4 for share in json.loads((whole / MANIFEST).read_text())["apart"].values())
    graphs = {name: Bundle.open(whole).path(name).read_bytes() for name in ("image", "audio", "step")}
    other = copy.deepcopy(agent.model)
    with torch.no_grad():
        other.layers[3].mlp.down_proj.weight.mul_(1.1)
    with pytest.raises(ValueError, match=r"the step graph is .* away from the model \(1 tokens after 0, without a picture"):
        verify(other, graphs)
    with torch.no_grad():
        other.audio_encoder.blocks[0].up.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="the audio graph is nan% away"):
        verify(other, graphs)
    monkeypatch.setattr("autoglm_lab.export.bundle.agent_graphs", lambda model, **_: graphs)
    with pytest.raises(ValueError, match="away from the model"):
        bundle(TorchEngine(other, agent.processor), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
