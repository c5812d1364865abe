"""Folders of the shipped data (beside the package in a checkout, inside it in an installed wheel) and of results."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def work_dir() -> Path:
    """Find the default folder for runs, films and models: `build/` of a checkout, whatever the current folder is.

    Of an installed package it is the folder for data of the user's applications (Linux: ~/.local/share/autoglm-lab).
    """
    root = _PACKAGE.parent
    if (root / "pyproject.toml").is_file() and (root / "notebooks").is_dir():
        return root / "build"
    from platformdirs import user_data_path

    return user_data_path("autoglm-lab", appauthor=False)


def data_dir() -> Path:
    """The folder that holds `icons`, `fonts` and `speech`; FileNotFoundError when neither place has it."""
    beside, inside = _PACKAGE.parent / "data", _PACKAGE / "_data"
    for folder in (beside, inside):
        if (folder / "icons" / "index.json").is_file():
            return folder
    raise FileNotFoundError(f"the shipped data is missing: neither {beside} nor {inside} holds icons/index.json")
