"""Success on voices that training never heard: natural ones, another engine's, and those of eSpeak and flite."""

from __future__ import annotations

import numpy as np

from autoglm_lab.evaluation.success import Answers, Rate, Request, World, _possible, answer_rate, collect, underway
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.speech import Clip, Engine, SpeechBank, pad_silence
from autoglm_lab.phone.tasks import WEIGHTS, Task

# measure -> the engine of its held-out clips, and the stream of its phones
ROWS: dict[str, tuple[Engine, int]] = {"unseen_voice": ("kokoro", 9), "unseen_engine": ("hibari", 13)}
ESPEAK_ROW = "unseen_voice_espeak"  # what "unseen_voice" was before there were natural clips
SILENCE_S = 0.15  # before and after a clip, as a microphone hears it


def unseen_clips(bank: SpeechBank, engine: Engine) -> list[Clip]:
    """The held-out natural clips of an engine that ask for a task; none if none is shipped."""
    return [clip for clip in bank.natural_clips(held_out=True, engine=engine) if clip.utterance.kind in WEIGHTS]


def unseen_requests(world: World, count: int, engine: Engine, stream: int) -> list[Request]:
    """One step of each of `count` tasks that are possible on their phones, spoken by the held-out voices of an engine.

    ValueError if the bank has no such clips.
    """
    clips = unseen_clips(world.bank, engine)
    if not clips:
        raise ValueError(f"{world.bank.folder} has no held-out clips of {engine}; make them with data/speech/make_natural.py")

    def draw(phone: SimulatedPhone, rng: np.random.Generator) -> Request | None:
        clip = clips[int(rng.integers(len(clips)))]
        task = Task.of(clip.utterance)
        if not _possible(task, phone.state):
            return None
        request = underway(phone, task, rng)
        request.audio = pad_silence(world.bank.waveform(clip), SILENCE_S, SILENCE_S)
        return request

    return collect(world, count, stream, draw)


def rows_of(bank: SpeechBank) -> list[str]:
    """The measures that there are natural clips for."""
    return [name for name, (engine, _) in ROWS.items() if unseen_clips(bank, engine)]


def evaluate_voices(engine: Answers, espeak: Rate, world: World, tasks: int = 500) -> dict[str, Rate]:
    """The measures on natural voices, `tasks` requests each; `espeak` is the rate on the held-out voices of eSpeak and flite.

    That rate gets a row of its own as soon as "unseen_voice" means natural voices. Empty if the bank has no natural clips.
    """
    rates = {name: answer_rate(engine, unseen_requests(world, tasks, *ROWS[name]), name) for name in rows_of(world.bank)}
    return rates | ({ESPEAK_ROW: espeak} if "unseen_voice" in rates else {})
