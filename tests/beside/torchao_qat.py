"""Fake quantisation and training with it, here and in torchao: prints what differs, as JSON. Run where torchao is installed."""

import copy
import json

import torch
from torch import nn
from torch.nn import functional as F
from torchao.quantization import quantize_
from torchao.quantization.qat import IntxFakeQuantizeConfig, IntxFakeQuantizer, QATConfig

from autoglm_lab.compress.qat import fake_quantize, prepare
from autoglm_lab.compress.quantization import Scheme, from_rows, quantize_weights, to_rows


def on_one_grid(bits):
    """Largest differences of values and gradients on the grid that torchao chooses for a weight."""
    theirs = IntxFakeQuantizer(IntxFakeQuantizeConfig(getattr(torch, f"int{bits}"), group_size=32, is_symmetric=True))
    torch.manual_seed(bits)
    weight, upstream = torch.randn(24, 96), torch.randn(24, 96)
    there, here = weight.clone().requires_grad_(), weight.clone().requires_grad_()
    wanted = theirs(there)
    wanted.backward(upstream)
    scheme = Scheme(bits, symmetric=False, granularity="group", group_size=32)  # codes from 0 up; theirs lie around 0
    grid = (theirs.scale.reshape(-1, 1), theirs.zero_point.reshape(-1, 1) + 2 ** (bits - 1))
    given = from_rows(fake_quantize(to_rows(here, scheme), *grid, scheme), weight.shape, scheme)
    given.backward(upstream)
    # the largest value of a group lies right between two codes: there the two may round differently
    clear = (to_rows(weight, scheme) / grid[0]).abs() < 2 ** (bits - 1) - 0.51
    pairs = {"value": (given, wanted), "gradient": (here.grad, there.grad)}
    apart = {name: float((to_rows(a - b, scheme)[clear]).abs().max()) for name, (a, b) in pairs.items()}
    return {**apart, "compared": float(clear.float().mean())}


def training():
    """Relative errors of a small network at three bits: rounded, trained with rounding here, and in torchao."""
    torch.manual_seed(5)
    teacher = nn.Sequential(nn.Linear(64, 64, bias=False), nn.GELU(), nn.Linear(64, 64, bias=False))
    x = torch.randn(256, 64)
    wanted = teacher(x).detach()
    scheme = Scheme(3, granularity="group", group_size=32)

    def error(model):
        return F.mse_loss(model(x), wanted) / wanted.square().mean()

    def learned(model):
        optimizer = torch.optim.Adam(model.parameters(), 5e-4)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, 300)
        for _ in range(300):
            optimizer.zero_grad()
            error(model).backward()
            optimizer.step()
            schedule.step()
        return float(error(model))

    theirs = copy.deepcopy(teacher)
    weights = IntxFakeQuantizeConfig(torch.int3, group_size=32, is_symmetric=True)
    quantize_(theirs, QATConfig(weight_config=weights, step="prepare"))
    rounded = float(error(quantize_weights(teacher, scheme, method="mse")))
    return {"rounded": rounded, "ours": learned(prepare(teacher, scheme)), "torchao": learned(theirs)}


if __name__ == "__main__":
    print(json.dumps({"grids": {bits: on_one_grid(bits) for bits in (2, 4, 8)}, "training": training()}))
