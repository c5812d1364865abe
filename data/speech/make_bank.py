"""Record the speech bank: `python data/speech/make_bank.py`, from an environment that holds autoglm_lab.

Needs the `flite` programme (Debian: `flite`) and `pip install espeakng-loader soundfile`. Writes one Ogg-Opus file per
voice and `index.json` beside this script.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from autoglm_lab.phone.catalog import LANGS, Lang
from autoglm_lab.phone.phrasing import utterances
from autoglm_lab.phone.speech import SAMPLE_RATE_HZ, VOICES, Voice, set_level
from autoglm_lab.phone.synthesis import resample, synthesise

HERE = Path(__file__).resolve().parent
GAP_S = 0.25
LEVEL_DBFS = -20.0
COMPRESSION = 0.98  # about 11 kbit/s, the lowest at which libopus keeps the band from 4 to 8 kHz
TAKES: dict[Lang, int] = {"en": 4, "zh": 4}  # training voices per sentence
HELD_OUT_SHARE = 0.6  # of all sentences, in each held-out voice


def flite(text: str, voice: str, stretch: float) -> np.ndarray:
    """`text` in a flite voice, `stretch` times as slow as usual."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "clip.wav"
        setting = f"duration_stretch={stretch:.3f}"
        subprocess.run(["flite", "-voice", voice, "--setf", setting, "-t", text, "-o", str(out)], check=True)
        wave, rate_hz = soundfile.read(out, dtype="float32")
    return resample(wave, rate_hz)


def trim(wave: np.ndarray, threshold: float = 0.004) -> np.ndarray:
    """Cut the silence at both ends, leaving 30 ms of it."""
    loud = np.flatnonzero(np.abs(wave) > threshold)
    margin = round(0.03 * SAMPLE_RATE_HZ)
    return wave[max(0, loud[0] - margin) : loud[-1] + margin]


def speak(text: str, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """One take: a rate of 130 to 210 words a minute and a pitch around the voice's own."""
    rate_wpm, pitch = int(rng.integers(130, 211)), int(rng.integers(35, 66))
    if voice.engine == "flite":
        return flite(text, voice.id, stretch=170 / rate_wpm)
    return synthesise(text, voice.id, rate_wpm=rate_wpm, pitch=pitch)


def plan(lang: Lang) -> dict[Voice, list[int]]:
    """Which sentences each voice of a language says."""
    count = len(list(utterances(lang)))
    training = [voice for voice in VOICES if voice.lang == lang and not voice.held_out]
    rng = np.random.default_rng(0)
    said: dict[Voice, list[int]] = {voice: [] for voice in VOICES if voice.lang == lang}
    for number in range(count):
        # The voices with the least to say come first; chance breaks the ties.
        order = sorted(training, key=lambda voice: (len(said[voice]), rng.random()))
        for voice in order[: TAKES[lang]]:
            said[voice].append(number)
    for voice in (voice for voice in said if voice.held_out):
        said[voice] = sorted({int(number) for number in np.linspace(0, count - 1, round(HELD_OUT_SHARE * count))})
    return said


def record(voice: Voice, numbers: list[int]) -> dict[str, Any]:
    """Write the file of one voice; returns its entry in the index."""
    sentences = list(utterances(voice.lang))
    rng = np.random.default_rng([VOICES.index(voice), 2])
    gap = np.zeros(round(GAP_S * SAMPLE_RATE_HZ), np.float32)
    pieces, clips, start = [gap], [], gap.size
    for number in numbers:
        text = sentences[number].text
        wave = set_level(trim(speak(text, voice, rng)), LEVEL_DBFS)
        pieces += [wave, gap]
        clips.append([number, start, wave.size, text])
        start += wave.size + gap.size
    name = f"{voice.engine}-{voice.id.replace('+', '-')}.opus"
    soundfile.write(
        HERE / name, np.concatenate(pieces), SAMPLE_RATE_HZ, format="OGG", subtype="OPUS", compression_level=COMPRESSION
    )
    facts = {"lang": voice.lang, "held_out": voice.held_out, "file": name, "engine": voice.engine}
    return {**facts, "clips": clips}


def as_json(voices: dict[str, Any]) -> str:
    """The index with one clip per line: small, and readable in a diff."""
    blocks = []
    for voice, facts in voices.items():
        head = json.dumps({k: v for k, v in facts.items() if k != "clips"})[1:-1]
        rows = ",\n".join(json.dumps(clip, ensure_ascii=False) for clip in facts["clips"])
        blocks.append(f'{json.dumps(voice)}: {{{head}, "clips": [\n{rows}]}}')
    return '{"columns": ["utterance", "start", "samples", "text"], "voices": {\n' + ",\n".join(blocks) + "}}\n"


def main() -> int:
    """Record every voice on two processes, then write the index."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    said = {voice: numbers for lang in LANGS for voice, numbers in plan(lang).items()}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        entries = pool.starmap(record, said.items(), chunksize=1)
    index = {voice.id: entry for voice, entry in zip(said, entries, strict=True)}
    for voice, facts in index.items():
        print(f"{voice}: {len(facts['clips'])} sentences, {(HERE / facts['file']).stat().st_size} bytes")
    (HERE / "index.json").write_text(as_json(index), "utf-8")
    total = sum(path.stat().st_size for path in HERE.iterdir())
    print(f"{sum(len(facts['clips']) for facts in index.values())} clips, {total / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
