"""The speech bank: synthesised sentences in many voices, and what happens to sound on its way to a microphone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int16

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.catalog import LANGS, Lang
from autoglm_lab.phone.phrasing import Utterance, utterances

SAMPLE_RATE_HZ = 16_000
PEAK = 0.99  # the loudest sample that `set_level` allows
Engine = Literal["espeak", "flite", "kokoro", "hibari"]


@dataclass(frozen=True)
class Voice:
    """One speaker: the engine's name for it, its language, and whether training may hear it."""

    id: str
    lang: Lang
    engine: Engine = "espeak"
    held_out: bool = False

    @property
    def variant(self) -> str:
        """The larynx without the accent: what `en-us+f4` and `en-gb+f4` share."""
        return self.id.partition("+")[2] or self.id


# Held out are two eSpeak larynxes, in every accent and language, and one flite speaker.
VOICES: tuple[Voice, ...] = (
    *(
        Voice(f"{accent}+{variant}", "en")
        for accent, variant in (
            ("en-us", "f1"),
            ("en-us", "f2"),
            ("en-us", "m1"),
            ("en-us", "m3"),
            ("en-us", "klatt4"),
            ("en-gb", "f5"),
            ("en-gb", "m2"),
            ("en-gb", "m6"),
            ("en-gb-x-rp", "f3"),
            ("en-gb-scotland", "m5"),
            ("en-us-nyc", "m8"),
        )
    ),
    *(Voice(name, "en", "flite") for name in ("slt", "awb", "kal16")),
    *(Voice(f"cmn+{v}", "zh") for v in ("f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m8", "klatt4")),
    Voice("en-gb+f4", "en", held_out=True),
    Voice("en-us+m7", "en", held_out=True),
    Voice("rms", "en", "flite", held_out=True),
    Voice("cmn+f4", "zh", held_out=True),
    Voice("cmn+m7", "zh", held_out=True),
)
HELD_OUT_VARIANTS = frozenset(voice.variant for voice in VOICES if voice.held_out)
# Natural voices: four of Kokoro's are held out, and hibari's one; that was made from `af_heart`, which is heard nowhere.
HELD_OUT_NATURAL: dict[Lang, tuple[str, ...]] = {"en": ("bm_george", "af_bella"), "zh": ("zm_yunxi", "zf_xiaoxiao")}
KEPT_OUT_NATURAL = frozenset({"heart", "af_heart", *(voice for voices in HELD_OUT_NATURAL.values() for voice in voices)})


@dataclass(frozen=True)
class Clip:
    """One sentence in one voice; the bank that listed it knows its waveform.

    A natural clip is in one voice or, as `a+b`, in a mixture of two, and its number tells it from others of the same words.
    """

    utterance: Utterance
    voice: str
    held_out: bool
    engine: Engine = "espeak"
    number: int = -1


@dataclass
class SpeechBank:
    """The shipped clips, in compressed files that are decoded when their first clip is asked for.

    Clips of eSpeak and flite, one file a voice, say the sentences of `utterances`. Natural clips, many voices in one file, say
    wishes in people's words (`phone.spoken`).
    """

    folder: Path
    places: dict[Clip, tuple[int, int]]  # clip -> (first sample, samples) in the file of its voice
    files: dict[str, str]  # voice -> file name
    natural: dict[Clip, tuple[str, int, int]] = field(default_factory=dict)  # clip -> file name, first sample, samples
    _decoded: dict[str, Int16[np.ndarray, " samples"]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path | str | None = None) -> SpeechBank:
        """Read the index in `path` (the shipped bank by default); ValueError if it no longer fits the phrasings."""
        folder = data_dir() / "speech" if path is None else Path(path)
        index: dict[str, Any] = json.loads((folder / "index.json").read_text("utf-8"))
        sentences = {lang: list(utterances(lang)) for lang in LANGS}
        places: dict[Clip, tuple[int, int]] = {}
        for voice, facts in index["voices"].items():
            for number, start, length, text in facts["clips"]:
                language_sentences = sentences[facts["lang"]]
                if number >= len(language_sentences) or language_sentences[number].text != text:
                    raise ValueError(f"{folder} is out of date at {text!r} of {voice}; remake it with make_bank.py")
                places[Clip(language_sentences[number], voice, facts["held_out"], facts["engine"])] = (start, length)
        natural = _read_natural(folder / "natural.json") if (folder / "natural.json").exists() else {}
        return cls(folder, places, {voice: facts["file"] for voice, facts in index["voices"].items()}, natural)

    def voices(self, lang: Lang, held_out: bool = False) -> list[str]:
        """Voices that speak `lang`, those of training or those kept out of it."""
        return list(dict.fromkeys(clip.voice for clip in self.clips(lang, held_out)))

    def clips(self, lang: Lang | None = None, held_out: bool = False) -> list[Clip]:
        """Every clip (of one language) of eSpeak and flite in training voices, or in held-out ones."""
        return [c for c in self.places if c.held_out is held_out and lang in (None, c.utterance.lang)]

    def natural_clips(self, lang: Lang | None = None, held_out: bool = False, engine: Engine | None = None) -> list[Clip]:
        """Every natural clip (of one language, of one engine) in training voices, or in held-out ones; none if none is shipped."""
        mine = (clip for clip in self.natural if clip.held_out is held_out and lang in (None, clip.utterance.lang))
        return [clip for clip in mine if engine in (None, clip.engine)]

    def waveform(self, clip: Clip) -> Float[np.ndarray, " samples"]:
        """The sound of a clip: 16 kHz, in [-1, 1]; KeyError if the bank does not hold it."""
        name, start, length = self.natural[clip] if clip in self.natural else (self.files[clip.voice], *self.places[clip])
        samples = self._samples(name)[start : start + length]
        wave: Float[np.ndarray, " samples"] = np.divide(samples, 32768, dtype=np.float32)
        return wave

    def find(self, sentence: str | Utterance, lang: Lang, rng: np.random.Generator, held_out: bool = False) -> Clip:
        """A clip of `sentence` in a voice that `rng` picks; ValueError if no such voice says it."""
        text = sentence if isinstance(sentence, str) else sentence.text
        matches = [clip for clip in self.clips(lang, held_out) if clip.utterance.text == text]
        if not matches:
            kind = "held-out" if held_out else "training"
            raise ValueError(f"no {kind} voice says {text!r} in {lang!r}; see phrasing.utterances({lang!r})")
        return matches[int(rng.integers(len(matches)))]

    def _file(self, voice: str) -> Int16[np.ndarray, " samples"]:
        return self._samples(self.files[voice])

    def _samples(self, name: str) -> Int16[np.ndarray, " samples"]:
        if name not in self._decoded:
            try:
                import soundfile
            except ImportError as error:
                raise ImportError("the speech bank needs soundfile: pip install soundfile") from error
            samples, rate_hz = soundfile.read(self.folder / name, dtype="int16")
            if rate_hz != SAMPLE_RATE_HZ:
                raise ValueError(f"{name} is sampled at {rate_hz} Hz, {SAMPLE_RATE_HZ} is needed")
            self._decoded[name] = samples
        return self._decoded[name]


