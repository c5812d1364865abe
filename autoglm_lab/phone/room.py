"""The way of sound from a mouth to a microphone: echoes of a room, and the band of frequencies that arrives."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int16

from autoglm_lab.phone.speech import SAMPLE_RATE_HZ, add_noise, pad_silence, set_level

EARLIEST_S, LATEST_S = 0.002, 0.04  # of the early reflections, after the direct sound
REVERBERATION_S = (0.15, 0.6)  # times in which an echo falls by 60 dB: from a bedroom to a hall
DIRECT_DB = (-2.0, 14.0)  # the direct sound over all echoes: across the room, and close by
LOW_HZ, HIGH_HZ = (80.0, 300.0), (3400.0, 8000.0)  # edges of the bands that microphones and lines let through
SLOPE = 8  # power of the frequency by which gain falls outside the band: a Butterworth filter of fourth order


def reverberate(wave: Float[np.ndarray, " samples"], rng: np.random.Generator) -> Float[np.ndarray, " samples"]:
    """Let `wave` sound in a room of chance: a few early reflections, then noise that dies away exponentially."""
    decay_s, direct_db = rng.uniform(*REVERBERATION_S), rng.uniform(*DIRECT_DB)
    count = round(decay_s * SAMPLE_RATE_HZ)
    at_s = np.arange(count) / SAMPLE_RATE_HZ
    echoes = rng.standard_normal(count) * 10 ** (-3 * at_s / decay_s)  # 60 dB are a thousandth
    echoes[: round(LATEST_S / 2 * SAMPLE_RATE_HZ)] = 0
    echoes *= np.sqrt(rng.uniform(0.2, 0.8) / np.sum(echoes**2))
    arrivals_s = rng.uniform(EARLIEST_S, LATEST_S, size=int(rng.integers(3, 7)))
    early = rng.uniform(0.3, 1, size=len(arrivals_s)) * rng.choice([-1, 1], size=len(arrivals_s))
    np.add.at(echoes, (arrivals_s * SAMPLE_RATE_HZ).astype(int), early / np.sqrt(5 * np.sum(early**2)))
    echoes *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(echoes**2))
    echoes[0] += 1
    size = 1 << (len(wave) + count - 1).bit_length()
    sound = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(echoes, size), size)[: len(wave)]
    return np.asarray(sound, np.float32)


def limit_band(wave: Float[np.ndarray, " samples"], low_hz: float, high_hz: float) -> Float[np.ndarray, " samples"]:
    """Take away what lies below `low_hz` and above `high_hz`, 24 dB an octave. ValueError for a band that is none."""
    if not 0 < low_hz < high_hz:
        raise ValueError(f"a band goes from low_hz up to high_hz, got {low_hz} and {high_hz}")
    size = 1 << (len(wave) + SAMPLE_RATE_HZ // 20 - 1).bit_length()  # silence after the clip, for the transform is a loop
    frequency_hz = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ), 1e-3)
    gain = 1 / np.sqrt((1 + (low_hz / frequency_hz) ** SLOPE) * (1 + (frequency_hz / high_hz) ** SLOPE))
    return np.asarray(np.fft.irfft(np.fft.rfft(wave, size) * gain, size)[: len(wave)], np.float32)


def through_the_air(
    wave: Float[np.ndarray, " samples"], rng: np.random.Generator, room_share: float = 0.0, band_share: float = 0.0
) -> tuple[Int16[np.ndarray, " out"], float]:
    """Add silence around the clip, noise in half of all cases, and a random level; also returns the SNR in dB.

    A share of the clips sounds in a room, and of a share only a band of frequencies arrives.
    """
    wave = pad_silence(wave, *rng.uniform(0.05, 0.3, size=2))
    if room_share and rng.random() < room_share:
        wave = reverberate(wave, rng)
    snr_db = float(rng.uniform(3, 30)) if rng.random() < 0.5 else float("inf")
    wave = add_noise(wave, snr_db, rng)
    if band_share and rng.random() < band_share:
        wave = limit_band(wave, float(rng.uniform(*LOW_HZ)), float(rng.uniform(*HIGH_HZ)))
    loud = set_level(wave, float(rng.uniform(-34, -14)))
    return np.round(loud * 32767).astype(np.int16), snr_db
