"""The large set of spoken sentences that the shipped checkpoint is trained on: synthesised anew, never committed."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int16
from tqdm.auto import tqdm

from autoglm_lab import atomic
from autoglm_lab.phone.catalog import LANGS, Lang
from autoglm_lab.phone.phrasing import Utterance, utterances
from autoglm_lab.phone.room import through_the_air
from autoglm_lab.phone.speech import SAMPLE_RATE_HZ, Clip, SpeechBank
from autoglm_lab.phone.spoken import SPOKEN_KINDS, say_wish, spoken_wishes, wish_key
from autoglm_lab.phone.synthesis import ACCENTS, VARIANTS, phonemes, resample, synthesise
from autoglm_lab.training.unaddressed import FOREIGN, count_aloud, two_at_once
from autoglm_lab.workers import end_with_parent

OFTENER = {"alarm": 3}  # times as many clips of sentences that only a clock time tells apart: "six thirty", "eight thirty"
SPEEDS = (0.9, 0.95, 1.0, 1.05, 1.1)  # of played-back bank clips; pitch follows, as on a tape
RATES_WPM, BRISK_WPM = (120, 220), (150, 250)  # of eSpeak: for short phrasings, and for the longer sentences of the templates
NATURAL_PER_JOB = 50
_TEMPLATES, _NATURAL, _COUNTING, _FOREIGN, _BABBLE = range(30, 35)  # second numbers of the seeds: no two sources share one


@dataclass(frozen=True)
class SpeechSpec:
    """Number of clips of a training set from each source; the default is the set of the shipped model."""

    template_takes: int = 4  # eSpeak clips of each spoken wish in sentences of the templates, at least
    takes_per_share: int = 20  # and at least so many of a kind in each language, for each unit of its share in `SPOKEN_KINDS`
    phrasing_takes: int = 6  # eSpeak clips of each sentence of `utterances`
    natural_takes: int = 5  # times that each natural training clip is heard
    bank_takes: int = 1  # times that each training clip of eSpeak and flite in the bank is heard
    unaddressed_takes: int = 3  # eSpeak clips of each subject beyond the agent and of each foreign sentence
    counting: int = 150  # eSpeak clips of numbers in each language
    babble: int = 300  # mixtures of two clips of the bank
    room_share: float = 0.5  # of all clips, those that sound in a room
    band_share: float = 0.4  # and those of which only a band of frequencies arrives
    kinds: frozenset[str] | None = None  # only these kinds of task
    bank_voices: int | None = None  # only so many of the bank's voices in each language

    def wants(self, kind: str) -> bool:
        """True if sentences of a kind of task are part of the set."""
        return self.kinds is None or kind in self.kinds

    def takes_of_wish(self, kind: str, wishes: int) -> int:
        """The eSpeak clips of each of the `wishes` of a kind in sentences of the templates."""
        return max(self.template_takes, -(-self.takes_per_share * SPOKEN_KINDS[kind] // wishes)) if self.template_takes else 0


# Sentences of `utterances` alone, in eSpeak and the bank's old clips: what the small preset learns from.
FIXED_PHRASINGS = SpeechSpec(
    template_takes=0,
    phrasing_takes=24,
    natural_takes=0,
    bank_takes=3,
    unaddressed_takes=0,
    counting=0,
    babble=0,
    room_share=0.0,
    band_share=0.0,
)


@dataclass(frozen=True)
class Take:
    """One finished clip of the training set: `key` is that of the wish, or empty for speech that is not for the agent.

    `snr_db` is infinite where no noise was added; `phonemes` is what is said, letter by letter, empty where two speak at once.
    """

    key: str
    voice: str
    snr_db: float
    wave: Int16[np.ndarray, " samples"]
    source: str = "phrasing"
    phonemes: str = ""


@dataclass(frozen=True)
class Job:
    """Some clips of one source that are made together."""

    source: str
    clips: int
    make: Callable[[], list[Take]]


def key_of(said: Utterance) -> str:
    """The key of what a sentence asks for; empty for speech that is not for the agent."""
    return "" if said.kind == "beyond" else wish_key(said)


def _spoken_by_espeak(
    text: str,
    key: str,
    source: str,
    rng: np.random.Generator,
    spec: SpeechSpec,
    accents: tuple[str, ...],
    air: np.random.Generator | None = None,
) -> Take:
    """One clip. eSpeak NG varies by chance: with `air` for the noise that does not change the draws of the clips that follow."""
    voice = f"{rng.choice(accents)}+{rng.choice(VARIANTS)}"
    slowest, fastest = BRISK_WPM if source == "template" else RATES_WPM
    wave = synthesise(text, voice, rate_wpm=int(rng.integers(slowest, fastest + 1)), pitch=int(rng.integers(25, 76)))
    samples, snr_db = through_the_air(wave, air or rng, spec.room_share, spec.band_share)
    return Take(key, voice, snr_db, samples, source, phonemes(text, accents[0]))


def synthesised_takes(job: tuple[Lang, int, int], seed: int, spec: SpeechSpec = FIXED_PHRASINGS) -> list[Take]:
    """Clips of one sentence; `job` is the language, the number of the sentence and how many clips to make."""
    lang, number, count = job
    rng = np.random.default_rng([seed, LANGS.index(lang), number])
    utterance = list(utterances(lang))[number]
    return [_spoken_by_espeak(utterance.text, wish_key(utterance), "phrasing", rng, spec, ACCENTS[lang]) for _ in range(count)]


def template_takes(wish: Utterance, count: int, seed: int, spec: SpeechSpec = SpeechSpec()) -> list[Take]:
    """Clips of one wish, each in a sentence of the templates that training may see; the text of `wish` does not matter."""
    rng = np.random.default_rng([seed, _TEMPLATES, *wish_key(wish).encode()])
    source = "unaddressed" if wish.kind == "beyond" else "template"
    texts = (say_wish(wish.kind, wish.lang, wish.slots, rng) for _ in range(count))
    return [_spoken_by_espeak(text, key_of(wish), source, rng, spec, ACCENTS[wish.lang], rng.spawn(1)[0]) for text in texts]


@lru_cache(maxsize=1)
def _bank(folder: Path | None) -> SpeechBank:
    return SpeechBank.load(folder)


def _replayed(clip: Clip, bank: SpeechBank, source: str, rng: np.random.Generator, spec: SpeechSpec) -> Take:
    played_hz = round(SAMPLE_RATE_HZ * float(rng.choice(SPEEDS)))
    samples, snr_db = through_the_air(resample(bank.waveform(clip), played_hz), rng, spec.room_share, spec.band_share)
    pronunciation = phonemes(clip.utterance.text, ACCENTS[clip.utterance.lang][0])
    return Take(key_of(clip.utterance), clip.voice, snr_db, samples, source, pronunciation)


def bank_takes(voice: str, seed: int, spec: SpeechSpec = FIXED_PHRASINGS, bank_dir: Path | None = None) -> list[Take]:
    """The bank's old clips of one training voice, each heard `spec.bank_takes` times at slightly different speeds."""
    bank = _bank(bank_dir)
    rng = np.random.default_rng([seed, *voice.encode()])
    clips = [clip for clip in bank.clips() if clip.voice == voice and spec.wants(clip.utterance.kind)]
    return [_replayed(clip, bank, "bank", rng, spec) for clip in clips for _ in range(spec.bank_takes)]


