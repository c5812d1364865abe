"""A stand-in for the command `adb` with a phone behind it: a simulated one, kept in a folder.

`install(folder)` writes the command; with the folder first on PATH, whatever drives Android phones through `adb` drives the
simulated one. It answers what phone agents ask; to all else it says on stderr that it does not know it, and its status is 1.
"""

from __future__ import annotations

import os
import posixpath
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_lab import atomic
from autoglm_lab.marks import NotWrittenError
from autoglm_lab.phone.adb.identity import MODEL, SERIAL, STORAGE

if TYPE_CHECKING:
    from autoglm_lab.phone.catalog import Lang

# `adb version` and `adb devices` draw no screen: what does is imported where it is needed
FOLDER = "AUTOGLM_PHONE_DIR"  # environment variable: where the phone is kept
KNOWN = (
    "version, devices, connect, disconnect, start-server, kill-server, get-state, get-serialno, wait-for-device, pull, shell, "
    "exec-out"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one call of adb, with the phone in the folder that AUTOGLM_PHONE_DIR names; 0, or 1 with a line on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        output = answer(words, Path(os.environ.get(FOLDER, ".")), os.environ.get("ANDROID_SERIAL") or None)
        sys.stdout.buffer.write(output)
        sys.stdout.buffer.flush()
    except Exception as problem:  # a phone answers in one line, whatever happened behind it
        is_expected = isinstance(problem, (OSError, ValueError))
        print(" ".join(str(problem if is_expected else f"adb: {type(problem).__name__}: {problem}").splitlines()), file=sys.stderr)
        return 1
    return 0


def answer(arguments: Sequence[str], folder: Path, serial: str | None = None) -> bytes:
    """Return the output of adb for these arguments. ValueError or OSError say why there is none.

    `serial` names the phone that is meant where the arguments name none.
    """
    argument, words = _serial(list(arguments))
    serial = argument or serial
    if not words:
        raise ValueError(f"adb: no command; this adb has a simulated phone behind it, and knows {KNOWN}")
    command, rest = words[0], words[1:]
    there = (folder / "phone.json").is_file()
    of_server = _answer_of_server(command, rest, there)
    if of_server is not None:
        return of_server
    if not there or serial not in (None, SERIAL):
        raise ValueError(f"adb: device '{serial}' not found" if serial else "adb: no devices/emulators found")
    match command, rest:
        case ("get-state", []):
            return b"device\n"
        case ("get-serialno", []):
            return f"{SERIAL}\n".encode()
        case ("wait-for-device", []):
            return b""
        case ("pull", [source] | [source, _]):
            return _pull(folder, source, Path(rest[1] if len(rest) == 2 else "."))
        case ("shell" | "exec-out", [_, *_]):
            from autoglm_lab.phone.adb.shell import shell

            return shell(folder, " ".join(rest))  # as adb does it: the phone's shell is sent one line
    raise ValueError(f"adb: unknown command {' '.join(words)}; this adb knows {KNOWN}")


def _answer_of_server(command: str, rest: list[str], there: bool) -> bytes | None:
    """Output of a command that asks adb's server, not a phone; None for every other command. `there` is True if it has a phone."""
    match command, rest:
        case ("version" | "--version", []):
            return b"Android Debug Bridge version 1.0.41\nVersion of a simulated phone\n"
        case ("start-server" | "kill-server", []):
            return b""
        case ("devices", [] | ["-l"]):
            details = f" product:{MODEL} model:{MODEL} device:{MODEL} transport_id:1" if rest else ""
            phones = f"{SERIAL}\tdevice{details}\n" if there else ""
            return f"List of devices attached\n{phones}\n".encode()
        case ("connect", [address]):
            is_phone = address in (SERIAL, f"{SERIAL}:5555")
            return f"already connected to {address}\n".encode() if is_phone else _no_network(address)
        case ("disconnect", [] | [_]):
            return b"disconnected everything\n"
    return None


def _serial(words: list[str]) -> tuple[str | None, list[str]]:
    """The phone that is meant, and the command. There is one phone: it is the one by cable (-d) and the only emulator (-e), too."""
    if words[:1] in (["-d"], ["-e"]):
        return SERIAL, words[1:]
    if words[:1] not in (["-s"], ["-t"]):
        return None, words
    if len(words) < 2:
        raise ValueError(f"adb: {words[0]} requires an argument")
    if words[0] == "-t":
        return SERIAL if words[1] == "1" else f"transport {words[1]}", words[2:]
    return words[1], words[2:]


def _no_network(address: str) -> bytes:
    raise ValueError(f"failed to connect to '{address}': the simulated phone is {SERIAL}, and there without a network")


def _pull(folder: Path, remote: str, local: Path) -> bytes:
    from autoglm_lab.phone.adb.shell import stored

    source = stored(folder, remote)
    if not source.is_file():
        raise ValueError(f"adb: error: failed to stat remote object '{remote}': No such file or directory")
    target = local / posixpath.basename(remote) if local.is_dir() else local
    try:
        with atomic.file(target) as part:
            part.write_bytes(source.read_bytes())
    except (OSError, NotWrittenError) as error:
        raise ValueError(f"adb: error: cannot create '{target}': {error}") from None
    return f"{remote}: 1 file pulled, 0 skipped.\n".encode()


def install(
    folder: Path,
    *,
    seed: int = 7,
    size: tuple[int, int] | None = None,
    lang: Lang | None = None,
    family: str | None = None,
    adb_keyboard: bool = True,
) -> Path:
    """Write the command `adb` into `folder`, with a fresh phone behind it; return its path.

    The phone is kept in `folder/phone`; one that was there before is gone. `adb_keyboard` says whether the keyboard is installed
    that types what it is sent. ValueError when there is no such phone, or when `folder` has another `adb` or `phone`.
    """
    from autoglm_lab.phone.adb.kept import PLAIN_KEYBOARD, KeptPhone, made, write
    from autoglm_lab.phone.draw import DEFAULT_SIZE

    script, home = folder / "adb", folder.resolve() / "phone"
    if script.exists() and FOLDER.encode() not in script.read_bytes():
        raise ValueError(f"{script} is another command, and is not written over; choose a folder of its own")
    fresh = KeptPhone(made(seed, size=size or DEFAULT_SIZE, lang=lang, family=family))
    if not adb_keyboard:
        fresh.keyboards = (PLAIN_KEYBOARD,)
    write(fresh, home)
    _clear_storage(home)
    code = f"import sys; sys.path.append({str(Path(__file__).parents[2])!r})\n"  # a checkout that is not installed is found, too
    code += "from autoglm_lab.phone.adb.front import main; sys.exit(main())"
    command = f"exec {shlex.quote(sys.executable)} -P -c {shlex.quote(code)}"
    with atomic.file(script) as part:
        part.write_text(f'#!/bin/sh\n{FOLDER}={shlex.quote(str(home))} {command} "$@"\n', "utf-8")
        part.chmod(0o755)
    return script


def _clear_storage(home: Path) -> None:
    """Delete the files that were on the phone; whatever else lies there stays."""
    for path in (home / STORAGE).glob("%2F*"):
        path.unlink()


def reset(folder: Path) -> Path:
    """Put the phone behind `folder/adb` back into its initial state; return the command's path.

    Its seed, language, size and keyboards remain. FileNotFoundError when there is none.
    """
    from autoglm_lab.phone.adb.kept import PLAIN_KEYBOARD, changing, made

    home = folder.resolve() / "phone"
    with changing(home) as device:
        look = device.phone.state.look
        device.phone = made(look.seed, size=device.phone.size, lang=look.lang, family=look.family)
        device.keyboard = PLAIN_KEYBOARD
        _clear_storage(home)
    return folder / "adb"


if __name__ == "__main__":
    sys.exit(main())