def _read_natural(path: Path) -> dict[Clip, tuple[str, int, int]]:
    """Natural clips and their places (file, first sample, samples). ValueError for a training clip in a voice that is kept out."""
    clips: dict[Clip, tuple[str, int, int]] = {}
    for name, facts in json.loads(path.read_text("utf-8"))["files"].items():
        for number, voice, lang, kind, slots, start, length, text in facts["clips"]:
            if not facts["held_out"] and not KEPT_OUT_NATURAL.isdisjoint(voice.split("+")):
                raise ValueError(f"{path} has {voice} among the training clips of {name}, but it is kept out of training")
            utterance = Utterance(kind, lang, tuple(slots.items()), text)
            clips[Clip(utterance, voice, facts["held_out"], facts["engine"], number)] = (name, start, length)
    return clips


def babble(samples: int, rng: np.random.Generator) -> Float[np.ndarray, " samples"]:
    """Noise of unit power like a room of people: pink, and swelling a few times a second as speech does."""
    frequency_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)

    def shaped(gain: Float[np.ndarray, " bins"]) -> Float[np.ndarray, " samples"]:
        spectrum = gain * (rng.standard_normal(gain.size) + 1j * rng.standard_normal(gain.size))
        spectrum[0] = 0
        wave = np.fft.irfft(spectrum, samples)
        return wave / max(float(np.sqrt(np.mean(wave**2))), 1e-12)

    pink = shaped(1 / np.sqrt(np.maximum(frequency_hz, 50)))
    swell = shaped((frequency_hz < 6).astype(float))
    noise = pink * np.exp(0.5 * swell)
    return noise / max(float(np.sqrt(np.mean(noise**2))), 1e-12)


def add_noise(wave: Float[np.ndarray, " samples"], snr_db: float, rng: np.random.Generator) -> Float[np.ndarray, " samples"]:
    """Mix `wave` with babble at `snr_db`, the ratio of mean powers over the whole clip; infinity adds nothing."""
    power = float(np.mean(wave.astype(np.float64) ** 2)) if wave.size else 0.0
    if power == 0:
        raise ValueError("wave is empty or silent, so no signal-to-noise ratio exists for it")
    if np.isinf(snr_db) and snr_db > 0:
        return wave.astype(np.float32)
    scale = np.sqrt(power) * 10 ** (-snr_db / 20)
    noisy: Float[np.ndarray, " samples"] = wave + scale * babble(wave.size, rng)
    return noisy.astype(np.float32)


def set_level(wave: Float[np.ndarray, " samples"], dbfs: float) -> Float[np.ndarray, " samples"]:
    """Scale `wave` to an RMS level of `dbfs` (0 is a full-scale square wave), or to the loudest that does not clip."""
    rms = float(np.sqrt(np.mean(wave.astype(np.float64) ** 2))) if wave.size else 0.0
    if rms == 0:
        raise ValueError("wave is empty or silent, so it cannot be brought to a level")
    gain = min(10 ** (dbfs / 20) / rms, PEAK / float(np.abs(wave).max()))
    return (wave * gain).astype(np.float32)


def pad_silence(wave: Float[np.ndarray, " samples"], before_s: float = 0.1, after_s: float = 0.1) -> Float[np.ndarray, " padded"]:
    """Put silence before and after `wave`, in seconds."""
    if before_s < 0 or after_s < 0:
        raise ValueError(f"before_s and after_s must not be negative, got {before_s} and {after_s}")
    return np.pad(wave, (round(before_s * SAMPLE_RATE_HZ), round(after_s * SAMPLE_RATE_HZ)))
