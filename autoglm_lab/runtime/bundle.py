"""Open a bundle: every file is there, and is the one that was exported; nothing else is read."""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoglm_lab.runtime.prompt import MAX_MEMORY

FORMAT = 4
MANIFEST, TOKENIZER = "manifest.json", "tokenizer.json"
GRAPHS = {"image": "image.onnx", "audio": "audio.onnx", "step": "step.onnx"}
ONE_CALL = "answer.onnx"  # where it was asked for: the step inside a loop, a whole answer in one call
ROWS = "rows.onnx"  # where it was asked for: a step of several answers at once, for a server
FEATURES = {"pixels": "pixels.onnx", "mel": "mel.onnx"}  # for hosts without numpy; `runtime.features` does the same
OPSETS = range(17, 24)  # that the runtime reads
MANIFEST_BYTES = 1_000_000  # at most
FILE_BYTES = 2**31  # at most: what one ONNX file can hold
FILES = 32  # at most
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # a file of the folder itself, on any system
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ELSEWHERE = b"location"  # key of the entry of a tensor that says in which other file it is


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: where its files are, and what its manifest says."""

    folder: Path
    end: int  # token that ends an answer
    places: int  # tokens that a request and its answer may have together
    recipe: dict[str, Any]
    bytes: int  # of all files
    shared_scale: bool  # whether tokens read in one pass share a rounding scale, so that each changes the others' results
    files: frozenset[str]  # that the manifest lists and that were compared with it
    memory: int = 1  # past actions that the model was trained to read
    understands: bool = False  # whether commands are read once, and every step works by their goal (`runtime.understanding`)
    confirm_below: float = 0.0  # confidence in a command's goal below which the agent asks back (`runtime.confidence`)

    def path(self, name: str) -> Path:
        """Find a graph: "image", "audio", "step", "answer" or "rows".

        FileNotFoundError for one of the last two that the manifest does not list.
        """
        path = self.folder / (GRAPHS | {"answer": ONE_CALL, "rows": ROWS})[name]
        if path.name not in self.files:
            asks = {"answer": "--one-call", "rows": "--rows"}[name]
            raise FileNotFoundError(f"{self.folder.name} holds no {path.name}; write it with `autoglm-lab export {asks}`")
        return path

    @classmethod
    def open(cls, folder: Path | str) -> Bundle:
        """Check a folder. FileNotFoundError for what is missing, ValueError for what is broken, changed, or too new.

        Only plain files of the folder itself that the manifest lists are read, their sizes are compared before their contents, and
        a graph that keeps weights in another file is refused.
        """
        place = Path(folder)
        manifest = _read_manifest(place)
        for name, (size, _) in manifest["files"].items():
            _check_size(place / name, size)
        for name, (_, sha256) in manifest["files"].items():
            if digest(place / name) != sha256:
                raise ValueError(f"{name} was changed after it was exported; copy the bundle again, or export it anew")
            if name.endswith(".onnx") and _keeps_weights_elsewhere(place / name):
                raise ValueError(f"{name} of {place.name} keeps weights in another file; a bundle has all of them in its graphs")
        size = sum(size for size, _ in manifest["files"].values()) + (place / MANIFEST).stat().st_size
        return cls(
            place,
            manifest["end"],
            manifest["places"],
            manifest["recipe"],
            size,
            manifest["shared_scale"],
            frozenset(manifest["files"]),
            manifest["memory"],
            manifest["understands"],
            manifest["confirm_below"],
        )


def is_whole(folder: Path) -> bool:
    """True if a bundle opens: every file of its manifest is there and as it was written."""
    try:
        Bundle.open(folder)
    except (OSError, ValueError):
        return False
    return True


def is_bundle(folder: Path | str) -> bool:
    """True if a folder says that it is a bundle."""
    return (Path(folder) / MANIFEST).exists()


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read what a bundle says about itself; `files` are (bytes, SHA-256) by name.

    FileNotFoundError without a manifest; ValueError if it is none, or a newer one.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder.name} holds no {MANIFEST}; give a folder written by `autoglm-lab export`")
    try:
        manifest = _strict(path)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, OSError) as error:
        reason = str(error) or type(error).__name__
        reason = f"{reason} is missing" if isinstance(error, KeyError) else reason
        raise ValueError(f"{MANIFEST} of {folder.name} is broken ({reason[:200]}); export the bundle anew") from None
    version, opset = manifest["format"], manifest["opset"]
    if version != FORMAT:
        remedy = "export the bundle anew" if version < FORMAT else "update autoglm_lab"
        raise ValueError(f"{folder.name} is a bundle of format {version}, this runtime reads {FORMAT}; {remedy}")
    if opset not in OPSETS:
        raise ValueError(f"{folder.name} uses ONNX opset {opset}; this runtime reads {OPSETS[0]} to {OPSETS[-1]}")
    missing = sorted({*GRAPHS.values(), *FEATURES.values(), TOKENIZER} - set(manifest["files"]))
    if missing:
        raise ValueError(f"{MANIFEST} of {folder.name} does not list {', '.join(missing)}; export the bundle anew")
    return manifest


def _strict(path: Path) -> dict[str, Any]:
    """Read the fields of this format, each of its type; of another format only which one it is."""
    with path.open("rb") as file:
        text = file.read(MANIFEST_BYTES + 1)
    if len(text) > MANIFEST_BYTES:
        raise ValueError(f"over {MANIFEST_BYTES:,} bytes")
    facts = json.loads(text.decode("utf-8"))
    if type(facts) is not dict:
        raise ValueError("no JSON object")
    manifest: dict[str, Any] = {name: _whole(facts, name) for name in ("format", "opset")}
    if manifest["format"] != FORMAT:
        return manifest
    for name, kind in (("recipe", dict), ("shared_scale", bool), ("files", dict)):
        if type(facts[name]) is not kind:
            raise ValueError(f"{name} is no {kind.__name__}")
        manifest[name] = facts[name]
    manifest |= {name: _whole(facts, name) for name in ("end", "places")}
    manifest["memory"] = _whole({"memory": 1} | facts, "memory")  # bundles of models that read one action do not name it
    if not 1 <= manifest["memory"] <= MAX_MEMORY:
        raise ValueError(f"memory is {manifest['memory']}, not 1 to {MAX_MEMORY}")
    manifest["understands"] = facts.get("understands", False)
    if type(manifest["understands"]) is not bool:
        raise ValueError("understands is no bool")
    manifest["confirm_below"] = facts.get("confirm_below", 0.0)
    if type(manifest["confirm_below"]) not in (int, float) or not 0 <= manifest["confirm_below"] <= 1:
        raise ValueError("confirm_below is no number from 0 to 1")
    if len(facts["files"]) > FILES:
        raise ValueError(f"more than {FILES} files")
    manifest["files"] = {_name(name): (_whole(file, "bytes"), _hash(file)) for name, file in facts["files"].items()}
    return manifest


def _whole(facts: dict[str, Any], name: str) -> int:
    value = facts[name]
    if type(value) is not int or not 0 <= value <= FILE_BYTES:
        raise ValueError(f"{name} is no whole number from 0 to {FILE_BYTES}")
    return value


def _name(name: str) -> str:
    if not _PLAIN.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"{name[:80]!r} is no plain name of a file")
    return name


def _hash(facts: dict[str, Any]) -> str:
    if not _SHA256.fullmatch(facts["sha256"]):
        raise ValueError("sha256 is no SHA-256 in hexadecimal")
    return str(facts["sha256"])


def _check_size(file: Path, size: int) -> None:
    """Raise FileNotFoundError or ValueError unless this is a plain file of that size; a link is none."""
    try:
        facts = file.lstat()
    except (OSError, ValueError):
        raise FileNotFoundError(f"{file.parent.name} holds no {file.name}; copy the whole bundle again") from None
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError(f"{file.name} of {file.parent.name} is no plain file; copy the bundle again, links followed (cp -L)")
    if facts.st_size != size:
        raise ValueError(f"{file.name} has {facts.st_size:,} bytes, not {size:,}; copy the bundle again")


def _keeps_weights_elsewhere(graph: Path) -> bool:
    """True if an ONNX file refers to weights in other files.

    Such a tensor has an entry with the key `location`, a protobuf string; the byte before a string is the end of its length.
    """
    with graph.open("rb") as file:
        if not graph.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            at = content.find(_ELSEWHERE)
            while at >= 0:
                if at and content[at - 1] in (0, len(_ELSEWHERE)):  # 0 ends a length that was padded
                    return True
                at = content.find(_ELSEWHERE, at + 1)
    return False


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