def natural_takes(first: int, count: int, seed: int, spec: SpeechSpec = SpeechSpec(), bank_dir: Path | None = None) -> list[Take]:
    """Some of the natural training clips of `spec`, each heard `spec.natural_takes` times, every time differently."""
    bank = _bank(bank_dir)
    takes = []
    for clip in _natural_training_clips(bank, spec)[first : first + count]:
        rng = np.random.default_rng([seed, _NATURAL, clip.number])
        source = "natural" if key_of(clip.utterance) else "unaddressed"
        takes += [_replayed(clip, bank, source, rng, spec) for _ in range(spec.natural_takes)]
    return takes


def _natural_training_clips(bank: SpeechBank, spec: SpeechSpec) -> list[Clip]:
    """The natural clips that training may hear, of the kinds in `spec`."""
    return [clip for clip in bank.natural_clips() if spec.wants(clip.utterance.kind)]


def _counting_takes(lang: Lang, seed: int, spec: SpeechSpec = SpeechSpec()) -> list[Take]:
    """Numbers, said one after the other."""
    rng = np.random.default_rng([seed, _COUNTING, LANGS.index(lang)])
    texts = (count_aloud(lang, rng) for _ in range(spec.counting))
    return [_spoken_by_espeak(text, "", "unaddressed", rng, spec, ACCENTS[lang], rng.spawn(1)[0]) for text in texts]


