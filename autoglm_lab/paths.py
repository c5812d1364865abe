"""Where the shipped data lies: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

WORK = Path("build")  # where runs, films and models go unless a folder is given
_PACKAGE = Path(__file__).resolve().parent


def data_dir() -> Path:
    """The folder that holds `icons`, `fonts` and `speech`; FileNotFoundError when neither place has it."""
    beside, inside = _PACKAGE.parent / "data", _PACKAGE / "_data"
    for folder in (beside, inside):
        if (folder / "icons" / "index.json").is_file():
            return folder
    raise FileNotFoundError(f"the shipped data is missing: neither {beside} nor {inside} holds icons/index.json")
