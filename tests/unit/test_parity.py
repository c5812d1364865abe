"""A file is compared with its module layer by layer, and the first that is wrong is named."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from autoglm_lab.export.graphs import onnx_module
from autoglm_lab.export.parity import check_layers, compare, file_layers, first_diverging, layer_outputs, module_layers


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


@pytest.fixture(scope="module")
def exported():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), Block(8), Block(8)).eval()
    example = {"x": torch.randn(3, 4)}
    return module, example, onnx_module(module, example)


def damaged(graph, name, change):
    model = onnx.load_from_string(graph)
    for stored in model.graph.initializer:
        if stored.name == name:
            stored.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(stored)), name))
            return model.SerializeToString()
    raise KeyError(name)


def test_nodes_bear_the_names_of_modules(exported):
    _, _, graph = exported
    assert list(layer_outputs(graph)) == ["0", "1.norm", "1.up", "1.down", "1", "2.norm", "2.up", "2.down", "2"]
    assert all("/" in node.name for node in onnx.load_from_string(graph).graph.node)


def test_all_layers_agree(exported):
    module, example, graph = exported
    layers = check_layers(module, example, graph)
    assert {layer.name for layer in layers} == {name for name, _ in module.named_modules() if name}
    assert max(layer.difference for layer in layers) < 1e-5


@pytest.mark.parametrize("name", ["0", "1.up", "2.down"])
def test_the_first_layer_that_is_wrong_is_named(exported, name):
    module, example, graph = exported
    wrong = damaged(graph, f"{name}.weight", lambda weight: weight * 1.01)
    with pytest.raises(ValueError, match=f"layer '{name}'"):
        check_layers(module, example, wrong)
    assert check_layers(module, example, wrong, tolerance=0.2)


def test_two_files_are_compared_alike(exported):
    _, example, graph = exported
    feeds = {"x": example["x"].numpy()}
    broken = damaged(graph, "1.down.weight", lambda weight: np.full_like(weight, np.nan))
    found = compare(file_layers(broken, feeds), file_layers(graph, feeds))
    assert first_diverging(found).name == "1.down"
    assert first_diverging(compare(file_layers(graph, feeds), file_layers(graph, feeds)), 0.0) is None


def test_strangers_have_nothing_in_common(exported):
    _, _, graph = exported
    other = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(ValueError, match="no layer in common"):
        compare(file_layers(graph, {"x": np.zeros((3, 4), np.float32)}), module_layers(other, {"x": torch.zeros(3, 4)}))


def test_the_module_stays_in_its_modes(exported):
    module, example, _ = exported
    around = nn.Sequential(module)  # a new container trains, what it holds does not
    module_layers(around, example)
    assert around.training and not any(part.training for part in module.modules())
