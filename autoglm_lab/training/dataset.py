"""Batches: scenes and clips become tensors. The batch of step s depends on (seed, s, rank) alone, so training resumes anywhere."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from autoglm_lab import atomic
from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.catalog import APPS, CONTACTS, CONTROLS, HOME_SCREEN, LANGS, MESSAGES, QUERIES, SETTINGS, SPOKEN_TIMES, Lang
from autoglm_lab.phone.clock import clock_forms
from autoglm_lab.phone.phrasing import say_time
from autoglm_lab.phone.speech import add_noise
from autoglm_lab.phone.spoken import MINUTE_STEP, SPOKEN_KINDS, parse_wish_key
from autoglm_lab.phone.tasks import REPEAT
from autoglm_lab.runtime.features import log_mel
from autoglm_lab.runtime.prompt import write_answer, write_command, write_prompt
from autoglm_lab.training.copy_task import Copying, Phrases, chance_phrase, copying_rows, with_chance_phrase
from autoglm_lab.training.scene_set import load_scenes
from autoglm_lab.training.speech_data import write_header
from autoglm_lab.training.voice_variation import vary
from autoglm_lab.training.wish_set import OTHER_WORDS_SHARE, PRACTICE_SHARE, Wish, answer_to_speech

UNHEARD_SHARE, BLIND_SHARE, THINK_SHARE, CHANCE_PHRASE_SHARE = 0.06, 0.03, 0.3, 0.5
LONGEST_FRAMES = 360
MELS_AT_ONCE = 512  # clips whose frames are in memory while they are written
READ_SIGMA = 4.0  # thousandths by which coordinates are off when they are read back
Label = tuple[int, int, int]
UNHEARD = ""  # the key of clips lost in noise and of speech that is not for the agent: the answer is to ask again
LOST_IN_NOISE = 800  # clips, or as many as there are of speech that is not for the agent; at most as many as are clear
LOST_IN_NOISE_DB = (-15.0, 1.0)  # speech-to-noise ratios at which a clip counts as unintelligible


# What a sentence asks for, as something a clip can be aligned with like the things it names.
INTENTS: dict[str, tuple[str, str]] = {
    "open_app": ("打开", "open"),
    "toggle_on": ("开启", "turn on"),
    "toggle_off": ("关闭", "turn off"),
    "search": ("搜索", "search"),
    "send": ("告诉", "tell"),
    "alarm": ("闹钟", "alarm"),
    "back": ("返回", "go back"),
    "home": ("回到桌面", "home screen"),
    "describe": ("描述", "describe"),
    "is_on": ("开了吗", "is it on"),
    "has_app": ("能看到", "do you see"),
    "who": ("你是谁", "who are you"),
    "delete_alarm": ("删除闹钟", "delete the alarm"),
    "delete_alarms": ("删除所有闹钟", "delete all alarms"),
    "close": ("关掉", "close"),
}
STATES = (("关着", "off"), ("开着", "on"))  # of a switch


class Concepts:
    """The things that pictures show and clips name, each with its names in the languages it has."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        named = {t.id: {lang: t.name(lang) for lang in LANGS} for t in (*APPS, *SETTINGS, *CONTACTS, *CONTROLS)}
        named |= {f"kind:{kind}": dict(zip(LANGS, names, strict=True)) for kind, names in INTENTS.items()}
        times = {f"{h:02d}:{m:02d}": (h, m) for h in range(24) for m in range(0, 60, MINUTE_STEP)}
        named |= {time: {lang: _in_words(*clock, lang) for lang in LANGS} for time, clock in times.items()}
        named |= {text: {lang: text} for lang in LANGS for text in (*MESSAGES[lang], *QUERIES[lang])}
        self.index = {id: i for i, id in enumerate(named)}
        rows = [(self.index[id], LANGS.index(lang), name) for id, names in named.items() for lang, name in names.items()]
        self.concept = torch.tensor([row[0] for row in rows])
        self.lang = torch.tensor([row[1] for row in rows])
        ids = [tokenizer.encode(" " * (LANGS[row[1]] == "en") + row[2]) for row in rows]
        longest = max(map(len, ids))
        self.ids = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        self.weights = torch.tensor([[1 / len(row)] * len(row) + [0.0] * (longest - len(row)) for row in ids])
        states = [[tokenizer.encode(zh)[0], tokenizer.encode(" " + en)[0]] for zh, en in STATES]
        self.states = torch.tensor(states)  # [off and on, languages] token ids

    def to(self, device: torch.device) -> Concepts:
        """The same on another device."""
        duplicate = copy.copy(self)
        for name, value in vars(self).items():
            setattr(duplicate, name, value.to(device) if isinstance(value, torch.Tensor) else value)
        return duplicate

    def embed(self, table: torch.Tensor) -> torch.Tensor:
        """[names, D] unit vectors: the mean of each name's token embeddings."""
        return torch.nn.functional.normalize((table[self.ids] * self.weights[..., None]).sum(1), dim=-1)


