"""Phonemes of what is said: written by eSpeak NG, kept with each clip, and read from the frames of sound while a model learns."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autoglm_lab.training.dataset import read_phonemes
from autoglm_lab.training.losses import phoneme_loss
from autoglm_lab.training.speech_data import SpeechSpec, synthesised_takes

espeak = pytest.importorskip("espeakng_loader")


def test_texts_are_written_as_they_are_said():
    from autoglm_lab.phone.synthesis import phonemes

    assert phonemes("Read the red book.", "en-us") == "ɹiːdðəɹɛdbʊk".replace("ː", "")
    assert phonemes("turn it on, please", "en-us").endswith("pliz"), "each clause of a sentence"
    assert phonemes("七点", "cmn") != phonemes("七天", "cmn")
    assert phonemes("打开Chrome", "cmn").endswith(phonemes("Chrome", "en-gb")), "and a name in its own language, without a mark"
    assert not set(phonemes("打开微信，谢谢 now", "cmn")) & set(" ().ˈˌː")
    with pytest.raises(ValueError, match="unknown to eSpeak NG"):
        phonemes("hello", "nobody")


def test_a_voice_sounds_the_same_after_phonemes_were_asked_for():
    from autoglm_lab.phone.synthesis import phonemes, synthesise

    before = synthesise("open the map", "en-us+f2")
    phonemes.cache_clear()
    phonemes("明天七点", "cmn")
    assert np.array_equal(before, synthesise("open the map", "en-us+f2"))


def test_clips_know_what_they_say():
    from autoglm_lab.phone.phrasing import utterances
    from autoglm_lab.phone.synthesis import phonemes

    takes = synthesised_takes(("en", 3, 2), 0, SpeechSpec())
    assert {take.phonemes for take in takes} == {phonemes(list(utterances("en"))[3].text, "en-us")} and takes[0].phonemes


def test_the_phonemes_of_a_set_are_numbered_from_one(tmp_path):
    np.savez(tmp_path / "clips.npz", phonemes=np.array(["bab", "", "ca"]))
    inventory, pronunciations = read_phonemes(tmp_path, 5)
    assert inventory == "abc" and [numbers.tolist() for numbers in pronunciations] == [[2, 1, 2], [], [3, 1], [], []]


def clips(said, frames=12):
    counts = torch.tensor([len(each) for each in said])
    phonemes = torch.zeros(len(said), max(1, int(counts.max())), dtype=torch.long)
    for row, each in enumerate(said):
        phonemes[row, : len(each)] = torch.tensor(each, dtype=torch.long)
    return SimpleNamespace(phonemes=phonemes, phoneme_counts=counts), torch.ones(len(said), frames, dtype=torch.bool)


def spelling(said, frames=12):
    """Logits [frames, 5] that say phoneme after phoneme, with silence between."""
    logits = torch.zeros(frames, 5)
    logits[:, 0] = 20
    for place, phoneme in enumerate(said):
        logits[2 * place, [0, phoneme]] = torch.tensor([0.0, 20.0])
    return logits


def test_the_loss_is_small_where_frames_say_it_in_order_and_large_otherwise():
    batch, mask = clips([[1, 2, 2, 3]])
    right, swapped = (float(phoneme_loss(spelling(said)[None], mask, batch)) for said in ([1, 2, 2, 3], [2, 1, 2, 3]))
    assert right < 0.01 and swapped > 3


def test_padding_and_clips_without_phonemes_do_not_count():
    batch, mask = clips([[1, 2], [], [3]])
    logits = torch.stack([spelling([1, 2]), torch.randn(12, 5), spelling([3])])
    mask[0, 6:] = False
    logits[0, 6:] = torch.randn(6, 5) * 20
    assert float(phoneme_loss(logits, mask, batch)) < 0.01
    nothing, mask = clips([[], []])
    logits = torch.randn(2, 12, 5, requires_grad=True)
    loss = phoneme_loss(logits, mask, nothing)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_what_is_said_faster_than_there_are_frames_does_not_count():
    batch, mask = clips([[1, 1, 2, 2, 3, 3, 1]], frames=5)
    assert float(phoneme_loss(torch.randn(1, 5, 5), mask, batch)) == 0
