"""Commands and their meanings: typed and spoken ones, with the goal or the closing sentence that answers them.

A command is understood once, with nothing on the screen (`runtime.understanding`), so these samples need no pictures: a training
set of a hundred thousand is drawn in minutes.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from autoglm_lab import atomic
from autoglm_lab.phone.actions import Action, format_action, parse
from autoglm_lab.phone.catalog import Lang
from autoglm_lab.phone.free_text import message_or_query
from autoglm_lab.phone.goals import REFUSED, goal, plain
from autoglm_lab.phone.oracle import free_words, meaning
from autoglm_lab.phone.spoken import parse_wish_key
from autoglm_lab.phone.state import Look, State
from autoglm_lab.phone.tasks import REPEAT, Task
from autoglm_lab.phone.wishes import WISHES, sample_wish
from autoglm_lab.workers import end_with_parent

WISHES_AT_ONCE = 2000
OTHER_WORDS_SHARE = 0.7  # of the samples with words to copy: they get others each time
PRACTICE_SHARE = 0.35  # of the samples with words to copy: said as the goal is, where nothing but copying is to be learned
# how often each kind is drawn: long ones, in which there is most to learn, more often than they are wished for
SHARES = WISHES | {"two": 30, "search": 20, "send": 20, "beyond": 16}
GOAL_SHARE = 0.02  # of the samples: the goal itself, which means itself


def answer_to_speech(key: str) -> str:
    """The answer to a clip with this key of a wish; the key is empty for speech that is not for it."""
    if not key:
        return format_action(Action("finish", message=REPEAT))
    lang, kind, slots = parse_wish_key(key)
    language: Lang = "zh" if lang == "zh" else "en"
    return format_action(Action("Goal", text=goal(Task(kind, language, slots))))


@dataclass(frozen=True)
class Wish:
    """A typed command in `plain` letters, the answer to it, its kind and language, and what is copied from it."""

    kind: str
    lang: Lang
    text: str
    answer: str
    free: tuple[str, ...] = ()

    def with_other_words(self, rng: np.random.Generator) -> Wish:
        """The same wish with other words to be copied, where they can be told from the rest."""
        text, answer, free = self.text, self.answer, []
        for words in self.free:
            new = plain(message_or_query(self.lang, rng))
            if text.count(words) != 1 or answer.count(words) != 1 or '"' in new or "\\" in new:
                return self
            text, answer = text.replace(words, new), answer.replace(words, new)
            free.append(new)
        return Wish(self.kind, self.lang, text, answer, tuple(free))

    def as_goal(self) -> Wish:
        """The same wish said as its goal is."""
        action = parse(self.answer)
        return replace(self, text=plain(action.text or "")) if action.name == "Goal" else self


def draw_wish(seed: int) -> Wish:
    """A typed wish of chance, in words that training may see."""
    rng = np.random.default_rng([seed, 19])
    kind = str(rng.choice(list(SHARES), p=np.array([*SHARES.values()]) / sum(SHARES.values())))
    task = sample_wish(State.fresh(Look.random(seed)), rng, kind=kind)
    text = goal(task) if task.kind not in REFUSED and rng.random() < GOAL_SHARE else task.text
    replaceable = tuple(plain(words) for words in free_words(task, ("query", "message")))
    return Wish(task.kind, task.lang, plain(text), format_action(meaning(task)), replaceable)


def _draw(seeds: range) -> list[dict[str, Any]]:
    return [vars(draw_wish(seed)) for seed in seeds]


def make_wishes(path: Path, count: int, processes: int = 2) -> None:
    """Write `count` wishes to a JSON file; nothing happens if it is there."""
    if path.exists():
        return
    jobs = [range(first, min(first + WISHES_AT_ONCE, count)) for first in range(0, count, WISHES_AT_ONCE)]
    with ProcessPoolExecutor(processes, initializer=end_with_parent) as pool:
        parts = list(tqdm(pool.map(_draw, jobs), total=len(jobs), desc="drawing wishes", unit=f"x{WISHES_AT_ONCE}"))
    atomic.write_text(path, json.dumps([wish for part in parts for wish in part], ensure_ascii=False))


def load_wishes(path: Path) -> list[Wish]:
    """Read what `make_wishes` wrote."""
    return [Wish(**row | {"free": tuple(row["free"])}) for row in json.loads(path.read_text("utf-8"))]
