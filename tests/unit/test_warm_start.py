"""A run that starts from a trained model of another vocabulary: what can be kept is kept."""

import numpy as np
import pytest
import torch

from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.tokenizer import people_pieces, train_tokenizer
from autoglm_lab.training.warm_start import transplant

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "gated_layers": (0,), "audio_channels": 16, "audio_blocks": 1,
}  # fmt: skip


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
