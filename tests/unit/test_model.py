"""PhoneGLM on a tiny random configuration, against independent references."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from autoglm_lab.model import PhoneGLMConfig, PhoneGLMForConditionalGeneration, PhoneGLMProcessor
from autoglm_lab.model.encoders import ImageEncoder, grid_positions, number_embeddings
from autoglm_lab.model.fusion import GatedCrossAttention
from autoglm_lab.model.tokenizer import train_tokenizer
from autoglm_lab.runtime.prompt import write_answer, write_prompt

TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "gated_layers": (0, 1),
    "image_channels": (4, 6, 8, 12),
    "audio_channels": 16,
    "audio_blocks": 2,
}
IDS = torch.randint(1100, 3000, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PhoneGLMForConditionalGeneration(PhoneGLMConfig(**TINY)).eval()


@pytest.fixture
def seen():
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.rand(2, 3, 224, 224, generator=generator),
        "input_features": torch.rand(2, 37, 80, generator=generator),
    }


def test_the_full_model_has_the_size_it_claims():
    with torch.device("meta"):
        model = PhoneGLMForConditionalGeneration(PhoneGLMConfig())
    count = sum(p.numel() for p in model.parameters())
    assert 10e6 < count < 16.1e6
    assert model.config.hidden_size == 512 and model.config.num_hidden_layers >= 4
    assert model.config.num_key_value_heads < model.config.num_attention_heads


@pytest.mark.parametrize(("blocks", "whole"), [(2, True), (0, False)])
def test_wide_blocks_let_a_cell_see_its_whole_row(blocks, whole):
    torch.manual_seed(0)
    encoder = ImageEncoder(PhoneGLMConfig(image_wide_blocks=blocks)).eval()
    pixels = torch.rand(1, 3, 224, 224, requires_grad=True)
    encoder(pixels)[0, 7 * 14 + 1].square().sum().backward()  # a cell at the left; the switch is at the right
    reached = pixels.grad[0, :, 112:128].abs().amax((0, 1)) > 0
    assert bool(reached[:200].all()) is whole


def test_the_gate_follows_its_formula():
    torch.manual_seed(3)
    layer = GatedCrossAttention(32, heads=4)
    query, states = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    out = layer(query, layer.remember(states, torch.ones(2, 7, dtype=torch.bool), torch.ones(2)))
    reference = torch.nn.MultiheadAttention(32, 4, bias=False, batch_first=True)
    reference.in_proj_weight.data = torch.cat([layer.q_proj.weight, layer.k_proj.weight, layer.v_proj.weight])
    reference.out_proj.weight.data = layer.o_proj.weight.data
    normed = layer.query_norm(query)
    attended, _ = reference(normed, states, states)
    gate = torch.sigmoid(layer.gate_proj(torch.cat((normed, attended), -1)))
    assert torch.allclose(out.hidden, gate * attended + (1 - gate) * query, atol=1e-6)
    assert torch.allclose(out.gate, gate[..., 0], atol=1e-6)


def test_weights_shown_are_the_weights_used(model, seen):
    plain, shown = model(IDS, **seen), model(IDS, **seen, output_attentions=True)
    assert torch.allclose(plain.logits, shown.logits, atol=1e-5)
    weights = shown.cross_attentions[0]["image"]
    assert weights.shape == (2, 2, 9, 196)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 2, 9), atol=1e-5)


def test_an_absent_modality_has_gate_zero_and_changes_nothing(model, seen):
    without = model(IDS, pixel_values=seen["pixel_values"])
    assert all((layer["audio"] == 0).all() for layer in without.gates)
    masked = model(IDS, **seen, audio_present=torch.zeros(2))
    assert torch.allclose(without.logits, masked.logits, atol=1e-5)
    assert not torch.allclose(without.logits, model(IDS, **seen).logits, atol=1e-3)


def test_it_starts_in_the_shared_space(model):
    part = model.gated["0"]["image"]
    assert torch.equal(part.q_proj.weight, part.k_proj.weight)
    assert torch.allclose(part.q_proj.weight @ part.q_proj.weight.T, torch.eye(64), atol=1e-5)
    assert torch.equal(part.v_proj.weight, torch.eye(64)) and torch.equal(part.o_proj.weight, torch.eye(64))
    assert torch.sigmoid(part.gate_proj.bias) == 0.5
    cold = PhoneGLMForConditionalGeneration(PhoneGLMConfig(**TINY, shared_start=False)).gated["0"]["image"]
    assert not torch.equal(cold.q_proj.weight, cold.k_proj.weight)


def test_a_place_points_at_its_own_number():
    places, numbers = grid_positions(14, 64), number_embeddings(1000, 64)
    cell = 14 * 3 + 9  # row 3, column 9
    scores = places[cell, :32] @ numbers[:, :32].T
    assert abs(int(scores.argmax()) - int((9 + 0.5) / 14 * 1000)) <= 1


@pytest.mark.parametrize("use_cache", [True, False])
def test_generate_gives_the_same_tokens_with_and_without_cache(model, seen, use_cache):
    wanted = IDS
    for _ in range(6):
        logits = model(wanted, **seen).logits[:, -1]
        wanted = torch.cat((wanted, logits.argmax(-1, keepdim=True)), 1)
    got = model.generate(IDS, **seen, max_new_tokens=6, do_sample=False, use_cache=use_cache, eos_token_id=-1, pad_token_id=0)
    assert torch.equal(got, wanted)


def test_padding_a_batch_changes_no_answer(model, tokenizer):
    processor = PhoneGLMProcessor(tokenizer)
    texts, image = ["open Settings", "在浏览器搜索火锅，再给妈妈发消息"], Image.new("RGB", (30, 40), "red")
    sound = np.sin(np.arange(9000) / 5)
    batch = processor(text=texts, images=[image, None], audio=[None, sound], current_app=["WeChat", "Clock"])
    together = model(**batch).logits[:, -1]
    alone = [
        model(**processor(text=texts[0], images=image, current_app="WeChat")).logits[0, -1],
        model(**processor(text=texts[1], audio=sound, current_app="Clock")).logits[0, -1],
    ]
    assert torch.allclose(together, torch.stack(alone), atol=1e-4)


def test_longer_padding_of_sound_changes_nothing(model, seen):
    mel = seen["input_features"][:1]
    padded = torch.cat((mel, torch.rand(1, 20, 80)), 1)
    mask = (torch.arange(57) < 37)[None]
    short = model(IDS[:1], input_features=mel).logits
    assert torch.allclose(short, model(IDS[:1], input_features=padded, feature_attention_mask=mask).logits, atol=1e-5)


def test_saving_and_loading_through_the_auto_classes(model, seen, tmp_path, tokenizer):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists() and not list(tmp_path.glob("*.bin"))
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(loaded) is PhoneGLMForConditionalGeneration
    assert isinstance(AutoConfig.from_pretrained(tmp_path), PhoneGLMConfig)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), PhoneGLMProcessor)
    assert torch.equal(loaded(IDS, **seen).logits, model(IDS, **seen).logits)


def test_labels_give_the_mean_next_token_loss(model):
    labels = IDS.clone()
    labels[:, :4] = -100
    out = model(IDS, labels=labels)
    log_probability = out.logits.detach().log_softmax(-1)
    wanted = -np.mean([float(log_probability[b, t - 1, IDS[b, t]]) for b in range(2) for t in range(4, 9)])
    assert float(out.loss.detach()) == pytest.approx(wanted, rel=1e-5)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=60))
def test_any_text_survives_the_tokenizer(text):
    tokenizer = _tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def _tokenizer(cache=[]):  # noqa: B006
    if not cache:
        cache.append(train_tokenizer())
    return cache[0]


def test_numbers_and_grammar_are_single_tokens(tokenizer):
    assert [tokenizer.encode(str(n)) for n in (0, 57, 999)] == [[8], [65], [1007]]
    answer = write_answer("", 'do(action="Tap", element=[430,999])')
    assert len(tokenizer.encode(answer)) == 8
    assert len(tokenizer.encode(write_prompt("打开微信", "System Home"))) < 16


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"text": "  "}, "empty"),
        ({"text": "word " * 600}, "512"),
        ({"text": ["a", "b"], "images": [None]}, "one for each text"),
    ],
)
def test_bad_requests_are_refused(tokenizer, request_, reason):
    with pytest.raises(ValueError, match=reason):
        PhoneGLMProcessor(tokenizer)(**request_)
