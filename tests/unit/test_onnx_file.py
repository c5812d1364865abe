"""Models of any kind to ONNX: as they are, by the names of their inputs, compared at lengths that nobody traced."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from torch import nn

from autoglm_lab.compress.qat import ACTIVATIONS, calibrate, convert, prepare
from autoglm_lab.compress.quantization import Scheme, packed_layer, quantize_weights
from autoglm_lab.export import export_onnx, exportable, onnx_module
from autoglm_lab.export.flatten import FlatModel
from autoglm_lab.export.lengths import read_axes
from tests.unit.strange_models import Recurrent

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "pad_token_id": 0}
DECODER = SMALL | {"num_key_value_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 64}
IDS = torch.randint(1, 64, (2, 5), generator=torch.Generator().manual_seed(1))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def opened(content):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(None, {n: v.numpy() for n, v in inputs.items()}), strict=True))


def tiny(family, **more):
    torch.manual_seed(0)
    if family == "GPT2LMHead":
        config = transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=4, n_positions=64)
    else:
        kind = family.removesuffix("ForCausalLM")
        config = getattr(transformers, f"{kind}Config")(**DECODER | ({"head_dim": 8} if kind in ("Glm", "Qwen3") else {}) | more)
    return getattr(transformers, family if family.endswith("LM") else f"{family}Model")(config)


def test_a_language_model_exports_with_its_cache_as_it_is(tmp_path):
    model = tiny("LlamaForCausalLM", num_hidden_layers=2).train()
    model.model.layers[1].eval()
    modes = [part.training for part in model.modules()]
    path = tmp_path / "new" / "folder" / "llama.v1.onnx"
    file = export_onnx(model, {"input_ids": IDS[:1], "attention_mask": torch.ones_like(IDS[:1])}, path, cache=True)
    assert [part.training for part in model.modules()] == modes and "forward" not in vars(model)
    assert path.read_bytes() == file.content and [file.name for file in path.parent.iterdir()] == [path.name]
    pairs = [f"{kind}_{number}" for number in range(2) for kind in ("key", "value")]
    assert file.inputs == {"input_ids": ["batch", "tokens"], "attention_mask": ["batch", "past + tokens"]} | {
        f"past_{pair}": ["batch", 2, "past", 8] for pair in pairs
    }
    assert file.outputs == {"logits": ["batch", "tokens", 64]} | {
        f"present_{pair}": ["batch", 2, "past + tokens", 8] for pair in pairs
    }
    assert 0 < file.difference < 1e-5
    lengths = {
        axis: {dict(part.rsplit(" ", 1) for part in case.split(", "))[axis] for case in file.differences}
        for axis in ("batch", "tokens", "past")
    }
    assert all(len(outputs) >= 3 for outputs in lengths.values()), "the example, a second and a third length"

    run, mask = opened(file.content), torch.ones(2, 5, dtype=torch.long)
    with torch.no_grad():
        right = model.eval()(input_ids=IDS).logits.numpy()
    past = {f"past_{pair}": torch.zeros(2, 2, 0, 8) for pair in pairs}
    first = run(input_ids=IDS[:, :3], attention_mask=mask[:, :3], **past)
    past = {f"past_{pair}": torch.from_numpy(first[f"present_{pair}"]) for pair in pairs}
    second = run(input_ids=IDS[:, 3:], attention_mask=mask, **past)
    np.testing.assert_allclose(np.concatenate((first["logits"], second["logits"]), 1), right, atol=1e-5)

    padded = torch.cat((torch.zeros(1, 2, dtype=torch.long), IDS[:1, :3]), 1)
    both = run(
        input_ids=torch.cat((padded, IDS[1:])),
        attention_mask=torch.tensor([[0, 0, 1, 1, 1], [1] * 5]),
        **{name: value[:, :, :0] for name, value in past.items()},
    )
    np.testing.assert_allclose(both["logits"][0, 2:], first["logits"][0], atol=1e-5, err_msg="padded in front beside a longer one")


@pytest.mark.parametrize("family", ["GPT2LMHead", "Qwen3ForCausalLM", "GlmForCausalLM", "Phi3ForCausalLM"])
def test_families_of_language_models_export_as_they_are(family):
    file = export_onnx(tiny(family), {"attention_mask": torch.ones_like(IDS), "input_ids": IDS}, cache=family != "Phi3ForCausalLM")
    assert ("present_value_0" in file.outputs) == ("past_key_0" in file.inputs) == (family != "Phi3ForCausalLM")
    assert file.outputs["logits"] == ["batch", "tokens", 64] and file.difference < 1e-5


def test_encoders_export_as_they_are():
    torch.manual_seed(0)
    words = transformers.BertModel(transformers.BertConfig(**SMALL, num_hidden_layers=1))
    mask = torch.tensor([[0, 0, 1, 1, 1], [1] * 5])
    file = export_onnx(words, {"input_ids": IDS, "attention_mask": mask})
    assert file.outputs == {"last_hidden_state": ["batch", "tokens", 32], "pooler_output": ["batch", 32]}
    sight = transformers.ViTModel(
        transformers.ViTConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, image_size=16, patch_size=4
        )
    )
    seen = export_onnx(sight, {"pixel_values": normal(1, 3, 16, 16)})
    assert seen.inputs == {"pixel_values": ["batch", 3, 16, 16]}
    assert max(file.difference, seen.difference) < 1e-5
    with pytest.raises(ValueError, match="a ViTModel has no cache"):
        export_onnx(sight, {"pixel_values": normal(1, 3, 16, 16)}, cache=True)


def test_an_encoder_and_its_decoder_export_at_lengths_of_their_own():
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4}
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, decoder_start_token_id=0))
    example = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "decoder_input_ids": IDS[:, :3]}
    file = export_onnx(model, example)
    assert file.inputs["input_ids"] == ["batch", "tokens"] and file.inputs["decoder_input_ids"] == ["batch", "decoder_tokens"]
    assert file.outputs["logits"] == ["batch", "decoder_tokens", 64] and file.difference < 1e-5
    with pytest.raises(ValueError, match="holds its encoder's states as well; export it with cache=False"):
        export_onnx(model, example, cache=True)


class Longer(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[1] > 300 else x + 1


class Even(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[1] % 2 == 0 else x + 1


class Looped(nn.Module):
    def forward(self, x):
        state = 0
        for moment in x.unbind(1):
            state = state * 0.5 + moment
        return state


class Stored(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mix", torch.ones(7, 7))

    def forward(self, x):
        return self.mix @ x


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Longer(), r"axis 1 of 'x' \('length'\) is frozen: .* away from the module at batch 2, length 301"),
        (Even(), r"axis 1 of 'x' \('length'\) is frozen: .* away from the module at batch 2, length 8"),
        (Looped(), r"axis 1 of 'x' \('length'\) is frozen at 7: the module loops"),
        (Stored(), r"axis 1 of 'x' \('length'\) is frozen at 7: .* holds a tensor of this length"),
    ],
    ids=["a condition", "a remainder", "a loop", "a stored matrix"],
)
def test_a_frozen_axis_is_named(module, words, tmp_path):
    def to_file(*arguments, **more):
        return export_onnx(*arguments, tmp_path / "x.onnx", **more)

    export = to_file if isinstance(module, (Longer, Looped)) else onnx_module
    with pytest.raises(ValueError, match=words) as failure:
        export(module, {"x": normal(2, 7, 4)}, dynamic={"x": {0: "batch", 1: "length"}})
    assert "\n" not in str(failure.value) and not list(tmp_path.iterdir())


def test_axes_of_outputs_are_those_that_turn_out():
    layer = nn.LSTM(4, 8, batch_first=True)
    file = export_onnx(layer, {"input": normal(2, 7, 4)}, dynamic={"input": {0: "batch", 1: "length"}})
    assert file.outputs == {"output_0": ["batch", "length", 8], "output_1_0": [1, "batch", 8], "output_1_1": [1, "batch", 8]}
    assert opened(file.content)(input=normal(1, 9, 4))["output_0"].shape == (1, 9, 8) and file.difference < 1e-5


class Nested(nn.Module):
    """Takes and returns a little of everything."""

    def forward(self, x, y, pair=None, scale=1.0, double=False, **more):
        total = (x - 2 * y) * scale
        total = total if pair is None else total + pair["left"][0] * pair["right"]
        total = total * 2 if double else total
        ids = total.argmax(-1)
        return {"total": total, "parts": (ids, [None, more["a.b"] > 0]), "none": None, "x": x}


def test_inputs_go_by_name_and_everything_nested_has_one():
    x, y, left, right = (normal(2, 3, seed=seed) for seed in range(4))
    example = {"y": y, "a.b": x, "x": x, "pair": {"left": (left,), "right": right}, "scale": 0.5, "double": True}
    content = onnx_module(Nested(), example, dynamic={name: {0: "batch"} for name in ("x", "y", "a.b", "pair")})
    inputs, outputs = read_axes(content)
    assert list(inputs) == ["y", "a.b", "x", "pair_left_0", "pair_right"] and set(map(tuple, inputs.values())) == {("batch", 3)}
    assert outputs == {"total": ["batch", 3], "parts_0": ["batch"], "parts_1_1": ["batch", 3], "x_out": ["batch", 3]}
    outputs = opened(content)(**{"y": y, "a.b": x, "x": x, "pair_left_0": left, "pair_right": right})
    right = Nested()(**example)
    for name, value in (("total", right["total"]), ("parts_0", right["parts"][0]), ("parts_1_1", x > 0), ("x_out", x)):
        np.testing.assert_allclose(outputs[name], value.numpy(), atol=1e-6)


def test_arguments_that_do_not_fit_are_named():
    x = normal(2, 3)
    for module, example, words in (
        (Nested(), {"x": x}, "forward needs 'y' as well; the example has 'x'"),
        (Weighted(), {"input": x, "z": x}, "forward takes no 'z'; it takes 'input', 'weight'"),
        (Nested(), {"x": x, "y": x, "pair_0": x, "pair": (x,)}, "two inputs are called 'pair_0'"),
        (Nested(), {"x": 1, "y": 2}, "the example holds no tensor"),
        (Nested(), {"x": x, "y": object()}, "a object holds no tensors that could be named"),
    ):
        with pytest.raises(ValueError, match=words):
            FlatModel(module, example)
    with pytest.raises(ValueError, match=r"'x' has no axis 2; its shape is \[2, 3\]"):
        onnx_module(nn.Identity(), {"x": x}, dynamic={"x": {2: "width"}})
    for labels, words in (
        ({"x": {0: "rows"}, "y": {1: "rows"}}, "axis 1 of 'y' has length 3, 'rows' has 2 in the example"),
        ({"x": {0: "a", 1: "b"}, "y": {1: "a + b"}}, r"axis 1 of 'y' has length 3, 'a \+ b' has 5 in the example"),
        ({"x": {0: "my rows"}}, "axis 0 of 'x' is called 'my rows'; a name has letters"),
    ):
        with pytest.raises(ValueError, match=words):
            onnx_module(Nested(), {"x": x, "y": x, "a.b": x}, dynamic=labels)
    with pytest.raises(ValueError, match="outputs names 2; the module returns 1"):
        onnx_module(nn.Linear(3, 2), {"x": x}, outputs=["one", "two"])
    with pytest.raises(ValueError, match="the module fails on its own example: RuntimeError: mat1 and mat2"):
        onnx_module(nn.Linear(4, 2), {"x": x})


class Weighted(nn.Module):
    def forward(self, input, weight=None):
        return input


class Decides(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x + 1


class Strange(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[1]


def test_what_onnx_does_not_have_is_said_in_one_line(tmp_path):
    huge = nn.Linear(1, 1)
    huge.weight = nn.Parameter(torch.empty(600_000_000, 1))  # 2.4 GB that nobody touches
    old = tmp_path / "old.onnx"
    old.write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    cases = [
        (nn.Linear(4, 2).bfloat16(), old, "'weight' is bfloat16, .*; call model.float.. first"),
        (Strange(), old, r"the operator aten\._linalg_svd has no translation to ONNX; compute it outside"),
        (Decides(), old, r"the module decides by a value \(`return x \* 2 if x\.sum\(\) > 0 else x \+ 1`\).*torch\.where"),
        (huge, old, r"the weights take 2\.4 GB, one ONNX file holds 2\.1"),
        (nn.Linear(4, 2), tmp_path / "folder", "folder is a folder; give the name of a file in it"),
        (nn.Linear(4, 2), old / "x.onnx", "cannot be written: .*old.onnx is a file"),
    ]
    for module, path, words in cases:
        with pytest.raises(ValueError, match=words) as failure:
            export_onnx(module, {"x": normal(3, 4)}, path)
        assert len(str(failure.value).splitlines()) == 1 and len(str(failure.value)) < 400
    assert old.read_bytes() == b"old" and sorted(p.name for p in tmp_path.iterdir()) == ["folder", "old.onnx"]
    (tmp_path / "link.onnx").symlink_to(old)
    export_onnx(nn.Linear(4, 2), {"x": normal(3, 4)}, tmp_path / "link.onnx")
    assert (tmp_path / "link.onnx").is_symlink() and onnx.load(old).graph.output[0].name == "output"


def test_half_precision_is_kept_and_tied_weights_are_written_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(3000, 16), nn.Linear(16, 3000, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids):
            return self.head(self.table(ids))

    file = export_onnx(Tied().half(), {"ids": IDS}, dynamic={"ids": {0: "batch"}})
    assert file.difference < 2e-2 and len(file.content) < 1.1 * 3000 * 16 * 2
    assert opened(file.content)(ids=IDS)["output"].dtype == np.float16


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 8))


KINDS = {
    "8 bits": lambda: quantize_weights(mlp(), Scheme(8, granularity="channel")),
    "7 bits": lambda: quantize_weights(mlp(), Scheme(7, granularity="channel")),
    "one scale": lambda: quantize_weights(mlp(), Scheme(8, granularity="tensor")),
    "groups": lambda: quantize_weights(mlp(), Scheme(8, granularity="group", group_size=32)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_packed_models_are_compared_and_no_row_changes_with_its_batch(kind):
    model = KINDS[kind]()
    file = export_onnx(model, {"input": normal(4, 64)}, dynamic={"input": {0: "batch"}})
    assert 1e-5 < file.difference < 0.01 and len(file.differences) >= 3
    run = opened(file.content)
    x = normal(6, 64, seed=3) * torch.tensor([0.01, 1, 30, 0, 2, 1])[:, None]
    together = run(input=x)["output"]
    alone = np.concatenate([run(input=row[None])["output"] for row in x])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    right = model(x).detach().numpy()
    assert np.all(np.linalg.norm(together - right, axis=1) < 0.02 * np.linalg.norm(right, axis=1)), "a row of zeros, too"


def test_a_packed_model_of_transformers_is_compared_too():
    torch.manual_seed(0)
    model = quantize_weights(transformers.BertModel(transformers.BertConfig(**SMALL, num_hidden_layers=1)), Scheme(8))
    file = export_onnx(model, {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})
    assert 1e-5 < file.difference < 0.02
    run = opened(file.content)
    together = run(input_ids=IDS, attention_mask=torch.ones_like(IDS))["last_hidden_state"]
    alone = run(input_ids=IDS[:1], attention_mask=torch.ones_like(IDS[:1]))["last_hidden_state"]
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)


@pytest.mark.parametrize(
    "scheme", [Scheme(7, granularity="channel"), Scheme(4, granularity="group", group_size=32)], ids=["7", "4"]
)
@pytest.mark.parametrize("layer", [nn.ConvTranspose1d(8, 12, 3, 2), nn.ConvTranspose2d(8, 12, 3, 2, 1, 1, groups=4)], ids=str)
def test_packed_transposed_convolutions_are_exported_right(layer, scheme):
    model, x = quantize_weights(nn.Sequential(layer), scheme, quiet=True), normal(2, 8, *[9] * (layer.weight.ndim - 2))
    right = model(x).detach().numpy()
    assert export_onnx(model, {"input": x}, dynamic={"input": {0: "batch"}}).difference < 1e-4
    np.testing.assert_allclose(opened(onnx_module(exportable(model), {"input": x}))(input=x)["output"], right, atol=1e-4)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_packed_recurrent_layers_are_refused_by_name_and_may_stay_floats(kind):
    torch.manual_seed(0)
    model, example = Recurrent(kind).eval(), {"ids": IDS % 50}
    packed = quantize_weights(model, Scheme(8), quiet=True)
    for export in (exportable, lambda packed: export_onnx(packed, example)):
        with pytest.raises(
            ValueError, match=rf"layer 'rnn': there is no kernel for a packed {kind.__name__}; leave it out with `skip`"
        ):
            export(packed)
    others = quantize_weights(model, Scheme(8), skip="rnn", min_share=0, quiet=True)
    assert export_onnx(others, example, dynamic={"ids": {0: "batch"}}).difference < 0.02


def test_a_packed_layer_that_computes_something_of_its_own_is_refused_by_name():
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return super().forward(ids) * 8

    model = quantize_weights(nn.Sequential(Scaled(50, 16), nn.Linear(16, 8)), Scheme(8), quiet=True)
    for export in (exportable, lambda packed: export_onnx(packed, {"input": IDS % 50})):
        with pytest.raises(ValueError, match="layer '0': a Scaled computes something of its own, for which there is no kernel"):
            export(model)


@pytest.mark.parametrize("ranges", [False, True], ids=["rounded as it comes", "rounded to ranges"])
def test_eight_bits_do_not_saturate_on_any_processor(ranges):
    """Weights and inputs at the end of their range: two signed products do not fit into 16 bits."""
    layer = nn.Linear(64, 8, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    x = torch.cat((torch.full((4, 64), 3.0), normal(1, 64)))
    if ranges:
        learning = prepare(nn.Sequential(layer), Scheme(8, granularity="channel"), inputs=ACTIVATIONS)
        calibrate(learning, [(x,)])
        model = convert(learning)
    else:
        model = nn.Sequential(packed_layer(layer, Scheme(8, granularity="channel")))
    right = model(x).detach().numpy()
    for written in (exportable(model), exportable(model, by_rows=True)):
        outputs = opened(onnx_module(written, {"x": x}))(x=x)["output"]
        assert np.linalg.norm(outputs - right) < 1e-2 * np.linalg.norm(right), "what rounded inputs cost"


def test_a_layer_in_two_places_is_written_in_both():
    layer = packed_layer(nn.Linear(16, 16), Scheme(8, granularity="channel"))
    model = nn.ModuleDict({"one": layer, "two": layer})
    written = exportable(model)
    assert written["one"] is written["two"] and not isinstance(written["two"], type(layer))
