"""The image encoder of the agent to come: half the work of the first one, and everything that is done to encoders done to it."""

import numpy as np
import pytest
import torch
from torch import nn

from autoglm_lab.compress.dependency_graph import trace
from autoglm_lab.compress.quantization import PackedConv, Scheme, quantize_weights
from autoglm_lab.compress.structured import masked, prune_structured
from autoglm_lab.compress.work import layer_macs
from autoglm_lab.export.convolutions import integer_convolutions, runtime_nodes
from autoglm_lab.export.graphs import SeenGraph, flat_memories, onnx_module
from autoglm_lab.export.parity import distance
from autoglm_lab.export.quantized_layers import exportable
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.encoders import ImageEncoder, grid_positions
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.runtime.sessions import quiet
from autoglm_lab.training.trainer import preset

BLOCKS = {name: getattr(preset("people").model, name) for name in ("image_blocks", "image_wide_blocks")}
PIXELS = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def macs(config):
    with torch.random.fork_rng():
        return sum(layer_macs(ImageEncoder(config), {"pixels": PIXELS[:1]}).values())


@pytest.fixture(scope="module")
def small():
    """A PhoneGLM with the image encoder of the agent to come, but few channels, its batch norms settled."""
    torch.manual_seed(0)
    model = PhoneGLMForConditionalGeneration(
        PhoneGLMConfig(
            vocab_size=1200,
            hidden_size=32,
            intermediate_size=24,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            num_hidden_layers=1,
            gated_layers=(0,),
            audio_channels=8,
            audio_blocks=1,
            image_channels=(4, 8, 12, 16),
            **BLOCKS,
        )
    )
    for _ in range(3):
        model.encode_image(PIXELS)
    return model.eval()


@pytest.fixture(scope="module")
def graph(small):
    return onnx_module(SeenGraph(small), {"pixel_values": PIXELS[:1]}, check=False)


def test_the_agent_to_come_sees_with_half_the_work():
    first, lean = macs(PhoneGLMConfig()), macs(preset("people").model)
    assert lean <= first / 2, (lean, first)


def test_the_first_encoder_is_still_the_default():
    shapes = [tuple(m.weight.shape) for m in ImageEncoder(PhoneGLMConfig()).modules() if isinstance(m, nn.Conv2d)]
    assert shapes[:3] == [(32, 3, 3, 3), (48, 32, 3, 3), (96, 48, 3, 3)] and len(shapes) == 12


def test_a_cell_sees_the_pixels_around_its_middle():
    torch.manual_seed(0)
    config = preset("people").model
    config.image_wide_blocks = 0
    assert (config.image_grid, config.image_cells) == (14, 196) and config.hidden_size == 512
    encoder = ImageEncoder(config).eval()
    pixels = PIXELS.clone().requires_grad_()
    cells = encoder(pixels)
    assert cells.shape == (2, 196, 512)
    cells[:, 5 * 14 + 9].square().sum(1).mul(torch.rand(2)).sum().backward()
    weight = pixels.grad.square().sum((0, 1))
    place = torch.arange(224.0) + 0.5
    middle = [float((weight.sum(axis) * place).sum() / weight.sum()) for axis in (1, 0)]  # its row, its column
    np.testing.assert_allclose(middle, (5.5 * 16, 9.5 * 16), atol=12)  # four paddings of one pixel move it by half a cell


def test_positions_are_those_of_the_grid(small):
    torch.testing.assert_close(small.image_position.data, grid_positions(14, 32))


def test_the_file_computes_what_the_model_does(small, graph):
    assert apart(small, graph) <= 1e-4


def test_all_its_convolutions_are_computed_with_integers(small, graph):
    made = integer_convolutions(graph, [PIXELS[:1].numpy(), PIXELS[1:].numpy()])
    assert runtime_nodes(made)["QLinearConv"] == sum(isinstance(m, nn.Conv2d) for m in small.image_encoder.modules())
    assert 0 < apart(small, made) < 0.2


def test_packed_convolutions_are_written_as_they_are(small):
    packed = quantize_weights(small, Scheme(7, granularity="channel"), min_share=0.9, quiet=True)
    assert isinstance(packed.image_encoder.stages[0][0], PackedConv)
    made = onnx_module(SeenGraph(exportable(packed)), {"pixel_values": PIXELS[:1]}, check=False)
    assert apart(packed, made) < 0.05


def test_its_channels_are_pruned(small):
    encoder, example = small.image_encoder, {"pixels": PIXELS[:1]}
    layers = {layer for group in trace(encoder, example) for layer, _ in group.family}
    assert {"stages.0.0", "stages.1.0", "project"} <= layers
    done = prune_structured(encoder, example, 0.3)
    assert done.saved["macs"] == pytest.approx(0.3, rel=0.1)
    with torch.no_grad():
        mine, right = done.model(**example), masked(encoder, done.removed)(**example)
    torch.testing.assert_close(mine, right, rtol=0, atol=1e-4)


@torch.no_grad()
def apart(model, graph):
    """The largest distance of a file's keys and values from the model's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, quiet(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: PIXELS[:1].numpy()})
    right = flat_memories(model, "image", model.encode_image(PIXELS[:1]))
    return max(distance(mine, value.numpy()) for mine, value in zip(found, right, strict=True))
