"""`autoglm-lab adb`: write a command `adb` with a simulated phone behind it."""

from __future__ import annotations

import argparse
from pathlib import Path

from autoglm_lab.cli.options import Commands, seed, size


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "adb", help="write a command `adb` with a simulated phone behind it, for agents that drive real ones"
    )
    command.add_argument(
        "--dir", type=Path, metavar="FOLDER", required=True, help="folder for the command, to be put first on PATH"
    )
    command.add_argument("--seed", type=seed, help="which simulated phone (default 7)")
    command.add_argument("--lang", choices=("zh", "en"), help="language of the phone (default: as the seed has it)")
    command.add_argument("--size", type=size, metavar="WxH", help="of its screen in pixels (default 540x1200)")
    command.add_argument("--keyboard", choices=("adb", "plain"), help="plain: without the one that types any script (default adb)")
    command.add_argument(
        "--reset", action="store_true", help="instead: put the phone in FOLDER back to how it was when it was made"
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    import shlex

    from autoglm_lab.phone.adb.front import install, reset

    choices = {name: value for name in ("seed", "lang", "size", "keyboard") if (value := getattr(options, name)) is not None}
    if options.reset and choices:
        raise ValueError(f"--reset leaves the phone what it is; leave out --{', --'.join(choices)}, or leave out --reset")
    try:
        if options.reset:
            script = reset(options.dir)
        else:
            keyboard = choices.pop("keyboard", "adb") == "adb"
            script = install(options.dir, adb_keyboard=keyboard, **choices)
    except OSError as error:
        if options.reset and isinstance(error, FileNotFoundError):  # it says what is missing
            raise
        raise ValueError(f"nothing can be written to {options.dir}: {error.strerror}") from None
    print(f"a fresh phone is behind {script}; put it first on PATH, and `adb devices` lists it:")
    print(f'export PATH={shlex.quote(str(script.resolve().parent))}:"$PATH"')
    return 0