def _in_words(hour: int, minute: int, lang: Lang) -> str:
    """A clock time without figures, unlike any other time."""
    if (hour, minute) in SPOKEN_TIMES:
        return say_time(hour, minute, lang)
    return next(form for form in clock_forms(hour, minute, lang) if not re.search(r"[0-9.]", form))


@dataclass
class Batch:
    """Tensors of one step. N pictures, B samples; each sample points at its picture, each spoken one at its sound."""

    pixels: torch.Tensor  # [N, 3, 224, 224] uint8
    image_of: torch.Tensor  # [B]
    image_present: torch.Tensor  # [B]
    ids: torch.Tensor  # [B, T] what is to be predicted
    inputs: torch.Tensor  # [B, T] what is read: the same, but with coordinates a little off, as the model's own will be
    attention_mask: torch.Tensor  # [B, T]
    answer: torch.Tensor  # [B, T] true where the token is to be predicted
    place: torch.Tensor  # [B, T] true where that token is a coordinate
    cell: torch.Tensor  # [B, T] the image cell that decides this step, -1 where none does
    source: torch.Tensor  # [B, T] where in the row the token stands that this one is copied from, -1 where none is
    mel: torch.Tensor  # [A, M, 80]
    mel_mask: torch.Tensor  # [A, M]
    audio_of: torch.Tensor  # [B] index into the sounds, 0 where there is none
    audio_present: torch.Tensor  # [B]
    image_noise: torch.Tensor  # [B] how spoilt the picture is, from 0 (clean) to 1 (lost)
    audio_noise: torch.Tensor  # [B] the same of the sound
    cells: torch.Tensor  # [C, 3] picture, cell, concept
    switches: torch.Tensor  # [S, 3] picture, cell, 1 if on
    words: torch.Tensor  # [W, 3] sound, concept, language
    phonemes: torch.Tensor  # [A, S] what is said in each sound, as numbers from 1, filled up with 0
    phoneme_counts: torch.Tensor  # [A] how many of them are said, 0 where it is not known
    copying: Copying | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        practice = self.copying
        if practice is not None:
            practice = replace(practice, **{name: value.to(device) for name, value in vars(practice).items()})
        return replace(self, **tensors, copying=practice)


