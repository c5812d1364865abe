"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_model(command: argparse.ArgumentParser, kinds: str) -> None:
    """Add `--model`."""
    command.add_argument("--model", type=Path, help=f"{kinds} (default: the shipped model)")


def add_server(command: argparse.ArgumentParser) -> None:
    """Add what asks a server instead of a model, and `--grammar`."""
    command.add_argument("--url", help="instead of a model: a server with OpenAI's interface, such as http://127.0.0.1:8000/v1")
    command.add_argument(
        "--api-key-file",
        type=Path,
        metavar="F",
        help="file whose first key that server is sent (default: OPENAI_API_KEY of the environment, over https or to this machine)",
    )
    command.add_argument("--api-key", help="the key itself, which everybody on this machine sees in the list of processes")
    command.add_argument("--grammar", action="store_true", help="let a bundle write nothing that does not parse, with fewer passes")


def add_json(command: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    command.add_argument("--json", action="store_true", help="print one JSON object")


def add_allow_host(command: argparse.ArgumentParser) -> None:
    """Add `--allow-host`."""
    about = "answer under this name, too (otherwise: this machine's address, localhost)"
    command.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=about)


def size(text: str) -> tuple[int, int]:
    """Width and height in pixels. ArgumentTypeError for anything else."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and text.isascii()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give width and height in pixels, for example 1080x2400")
    return int(width), int(height)


def positive(text: str) -> int:
    """A whole number from 1. ArgumentTypeError for anything else."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0. ArgumentTypeError for anything else."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def rate(text: str) -> float:
    """A learning rate. ArgumentTypeError for anything else."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no learning rate; give a number above 0, for example 0.001")
    return rate


def weight(text: str) -> float:
    """The weight of a loss. ArgumentTypeError for anything else."""
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no weight; give a number from 0, for example 4")
    return weight


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1, between commas. ArgumentTypeError for anything else."""
    return tuple(positive(part) for part in text.split(","))


def rates(text: str) -> tuple[float, ...]:
    """Numbers above 0, between commas. ArgumentTypeError for anything else."""
    return tuple(seconds(part) for part in text.split(","))


def seconds(text: str) -> float:
    """A time in seconds. ArgumentTypeError for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give a number of seconds above 0")
    return seconds


def seed(text: str) -> int:
    """The seed of a phone or a run. ArgumentTypeError for anything else."""
    if not text.isdigit() or int(text) >= 2**24:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; give a whole number from 0 to {2**24 - 1}")
    return int(text)
