"""Quantisation-aware training: the gradients of the papers, and a finished layer that computes what was trained."""

import contextlib
import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autoglm_lab.compress.qat import ACTIVATIONS, QATLinear, calibrate, convert, fake_quantize, prepare, scales, straight_through
from autoglm_lab.compress.quantization import PackedLinear, Scheme, quantize_weights

ROOT = Path(__file__).resolve().parents[2]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 3))


def test_the_gradient_goes_straight_through():
    x = torch.tensor([0.2, 1.7], requires_grad=True)
    y = straight_through(x, x.round())
    assert y.tolist() == [0.0, 2.0]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_agrees_with_torch_in_value_and_gradient(bits):
    torch.manual_seed(bits)
    scheme = Scheme(bits=bits, symmetric=False, granularity="tensor")
    mine = torch.randn(1, 64, requires_grad=True)
    theirs = mine.detach().clone().requires_grad_()
    scale, zero = torch.tensor([[0.15]]), torch.tensor([[2 ** (bits - 1)]], dtype=torch.int32)
    ours = fake_quantize(mine, scale, zero, scheme)
    reference = torch.fake_quantize_per_tensor_affine(theirs, scale.reshape(1), zero.reshape(1), *scheme.limits)
    torch.testing.assert_close(ours, reference)
    weights = torch.randn(1, 64)
    (ours * weights).sum().backward()
    (reference * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_the_gradient_of_the_scale_is_that_of_torch():
    torch.manual_seed(3)
    scheme = Scheme(bits=3, granularity="tensor")
    x, weights = torch.randn(1, 200), torch.randn(1, 200)
    mine, theirs = torch.tensor([[0.4]], requires_grad=True), torch.tensor([0.4], requires_grad=True)
    (fake_quantize(x, mine, torch.zeros(1, 1), scheme) * weights).sum().backward()
    reference = torch._fake_quantize_learnable_per_tensor_affine(x, theirs, torch.zeros(1), *scheme.limits, 1.0)
    (reference * weights).sum().backward()
    torch.testing.assert_close(mine.grad.flatten(), theirs.grad)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("scheme", [Scheme(4), Scheme(2, granularity="group", group_size=8), Scheme(3, symmetric=False)])
@pytest.mark.parametrize("inputs", [None, ACTIVATIONS])
def test_what_was_trained_is_what_runs(learned, scheme, inputs):
    model = prepare(network(), scheme, learned=learned, inputs=inputs)
    x, y = torch.randn(64, 12), torch.randn(64, 3)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(8):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.train(False)
    finished = convert(model)
    assert not any(isinstance(layer, QATLinear) for layer in finished.modules())
    with torch.no_grad():
        torch.testing.assert_close(finished(x), model(x), rtol=1e-5, atol=1e-6)
    for name, grid in scales(finished).items():
        torch.testing.assert_close(grid["scale"], scales(model)[name]["scale"])


def test_scales_are_learned_only_when_asked():
    learned = prepare(network(), Scheme(4))
    observed = prepare(network(), Scheme(4), learned=False)
    assert sum(name.endswith("quantizer.scale") for name, _ in learned.named_parameters()) == 3
    assert not any("quantizer" in name for name, _ in observed.named_parameters())
    with torch.no_grad():
        observed[0].weight.mul_(2)
    before = scales(observed)["0"]["scale"].clone()
    observed(torch.randn(4, 12))
    torch.testing.assert_close(scales(observed)["0"]["scale"], 2 * before, rtol=1e-3, atol=0)


def test_training_recovers_what_rounding_lost():
    torch.manual_seed(1)
    teacher, student = network(), network()
    x = torch.randn(512, 12)
    y = 3 * torch.sin(2 * x[:, :3]) + x[:, 3:6] * x[:, 6:9]

    def fit(model, steps, rate):
        optimizer = torch.optim.Adam(model.parameters(), rate)
        for _ in range(steps):
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()

    def loss(model):
        with torch.no_grad():
            return float(F.mse_loss(model(x), y))

    fit(teacher, 400, 1e-2)
    scheme = Scheme(bits=2)
    rounded = loss(quantize_weights(teacher, scheme, method="mse"))
    student = prepare(teacher, scheme)
    fit(student, 200, 3e-3)
    trained = loss(convert(student))
    whole = loss(teacher)
    assert rounded > 2 * whole
    assert trained - whole < 0.5 * (rounded - whole), (whole, rounded, trained)


def test_calibration_learns_ranges_and_nothing_else():
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)).eval()
    made = prepare(model, Scheme(8), inputs=ACTIVATIONS).eval()
    examples = [(torch.randn(5, 6),) for _ in range(4)]
    calibrate(made, examples)
    assert torch.equal(made[1].running_mean, model[1].running_mean)
    assert not any(module.training for module in made.modules())
    assert float(made[0].inputs.high) > 0 > float(made[0].inputs.low)
    x = examples[0][0]
    with torch.no_grad():
        torch.testing.assert_close(convert(made)(x), model(x), rtol=0.1, atol=0.1)
    with pytest.raises(ValueError, match="no calibration example"):
        calibrate(made, [])


def test_left_out_layers_stay_floats_and_the_input_is_left_alone():
    model = network()
    before = copy.deepcopy(model.state_dict())
    made = convert(prepare(model, Scheme(4), select=lambda name: name != "4"))
    assert isinstance(made[0], PackedLinear)
    assert type(made[4]) is nn.Linear
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="no linear layer is selected"):
        prepare(network(), Scheme(4), select=lambda name: False)
    with pytest.raises(ValueError, match=r"qat\.prepare"):
        convert(network())
    broken = network()
    broken[2].weight.data[0, 0] = torch.inf
    with pytest.raises(ValueError, match="layer '2'"):
        prepare(broken, Scheme(4))
    with pytest.raises(ValueError, match="one scale"):
        prepare(network(), Scheme(4), inputs=Scheme(8))
    with pytest.raises(ValueError, match="never seen"):
        prepare(network(), Scheme(4), inputs=ACTIVATIONS).train(False)(torch.randn(1, 12))


@pytest.fixture(scope="module")
def beside_torchao(tmp_path_factory):
    """What `tests/beside/torchao_qat.py` finds. torchao gets a folder of its own: installed, it is loaded with transformers."""
    folder = ROOT / "build" / "torchao"
    if not folder.exists():
        part = tmp_path_factory.mktemp("torchao")
        wanted = ["torchao", "-c", str(ROOT / "binder" / "constraints.txt")]
        made = subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(part), *wanted],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            pytest.skip(f"torchao cannot be had here: {made.stderr.strip().splitlines()[-1]}")
        folder.parent.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):  # another worker may have been faster
            shutil.move(part, folder)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "beside" / "torchao_qat.py")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("bits", ["2", "4", "8"])
def test_agrees_with_torchao_on_its_own_grid(beside_torchao, bits):
    found = beside_torchao["grids"][bits]
    assert found["value"] < 1e-5 and found["gradient"] < 1e-6
    assert found["compared"] > (0.5 if bits == "2" else 0.9)


def test_training_with_rounding_ends_no_worse_than_that_of_torchao(beside_torchao):
    found = beside_torchao["training"]
    assert found["ours"] < 0.8 * found["rounded"], "training wins back some of what rounding took"
    assert found["ours"] < 1.1 * found["torchao"], "as well as the library does"
