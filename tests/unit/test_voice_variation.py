"""Clips in other voices: what lies at a frequency moves, time is stretched, and nothing else changes."""

import numpy as np
import pytest

from autoglm_lab.runtime.features import log_mel
from autoglm_lab.training.voice_variation import (
    HIDDEN_BANDS,
    HIDDEN_BINS,
    HIDDEN_FRAMES,
    HIDDEN_MOMENTS,
    PACE,
    STEPS,
    TRACT,
    hide,
    stretch,
    vary,
    warp,
)


def tone(hz, seconds=0.5):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


def scale(step):
    return TRACT[0] + (TRACT[1] - TRACT[0]) * step / STEPS


@pytest.mark.parametrize("step", [0, 6, 20, STEPS])
@pytest.mark.parametrize("hz", [300.0, 1200.0, 3000.0])
def test_a_tone_moves_as_a_vocal_tract_would_move_it(step, hz):
    moved, right = log_mel(tone(hz)) @ warp(step), log_mel(tone(hz * scale(step)))
    assert abs(int(moved[25].argmax()) - int(right[25].argmax())) <= 1


def test_a_tract_of_the_same_length_changes_nothing():
    same = round((1 - TRACT[0]) / (TRACT[1] - TRACT[0]) * STEPS)
    assert np.allclose(warp(same), np.eye(80), atol=1e-9)
    assert all(np.allclose(warp(step).sum(0), 1) for step in range(STEPS + 1)), "a level stays a level"


def test_time_is_stretched():
    frames = np.linspace(0, 1, 40, dtype=np.float32)[:, None].repeat(80, 1)
    assert np.allclose(stretch(frames, 40), frames) and np.allclose(stretch(frames, 79)[::2], frames, atol=1e-6)
    assert stretch(frames[:1], 3).shape == (3, 80)


def test_some_clips_stay_and_none_grows_too_long():
    frames, rng = log_mel(tone(500.0, 2.0)), np.random.default_rng(0)
    seen = [vary(frames, rng, 210) for _ in range(200)]
    lengths = {len(each) for each in seen}
    assert min(lengths) >= PACE[0] * len(frames) - 1 and max(lengths) <= 210 and len(lengths) > 10
    assert 40 < sum(each is frames for each in seen) < 120
    assert all(np.isfinite(each).all() and np.abs(each).max() <= 1 + 1e-6 for each in seen)
    long = np.zeros((300, 80), np.float32)
    assert max(len(vary(long, rng, 210)) for _ in range(50)) <= 300, "one that is too long already grows no longer"


def test_bands_and_moments_are_left_out_and_the_rest_stays():
    frames, rng = np.random.default_rng(1).uniform(-1, 1, (120, 80)).astype(np.float32), np.random.default_rng(2)
    before = frames.copy()
    bands, moments = [], []
    for _ in range(100):
        hidden = hide(frames, rng)
        changed = hidden != frames
        assert np.allclose(hidden[changed], frames.mean())
        bands.append(int(changed.all(0).sum()))
        moments.append(int(changed.all(1).sum()))
    assert np.array_equal(frames, before), "the clip itself is heard again"
    assert 0 < max(bands) <= HIDDEN_BANDS * HIDDEN_BINS and 0 < max(moments) <= HIDDEN_MOMENTS * HIDDEN_FRAMES
    assert len(set(bands)) > 5 and len(set(moments)) > 5