class Scenes:
    """Pictures and samples made by `scene_set.make_scenes`, and clips with their log-mel frames."""

    def __init__(
        self,
        scenes: Path,
        speech: Path,
        tokenizer: PreTrainedTokenizerFast,
        phrases: Phrases = chance_phrase,
        wishes: Sequence[Wish] = (),
    ) -> None:
        self.pictures, facts = load_scenes(scenes)
        self.tokenizer, self.phrases, self.wishes = tokenizer, phrases, wishes
        self.concepts = Concepts(tokenizer)
        self.mels, self.starts, self.lengths, by_wish = mel_bank(speech)
        self.noise = clip_noise(speech, len(self.lengths))
        self.phonemes, self.pronunciations = read_phonemes(speech, len(self.lengths))
        # the slowest few clips would pad every other clip of their batch
        brief = {key: [p for p in places if self.lengths[p] <= LONGEST_FRAMES] for key, places in by_wish.items()}
        self.by_wish = {key: np.array(brief[key] or places) for key, places in by_wish.items()}
        self.facts = [fact | {"samples": [sample for sample in fact["samples"] if self._heard(sample)]} for fact in facts]
        self.difficulties = [np.array([difficulty(s, fact["app"]) for s in fact["samples"]]) for fact in self.facts]
        total = np.array([weights.sum() for weights in self.difficulties])
        self.shares = total / total.sum()
        self.repeat = format_action(Action("finish", message=REPEAT))
        self._spoken_keys = _keys_by_kind(self.by_wish)
        vocabulary = tokenizer.get_vocab()
        self.coordinate_openers = {vocabulary[t] for t in ('", element=[', '", start=[', "], end=[", ",")}
        self.numbers = range(vocabulary["0"], vocabulary["999"] + 1)

    def _heard(self, sample: dict[str, Any]) -> bool:
        """True if a spoken sample has a clip; a small set of clips does not have every wish."""
        if isinstance(sample.get("utterance"), int):
            raise ValueError("the scenes were drawn by an earlier version of this package; remove their folder to draw them anew")
        return "utterance" not in sample or sample["utterance"] in self.by_wish

    def batch(
        self,
        seed: int,
        step: int,
        rank: int,
        pictures: int,
        samples: int,
        *,
        hard: bool = False,
        copies: int = 0,
        commands: int = 0,
        clips: int = 0,
        vary_voices: bool = False,
    ) -> Batch:
        """The batch of one step: `pictures` scenes and up to `samples` samples of each; `hard` draws by `difficulty`.

        `commands` typed and `clips` spoken ones, to be understood, come along, and `copies` rows of practice in copying.
        With `vary_voices` no clip is heard twice alike (`voice_variation`).
        """
        rng = np.random.default_rng([seed, step, rank])
        scenes = rng.choice(len(self.facts), pictures, p=self.shares) if hard else rng.integers(len(self.facts), size=pictures)
        think = bool(rng.random() < THINK_SHARE)  # for the whole batch: answers with and without a thought differ much in length
        rows: list[dict[str, Any]] = []
        cells: list[Label] = []
        switches: list[Label] = []
        for picture, scene in enumerate(scenes):
            fact = self.facts[scene]
            for (x, y), concept in fact["concepts"]:
                if concept in self.concepts.index:
                    cells.append((picture, cell_of(x, y), self.concepts.index[concept]))
            switches += [(picture, cell_of(x, y), int(on)) for (x, y), on in fact["switches"]]
            count = len(fact["samples"])
            if hard:
                odds = self.difficulties[scene] / self.difficulties[scene].sum()
                numbers = rng.choice(count, min(samples, count), replace=False, p=odds)
            else:
                numbers = rng.permutation(count)[:samples]
            rows += [self._row(fact, fact["samples"][which], picture, think, rng) for which in numbers]
        rows += [self._typed_command(rng) for _ in range(commands)] + [self._spoken_command(rng) for _ in range(clips)]
        tensors = self._tensors(np.asarray(self.pictures[scenes]), rows, cells, switches, rng if vary_voices else None)
        off = np.round(rng.normal(0, READ_SIGMA, tensors.ids.shape)).astype(np.int64)
        near = np.clip(tensors.ids.numpy() + off, self.numbers[0], self.numbers[-1])
        copying = copying_rows(self.tokenizer, copies, rng, self.phrases) if copies else None
        return replace(tensors, inputs=torch.where(tensors.place, torch.from_numpy(near), tensors.ids), copying=copying)

    def _row(
        self, fact: dict[str, Any], sample: dict[str, Any], picture: int, think: bool, rng: np.random.Generator
    ) -> dict[str, Any]:
        spoken, blind = "utterance" in sample, rng.random() < BLIND_SHARE
        if not spoken and not blind and rng.random() < CHANCE_PHRASE_SHARE:
            sample = with_chance_phrase(sample, rng, self.phrases)
        thinking, action = sample["blind"] if blind else (sample["thinking"], sample["action"])
        row: dict[str, Any] = {"picture": picture, "seen": not blind, "noise": fact["noise"]}
        if spoken:
            is_clear = rng.random() >= UNHEARD_SHARE
            key = sample["utterance"] if is_clear else UNHEARD
            row["clip"] = int(rng.choice(self.by_wish[key]))
            if is_clear:
                row["utterance"] = key
            else:
                thinking, action = "听不清 / unclear speech", self.repeat
        text = "" if spoken else sample["text"]
        prompt = write_prompt(text, fact["app"], sample["last"], image=not blind, audio=spoken, think=think)
        row["prompt"] = self.tokenizer.encode(prompt)
        answer = write_answer(thinking, action, think=think)
        row["answer"] = self.tokenizer.encode(answer)
        row["looks"] = self._cells(answer, [] if blind or action == self.repeat else sample["looks"])
        return row

    def _typed_command(self, rng: np.random.Generator) -> dict[str, Any]:
        wish = self.wishes[int(rng.integers(len(self.wishes)))]
        if wish.free and rng.random() < OTHER_WORDS_SHARE:
            wish = wish.with_other_words(rng)
        if wish.free and rng.random() < PRACTICE_SHARE:
            wish = wish.as_goal()
        command, meaning = write_command(wish.text), write_answer("", wish.answer)
        prompt, answer = (self.tokenizer(text, return_offsets_mapping=True) for text in (command, meaning))
        row = {"picture": 0, "seen": False, "noise": 0.0, "prompt": prompt["input_ids"], "answer": answer["input_ids"], "looks": -1}
        return row | {"copied": copied_places(wish, command, meaning, prompt, answer)}

    def _spoken_command(self, rng: np.random.Generator) -> dict[str, Any]:
        """A clip of a kind drawn by its share, or speech that is not for the agent."""
        kinds, share = self._spoken_keys
        keys = kinds[int(rng.choice(len(kinds), p=share))]
        key = keys[int(rng.integers(len(keys)))]
        answer = self.tokenizer.encode(write_answer("", answer_to_speech(key)))
        row = {
            "picture": 0,
            "seen": False,
            "noise": 0.0,
            "prompt": self.tokenizer.encode(write_command("", audio=True)),
            "answer": answer,
            "looks": -1,
            "clip": int(rng.choice(self.by_wish[key])),
        }
        return row | ({"utterance": key} if key != UNHEARD else {})

    def _cells(self, answer: str, looks: list[tuple[str, tuple[int, int]]]) -> int | list[int]:
        """The cell to look at for all tokens of an answer (-1 for nowhere), or for each of them."""
        if len(looks) < 2:
            return cell_of(*looks[0][1]) if looks else -1
        starts, at = [], 0
        for words, place in looks:
            at = answer.index(words, at)
            starts.append((at, cell_of(*place)))
        ends = (end for _, end in self.tokenizer(answer, return_offsets_mapping=True)["offset_mapping"])
        return [[cell for start, cell in starts if start < end][-1] for end in ends]

    def _tensors(
        self,
        pixels: np.ndarray,
        rows: list[dict[str, Any]],
        cells: list[Label],
        switches: list[Label],
        rng: np.random.Generator | None,
    ) -> Batch:
        longest = max(len(r["prompt"]) + len(r["answer"]) for r in rows)
        shape = (len(rows), longest)
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        answer, place, cell, source = np.zeros(shape, bool), np.zeros(shape, bool), np.full(shape, -1), np.full(shape, -1)
        clips: list[int] = []
        words: list[tuple[int, int, int]] = []
        audio_of = np.zeros(len(rows), np.int64)
        for i, row in enumerate(rows):
            tokens = row["prompt"] + row["answer"]
            start = len(row["prompt"])
            ids[i, : len(tokens)], mask[i, : len(tokens)] = tokens, 1
            answer[i, start : len(tokens)] = True
            for t in range(start, len(tokens)):
                place[i, t] = tokens[t] in self.numbers and tokens[t - 1] in self.coordinate_openers
            cell[i, start : len(tokens)] = row["looks"]
            for to, there in row.get("copied", {}).items():
                source[i, start + to] = there
            if "clip" in row:
                audio_of[i] = len(clips)
                words += [(len(clips), c, lang) for c, lang in self._spoken_concepts(row)]
                clips.append(row["clip"])
        mel, mel_mask = self._sounds(clips, rng)
        pronunciations = [self.pronunciations[clip] for clip in clips] or [np.zeros(0, np.int64)]
        phonemes = np.zeros((len(pronunciations), max(map(len, pronunciations))), np.int64)
        for i, numbers in enumerate(pronunciations):
            phonemes[i, : len(numbers)] = numbers
        return Batch(
            pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
            image_of=torch.tensor([r["picture"] for r in rows]),
            image_present=torch.tensor([float(r["seen"]) for r in rows]),
            ids=torch.from_numpy(ids),
            inputs=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            answer=torch.from_numpy(answer),
            place=torch.from_numpy(place),
            cell=torch.from_numpy(cell),
            source=torch.from_numpy(source),
            mel=mel,
            mel_mask=mel_mask,
            audio_of=torch.from_numpy(audio_of),
            audio_present=torch.tensor([float("clip" in r) for r in rows]),
            image_noise=torch.tensor([float(r["noise"]) for r in rows]),
            audio_noise=torch.tensor([float(self.noise[r["clip"]]) if "clip" in r else 0.0 for r in rows]),
            cells=_labels(cells),
            switches=_labels(switches),
            words=_labels(words),
            phonemes=torch.from_numpy(phonemes),
            phoneme_counts=torch.tensor([len(numbers) for numbers in pronunciations]),
        )

    def _spoken_concepts(self, row: dict[str, Any]) -> list[tuple[int, int]]:
        if "utterance" not in row:
            return []
        lang, kind, slots = parse_wish_key(row["utterance"])
        ids = (f"kind:{kind}", *(value for _, value in slots))
        return [(self.concepts.index[id], LANGS.index(lang)) for id in ids if id in self.concepts.index]

    def _sounds(self, clips: list[int], rng: np.random.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
        sounds = [np.asarray(self.mels[self.starts[c] : self.starts[c] + self.lengths[c]], np.float32) for c in clips]
        if rng is not None:
            sounds = [vary(frames, rng, LONGEST_FRAMES) for frames in sounds]
        longest = max([4, *map(len, sounds)])
        mel = np.zeros((max(1, len(clips)), longest, 80), np.float32)
        mask = np.zeros(mel.shape[:2], bool)
        for i, frames in enumerate(sounds):
            mel[i, : len(frames)], mask[i, : len(frames)] = frames, True
        if not clips:
            mask[:, :1] = True
        return torch.from_numpy(mel), torch.from_numpy(mask)


def _keys_by_kind(by_wish: dict[str, np.ndarray]) -> tuple[list[list[str]], np.ndarray]:
    """The keys of each kind of spoken wish that there are clips of, and how often the kind is drawn."""
    kinds: dict[str, list[str]] = {}
    for key in sorted(by_wish):
        kinds.setdefault(parse_wish_key(key)[1] if key != UNHEARD else "beyond", []).append(key)
    share = np.array([SPOKEN_KINDS[kind] for kind in kinds], float)
    return list(kinds.values()), share / share.sum()


def copied_places(wish: Wish, command: str, meaning: str, prompt: Any, answer: Any) -> dict[int, int]:
    """For tokens of an answer that are copied from the command: the place of each in the answer, and in the prompt.

    Words that stand twice, or are cut into other tokens here and there, are left out.
    """
    sources: dict[int, int] = {}
    for words in wish.free:
        if command.count(words) != 1 or meaning.count(words) != 1:
            continue
        there, here = (
            [
                n
                for n, (start, end) in enumerate(part["offset_mapping"])
                if end > text.index(words) and start < text.index(words) + len(words)
            ]
            for text, part in ((command, prompt), (meaning, answer))
        )
        if [prompt["input_ids"][n] for n in there[1:]] == [answer["input_ids"][n] for n in here[1:]]:
            sources |= dict(zip(here, there, strict=True))
    return sources


HARD_KINDS = ("two", "delete_alarm", "delete_alarms", "absent_app", "absent_contact", "beyond")


def difficulty(sample: dict[str, Any], app: str) -> float:
    """Weight with which a request is drawn once the easy ones are learned: comparing two things and copying come first.

    Is the switch as wished? Is the app in front the one that was asked for? Is the time in the list?
    """
    kind, action = sample["kind"], sample["action"]
    if action in ('do(action="Home")', 'do(action="Back")') or kind == "who" or (kind == "describe" and app != HOME_SCREEN):
        return 0.5
    compares = (kind in ("toggle_on", "toggle_off") and app == "Settings") or (kind == "alarm" and app == "Clock")
    if compares or action.startswith('do(action="Type"') or (kind == "open_app" and action.startswith("finish")):
        return 3.0
    return 2.0 if kind in HARD_KINDS else 1.0


def _labels(labels: list[Label]) -> torch.Tensor:
    return torch.tensor(labels, dtype=torch.long).reshape(-1, 3)


def cell_of(x: int, y: int) -> int:
    """The image cell, in reading order, that holds a point in agent coordinates."""
    return y * 14 // 1000 * 14 + x * 14 // 1000


def clip_noise(folder: Path, count: int) -> np.ndarray:
    """Noise level of clips [count]: 0 from 30 dB of speech over noise upwards, 1 at 0 dB and for clips lost in noise."""
    snr_db = np.load(folder / "clips.npz")["snr"].astype(np.float64)
    return np.asarray(np.concatenate((np.clip(1 - snr_db / 30, 0, 1), np.ones(count - len(snr_db)))))


def read_phonemes(folder: Path, count: int) -> tuple[str, list[np.ndarray]]:
    """The phonemes of a set of `count` clips, and what is said in each, as numbers from 1; nothing where it is lost in noise."""
    texts: list[str] = np.load(folder / "clips.npz")["phonemes"].tolist()
    inventory = "".join(sorted(set().union(*texts)))
    numbers = {phoneme: number for number, phoneme in enumerate(inventory, start=1)}
    pronunciations = [np.array([numbers[phoneme] for phoneme in text], np.int64) for text in texts]
    return inventory, pronunciations + [np.zeros(0, np.int64)] * (count - len(pronunciations))


def mel_bank(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, list[int]]]:
    """Log-mel frames of every training clip, then of clips lost in noise; made once and kept in `folder`.

    Returns the frames [frames, 80], which are read from the disk as they are needed, the first frame and the number of frames of
    each clip, and the clips of each wish.
    """
    clips = np.load(folder / "clips.npz")
    if not {"key", "phonemes"} <= set(clips):
        raise ValueError(f"{folder} holds clips of an earlier version of this package; remove it, and the clips are made anew")
    keys: list[str] = clips["key"].tolist()
    if not (folder / "mel_lengths.npy").exists():
        _write_mels(folder, clips["start"], clips["length"], max(LOST_IN_NOISE, keys.count(UNHEARD)))
    lengths = np.load(folder / "mel_lengths.npy")
    keys += [UNHEARD] * (len(lengths) - len(keys))
    by_wish: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        by_wish.setdefault(key, []).append(place)
    mels = np.load(folder / "mels.npy", mmap_mode="r")
    return mels, np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths, by_wish


