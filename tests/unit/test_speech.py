"""The speech bank: complete, honest about what is held out, and exact in what it does to sound."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.catalog import LANGS
from autoglm_lab.phone.phrasing import SPOKEN, utterances
from autoglm_lab.phone.speech import (
    HELD_OUT_VARIANTS,
    PEAK,
    SAMPLE_RATE_HZ,
    VOICES,
    Clip,
    SpeechBank,
    add_noise,
    pad_silence,
    set_level,
)
from autoglm_lab.phone.spoken import wish_key

pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def bank():
    return SpeechBank.load()


@pytest.mark.parametrize("lang", LANGS)
def test_every_sentence_is_said_by_three_training_voices(bank, lang):
    speakers = {u: {c.voice for c in bank.clips(lang) if c.utterance == u} for u in utterances(lang)}
    assert min(len(voices) for voices in speakers.values()) >= 3


@pytest.mark.parametrize("lang", LANGS)
def test_voices_are_many_and_the_held_out_ones_are_apart(bank, lang):
    training, held_out = bank.voices(lang), bank.voices(lang, held_out=True)
    assert len(training) >= 10
    assert len(held_out) >= 2
    assert not set(training) & set(held_out)
    assert not {v.variant for v in VOICES if not v.held_out} & HELD_OUT_VARIANTS
    for voice in held_out:
        clips = [clip for clip in bank.clips(lang, held_out=True) if clip.voice == voice]
        assert len(clips) >= 150
        assert {clip.utterance.kind for clip in clips} == set(SPOKEN)


def test_clips_sound_and_do_not_clip(bank):
    for voice in dict.fromkeys(clip.voice for clip in bank.places):
        clip = next(clip for clip in bank.places if clip.voice == voice)
        wave = bank.waveform(clip)
        assert wave.dtype == np.float32
        assert len(wave) == bank.places[clip][1]
        assert 0.3 * SAMPLE_RATE_HZ < len(wave) < 6 * SAMPLE_RATE_HZ
        assert -26 < 20 * np.log10(np.sqrt(np.mean(wave**2))) < -17
        # What lies between two sentences is silence, so the places in the index are right.
        start = bank.places[clip][0]
        assert np.abs(bank._file(voice)[start - 2000 : start - 400]).max() < 1500


def test_a_file_is_as_long_as_its_index_says(bank):
    for voice in bank.files:
        end = max(sum(place) for clip, place in bank.places.items() if clip.voice == voice)
        assert 0 < len(bank._file(voice)) - end <= SAMPLE_RATE_HZ


def test_the_bank_stays_small():
    sizes = {path.name: path.stat().st_size for path in (data_dir() / "speech").iterdir()}
    assert sum(size for name, size in sizes.items() if not name.startswith("natural")) <= 7.5e6
    assert sum(sizes.values()) <= 16e6


def test_find_picks_a_voice_that_says_it(bank):
    rng = np.random.default_rng(0)
    found = {bank.find("open Settings", "en", rng) for _ in range(40)}
    assert len({clip.voice for clip in found}) > 1
    assert {clip.utterance.text for clip in found} == {"open Settings"}
    assert bank.find(next(utterances("zh")), "zh", rng).utterance.lang == "zh"
    with pytest.raises(ValueError, match="no training voice says 'sing'"):
        bank.find("sing", "en", rng)


def test_an_unknown_clip_is_a_key_error(bank):
    with pytest.raises(KeyError):
        bank.waveform(Clip(next(utterances("en")), "nobody", False))


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
def test_noise_has_the_ratio_it_was_asked_for(snr_db):
    rng = np.random.default_rng(1)
    wave = (0.1 * np.sin(np.arange(16_000) / 9)).astype(np.float32)
    noise = add_noise(wave, snr_db, rng).astype(np.float64) - wave
    assert 10 * np.log10(np.mean(wave.astype(np.float64) ** 2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.1)


def test_noise_needs_a_signal_and_infinity_adds_none():
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="silent"):
        add_noise(np.zeros(100, np.float32), 10, rng)
    wave = np.ones(100, np.float32)
    np.testing.assert_array_equal(add_noise(wave, float("inf"), rng), wave)


def test_level_is_reached_unless_it_would_clip():
    wave = np.sin(np.arange(16_000) / 7).astype(np.float32)
    assert 20 * np.log10(np.sqrt(np.mean(set_level(wave, -23) ** 2))) == pytest.approx(-23, abs=0.01)
    assert np.abs(set_level(wave, 6)).max() == pytest.approx(PEAK, abs=1e-4)


def test_silence_is_as_long_as_asked():
    padded = pad_silence(np.ones(10, np.float32), 0.1, 0.2)
    assert len(padded) == 10 + 1600 + 3200
    assert padded[:1600].max() == padded[-3200:].max() == 0
    with pytest.raises(ValueError, match="negative"):
        pad_silence(padded, -1, 0)


def test_espeak_speaks_both_languages():
    pytest.importorskip("espeakng_loader")
    from autoglm_lab.phone.synthesis import synthesise

    for text, voice in (("open Settings", "en-gb+m3"), ("打开设置", "cmn+f2")):
        slow, fast = synthesise(text, voice, rate_wpm=120), synthesise(text, voice, rate_wpm=220)
        assert 0.3 * SAMPLE_RATE_HZ < len(fast) < len(slow) < 3 * SAMPLE_RATE_HZ
        assert 0.01 < np.sqrt(np.mean(slow**2)) < 0.5
    with pytest.raises(ValueError, match="unknown"):
        synthesise("hello", "en-us+nobody-at-all")


def test_a_sentence_sounds_the_same_whatever_was_said_before():
    pytest.importorskip("espeakng_loader")
    from autoglm_lab.phone.synthesis import synthesise

    voices = ("en-us+m3", "en-us+klatt4", "cmn+f1")

    def say(voice):
        return synthesise("打开设置" if voice.startswith("cmn") else "open the settings", voice, rate_wpm=150, pitch=40)

    first = [say(voice) for voice in voices]
    synthesise("something else altogether", "en-gb+f2", rate_wpm=200, pitch=70)
    assert all(np.array_equal(once, say(voice)) for once, voice in zip(first, voices, strict=True))
    code = (
        "import hashlib, numpy; from autoglm_lab.phone.synthesis import synthesise as say;"
        "print(hashlib.sha256(say('open the settings', 'en-us+m3', rate_wpm=150, pitch=40).tobytes()).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert hashlib.sha256(first[0].tobytes()).hexdigest() == elsewhere, "another process says it another way"


def test_the_training_set_never_hears_a_held_out_voice(tmp_path):
    pytest.importorskip("espeakng_loader")
    from autoglm_lab.training.speech_data import VARIANTS, bank_takes, synthesised_takes

    assert not set(VARIANTS) & HELD_OUT_VARIANTS
    takes = synthesised_takes(("zh", 3, 4), seed=0) + synthesised_takes(("en", 3, 4), seed=0)
    assert {take.key for take in takes} == {wish_key(list(utterances(lang))[3]) for lang in LANGS}
    assert len({take.voice for take in takes}) > 2
    assert all(np.abs(take.wave.astype(int)).max() < 32767 for take in takes)
    assert bank_takes("rms", seed=0) == []
