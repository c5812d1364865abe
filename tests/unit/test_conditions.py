"""What is not given is not computed, and everything else stays as it was."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from autoglm_lab.export.conditions import CONDITION, always, every_node, on_condition
from autoglm_lab.export.graphs import onnx_module


class More(nn.Module):
    """Adds something to what it is given."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Asked(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.more, self.again = nn.Linear(6, 6), More(), More()

    def forward(self, x, present):
        return self.again(self.more(self.before(x)))


PARTS = {"more": ("present", 1), "again": ("present", 0)}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Asked().eval()


@pytest.fixture(scope="module")
def plain(model):
    return onnx_module(model, {"x": torch.randn(3, 6), "present": torch.ones(2)}, dynamic={"x": {0: "batch"}})


def run(graph, x, present):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    [found] = session.run(None, {"x": x.numpy(), "present": np.array(present, np.float32)})
    return found


@pytest.mark.parametrize("present", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_module_runs_when_its_number_is_above_zero(model, plain, present):
    x = torch.randn(5, 6)
    wanted = model.before(x)
    for given, part in ((present[1], model.more), (present[0], model.again)):
        wanted = part(wanted) if given else wanted
    np.testing.assert_allclose(run(on_condition(plain, PARTS), x, present), wanted.detach().numpy(), atol=1e-6)


def test_what_is_passed_over_is_not_computed(plain, tmp_path):
    products = []
    for present in ((0, 0), (0, 1), (1, 1)):
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "times")
        session = onnxruntime.InferenceSession(on_condition(plain, PARTS), options, providers=["CPUExecutionProvider"])
        session.run(None, {"x": np.ones((2, 6), np.float32), "present": np.array(present, np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text())
        products.append(sum("Gemm" in event["args"].get("op_name", "") for event in events if event.get("cat") == "Node"))
    assert products[1] - products[0] == products[2] - products[1] > 0


def test_there_is_a_way_back(model, plain):
    x = torch.randn(5, 6)
    made = always(on_condition(plain, PARTS))
    kinds = [[node.op_type for node in onnx.load_from_string(graph).graph.node] for graph in (plain, made)]
    assert [kind for kind in kinds[1] if kind not in ("Gather", "Greater")] == kinds[0]
    np.testing.assert_allclose(run(made, x, (0, 0)), run(plain, x, (0, 0)), atol=1e-6)
    assert always(plain) == onnx.load_from_string(plain).SerializeToString(), "nothing to undo"


def test_nodes_under_conditions_are_counted(plain):
    graph = onnx.load_from_string(on_condition(plain, PARTS)).graph
    names = [node.name for node in every_node(graph)]
    assert sum(name.endswith(CONDITION) for name in names) == 2
    before = [node.name for node in onnx.load_from_string(plain).graph.node]
    assert [name for name in names if name in before] == before


def test_what_cannot_stand_under_a_condition_is_named(plain):
    with pytest.raises(ValueError, match="no node of the graph is called by the module 'most'"):
        on_condition(plain, {"most": ("present", 0)})
    with pytest.raises(ValueError, match="the module 'before' ends in Gemm; under a condition it has to end in a sum"):
        on_condition(plain, {"before": ("present", 0)})
    leaking = onnx.load_from_string(plain)
    inside = next(node for node in leaking.graph.node if node.name.startswith("more."))
    leaking.graph.output.append(onnx.ValueInfoProto(name=inside.output[0]))
    with pytest.raises(ValueError, match=f"{inside.output[0]} of the module 'more' is read outside of it"):
        on_condition(leaking.SerializeToString(), PARTS)
