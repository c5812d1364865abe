"""Variation of a clip's log-mel frames, so that no clip is heard twice alike: another throat, another pace, parts not heard.

Frequencies are scaled as a longer or shorter vocal tract scales them (Jaitly and Hinton 2013), time is stretched, and bands and
moments are left out (SpecAugment; Park et al. 2019). All act on the frames: a clip need not be synthesised again.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

from autoglm_lab.runtime.features import HIGHEST_HZ, MEL_BINS, to_hz, to_mel

TRACT, PACE = (0.88, 1.14), (0.88, 1.14)  # frequency and duration, as shares of what they were
SHARE = 0.6  # of the clips in a batch
HIDDEN_BANDS, HIDDEN_BINS = 2, 10  # bands of frequency that are left out, and how wide one is at most
HIDDEN_MOMENTS, HIDDEN_FRAMES = 2, 10  # and moments
STEPS = 26  # warps that are kept: a step is one hundredth


def vary(frames: Float[np.ndarray, "F 80"], rng: np.random.Generator, longest: int) -> Float[np.ndarray, "G 80"]:
    """The frames in another voice and at another pace, at most `longest` of them (or as many as there were); or as they are."""
    if rng.random() >= SHARE:
        return frames
    warped = frames @ warp(int(rng.integers(STEPS + 1)))
    most = max(longest, len(frames))
    count = int(np.clip(round(len(frames) * rng.uniform(*PACE)), 1, most))
    return hide(stretch(warped, count), rng)


def hide(frames: Float[np.ndarray, "F 80"], rng: np.random.Generator) -> Float[np.ndarray, "F 80"]:
    """The frames with some bands and moments at their mean: no single one may be needed to understand."""
    hidden, mean = frames.copy(), frames.mean()
    for _ in range(HIDDEN_BANDS):
        width = int(rng.integers(HIDDEN_BINS + 1))
        first = int(rng.integers(MEL_BINS - width + 1))
        hidden[:, first : first + width] = mean
    for _ in range(HIDDEN_MOMENTS):
        width = int(rng.integers(HIDDEN_FRAMES + 1))
        first = int(rng.integers(len(frames) + 1))
        hidden[first : first + width] = mean
    return hidden


@cache
def warp(step: int) -> Float[np.ndarray, "80 80"]:
    """The matrix that moves what lies at a frequency to another one: `step` 0 to `STEPS`, from a deep voice to a high one."""
    scale = TRACT[0] + (TRACT[1] - TRACT[0]) * step / STEPS
    centres_hz = to_hz(np.linspace(0, to_mel(HIGHEST_HZ), MEL_BINS + 2)[1:-1])
    source = (
        to_mel(np.minimum(centres_hz / scale, HIGHEST_HZ)) / to_mel(HIGHEST_HZ) * (MEL_BINS + 1) - 1
    )  # the bin that each is read from
    lower = np.clip(np.floor(source), 0, MEL_BINS - 1).astype(int)
    upper, share = np.minimum(lower + 1, MEL_BINS - 1), np.clip(source - lower, 0, 1)
    matrix = np.zeros((MEL_BINS, MEL_BINS), np.float32)
    np.add.at(matrix, (lower, np.arange(MEL_BINS)), 1 - share)
    np.add.at(matrix, (upper, np.arange(MEL_BINS)), share)
    return matrix


def stretch(frames: Float[np.ndarray, "F 80"], count: int) -> Float[np.ndarray, "count 80"]:
    """The frames at another pace: `count` of them, interpolated."""
    at = np.linspace(0, len(frames) - 1, count)
    lower = np.floor(at).astype(int)
    upper, share = np.minimum(lower + 1, len(frames) - 1), (at - lower)[:, None].astype(np.float32)
    return np.asarray(frames[lower] * (1 - share) + frames[upper] * share, np.float32)
