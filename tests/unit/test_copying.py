"""Practice in copying: what is to be copied stands in the request, word for word."""

import numpy as np
import pytest

from autoglm_lab.model.tokenizer import train_tokenizer
from autoglm_lab.phone.catalog import FREE_WORDS
from autoglm_lab.training.copy_task import chance_phrase, copying_rows, with_chance_phrase, words


def test_rows_copy_what_the_request_says():
    tokenizer = train_tokenizer()
    practice = copying_rows(tokenizer, 40, np.random.default_rng(0))
    assert practice.ids.shape == practice.attention_mask.shape == practice.copied.shape
    for ids, mask, copied in zip(practice.ids, practice.attention_mask, practice.copied, strict=True):
        assert mask.sum() == mask.nonzero().max() + 1, "padding comes last"
        phrase = tokenizer.decode(ids[copied]).removesuffix('")<|endoftext|>')
        prompt = tokenizer.decode(ids[: int(copied.nonzero().min())])
        assert phrase and phrase in prompt, (phrase, prompt)
        assert bool(mask[copied].all())


def test_words_hold_every_free_word():
    assert set(FREE_WORDS["zh"]) <= set(words("zh"))
    assert {word for phrase in FREE_WORDS["en"] for word in phrase.split()} <= set(words("en"))
    rng = np.random.default_rng(1)
    lengths = {len(chance_phrase("en", rng).split()) for _ in range(200)}
    assert lengths == {1, 2, 3, 4, 5}


def test_a_chance_phrase_replaces_the_phrase_everywhere():
    sample = {
        "kind": "search",
        "lang": "en",
        "text": "look up jazz in Music",
        "thinking": "type jazz",
        "action": 'do(action="Type", text="jazz")',
    }
    new = with_chance_phrase(sample, np.random.default_rng(2))
    phrase = new["thinking"].removeprefix("type ")
    assert new["text"] == f"look up {phrase} in Music"
    assert new["action"] == f'do(action="Type", text="{phrase}")'
    assert sample["text"] == "look up jazz in Music"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "alarm", "action": 'do(action="Type", text="07:30")'},
        {"action": 'do(action="Tap", element=[1, 2])'},
        {"text": "jazz and jazz"},
    ],
)
def test_other_samples_stay(changes):
    sample = {
        "kind": "search",
        "lang": "en",
        "text": "find jazz",
        "thinking": "",
        "action": 'do(action="Type", text="jazz")',
    } | changes
    assert with_chance_phrase(sample, np.random.default_rng(3)) is sample
