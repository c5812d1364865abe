"""The prompt of a request: one template, used in training, by every engine and by the server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from autoglm_lab.phone.catalog import HOME_SCREEN

IMAGE, AUDIO = "<|image|>", "<|audio|>"
USER, ASSISTANT, END, PAD = "<|user|>", "<|assistant|>", "<|endoftext|>", "<|pad|>"
THINK, END_THINK = "<think>", "</think>"
SPECIAL_TOKENS = (PAD, END, USER, ASSISTANT, IMAGE, AUDIO, THINK, END_THINK)

# Pieces of the template and of the action grammar that always stand together are one token each.
FRAGMENTS = (
    '\n{"current_app": "',
    '"}\nlast: ',
    'do(action="',
    '", element=[',
    '", start=[',
    "], end=[",
    '", text="',
    '", app="',
    '", duration="',
    "])",
    '")',
    'finish(message="',
)


def write_prompt(
    task: str, current_app: str, last: str = "", *, image: bool = True, audio: bool = False, think: bool = False
) -> str:
    """The text of one request. `last` is the memory of earlier actions (`write_memory`), "" at the start of a task."""
    marks = IMAGE * image + AUDIO * audio
    screen = f'\n{{"current_app": "{current_app}"}}\nlast: {last or "none"}'
    return f"{USER}{marks}{task}{screen}{ASSISTANT}{THINK}{'' if think else END_THINK}"


def write_command(command: str, *, audio: bool = False) -> str:
    """The text of a request to understand a command, in letters as `phone.goals.plain` gives them, or a spoken one."""
    return f"{USER}{AUDIO * audio}{command}{ASSISTANT}{THINK}{END_THINK}"


MAX_MEMORY = 16  # actions, of any model


def write_memory(steps: Sequence[tuple[str, bool]], length: int) -> str:
    """Write the last `length` actions for `write_prompt`: names, oldest first; "=" marks one that left the screen as it was.

    `steps` are (name, whether the screen changed); an answer that held no action has the name "" and is not written. A memory of
    length 1 is the bare name. ValueError for a length below 1.

    >>> steps = [("Launch", True), ("Tap", True), ("Swipe", False), ("Home", True)]
    >>> write_memory(steps, 3)
    'Tap, Swipe=, Home'
    >>> write_memory(steps[:3], 1)
    'Swipe'
    """
    if length < 1:
        raise ValueError(f"the memory has length {length}; a model reads 1 action at least")
    marked = length > 1
    return ", ".join(name + "=" * (marked and not changed) for name, changed in steps[-length:] if name)


def read_memory(text: str) -> list[tuple[str, bool]]:
    """Read what `write_memory` wrote.

    >>> read_memory("Tap, Swipe=, Home")
    [('Tap', True), ('Swipe', False), ('Home', True)]
    """
    return [(name.removesuffix("="), not name.endswith("=")) for name in text.split(", ") if name]


def write_answer(thinking: str, action: str, *, think: bool = False) -> str:
    """The text that the model should answer with."""
    return (f"{thinking}{END_THINK}" if think else "") + action + END


MAX_TOKENS = 512


class TooLongError(ValueError):
    """A request has more tokens than the model reads."""

    def __init__(self, count: int, what: str = "request") -> None:
        super().__init__(f"the {what} has {count} tokens; at most {MAX_TOKENS} fit")


def check_length(task: str, model_folder: Path) -> None:
    """Raise TooLongError when a task does not fit into the model's 512 tokens. Fast: only the tokenizer is read."""
    path = model_folder / "tokenizer.json"
    if not path.exists():
        raise FileNotFoundError(f"{model_folder.name} holds no tokenizer.json; give a folder written by save_pretrained")
    count = len(read_tokenizer(path).encode(write_prompt(task, HOME_SCREEN), add_special_tokens=False))
    if count > MAX_TOKENS:
        raise TooLongError(count, "task")


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`. ValueError when it is damaged."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # a plain Exception is all that the library raises
        raise ValueError(f"{path.name} of {path.parent.name} is no tokenizer ({str(error)[:100]}); copy the folder again") from None
