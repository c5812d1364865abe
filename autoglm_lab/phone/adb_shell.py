"""The shell of a simulated phone as `adb` sees it: the commands with which phone agents look at a phone and touch it."""

from __future__ import annotations

import base64
import io
import posixpath
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from autoglm_lab import atomic
from autoglm_lab.phone.actions import Action, Point
from autoglm_lab.phone.adb_front import MODEL, SERIAL, STORAGE
from autoglm_lab.phone.kept import KeptPhone, changing, read
from autoglm_lab.phone.packages import ADB_KEYBOARD, LAUNCHER, app_of, package

LONG_PRESS_MS = 500
KEYS = {"3": "Home", "HOME": "Home", "4": "Back", "BACK": "Back", "67": "Delete", "DEL": "Delete"}


def shell(folder: Path, line: str) -> bytes:
    """What a line writes in the shell of the phone in `folder`. ValueError says, in the words of a phone, why it does nothing."""
    try:
        name, *rest = shlex.split(line) or [""]
    except ValueError as error:
        raise ValueError(f"/system/bin/sh: syntax error: {error}") from None
    if name not in _COMMANDS:
        raise ValueError(f"/system/bin/sh: {name}: inaccessible or not found")
    told = _COMMANDS[name](folder, rest)
    if told is None:
        raise ValueError(f"{name}: unknown arguments: {shlex.join(rest)}")
    return told if isinstance(told, bytes) else told.encode()


def stored(folder: Path, remote: str) -> Path:
    """Where a file of the phone lies. Every path is a name of its own in one folder, so that none leads out of it."""
    return folder / STORAGE / quote(posixpath.normpath(posixpath.join("/", remote)), safe="")


def _screencap(folder: Path, words: list[str]) -> bytes | None:
    if words[:1] != ["-p"] or len(words) > 2:
        return None
    png = io.BytesIO()
    read(folder).phone.screenshot().save(png, "PNG", compress_level=1)
    if len(words) == 1:
        return png.getvalue()
    path = stored(folder, words[1])
    with atomic.file(path) as part:  # two that write the same file at once: the later one remains
        part.write_bytes(png.getvalue())
    return b""


def _dumpsys(folder: Path, words: list[str]) -> str | None:
    if words not in (["window"], ["window", "windows"]):
        return None
    state = read(folder).phone.state
    name = LAUNCHER if state.app is None else package(state.app, state.look.lang)
    return (f"WINDOW MANAGER WINDOWS\n  mCurrentFocus=Window{{1a2b3c u0 {name}/{name}.Main}}\n"
            f"  mFocusedApp=ActivityRecord{{4d5e6f u0 {name}/.Main t1}}\n")  # fmt: skip


def _monkey(folder: Path, words: list[str]) -> str | None:
    match words:
        case ["-p", name, "-c", "android.intent.category.LAUNCHER", "1"]:
            with changing(folder) as kept:
                look, found = kept.phone.state.look, app_of(name)
                if found is None or found.id not in look.installed:  # by either of its packages, as `Launch` takes either name
                    raise ValueError("** No activities found to run, monkey aborted.")
                kept.phone.perform(Action("Launch", app=found.key(look.lang)))
            return "Events injected: 1\n"
    return None


def _input(folder: Path, words: list[str]) -> str | None:
    with changing(folder) as kept:
        match words:
            case ["tap", x, y]:
                kept.phone.perform(Action("Tap", element=_point(kept, x, y)))
            case ["swipe", x0, y0, x1, y1, *duration] if len(duration) < 2:
                kept.phone.perform(_swipe(_point(kept, x0, y0), _point(kept, x1, y1), _number(*duration or ["300"])))
            case ["keyevent", key]:
                _press(kept, key)
            case ["text", text]:
                if not text.isascii():
                    raise ValueError("input: the plain keyboard has no keys for this text")
                _type(kept, text.replace("%s", " "))
            case _:
                return None
    return ""


def _swipe(start: Point, end: Point, ms: float) -> Action:
    """What a finger does that comes down at `start` and leaves at `end`."""
    if start == end:
        return Action("Long Press" if ms >= LONG_PRESS_MS else "Tap", element=start)
    return Action("Swipe", start=start, end=end)


