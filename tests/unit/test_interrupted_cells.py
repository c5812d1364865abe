"""Cells that change something for a while give it back, also when the learner interrupts them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autoglm_lab.runtime import features
from notebooks import build
from notebooks.build import FOLDER


def cell_of(chapter, text):
    """The code cell of a chapter's source that contains a text."""
    learner, _ = build.derive(FOLDER / "source" / f"{chapter}.py")
    return next(cell.source for cell in learner.cells if cell.cell_type == "code" and text in cell.source)


def test_gates_held_at_a_value_are_the_models_own_again_after_an_interrupt():
    part = SimpleNamespace(gate_proj=torch.nn.Linear(4, 1))
    before = {name: value.clone() for name, value in part.gate_proj.state_dict().items()}
    names = {"np": np, "model": SimpleNamespace(gated={"0": {"image": part}})}
    exec(cell_of("02_gated_cross_attention", "def gates_held_at"), names)

    def interrupted():
        with names["gates_held_at"](0.5):
            assert not part.gate_proj.weight.any()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(torch.equal(value, before[name]) for name, value in part.gate_proj.state_dict().items())


def test_the_product_of_matrices_is_the_calm_one_again_after_an_interrupt():
    calm = features.calm_product

    def paired(ways, runs):
        ways.popitem()[1]()
        if features.calm_product is np.matmul:
            raise KeyboardInterrupt
        return dict.fromkeys(("in quiet pieces", "as numpy likes it"), "1 ms")

    device = SimpleNamespace(answer=lambda *_: SimpleNamespace(answer=None))
    names = {"np": np, "device": device, "screen": None, "wave": None, "paired": paired}
    try:
        with pytest.raises(KeyboardInterrupt):
            exec(cell_of("10_on_device", "def heard"), names)
        assert features.calm_product is calm
    finally:
        features.calm_product = calm
