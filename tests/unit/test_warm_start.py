"""A run that starts from a trained model of another vocabulary: what can be kept is kept."""

import copy
import re

import numpy as np
import pytest
import torch

from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.tokenizer import people_pieces, train_tokenizer
from autoglm_lab.training.scenes import SceneSpec, make_scene
from autoglm_lab.training.warm_start import hand_on_tokens, learn_to_see, transplant

CHINESE = re.compile("[一-鿿]")

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "gated_layers": (0,),
    "audio_channels": 16,
    "audio_blocks": 1,
}


@pytest.fixture(scope="module")
def pair():
    old_tokenizer, new_tokenizer = train_tokenizer(), train_tokenizer(people_pieces(), 3500)
    torch.manual_seed(0)
    old = PhoneGLMForConditionalGeneration(PhoneGLMConfig(**SIZES, image_channels=(4, 6, 8, 12), vocab_size=len(old_tokenizer)))
    torch.manual_seed(1)
    new = PhoneGLMForConditionalGeneration(PhoneGLMConfig(**SIZES, image_channels=(4, 6, 8, 16), vocab_size=len(new_tokenizer)))
    return old, old_tokenizer, new, new_tokenizer, transplant(old, old_tokenizer, new, new_tokenizer)


def test_what_has_the_same_shape_is_taken_and_the_rest_is_named(pair):
    old, _, new, _, fresh = pair
    theirs, mine = old.state_dict(), new.state_dict()
    taken = [name for name in mine if name not in fresh and "embed_tokens" not in name and "lm_head" not in name]
    assert all(torch.equal(theirs[name], mine[name]) for name in taken)
    assert fresh and all(name.startswith("image_encoder") for name in fresh)


def test_words_that_both_know_mean_the_same_and_new_ones_the_mean_of_their_parts(pair):
    old, old_tokenizer, new, new_tokenizer, _ = pair
    theirs, mine = old.embed_tokens.weight.detach(), new.embed_tokens.weight.detach()
    known, learned = old_tokenizer.get_vocab(), new_tokenizer.get_vocab()
    shared = [token for token in learned if token in known]
    assert len(shared) > 1200 and all(torch.equal(mine[learned[token]], theirs[known[token]]) for token in shared)
    added = next(token for token in learned if token not in known and len(token) > 4)
    parts = old_tokenizer.encode(new_tokenizer.decode([learned[added]]))
    assert len(parts) > 1
    np.testing.assert_allclose(mine[learned[added]], theirs[parts].mean(0), atol=1e-6)


def test_models_of_another_width_are_refused(pair):
    old, old_tokenizer, *_ = pair
    wide = PhoneGLMForConditionalGeneration(PhoneGLMConfig(**(SIZES | {"hidden_size": 128}), vocab_size=len(old_tokenizer)))
    with pytest.raises(ValueError, match="64 wide, the new one 128"):
        transplant(old, old_tokenizer, wide, old_tokenizer)


def test_a_new_image_encoder_learns_to_show_what_the_old_one_shows(pair, tmp_path):
    old, _, new, *_ = pair
    mine = copy.deepcopy(new.image_encoder)
    pictures = np.stack([make_scene(seed, SceneSpec())[0] for seed in range(12)])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255

    def apart():
        with torch.no_grad():
            cells = [encoder.train(False)(pixels) for encoder in (mine, old.image_encoder)]
        return float(1 - torch.cosine_similarity(*cells, dim=-1).mean())

    before = apart()
    learn_to_see(old.image_encoder, mine, pictures, tmp_path / "eye.pt", steps=160)
    assert apart() < 0.5 * before
    again = copy.deepcopy(new.image_encoder)
    learn_to_see(old.image_encoder, again, pictures[:0], tmp_path / "eye.pt")  # kept: there is nothing to look at
    assert all(torch.equal(a, b) for a, b in zip(mine.state_dict().values(), again.state_dict().values(), strict=True))


def test_heads_that_look_at_a_token_hand_it_on(pair):
    model = copy.deepcopy(pair[2])
    rng = np.random.default_rng(0)
    rows = [rng.integers(1010, len(model.embed_tokens.weight), 20).tolist() for _ in range(150)]
    share = hand_on_tokens(model, rows)
    attention, width = model.layers[-1].self_attn, model.config.head_dim
    assert torch.equal(attention.o_proj.weight[:, -2 * width : -width], attention.o_proj.weight[:, -width:])
    x = model.layers[-1].input_layernorm(model.decode(torch.tensor(rows[:1]), [{}])[0][-2])[0]
    handed = x @ attention.v_proj.weight[-width:].T @ attention.o_proj.weight[:, -width:].T
    table = torch.nn.functional.normalize(model.embed_tokens.weight, dim=-1)
    right = (handed @ table.T).argmax(1).eq(torch.tensor(rows[0])).float().mean()
    assert share > 0.15 and right > 0.15, "a rank of 16 for 2,400 random vectors; chance is 0.0004"
    with pytest.raises(ValueError, match="some hundred commands"):
        hand_on_tokens(model, [])


def test_chinese_characters_stand_alone_where_they_are_to_be_copied():
    tokenizer = train_tokenizer(people_pieces(), 4200, characters=True)
    said, copied = (tokenizer.tokenize(text) for text in ("给小红发消息说走一上需要hot pot", "发微信给小红：走一上需要hot pot"))
    assert said[-7:] == copied[-7:], "the same tokens, whatever stands before"
    spelt = [tokenizer.decode([number]) for number in range(len(tokenizer))]
    assert not [text for text in spelt if len(CHINESE.findall(text)) > 1]


def test_blocks_of_the_speech_encoder_that_are_new_change_nothing_at_first(pair):
    old, deeper = pair[0], copy.deepcopy(pair[0].config)
    deeper.audio_blocks = 3
    new = PhoneGLMForConditionalGeneration(deeper)
    fresh = transplant(old, pair[1], new, pair[1])
    assert fresh and all(name.startswith("audio_encoder.blocks.") for name in fresh)
    mel, mask = torch.randn(2, 40, 80), torch.ones(2, 40, dtype=torch.bool)
    with torch.no_grad():
        theirs, mine = (model.eval().encode_audio(mel, mask)[0] for model in (old, new))
    assert torch.allclose(theirs, mine, atol=1e-6)