def foreign_takes(language: str, seed: int, spec: SpeechSpec = SpeechSpec()) -> list[Take]:
    """Sentences of a language that the agent does not know."""
    rng = np.random.default_rng([seed, _FOREIGN, *language.encode()])
    texts = (text for text in FOREIGN[language] for _ in range(spec.unaddressed_takes))
    return [_spoken_by_espeak(text, "", "unaddressed", rng, spec, (language,), rng.spawn(1)[0]) for text in texts]


def _babble_takes(first: int, count: int, seed: int, spec: SpeechSpec = SpeechSpec(), bank_dir: Path | None = None) -> list[Take]:
    """Mixtures of two people who speak at once."""
    takes = []
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, _BABBLE, number])
        wave, voices = two_at_once(_bank(bank_dir), spec.natural_takes > 0, rng)
        samples, snr_db = through_the_air(wave, rng, spec.room_share, spec.band_share)
        takes.append(Take("", voices, snr_db, samples, "unaddressed"))
    return takes


def _training_jobs(spec: SpeechSpec, seed: int, bank_dir: Path | None = None) -> Iterator[Job]:
    """List the jobs of a training set, source by source."""
    yield from _phrasing_jobs(spec, seed)
    if spec.bank_takes:
        bank = SpeechBank.load(bank_dir)
        for voice in (voice for lang in LANGS for voice in bank.voices(lang)[: spec.bank_voices]):
            count = sum(clip.voice == voice and spec.wants(clip.utterance.kind) for clip in bank.clips())
            yield Job("bank", count * spec.bank_takes, partial(bank_takes, voice, seed, spec, bank_dir))
    if spec.template_takes:
        yield from _template_jobs(spec, seed)
    if spec.natural_takes:
        clips = _natural_training_clips(SpeechBank.load(bank_dir), spec)
        for first in range(0, len(clips), NATURAL_PER_JOB):
            count = len(clips[first : first + NATURAL_PER_JOB])
            yield Job("natural", count * spec.natural_takes, partial(natural_takes, first, count, seed, spec, bank_dir))
    if spec.counting:
        yield from (Job("unaddressed", spec.counting, partial(_counting_takes, lang, seed, spec)) for lang in LANGS)
    if spec.unaddressed_takes:
        for language, texts in FOREIGN.items():
            yield Job("unaddressed", len(texts) * spec.unaddressed_takes, partial(foreign_takes, language, seed, spec))
    for first in range(0, spec.babble, NATURAL_PER_JOB):
        count = min(NATURAL_PER_JOB, spec.babble - first)
        yield Job("unaddressed", count, partial(_babble_takes, first, count, seed, spec, bank_dir))


