"""The large set of spoken sentences that the shipped checkpoint is trained on: synthesised anew, never committed."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Container, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Int16
from tqdm.auto import tqdm

from autoglm_lab import atomic
from autoglm_lab.phone.catalog import LANGS, Lang
from autoglm_lab.phone.phrasing import utterances
from autoglm_lab.phone.speech import SAMPLE_RATE_HZ, SpeechBank, add_noise, pad_silence, set_level
from autoglm_lab.phone.synthesis import resample, synthesise
from autoglm_lab.workers import end_with_parent

ACCENTS: dict[Lang, tuple[str, ...]] = {
    "zh": ("cmn",),
    "en": ("en-us", "en-us", "en-us-nyc", "en-gb", "en-gb", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-scotland"),
}
# More larynxes than the bank has; left out are whisper, croak and robots, and those that clip, buzz or mumble.
VARIANTS: tuple[str, ...] = (
    "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m8", "klatt3", "klatt4", "Alex", "Andy", "Annie",
    "Gene", "Mario", "Michael", "Mike", "adam", "belinda", "benjamin", "boris", "david", "edward", "ian", "john",
    "linda", "max", "quincy", "rob", "robert", "shelby", "travis", "victor", "zac",
)  # fmt: skip
OFTENER = {"alarm": 3}  # times as many clips of sentences that only a clock time tells apart: "six thirty", "eight thirty"
SPEEDS = (0.9, 0.95, 1.0, 1.05, 1.1)  # of played-back bank clips; pitch follows, as on a tape


@dataclass(frozen=True)
class Take:
    """One finished clip of the training set; `snr_db` is infinite where no noise was added."""

    lang: Lang
    utterance: int
    voice: str
    snr_db: float
    wave: Int16[np.ndarray, " samples"]


def through_the_air(wave: Float[np.ndarray, " samples"], rng: np.random.Generator) -> tuple[Int16[np.ndarray, " out"], float]:
    """Add silence around the clip, noise in half of all cases, and a random level; also returns the SNR in dB."""
    wave = pad_silence(wave, *rng.uniform(0.05, 0.3, size=2))
    snr_db = float(rng.uniform(3, 30)) if rng.random() < 0.5 else float("inf")
    loud = set_level(add_noise(wave, snr_db, rng), float(rng.uniform(-34, -14)))
    return np.round(loud * 32767).astype(np.int16), snr_db


def synthesised_takes(job: tuple[Lang, int, int], seed: int) -> list[Take]:
    """Clips of one sentence; `job` is the language, the number of the sentence and how many clips to make."""
    lang, number, count = job
    rng = np.random.default_rng([seed, LANGS.index(lang), number])
    text = list(utterances(lang))[number].text
    takes = []
    for _ in range(count):
        voice = f"{rng.choice(ACCENTS[lang])}+{rng.choice(VARIANTS)}"
        wave = synthesise(text, voice, rate_wpm=int(rng.integers(120, 221)), pitch=int(rng.integers(25, 76)))
        samples, snr_db = through_the_air(wave, rng)
        takes.append(Take(lang, number, voice, snr_db, samples))
    return takes


def bank_takes(
    voice: str, seed: int, augmentations: int, bank_dir: Path | None = None, kinds: Container[str] | None = None
) -> list[Take]:
    """The bank's clips of one training voice, each heard `augmentations` times at slightly different speeds."""
    bank = SpeechBank.load(bank_dir)
    rng = np.random.default_rng([seed, *voice.encode()])
    numbers = {lang: {u: i for i, u in enumerate(utterances(lang))} for lang in LANGS}
    takes = []
    for clip in (clip for clip in bank.clips(held_out=False) if clip.voice == voice):
        if kinds is not None and clip.utterance.kind not in kinds:
            continue
        lang = clip.utterance.lang
        for _ in range(augmentations):
            played_hz = round(SAMPLE_RATE_HZ * float(rng.choice(SPEEDS)))
            samples, snr_db = through_the_air(resample(bank.waveform(clip), played_hz), rng)
            takes.append(Take(lang, numbers[lang][clip.utterance], voice, snr_db, samples))
    return takes


def _run(job: Callable[[], list[Take]]) -> list[Take]:
    return job()


def training_takes(
    clips_per_utterance: int, seed: int, processes: int, bank_augmentations: int, kinds: Container[str] | None = None,
    bank_voices: int | None = None,
) -> Iterator[Take]:  # fmt: skip
    """Every take of the training set (of some `kinds` of task), in an order that does not depend on the number of processes."""
    jobs: list[partial[list[Take]]] = [
        partial(synthesised_takes, (lang, number, clips_per_utterance * OFTENER.get(said.kind, 1)), seed)
        for lang in LANGS
        for number, said in enumerate(utterances(lang))
        if clips_per_utterance and (kinds is None or said.kind in kinds)
    ]
    if bank_augmentations:
        bank = SpeechBank.load()
        voices = [voice for lang in LANGS for voice in bank.voices(lang)[:bank_voices]]
        jobs += [partial(bank_takes, voice, seed, bank_augmentations, kinds=kinds) for voice in voices]
    with multiprocessing.get_context("spawn").Pool(processes, end_with_parent) if processes else nullcontext() as pool:
        made = map(_run, jobs) if pool is None else pool.imap(_run, jobs)
        for takes in tqdm(made, total=len(jobs), desc="making voices", unit="job"):
            yield from takes


def _write_header(file: BinaryIO, samples: int) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": (samples,)})


def synthesise_training_set(
    out_dir: Path | str, clips_per_utterance: int = 24, seed: int = 0, processes: int = 2, bank_augmentations: int = 3,
    kinds: Container[str] | None = None, bank_voices: int | None = None,
) -> int:  # fmt: skip
    """Write `waves.npy` (all clips end to end, int16, 16 kHz) and `clips.npz`; returns the number of clips.

    `clips.npz` has one row per clip: `start` and `length` in samples, `lang` (index into `LANGS`), `utterance` (index
    into `list(utterances(lang))`), `snr` in dB (infinite when clean) and `voice`. No held-out voice is ever used. With
    `kinds` only sentences of these kinds of task are made, with `bank_voices` only so many of the bank's voices in each
    language are heard.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[int, int, int, int, float, str]] = []
    start = 0
    with atomic.file(out / "waves.npy") as part, part.open("wb") as file:
        # NumPy leaves room in the header for the length to grow, so it can be filled in once it is known.
        _write_header(file, 0)
        for take in training_takes(clips_per_utterance, seed, processes, bank_augmentations, kinds, bank_voices):
            file.write(take.wave.tobytes())
            rows.append((start, take.wave.size, LANGS.index(take.lang), take.utterance, take.snr_db, take.voice))
            start += take.wave.size
        file.seek(0)
        _write_header(file, start)
    starts, lengths, langs, numbers, snrs, voices = zip(*rows, strict=True)
    facts = {"clips": len(rows), "seconds": start / SAMPLE_RATE_HZ, "seed": seed, "sample_rate_hz": SAMPLE_RATE_HZ}
    atomic.write_text(out / "facts.json", json.dumps(facts) + "\n")
    with atomic.file(out / "clips.npz") as part:  # last: where it is, all is
        np.savez(
            part,
            start=np.array(starts, np.int64), length=np.array(lengths, np.int32), lang=np.array(langs, np.int8),
            utterance=np.array(numbers, np.int16), snr=np.array(snrs, np.float32), voice=np.array(voices),
        )  # fmt: skip
    return len(rows)
