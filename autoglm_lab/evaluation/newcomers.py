"""Single commands that newcomers wrote, who knew what the agent can do and none of the words that it was trained on.

They lie in `data/phrasings/newcomers_zh.tsv` and `newcomers_en.tsv`, each after its goal, or after BEYOND. Nobody mends training by
reading them: what is wrong in them is learned from other hands.
"""

from __future__ import annotations

import csv
from copy import deepcopy
from pathlib import Path

from autoglm_lab.evaluation.success import Request, World, is_meant
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.catalog import LANGS, Lang
from autoglm_lab.phone.goals import REFUSED, plain, read_goal
from autoglm_lab.phone.refusal import is_refusal
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import Task
from autoglm_lab.runtime.engine import Answer

BEYOND = "BEYOND"  # in the place of a goal


def newcomer_requests(world: World, most: int = 500) -> list[Request]:
    """Up to `most` commands of newcomers, evenly from all there are, each typed at a home screen.

    ValueError for a line whose goal is none, or copies what its command does not say.
    """
    requests = []
    for lang in LANGS:
        path = data_dir() / "phrasings" / f"newcomers_{lang}.tsv"
        for number, (command, wanted) in enumerate(read_table(path, "goal", text="command")):
            task = _task(wanted, command, lang)
            if task is None:
                raise ValueError(f"{path.name}: {wanted!r} is no goal of {command!r}")
            requests.append(at_home(world.phone(number, 15, lang=lang)[0], task))
    return requests[:: -(-len(requests) // most)]


def _task(wanted: str, command: str, lang: Lang) -> Task | None:
    """The task of a goal, told in the words of a command; None if it is no goal."""
    if wanted == BEYOND:
        return Task("beyond", lang, (("subject", "newcomer"),), command)
    parts = tuple(Task(part.kind, lang, tuple(part.slots.items())) for part in read_goal(wanted))
    words = [value for part in parts for slot, value in part.slots if slot in ("query", "message")]
    if not parts or any(plain(each) not in plain(command) for each in words):
        return None
    return Task("two", lang, (), command, parts) if len(parts) > 1 else Task(parts[0].kind, lang, parts[0].slots, command)


def understands(request: Request, answer: Answer) -> bool:
    """True if an answer works by the goal that was meant, or declines what the agent cannot do."""
    if request.task.kind in REFUSED:
        return declines(answer, request.task.lang)
    return is_meant(request.task, answer.goal)


def at_home(phone: SimulatedPhone, task: Task) -> Request:
    """A request to do a task that begins on this phone as it is."""
    state = deepcopy(phone.state)
    return Request(task, state, deepcopy(state), phone.screenshot(), None, "", phone.current_app())


def declines(answer: Answer, lang: Lang) -> bool:
    """True if an answer ends the task with an honest sentence in the asker's language: that it cannot, or did not understand.

    >>> [declines(Answer.read(f'finish(message="{opening}I cannot do that.")', 0, {}), "en") for opening in ("Yes, ", "")]
    [False, True]
    """
    action = answer.action
    return action is not None and action.name == "finish" and is_refusal(action.message or "", lang)


def read_table(path: Path, column: str, text: str = "text") -> list[tuple[str, str]]:
    """The `text` and another column of each line of a table. ValueError for a file that is no such table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [(row[text], row[column]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table of what people said: {type(error).__name__} {error}") from error
