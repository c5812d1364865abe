"""Opening a bundle: every file is there, and is the one that was exported."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 4
MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"
GRAPHS = {"image": "image.onnx", "audio": "audio.onnx", "step": "step.onnx"}
ONE_CALL = "answer.onnx"  # where it was asked for: the step inside a loop, a whole answer in one call
ROWS = "rows.onnx"  # where it was asked for: a step of several answers at once, for a server
FEATURES = {"pixels": "pixels.onnx", "mel": "mel.onnx"}  # for hosts without numpy; `runtime.features` does the same
OPSETS = range(17, 24)  # that the runtime reads


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: where its files are, and what its manifest says."""

    folder: Path
    end: int  # token that ends an answer
    places: int  # tokens that a request and its answer may have together
    recipe: dict[str, Any]
    bytes: int  # of all files
    shared_scale: bool  # whether tokens that are read at once are rounded alike, so that one changes what the others give

    def path(self, name: str) -> Path:
        """Where a graph ("image", "audio", "step", "answer", "rows") is. FileNotFoundError when one of the last two is missing."""
        path = self.folder / (GRAPHS | {"answer": ONE_CALL, "rows": ROWS})[name]
        if name not in GRAPHS and not path.is_file():
            asks = {"answer": "--one-call", "rows": "--rows"}[name]
            raise FileNotFoundError(f"{self.folder.name} holds no {path.name}; write it with `autoglm-lab export {asks}`")
        return path

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """Check a folder. FileNotFoundError for what is missing, ValueError for what is broken, changed, or too new."""
        place = Path(folder)
        manifest = read_manifest(place)
        for name, facts in manifest["files"].items():
            file = place / name
            if not file.is_file():
                raise FileNotFoundError(f"{place.name} holds no {name}; copy the whole bundle again")
            if file.stat().st_size != facts["bytes"]:
                raise ValueError(f"{name} has {file.stat().st_size:,} bytes, not {facts['bytes']:,}; copy the bundle again")
            if digest(file) != facts["sha256"]:
                raise ValueError(f"{name} was changed after it was exported; copy the bundle again, or export it anew")
        size = sum(facts["bytes"] for facts in manifest["files"].values())
        size += (place / MANIFEST).stat().st_size
        shared = bool(manifest["shared_scale"])
        return cls(place, int(manifest["end"]), int(manifest["places"]), manifest["recipe"], size, shared)


def is_bundle(folder: Path | str) -> bool:
    """Whether a folder says that it is a bundle."""
    return (Path(folder) / MANIFEST).exists()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a bundle says about itself. FileNotFoundError without one; ValueError if it is no manifest, or a newer one."""
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder.name} holds no {MANIFEST}; give a folder written by `autoglm-lab export`")
    try:
        manifest = json.loads(path.read_text("utf-8"))
        version, opset = int(manifest["format"]), int(manifest["opset"])
        if version == FORMAT:
            files, _ = dict(manifest["files"]), [manifest[key] for key in ("end", "places", "recipe", "shared_scale")]
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{MANIFEST} of {folder.name} is broken ({type(error).__name__}: {error}); export the bundle anew"
        ) from None
    if version != FORMAT:
        remedy = "export the bundle anew" if version < FORMAT else "update autoglm_lab"
        raise ValueError(f"{folder.name} is a bundle of format {version}, this runtime reads {FORMAT}; {remedy}")
    if opset not in OPSETS:
        raise ValueError(f"{folder.name} uses ONNX opset {opset}; this runtime reads {OPSETS[0]} to {OPSETS[-1]}")
    missing = sorted({*GRAPHS.values(), *FEATURES.values(), TOKENIZER} - set(files))
    if missing:
        raise ValueError(f"{MANIFEST} of {folder.name} does not list {', '.join(missing)}; export the bundle anew")
    return {**manifest, "files": files}


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
