"""The shell of a simulated phone as `adb` sees it: the commands with which phone agents look at a phone and touch it."""

from __future__ import annotations

import io
import posixpath
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from autoglm_lab import atomic
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.adb import dump, touch
from autoglm_lab.phone.adb.dump import front_package
from autoglm_lab.phone.adb.identity import STORAGE
from autoglm_lab.phone.adb.kept import KeptPhone, changing, read
from autoglm_lab.phone.packages import app_of

WINDOW_DUMP = "/sdcard/window_dump.xml"
LAUNCHABLE = "android.intent.category.LAUNCHER"
# a part of a line between two bars that are not quoted
_PART = re.compile(r"""(?:[^|'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)


def shell(folder: Path, line: str) -> bytes:
    """Run a line in the shell of the phone in `folder`. ValueError says, in the words of a phone, why it does nothing."""
    parts = _PART.findall(line)
    first, *filters = parts if "|".join(parts) == line else [line]
    output = _run(folder, _words(first))
    for part in filters:
        output = _grep(output, _words(part))
    return output


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line) or [""]
    except ValueError as error:
        raise ValueError(f"/system/bin/sh: syntax error: {error}") from None


def _run(folder: Path, words: list[str]) -> bytes:
    name, *rest = words
    if name not in COMMANDS:
        raise ValueError(f"/system/bin/sh: {name}: inaccessible or not found; this phone knows {', '.join(COMMANDS)}, and grep")
    command, usage = COMMANDS[name]
    output = command(folder, rest)
    if output is None:
        raise ValueError(f"{name}: unknown arguments: {shlex.join(rest)}; this phone knows {usage}")
    return output if isinstance(output, bytes) else output.encode()


def _grep(output: bytes, words: list[str]) -> bytes:
    """Return the lines that `grep` lets through."""
    flags = "".join(word[1:] for word in words[1:-1] if word != "-e")
    if words[0] != "grep" or len(words) < 2 or not set(flags) <= set("EFiv") or any(word[:1] != "-" for word in words[1:-1]):
        raise ValueError(f"/system/bin/sh: {shlex.join(words)}: after a bar this phone knows grep [-E] [-F] [-i] [-v] PATTERN")
    pattern = words[-1]
    if "F" in flags:
        pattern = re.escape(pattern)
    elif "E" not in flags:  # in a basic expression these letters mean something where a backslash stands before them
        pattern = re.sub(r"\\?[|(){}+?]", lambda m: m[0][1:] if len(m[0]) == 2 else f"\\{m[0]}", pattern)
    try:
        match = re.compile(pattern.encode(), re.IGNORECASE if "i" in flags else 0).search
    except re.error as error:
        raise ValueError(f"grep: bad pattern {words[-1]!a}: {error}") from None
    return b"".join(line for line in output.splitlines(keepends=True) if bool(match(line.rstrip(b"\n"))) != ("v" in flags))


def stored(folder: Path, remote: str) -> Path:
    """Return the path of a file of the phone: each remote path is one name in one folder, so that none leads out of it."""
    return folder / STORAGE / quote(posixpath.normpath(posixpath.join("/", remote)), safe="")


def _keep(folder: Path, remote: str, content: bytes) -> None:
    with atomic.file(stored(folder, remote)) as part:  # two that write the same file at once: the later one remains
        part.write_bytes(content)


def _screencap(folder: Path, words: list[str]) -> bytes | None:
    if words[:1] != ["-p"] or len(words) > 2:
        return None
    png = io.BytesIO()
    read(folder).phone.screenshot().save(png, "PNG", compress_level=1)
    if len(words) == 1:
        return png.getvalue()
    _keep(folder, words[1], png.getvalue())
    return b""


def _uiautomator(folder: Path, words: list[str]) -> str | None:
    words = [word for word in words if word != "--compressed"]
    if words[:1] != ["dump"] or len(words) > 2:
        return None
    path, xml = (words[1:] or [WINDOW_DUMP])[0], dump.tree(read(folder))
    report = f"UI hierchary dumped to: {path}\n"  # as Android spells it
    if path in ("/dev/tty", "/dev/stdout"):
        return xml + report
    _keep(folder, path, xml.encode())
    return report


def _cat(folder: Path, words: list[str]) -> bytes | None:
    if not words or any(word.startswith("-") for word in words):
        return None
    contents = []
    for word in words:
        if word in ("/proc/cpuinfo", "/proc/meminfo"):
            contents.append(dump.chip()[word.rpartition("/")[2]].encode())
        elif stored(folder, word).is_file():
            contents.append(stored(folder, word).read_bytes())
        else:
            raise ValueError(f"cat: {word}: No such file or directory")
    return b"".join(contents)


def _rm(folder: Path, words: list[str]) -> str | None:
    quiet = words[:1] == ["-f"]
    names = words[quiet:]
    if not names or any(name.startswith("-") for name in names):
        return None
    missing = next((name for name in names if not stored(folder, name).is_file()), None)
    if missing is not None and not quiet:
        raise ValueError(f"rm: {missing}: No such file or directory")
    for name in names:
        stored(folder, name).unlink(missing_ok=True)
    return ""


def _open(device: KeptPhone, name: str) -> bool:
    """Start the app of a package, by either of its packages, as `Launch` takes either name; False when it is not installed."""
    look, app = device.phone.state.look, app_of(name)
    if app is None or app.id not in look.installed:
        return False
    device.phone.perform(Action("Launch", app=app.key(look.lang)))
    return True


def _monkey(folder: Path, words: list[str]) -> str | None:
    words = [word for word in words if word not in ("-v", "-v-v")]
    match words:
        case ["-p", name, "1"] | ["-p", name, "-c", _, "1"]:
            with changing(folder) as device:
                if (len(words) == 5 and words[3] != LAUNCHABLE) or not _open(device, name):
                    raise ValueError("** No activities found to run, monkey aborted.")
            return "Events injected: 1\n"
    return None


def _am(folder: Path, words: list[str]) -> str | None:
    match words:
        case ["broadcast", *rest]:
            return touch.broadcast(folder, rest)
        case ["start" | "start-activity", *rest]:
            return _start(folder, rest)
        case ["force-stop", name]:
            with changing(folder) as device:
                app = app_of(name)
                if app is not None and device.phone.state.app == app.id:
                    device.phone.perform(Action("Home"))
            return ""
    return None


def _start(folder: Path, words: list[str]) -> str | None:
    """Run `am start`: an app by one of its activities (each has one here) or its package, the settings, or the home screen."""
    intent: dict[str, str] = {}
    rest = [word for word in words if word not in ("-W", "-S")]
    while rest:
        flag = rest.pop(0)
        if flag in ("-n", "-a", "-c", "-p", "-f", "--user") and rest and flag not in intent:
            intent[flag] = rest.pop(0)
        elif not flag.startswith("-") and "-n" not in intent:
            intent["-n"] = flag
        else:
            return None
    name, slash, activity = intent.get("-n", "").partition("/")
    if "-n" in intent and not (slash and activity):
        raise ValueError(f"am: bad component name: {intent['-n']}; write package/.Activity")
    settings = intent.get("-a", "") == "android.settings.SETTINGS"
    name = name or intent.get("-p", "") or ("com.android.settings" if settings else "")
    with changing(folder) as device:
        if not name and intent.get("-c") == "android.intent.category.HOME":
            device.phone.perform(Action("Home"))
        elif not name:
            return None
        elif not _open(device, name):
            raise ValueError(f"Error: Activity class {{{name}/{activity or 'Main'}}} does not exist.")
        return f"Starting: Intent {{ cmp={front_package(device)}/{activity or '.Main'} }}\n"


# name -> what it does (None: it does not know these arguments), and what it knows
COMMANDS: dict[str, tuple[Callable[[Path, list[str]], str | bytes | None], str]] = {
    "am": (_am, "am start -n PACKAGE/ACTIVITY, am force-stop PACKAGE, am broadcast -a ADB_INPUT_B64 --es msg TEXT"),
    "cat": (_cat, "cat FILE"),
    "dumpsys": (dump.dumpsys, "dumpsys window, activity, input_method, power"),
    "getprop": (dump.properties, "getprop [NAME]"),
    "ime": (touch.keyboards, "ime list -s, ime set KEYBOARD"),
    "input": (touch.touch, "input tap X Y, swipe X Y X Y [MS], keyevent KEY, text TEXT"),
    "monkey": (_monkey, "monkey -p PACKAGE [-c android.intent.category.LAUNCHER] 1"),
    "pm": (dump.packages, "pm list packages [FILTER]"),
    "rm": (_rm, "rm [-f] FILE"),
    "screencap": (_screencap, "screencap -p [FILE]"),
    "settings": (dump.settings, "settings get secure default_input_method"),
    "uiautomator": (_uiautomator, "uiautomator dump [FILE]"),
    "wm": (dump.window_manager, "wm size, wm density"),
}
