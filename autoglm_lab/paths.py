"""Where the shipped data lies: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WORK = Path("build")  # where runs, films and models go unless a folder is given
_PACKAGE = Path(__file__).resolve().parent


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` at the end: a kill leaves the old one or the new one."""
    part, old = (folder.with_name(f"{folder.name}.{ending}") for ending in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def data_dir() -> Path:
    """The folder that holds `icons`, `fonts` and `speech`; FileNotFoundError when neither place has it."""
    beside, inside = _PACKAGE.parent / "data", _PACKAGE / "_data"
    for folder in (beside, inside):
        if (folder / "icons" / "index.json").is_file():
            return folder
    raise FileNotFoundError(f"the shipped data is missing: neither {beside} nor {inside} holds icons/index.json")
