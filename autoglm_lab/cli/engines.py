"""The engine that the options of a command name: a model, a bundle, or a server with its key."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any


def open_engine(options: argparse.Namespace) -> Any:
    """Open the model or bundle of `--model`, or the server of `--url`. ValueError for options that exclude each other."""
    from autoglm_lab import load

    if options.url is None and (options.api_key is not None or options.api_key_file is not None):
        raise ValueError("a key is for a server; give its --url")
    if options.url is not None:
        if options.model is not None or options.grammar:
            raise ValueError("--url asks a server, which has its own model and grammar; leave out --model and --grammar")
        from autoglm_lab.serve.client import RemoteEngine

        return RemoteEngine(options.url, api_key=api_key(options))
    return load(options.model, grammar=options.grammar)


def api_key(options: argparse.Namespace) -> str:
    """Read the key for a server. One of the environment goes over no network in plain text. ValueError for two keys."""
    from urllib.parse import urlsplit

    from autoglm_lab.serve.keys import read_keys

    if options.api_key is not None and options.api_key_file is not None:
        raise ValueError("give --api-key-file or --api-key, not both")
    if options.api_key_file is not None:
        return next(iter(read_keys(options.api_key_file).values()))
    if options.api_key is not None:
        print("autoglm-lab: warning: --api-key shows in the list of processes; --api-key-file does not", file=sys.stderr)
        return str(options.api_key)
    address = urlsplit(options.url)
    safe = address.scheme == "https" or address.hostname in ("localhost", "127.0.0.1", "::1")
    return (os.environ.get("OPENAI_API_KEY") if safe else None) or "EMPTY"


def model_folder(options: argparse.Namespace) -> Path:
    """Folder of `--model`, or of the shipped model."""
    from autoglm_lab.paths import data_dir

    return options.model if options.model is not None else data_dir() / "model"
