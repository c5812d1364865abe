"""A simulated phone that is kept in a folder, so that one process after another can use it.

The folder holds `phone.json`, which is exchanged as a whole, and a lock: of two processes that change the phone at once, one waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from autoglm_lab import atomic
from autoglm_lab.phone.catalog import LANGS, SETTINGS, Lang
from autoglm_lab.phone.draw import DEFAULT_SIZE
from autoglm_lab.phone.icons import families
from autoglm_lab.phone.packages import ADB_KEYBOARD
from autoglm_lab.phone.screens import elements
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.state import State, View

FILE, KIND = "phone.json", "simulated phone"
PLAIN_KEYBOARD = "com.android.inputmethod.latin/.LatinIME"


@dataclass
class KeptPhone:
    """The phone and what `adb` can see of it besides its screen."""

    phone: SimulatedPhone
    keyboards: tuple[str, ...] = (PLAIN_KEYBOARD, ADB_KEYBOARD)  # installed
    keyboard: str = PLAIN_KEYBOARD  # in use

    def to_json(self) -> str:
        """Write the whole phone as JSON; `from_json` makes the same phone of it."""
        look, state = self.phone.state.look, asdict(self.phone.state)
        del state["look"]  # is drawn from the seed anew
        record = {
            "seed": look.seed,
            "lang": look.lang,
            "family": look.family,
            "size": self.phone.size,
            "state": state,
            "keyboards": self.keyboards,
            "keyboard": self.keyboard,
        }
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> KeptPhone:
        """The phone that `to_json` wrote. ValueError when the text holds none."""
        try:
            record = json.loads(text)
            json.dumps(record, ensure_ascii=False).encode()  # half characters could not be written back
            width, height = record["size"]
            phone = made(record["seed"], size=(width, height), lang=record["lang"], family=record["family"])
            phone.state = _state(phone.state, record["state"])
            return cls(phone, tuple(record["keyboards"]), str(record["keyboard"]))
        except (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(f"this is no phone that was kept ({type(error).__name__}: {error})") from None


def made(seed: int, *, size: tuple[int, int] = DEFAULT_SIZE, lang: Lang | None = None, family: str | None = None) -> SimulatedPhone:
    """Make a simulated phone in its initial state. ValueError when an argument is none that a phone can have."""
    if type(seed) is not int or not 0 <= seed < 2**24:
        raise ValueError(f"seed is {seed!r}; give a whole number from 0 to {2**24 - 1}")
    if not all(type(side) is int and 64 <= side <= 4096 for side in size):
        raise ValueError(f"size is {size}; both sides are whole numbers of 64 to 4096 pixels")
    if lang is not None and lang not in LANGS:
        raise ValueError(f"lang is {lang!r}; phones speak {' and '.join(get_args(Lang))}")
    family_names = [*families(held_out=False), *families(held_out=True)]
    if family is not None and family not in family_names:
        raise ValueError(f"family is {family!r}; icon families are {', '.join(family_names)}")
    return SimulatedPhone(seed, size=size, lang=lang, family=family)


def _state(fresh: State, record: dict[str, Any]) -> State:
    """Build the state in `record`, with the look of `fresh`; an error of some kind when it is none."""
    state = State(
        fresh.look,
        dark=bool(record["dark"]),
        page=int(record["page"]),
        scroll=int(record["scroll"]),
        typed=str(record["typed"]),
        route=[View(str(view["app"]), str(view["name"]), str(view["arg"])) for view in record["route"]],
        toggles={setting.id: bool(record["toggles"][setting.id]) for setting in SETTINGS},
        chats={who: [(bool(mine), str(text)) for mine, text in record["chats"][who]] for who in fresh.chats},
        alarms=[str(alarm) for alarm in record["alarms"]],
        notice=str(record["notice"]),
    )
    if not 0 <= state.page < len(fresh.look.pages):
        raise ValueError(f"there is no home page {state.page}")
    elements(state)  # a view that does not exist has none
    return state


def read(folder: Path) -> KeptPhone:
    """The phone in `folder` as it is now. FileNotFoundError when there is none, ValueError when the file is damaged."""
    try:
        text = (folder / FILE).read_text("utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} holds no phone; make one with `autoglm-lab adb --dir FOLDER`") from None
    try:
        return KeptPhone.from_json(text)
    except ValueError as error:
        raise ValueError(f"{folder / FILE}: {error}; make it anew with `autoglm-lab adb --dir FOLDER`") from None


def write(kept: KeptPhone, folder: Path) -> None:
    """Keep a phone in `folder`, in the place of the one that was there. NotWrittenError for a folder that holds anything else."""
    atomic.claim(folder, KIND)
    atomic.write_text(folder / FILE, kept.to_json())


@contextmanager
def changing(folder: Path) -> Iterator[KeptPhone]:
    """Lock the phone in `folder` and yield it; its state at the end is saved, unless there was an error. Raises as `read` does."""
    read(folder)  # no lock is made where there is no phone
    with atomic.lock(folder / FILE):
        device = read(folder)
        yield device
        atomic.write_text(folder / FILE, device.to_json())