def _point(kept: KeptPhone, x: str, y: str) -> Point:
    """A pixel in the agent's coordinates: the middle of the pixel, so that rounding does not add up."""
    across, down = (
        min(999, max(0, int((_number(v) // 1 + 0.5) / side * 1000))) for v, side in zip((x, y), kept.phone.size, strict=True)
    )
    return across, down


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e6:
        raise ValueError(f"input: invalid number: {text}")
    return number


def _press(kept: KeptPhone, key: str) -> None:
    name = KEYS.get(key.removeprefix("KEYCODE_"))
    if name is None:
        raise ValueError(f"input: this phone has no key {key}; it has Back, Home and Del")
    if name == "Delete":
        kept.phone.perform(Action("Type", text=kept.phone.state.typed[:-1]))
    else:
        kept.phone.perform(Action(name))


def _type(kept: KeptPhone, text: str) -> None:
    """Add to what was typed. The agent's own action takes the place of what was there; keys do not."""
    kept.phone.perform(Action("Type", text=kept.phone.state.typed + text))


def _am(folder: Path, words: list[str]) -> str | None:
    """Messages to the keyboard that types what it is sent. Like the real one it hears them only while it is in use."""
    text: str | None
    match words:
        case ["broadcast", "-a", "ADB_INPUT_B64", "--es", "msg", encoded]:
            try:
                text = base64.b64decode(encoded, validate=True).decode("utf-8")
            except ValueError:
                raise ValueError(f"am: msg is no UTF-8 text in base64: {encoded[:40]}") from None
        case ["broadcast", "-a", "ADB_INPUT_TEXT", "--es", "msg", text]:
            pass
        case ["broadcast", "-a", "ADB_INPUT_B64" | "ADB_INPUT_TEXT", "--es", "msg"]:  # an empty text is no word of the line
            text = ""
        case ["broadcast", "-a", "ADB_CLEAR_TEXT"]:
            text = None
        case _:
            return None
    with changing(folder) as kept:
        if kept.keyboard == ADB_KEYBOARD:
            if text is None:
                kept.phone.perform(Action("Type", text=""))
            elif text:
                _type(kept, text)
    return f"Broadcasting: Intent {{ act={words[2]} flg=0x400000 }}\nBroadcast completed: result=0\n"


def _ime(folder: Path, words: list[str]) -> str | None:
    match words:
        case ["list", "-s"] | ["list", "-s", "-a"] | ["list", "-a", "-s"]:
            return "".join(f"{keyboard}\n" for keyboard in read(folder).keyboards)
        case ["set", wanted]:
            with changing(folder) as kept:
                if wanted not in kept.keyboards:
                    raise ValueError(f"Unknown input method {wanted} cannot be selected for user #0")
                kept.keyboard = wanted
            return f"Input method {wanted} selected for user #0\n"
    return None


def _settings(folder: Path, words: list[str]) -> str | None:
    return f"{read(folder).keyboard}\n" if words == ["get", "secure", "default_input_method"] else None


def _wm(folder: Path, words: list[str]) -> str | None:
    width, height = read(folder).phone.size
    return f"Physical size: {width}x{height}\n" if words == ["size"] else None


def _getprop(folder: Path, words: list[str]) -> str | None:
    locale = {"zh": "zh-CN", "en": "en-US"}[read(folder).phone.state.look.lang]
    known = {"persist.sys.locale": locale, "ro.product.locale": locale, "ro.product.model": MODEL, "ro.serialno": SERIAL,
             "ro.build.version.release": "14", "ro.build.version.sdk": "34", "sys.boot_completed": "1"}  # fmt: skip
    if not words:
        return "".join(f"[{name}]: [{value}]\n" for name, value in known.items())
    return f"{known.get(words[0], '')}\n" if len(words) == 1 else None


_COMMANDS: dict[str, Callable[[Path, list[str]], str | bytes | None]] = {
    "screencap": _screencap, "dumpsys": _dumpsys, "monkey": _monkey, "input": _input, "am": _am, "ime": _ime,
    "settings": _settings, "wm": _wm, "getprop": _getprop,
}  # fmt: skip
