"""Pictures and sounds become the same numbers whatever they came as, and what cannot be read is refused."""

import numpy as np
import pytest
from PIL import Image

from autoglm_lab.runtime.features import (
    IMAGE_SIDE,
    QUIET_PRODUCT,
    calm_product,
    gaussian_blur,
    image_features,
    log_mel,
    mel_filters,
    mono_16k,
)
from autoglm_lab.runtime.files import read_audio, read_image

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (300, 170, 3), dtype=np.uint8))


def test_scaling_is_pillows_antialiased_bilinear():
    mine = image_features(PHOTO)
    theirs = np.asarray(PHOTO.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BILINEAR), np.float32) / 255
    assert mine.shape == (3, IMAGE_SIDE, IMAGE_SIDE)
    assert np.abs(np.moveaxis(mine, 0, 2) - theirs).max() < 1.5 / 255


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("size", [(1, 1), (3, 700), (2000, 17)])
def test_any_mode_and_size(mode, size):
    image = Image.new("L", size, 128).convert(mode) if mode not in ("I;16", "I", "F") else Image.new(mode, size, 32768)
    pixels = image_features(image)
    assert pixels.shape == (3, 224, 224) and pixels.dtype == np.float32
    if mode != "1":  # one bit has no grey
        assert 0.4 < pixels.mean() < 0.6


def test_transparency_lies_on_white():
    clear = image_features(Image.new("RGBA", (20, 20), (0, 0, 0, 0)))
    assert np.allclose(clear, 1)


def test_arrays_and_images_agree():
    array = np.asarray(PHOTO)
    assert np.allclose(image_features(array), image_features(PHOTO))
    assert np.allclose(image_features(array.astype(np.float32) / 255), image_features(PHOTO), atol=1e-6)


@pytest.mark.parametrize(
    "bad", [np.zeros((0, 5, 3)), np.zeros((5, 5, 7)), np.full((5, 5, 3), 2.0), np.full((5, 5), np.nan), np.zeros(9)]
)
def test_bad_arrays_are_refused(bad):
    with pytest.raises(ValueError, match=r"shape|values"):
        image_features(bad)


def test_blur_keeps_the_mean_and_loses_detail():
    pixels = image_features(PHOTO)
    soft = gaussian_blur(pixels, 4)
    assert abs(float(soft.mean() - pixels.mean())) < 5e-3
    assert soft.std() < 0.3 * pixels.std()
    assert gaussian_blur(pixels, 0) is pixels


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_survives_any_rate_and_channels(rate, channels):
    time = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * 1000 * time)[:, None].repeat(channels, 1)
    wave = mono_16k(tone if channels > 1 else tone[:, 0], rate)
    assert len(wave) == 16_000
    spectrum = np.abs(np.fft.rfft(wave[2000:-2000]))
    assert abs(spectrum.argmax() * 16_000 / 12_000 - 1000) < 2
    assert 0.95 < np.abs(wave[4000:-4000]).max() < 1.05


def test_what_does_not_fit_16_khz_is_filtered_away():
    time = np.arange(48_000) / 48_000
    assert np.abs(mono_16k(np.sin(2 * np.pi * 12_000 * time), 48_000)[500:-500]).max() < 0.02


def test_integer_depths_agree():
    wave = np.sin(np.arange(4000) / 7) * 0.5
    wanted = mono_16k(wave, 16_000)
    assert np.allclose(mono_16k((wave * 32768).astype(np.int16), 16_000), wanted, atol=1e-4)
    assert np.allclose(mono_16k((wave * 2**31).astype(np.int32), 16_000), wanted, atol=1e-6)
    assert np.allclose(mono_16k((wave * 128 + 128).astype(np.uint8), 16_000), wanted, atol=1e-2)


def test_mel_frames_come_every_ten_milliseconds_whatever_the_level():
    wave = RNG.normal(0, 0.1, 16_000).astype(np.float32)
    mel = log_mel(wave)
    assert mel.shape == (101, 80)
    assert np.allclose(mel, log_mel(wave * 0.1), atol=1e-4)
    assert mel.max() == 1 and mel.min() >= -1


def test_silence_is_quiet():
    assert log_mel(np.zeros(8000, np.float32)).max() < 0


def test_a_tone_lights_its_own_band():
    wave = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    band = log_mel(wave).mean(0).argmax()
    assert abs(np.linspace(0, 8000, 201)[mel_filters()[:, band].argmax()] - 1000) < 60


@pytest.mark.parametrize(
    ("wave", "rate", "reason"),
    [
        (np.zeros(0), 16_000, "no samples"),
        (np.zeros(31 * 16_000), 16_000, "at most 30"),
        (np.zeros((5, 9)), 16_000, "shape"),
        (np.zeros(100), 100, "sampling rate"),
        (np.full(100, np.inf), 16_000, "finite"),
    ],
)
def test_bad_sound_is_refused(wave, rate, reason):
    with pytest.raises(ValueError, match=reason):
        mono_16k(wave, rate)


def test_files_are_refused_with_their_name(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "note.txt").write_text("not a picture")
    PHOTO.save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    for name, reason in {
        "gone.png": "no image file",
        "empty.png": "0 bytes",
        "note.txt": "not an image",
        "cut.png": "damaged",
    }.items():
        with pytest.raises(ValueError, match=reason):
            read_image(tmp_path / name)
    (tmp_path / "noise.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(ValueError, match="not a sound"):
        read_audio(tmp_path / "noise.wav")


@pytest.mark.parametrize("shape", [(4, 45, 3240), (250, 201, 80), (224, 144, 12), (1, 700, 900), (3, 1, 2), (5, 300, 1)])
def test_products_are_taken_in_pieces_that_start_no_threads(monkeypatch, shape):
    left, right = RNG.normal(size=shape[:2]).astype(np.float32), RNG.normal(size=shape[1:]).astype(np.float32)
    real, pieces = np.matmul, []

    def spy(a, b, out):
        pieces.append(a.shape[0] * a.shape[1] * b.shape[1])
        return real(a, b, out=out)

    monkeypatch.setattr(np, "matmul", spy)
    assert np.allclose(calm_product(left, right), left.astype(np.float64) @ right.astype(np.float64), atol=1e-3)
    assert all(size <= QUIET_PRODUCT for size in pieces)
    assert len(pieces) > 1 or np.prod(shape) <= QUIET_PRODUCT
