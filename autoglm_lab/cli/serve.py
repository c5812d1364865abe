"""`autoglm-lab serve`: answer over HTTP."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from autoglm_lab.cli.options import Commands, add_allow_host, positive, seconds, whole
from autoglm_lab.serve.limits import Limits


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("serve", help="answer over HTTP, as OpenAI's clients expect it")
    served = command.add_mutually_exclusive_group()
    served.add_argument("--bundle", type=Path, metavar="DIR", help="a bundle; one exported with --rows writes many answers at once")
    served.add_argument(
        "--model", type=Path, metavar="DIR", help="a model folder, which answers in PyTorch (default: the shipped model)"
    )
    command.add_argument("--host", default="127.0.0.1", help="address (default 127.0.0.1: nobody else reaches it)")
    command.add_argument("--port", type=whole, default=8000, help="where (default 8000; 0: any free port)")
    command.add_argument(
        "--api-key-file",
        type=Path,
        metavar="F",
        help="file with the keys that clients have to send, one a line: KEY, or NAME: KEY; each name gets its share",
    )
    command.add_argument(
        "--access-log", metavar="FILE", help="note who asked, the path, status, time and bytes, no contents; - is stderr"
    )
    command.add_argument("--rows", type=positive, default=16, help="answers written together, if the bundle can (default 16)")
    command.add_argument("--workers", type=positive, help="answers seen, heard and read side by side (default: one for each core)")
    command.add_argument("--threads", type=positive, help="CPU threads of each (default: the cores shared out)")
    command.add_argument(
        "--no-drafts", action="store_true", help="write token by token; otherwise what usually comes is read ahead"
    )
    command.add_argument(
        "--mapped",
        action="store_true",
        help="leave the weights of a bundle in files that the system maps, and can "
        "take back; they are written beside it the first time",
    )
    command.add_argument(
        "--lazy",
        type=seconds,
        metavar="S",
        help="open what sees and hears in a bundle when it is first needed, and drop it after so many seconds without use",
    )
    command.add_argument(
        "--watch",
        action="store_true",
        help="exchange the bundle when another one lies in its folder (SIGHUP does so, too); one that is broken leaves the old one",
    )
    command.add_argument(
        "--small-exchange",
        action="store_true",
        help="never two models in memory: requests wait until the old one has ended and the new one is loaded",
    )
    command.add_argument("--name", help="what the model is called (default autoglm-lab)")
    for field in fields(Limits):
        if field.name != "image_hosts":
            name, kind = field.name.replace("_", "-"), positive if isinstance(field.default, int) else seconds
            about = f"limit (default {field.default:g})"
            command.add_argument(f"--{name}", type=kind, default=field.default, metavar="N", help=about)
    anew = "a JSON file of limits, over those given here; a new content holds from the next request on"
    command.add_argument("--settings", type=Path, metavar="F", help=anew)
    command.add_argument("--image-host", action="append", default=[], metavar="HOST", help="pictures may be fetched from here")
    add_allow_host(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.serve.keys import read_keys, weaknesses

    if options.bundle is None and (options.mapped or options.lazy or options.watch):
        raise ValueError("--mapped, --lazy and --watch are for a bundle; give one with --bundle")
    keys = None if options.api_key_file is None else read_keys(options.api_key_file)
    for warning in [] if keys is None else weaknesses(options.api_key_file, keys):
        print(f"autoglm-lab: warning: {warning}", file=sys.stderr)
    limits = Limits(
        **{field.name: getattr(options, field.name) for field in fields(Limits) if field.name != "image_hosts"},
        image_hosts=frozenset(options.image_host),
    )
    base = limits
    if options.settings is not None:
        from autoglm_lab.runtime.reload import read_settings

        limits = read_settings(options.settings, Limits, base)
    from autoglm_lab.serve.server import NAME, check_address, scheduler, serve

    check_address(options.host, keys)
    from autoglm_lab.hosts import AllowedHosts
    from autoglm_lab.runtime.bundle import MANIFEST
    from autoglm_lab.serve.service import Service

    hosts, log = AllowedHosts(options.host, options.allow_host), _access_log(options.access_log)

    def make_scheduler() -> Any:
        from autoglm_lab import load

        served = options.bundle or load(options.model)
        return scheduler(
            served,
            limits,
            options.name or NAME,
            rows=options.rows,
            workers=options.workers,
            threads=options.threads,
            speculate=False if options.no_drafts else None,
            mapped=options.mapped,
            lazy=options.lazy or False,
        )

    try:
        service = Service(make_scheduler, limits, keys, hosts, log, "small" if options.small_exchange else "available")
        watch = options.bundle / MANIFEST if options.watch else None
        serve(service, options.host, options.port, make_scheduler, watch, options.settings, base)
    except OSError as error:
        raise ValueError(str(error)) from None
    return 0


def _access_log(path: str | None) -> Any:
    if path is None:
        return None
    from autoglm_lab.serve.access import AccessLog

    if path == "-":
        return AccessLog(sys.stderr)
    try:
        return AccessLog(open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the access log {path!r} cannot be written ({error.strerror})") from None
