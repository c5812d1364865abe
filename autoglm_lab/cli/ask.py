"""`autoglm-lab ask`: one answer."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from autoglm_lab.cli.engines import model_folder, open_engine
from autoglm_lab.cli.options import Commands, add_json, add_model, add_server
from autoglm_lab.cli.reports import action_text, rounded
from autoglm_lab.phone.catalog import HOME_SCREEN


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("ask", help="one answer about your own screenshot and command")
    command.add_argument("text", nargs="?", default=None, metavar="TEXT", help="the command or question")
    command.add_argument("--image", type=Path, help="a screenshot (PNG, JPEG, ...)")
    command.add_argument("--audio", type=Path, help="a spoken command (WAV, FLAC, ...)")
    command.add_argument("--app", default=HOME_SCREEN, help='the app in front (default "System Home")')
    command.add_argument("--think", action="store_true", help="let it write its thought first")
    add_model(command, "model folder or bundle")
    add_server(command)
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.runtime.files import read_audio, read_image
    from autoglm_lab.runtime.prompt import check_length

    if options.text is not None and not options.text.strip():
        raise ValueError("the text is empty; write a command, or leave it out and give --audio")
    if options.text is None and options.audio is None:
        raise ValueError("nothing was asked; give a TEXT, or a spoken one with --audio FILE")
    image = None if options.image is None else read_image(options.image)
    audio = None if options.audio is None else read_audio(options.audio)
    if options.url is None:
        check_length(options.text or "", model_folder(options))
    answer = open_engine(options).answer(options.text or "", image, audio, current_app=options.app, think=options.think).answer
    report = {
        "thinking": answer.thinking,
        "action": action_text(answer.action),
        "text": answer.text,
        "ms": rounded(answer.ms),
    }
    if options.json:
        print(json.dumps(report, ensure_ascii=False))
    else:
        print(*filter(None, (report["thinking"], answer.text if answer.action is None else report["action"])), sep="\n")
        print(f"({report['ms']['total']:.0f} ms)", file=sys.stderr)
    return 0 if answer.action is not None else 1