def _write_mels(folder: Path, starts: np.ndarray, lengths: np.ndarray, noisy: int) -> None:
    """Write `mels.npy`, the frames of all clips and of `noisy` clips in noise, and then `mel_lengths.npy`."""
    waves = np.load(folder / "waves.npy", mmap_mode="r")
    rng = np.random.default_rng(5)
    sounds: list[tuple[int, int, float | None]] = [(s, n, None) for s, n in zip(starts, lengths, strict=True)]
    numbers = rng.integers(len(starts), size=min(noisy, len(starts)))
    sounds += [(*sounds[int(i)][:2], rng.uniform(*LOST_IN_NOISE_DB)) for i in numbers]

    def frames(sound: tuple[int, int, float | None]) -> np.ndarray:
        wave = waves[sound[0] : sound[0] + sound[1]].astype(np.float32) / 32768
        if sound[2] is not None:
            wave = add_noise(wave, float(sound[2]), np.random.default_rng(int(sound[0])))
        return log_mel(wave).astype(np.float16)

    counts: list[int] = []
    with atomic.file(folder / "mels.npy") as part, part.open("wb") as file, ThreadPoolExecutor(2) as pool:
        write_header(file, "<f2", (0, 80))
        for first in range(0, len(sounds), MELS_AT_ONCE):
            for mel in pool.map(frames, sounds[first : first + MELS_AT_ONCE]):
                file.write(mel.tobytes())
                counts.append(len(mel))
        file.seek(0)
        write_header(file, "<f2", (sum(counts), 80))
    with atomic.file(folder / "mel_lengths.npy") as part, part.open("wb") as file:  # last: where it is, the frames are
        np.save(file, np.array(counts))
