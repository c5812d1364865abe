"""The command line, `autoglm-lab COMMAND`, one module for each command. Input is checked before anything slow is loaded."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from autoglm_lab.cli import (
    adb,
    ask,
    bench,
    compress,
    demo,
    device,
    doctor,
    evaluate,
    export,
    load,
    phone,
    power,
    recipes,
    runtimes,
    scoreboard,
    serve,
    train,
)

# in the order of the help
COMMANDS = (
    demo,
    ask,
    train,
    evaluate,
    compress,
    export,
    recipes,
    bench,
    phone,
    adb,
    serve,
    load,
    device,
    runtimes,
    doctor,
    power,
    scoreboard,
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it worked, 1 when the agent failed, 2 when the input was wrong (one line on stderr says how)."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; flushing at exit would fail once more
        return 141
    except OSError as problem:
        at = f"{problem.filename}: " if problem.filename else ""
        print(f"autoglm-lab: {at}{problem.strerror}" if problem.strerror else f"autoglm-lab: {problem}", file=sys.stderr)
        return 2
    except (ValueError, ImportError) as problem:
        print(f"autoglm-lab: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("autoglm-lab: stopped", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands and their options."""
    top = argparse.ArgumentParser(prog="autoglm-lab", description="A tiny phone agent that sees, hears and acts.")
    commands = top.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return top
