"""Every kind of layer, in every type of float, after every operation, comes back from disk as it was."""

import shutil

import pytest
import torch
from torch import nn

from autoglm_lab.compress import checkpoint
from autoglm_lab.compress.checkpoint import STRUCTURE, WEIGHTS, load, save, structure_of
from autoglm_lab.compress.dependency_graph import outputs
from autoglm_lab.compress.low_rank import factorise_layers
from autoglm_lab.compress.qat import ACTIVATIONS, convert, prepare
from autoglm_lab.compress.quantization import Scheme, quantize_weights
from autoglm_lab.compress.structured import prune_structured
from tests.unit.strange_models import COARSE, HUGGING, STRANGE, strange

PICTURE, ROWS = (2, 8, 6, 6), (2, 5, 8)
KINDS = {
    "linear": (lambda: nn.Linear(8, 12), ROWS),
    "linear without bias": (lambda: nn.Linear(8, 12, bias=False), ROWS),
    "embedding": (lambda: nn.Embedding(20, 12), None),
    "conv1d": (lambda: nn.Conv1d(8, 12, 3, padding=1), (2, 8, 9)),
    "conv2d": (lambda: nn.Conv2d(8, 12, 3, 2, 1), PICTURE),
    "grouped": (lambda: nn.Conv2d(8, 12, 3, padding=1, groups=4), PICTURE),
    "depthwise": (lambda: nn.Conv2d(8, 8, 3, groups=8), PICTURE),
    "depthwise, twofold": (lambda: nn.Conv2d(8, 16, 3, groups=8), PICTURE),
    "transposed": (lambda: nn.ConvTranspose2d(8, 12, 2, 2), PICTURE),
    "transposed, grouped": (lambda: nn.ConvTranspose2d(8, 12, 3, 2, 1, 1, groups=4), PICTURE),
    "LSTM": (lambda: nn.LSTM(8, 12, 2, bidirectional=True, batch_first=True), ROWS),
    "GRU": (lambda: nn.GRU(8, 12, batch_first=True), ROWS),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), ROWS),
}
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def _trained(model, x):
    learning = prepare(model, Scheme(4), inputs=ACTIVATIONS, quiet=True).train()
    learning(x)
    return convert(learning)


OPERATIONS = {
    "as it is": lambda model, x: model,
    "packed": lambda model, x: quantize_weights(model, Scheme(4, granularity="group", group_size=8), quiet=True),
    "low rank": lambda model, x: factorise_layers(model, 0.5, quiet=True),
    "trained": _trained,
}
LINEAR_ONLY = ("linear", "linear without bias", "attention")


def first(answer):
    return answer[0] if isinstance(answer, tuple) else answer


def blank(kind, dtype, seed):
    torch.manual_seed(seed)
    return nn.Sequential(KINDS[kind][0]()).to(dtype).eval()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_comes_back_with_its_values_and_its_type(kind, dtype, operation, tmp_path):
    if operation in ("low rank", "trained") and kind not in LINEAR_ONLY:
        pytest.skip("this operation is for linear layers")
    shape = KINDS[kind][1]
    x = torch.randn(shape, dtype=dtype) if shape else torch.randint(0, 20, (2, 5))
    made = OPERATIONS[operation](blank(kind, dtype, 0), x).eval()
    save(made, str(tmp_path / "small"))
    again = load(blank(kind, dtype, 1), str(tmp_path / "small")).eval()
    here, there = made.state_dict(), again.state_dict()
    if operation != "as it is":  # a layer that save brings to a plain form has other names before
        assert structure_of(again) == structure_of(made)
        assert {name: value.dtype for name, value in here.items()} == {name: value.dtype for name, value in there.items()}
        assert all(torch.equal(there[name], value) for name, value in here.items())
    with torch.no_grad():
        mine, right = first(again(x)), first(made(x))
    assert mine.dtype == right.dtype == dtype
    torch.testing.assert_close(mine, right, rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize("name", [name for name in STRANGE if name not in ("literal split", "compiled")])
def test_a_pruned_model_comes_back_whatever_its_modules_count(name, tmp_path):
    model, example = strange(name)
    done = prune_structured(model, example, COARSE.get(name, 0.5), of="macs" if name in HUGGING else "parameters", quiet=True)
    save(done.model, tmp_path / "small")
    again = load(strange(name)[0], tmp_path / "small").eval()
    with torch.no_grad():
        for mine, right in zip(outputs(again, example), outputs(done.model, example), strict=True):
            torch.testing.assert_close(mine, right, rtol=0, atol=1e-6)


def test_a_model_that_still_trains_with_rounding_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"qat\.convert"):
        save(prepare(nn.Sequential(nn.Linear(4, 4)), Scheme(4), quiet=True), tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_model_with_another_ones_weights_is_refused(tmp_path):
    for seed in (0, 1):
        save(blank("linear", torch.float32, seed), tmp_path / f"m{seed}")
    for name in (WEIGHTS, STRUCTURE):
        shutil.copytree(tmp_path / "m0", tmp_path / name)
        (tmp_path / name / name).write_bytes((tmp_path / "m1" / name).read_bytes() + b" " * (name == STRUCTURE))
        with pytest.raises(ValueError, match=rf"{name} of {name} was changed after it was written"):
            load(blank("linear", torch.float32, 2), tmp_path / name)
    load(blank("linear", torch.float32, 2), tmp_path / "m0")


def test_a_model_that_is_exchanged_while_it_is_read_is_the_new_one(tmp_path, monkeypatch):
    whole, read_weights = blank("linear", torch.float32, 0), checkpoint.load_model
    packed = quantize_weights(whole, Scheme(8), quiet=True)
    save(whole, tmp_path / "m")

    def exchange(*arguments):
        monkeypatch.setattr(checkpoint, "load_model", read_weights)
        save(packed, tmp_path / "m")
        return read_weights(*arguments)

    monkeypatch.setattr(checkpoint, "load_model", exchange)
    again = load(blank("linear", torch.float32, 2), tmp_path / "m")
    assert structure_of(again) == structure_of(packed)
    assert all(torch.equal(value, packed.state_dict()[name]) for name, value in again.state_dict().items())
