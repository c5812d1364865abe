"""Fingers, keys and keyboards of a simulated phone: `input` and `ime` of its shell, and what a keyboard is sent by `am`."""

from __future__ import annotations

import base64
import re
import string
from pathlib import Path

from autoglm_lab.phone.actions import Action, Point
from autoglm_lab.phone.adb.kept import KeptPhone, changing, read
from autoglm_lab.phone.packages import ADB_KEYBOARD
from autoglm_lab.phone.screens import find

LONG_PRESS_MS = 500
SOURCES = (
    "touchscreen",
    "keyboard",
    "dpad",
    "mouse",
    "touchpad",
    "stylus",
)  # who may be said to touch; it makes no difference here
# key -> its number, as Android counts; those that type a letter come below
NUMBERS = {"HOME": 3, "BACK": 4, "ENTER": 66, "DEL": 67, "ESCAPE": 111, "MOVE_END": 123, "NUMPAD_ENTER": 160, "WAKEUP": 224}
LETTERS = {
    **{digit: 7 + place for place, digit in enumerate(string.digits)},
    **{letter: 29 + place for place, letter in enumerate(string.ascii_uppercase)},
    "COMMA": 55,
    "PERIOD": 56,
    "SPACE": 62,
    "MINUS": 69,
}
TYPED = {"COMMA": ",", "PERIOD": ".", "SPACE": " ", "MINUS": "-"}
_KEYS = {name: name for name in (*NUMBERS, *LETTERS) if not name.isdigit()}
_KEYS |= {f"KEYCODE_{name}": name for name in (*NUMBERS, *LETTERS)}
_KEYS |= {str(number): name for name, number in (*NUMBERS.items(), *LETTERS.items())}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def touch(folder: Path, words: list[str]) -> str | None:
    """Do what `input` says. None for words that it does not know; ValueError for what this phone does not have.

    A finger beside the screen touches nothing.
    """
    if words and words[0] in SOURCES:
        words = words[1:]
    with changing(folder) as device:
        match words:
            case ["tap", x, y]:
                _perform(device, _tap(_point(device, x, y)))
            case ["swipe", x0, y0, x1, y1, *duration] if len(duration) < 2:
                _perform(device, _swipe(_point(device, x0, y0), _point(device, x1, y1), _ms(*duration or ["300"])))
            case ["keyevent", key, *more]:
                names = [_key(name) for name in (key, *more)]
                for name in names:
                    _press(device, name)
            case ["text", text]:
                if not text.isascii():
                    raise ValueError("input: the plain keyboard has no keys for this text")
                type_text(device, text.replace("%s", " "))
            case _:
                return None
    return ""


def _perform(device: KeptPhone, action: Action | None) -> None:
    if action is not None:
        device.phone.perform(action)


def _tap(point: Point | None) -> Action | None:
    return None if point is None else Action("Tap", element=point)


def _swipe(start: Point | None, end: Point | None, ms: int) -> Action | None:
    """Turn a finger that comes down at `start` and leaves at `end` into an action."""
    if start is None or end is None:
        return None
    if start == end:
        return Action("Long Press" if ms >= LONG_PRESS_MS else "Tap", element=start)
    return Action("Swipe", start=start, end=end)


def _point(device: KeptPhone, x: str, y: str) -> Point | None:
    """Convert a pixel to the agent's coordinates, by its middle so that rounding does not add up; None beside the screen."""
    pixel = (_number(x) // 1, _number(y) // 1)
    if not all(0 <= place < side for place, side in zip(pixel, device.phone.size, strict=True)):
        return None
    across, down = (int((place + 0.5) / side * 1000) for place, side in zip(pixel, device.phone.size, strict=True))
    return across, down


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"input: invalid number: {text[:40]}")
    return float(text)


def _ms(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII):
        raise ValueError(f"input: invalid duration: {text[:40]}; give milliseconds")
    return int(text)


def _key(key: str) -> str:
    if key not in _KEYS:
        raise ValueError(f"input: this phone has no key {key[:40]}; it has {', '.join(NUMBERS)}, letters and digits")
    return _KEYS[key]


def _press(device: KeptPhone, name: str) -> None:
    state = device.phone.state
    if name == "HOME":
        device.phone.perform(Action("Home"))
    elif name in ("BACK", "ESCAPE"):
        device.phone.perform(Action("Back"))
    elif name == "DEL":
        device.phone.perform(Action("Type", text=state.typed[:-1]))
    elif name in ("ENTER", "NUMPAD_ENTER"):
        button = find(state, effect="submit") or find(state, effect="save")
        if button is not None:
            device.phone.perform(Action("Tap", element=button.centre))
        elif state.view is not None and state.view.name == "chat":
            type_text(device, "\n")
    elif name in LETTERS:
        type_text(device, TYPED.get(name, name.lower()))


def type_text(kept: KeptPhone, text: str) -> None:
    """Add to what was typed. The agent's own action takes the place of what was there; keys do not."""
    kept.phone.perform(Action("Type", text=kept.phone.state.typed + text))


def broadcast(folder: Path, words: list[str]) -> str | None:
    """Send a message to ADBKeyboard, which types what it is sent; like the real one it listens only while it is in use."""
    text: str | None
    match words:
        case ["-a", "ADB_INPUT_B64", "--es", "msg", encoded]:
            try:
                text = base64.b64decode(encoded, validate=True).decode("utf-8")
            except ValueError:
                raise ValueError(f"am: msg is no UTF-8 text in base64: {encoded[:40]}") from None
        case ["-a", "ADB_INPUT_TEXT", "--es", "msg", text]:
            pass
        case ["-a", "ADB_INPUT_B64" | "ADB_INPUT_TEXT", "--es", "msg"]:  # an empty text is no word of the line
            text = ""
        case ["-a", "ADB_CLEAR_TEXT"]:
            text = None
        case _:
            return None
    with changing(folder) as device:
        if device.keyboard == ADB_KEYBOARD:
            if text is None:
                device.phone.perform(Action("Type", text=""))
            elif text:
                type_text(device, text)
    return f"Broadcasting: Intent {{ act={words[1]} flg=0x400000 }}\nBroadcast completed: result=0\n"


def keyboards(folder: Path, words: list[str]) -> str | None:
    """List the keyboards, or put another one into use."""
    match words:
        case ["list", "-s"] | ["list", "-s", "-a"] | ["list", "-a", "-s"]:
            return "".join(f"{keyboard}\n" for keyboard in read(folder).keyboards)
        case ["set" | "enable", name]:
            with changing(folder) as device:
                if name not in device.keyboards:
                    raise ValueError(f"Unknown input method {name} cannot be selected for user #0")
                if words[0] == "enable":
                    return f"Input method {name}: already enabled for user #0\n"
                device.keyboard = name
            return f"Input method {name} selected for user #0\n"
    return None