def _phrasing_jobs(spec: SpeechSpec, seed: int) -> Iterator[Job]:
    for lang in LANGS:
        for number, utterance in enumerate(utterances(lang)):
            if spec.phrasing_takes and spec.wants(utterance.kind):
                count = spec.phrasing_takes * OFTENER.get(utterance.kind, 1)
                yield Job("phrasing", count, partial(synthesised_takes, (lang, number, count), seed, spec))


def _template_jobs(spec: SpeechSpec, seed: int) -> Iterator[Job]:
    for lang in LANGS:
        for kind in filter(spec.wants, SPOKEN_KINDS):
            wishes = list(spoken_wishes(kind, lang))
            count = spec.unaddressed_takes if kind == "beyond" else spec.takes_of_wish(kind, len(wishes))
            for slots in wishes:
                source = "unaddressed" if kind == "beyond" else "template"
                yield Job(source, count, partial(template_takes, Utterance(kind, lang, slots, ""), count, seed, spec))


def count_clips(spec: SpeechSpec = SpeechSpec(), bank_dir: Path | None = None) -> dict[str, int]:
    """Number of clips of a training set by source; natural speech that is not for the agent counts as natural here."""
    counts: Counter[str] = Counter()
    for job in _training_jobs(spec, 0, bank_dir):
        counts[job.source] += job.clips
    return dict(counts)


def _run(job: Job) -> list[Take]:
    return job.make()


def training_takes(spec: SpeechSpec, seed: int, processes: int, bank_dir: Path | None = None) -> Iterator[Take]:
    """Every take of a training set, in an order that does not depend on the number of processes."""
    jobs = list(_training_jobs(spec, seed, bank_dir))
    with multiprocessing.get_context("spawn").Pool(processes, end_with_parent) if processes else nullcontext() as pool:
        takes_by_job = map(_run, jobs) if pool is None else pool.imap(_run, jobs)
        for takes in tqdm(takes_by_job, total=len(jobs), desc="making voices", unit="job"):
            yield from takes
    _bank.cache_clear()  # the decoded clips would stay in memory while the model learns


def write_header(file: BinaryIO, descr: str, shape: tuple[int, ...]) -> None:
    """Write the header of an npy file that grows: NumPy leaves room in it for the first axis to become longer."""
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def synthesise_training_set(
    out_dir: Path | str, spec: SpeechSpec = SpeechSpec(), seed: int = 0, processes: int = 2, bank_dir: Path | None = None
) -> int:
    """Write `waves.npy` (all clips end to end, int16, 16 kHz) and `clips.npz`; returns the number of clips.

    `clips.npz` has one row per clip: `start` and `length` in samples, `key` of the wish (empty for speech that is not for the
    agent), `snr` in dB (infinite when clean), `voice`, `source` and `phonemes`. No held-out voice is ever used.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[int, int, str, float, str, str, str]] = []
    start = 0
    with atomic.file(out / "waves.npy") as part, part.open("wb") as file:
        write_header(file, "<i2", (0,))
        for take in training_takes(spec, seed, processes, bank_dir):
            file.write(take.wave.tobytes())
            rows.append((start, take.wave.size, take.key, take.snr_db, take.voice, take.source, take.phonemes))
            start += take.wave.size
        file.seek(0)
        write_header(file, "<i2", (start,))
    starts, lengths, keys, snrs, voices, sources, pronunciations = zip(*rows, strict=True)
    facts = {"clips": len(rows), "seconds": start / SAMPLE_RATE_HZ, "seed": seed, "sample_rate_hz": SAMPLE_RATE_HZ}
    atomic.write_text(out / "facts.json", json.dumps(facts | {"sources": Counter(sources)}) + "\n")
    with atomic.file(out / "clips.npz") as part:  # last: where it is, all is
        np.savez(
            part,
            start=np.array(starts, np.int64),
            length=np.array(lengths, np.int32),
            key=np.array(keys),
            snr=np.array(snrs, np.float32),
            voice=np.array(voices),
            source=np.array(sources),
            phonemes=np.array(pronunciations),
        )
    return len(rows)
