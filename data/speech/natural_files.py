"""The files of the natural voices: clips end to end as Ogg-Opus, and `natural.json`, which says where each of them is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from autoglm_lab.phone.speech import KEPT_OUT_NATURAL, SAMPLE_RATE_HZ, set_level

NUMBERS_PER_FILE = 500  # clips 0 to 499 are in the first files, so that what is packed later leaves them as they are
GAP_S, LEVEL_DBFS, COMPRESSION = 0.25, -20.0, 0.98  # as in make_bank.py
HEART = "heart"
COLUMNS = ("number", "voice", "lang", "kind", "slots", "start", "samples", "text")
SERIAL = 18  # of every Ogg stream: the library draws one by the clock, and no two files would be the same
_CRC_POLYNOMIAL = 0x04C11DB7


def pack(clips: Path, out: Path, limit_bytes: int) -> dict[str, Any]:
    """Write the clips of a folder to `natural-*.opus` and `natural.json` in `out`; returns the files that were written, with facts.

    Files of numbers of which the folder has no clip stay as they are. `limit_bytes` is what all files in `out` may take together.
    Held-out clips are written first; of the others those with the lowest numbers that there is room for. ValueError for a training
    clip in a voice that is kept out.
    """
    index = out / "natural.json"
    groups = list(_groups(_read_lines(clips)))
    kept = json.loads(index.read_text("utf-8"))["files"] if index.exists() else {}
    for name, _, _ in groups:
        kept.pop(name, None)
        (out / name).unlink(missing_ok=True)
    index.unlink(missing_ok=True)
    kept_bytes = sum(len(_entry_as_json(name, entry).encode()) for name, entry in kept.items())
    room = -kept_bytes + limit_bytes - sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    packed: dict[str, Any] = {}
    for name, facts, lines in groups:
        entry = {**facts, "clips": _write(out / name, clips, lines)}
        size = (out / name).stat().st_size + len(_entry_as_json(name, entry).encode()) + 100
        if size > room:
            lines = lines[: int(0.97 * len(lines) * max(0, room) / size)]
            (out / name).unlink()
            if not lines:
                break
            entry = {**facts, "clips": _write(out / name, clips, lines)}
            size = (out / name).stat().st_size + len(_entry_as_json(name, entry).encode()) + 100
        packed[name] = entry
        room -= size
    blocks = ",\n".join(_entry_as_json(name, entry) for name, entry in sorted((kept | packed).items()))
    index.write_text(f'{{"columns": {json.dumps(COLUMNS)}, "files": {{\n{blocks}}}}}\n', "utf-8")
    return packed


def _read_lines(clips: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and facts of every finished clip, in the order of their names."""
    for path in sorted(clips.glob("*.json")):
        line = json.loads(path.read_text("utf-8"))
        if not line["held_out"] and not KEPT_OUT_NATURAL.isdisjoint(line["voice"].split("+")):
            raise ValueError(
                f"{path} is a training clip in {line['voice']}, and {', '.join(sorted(KEPT_OUT_NATURAL))} are kept out"
            )
        yield path.stem, line


Group = tuple[str, dict[str, Any], Sequence[tuple[str, dict[str, Any]]]]


def _groups(lines: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[Group]:
    """File name, facts and lines of each file: the other engine, the held-out voices, and then those of training."""
    everything = list(lines)
    parts = (
        ("natural-heart", "hibari", True, [each for each in everything if each[1]["voice"] == HEART]),
        ("natural-held-out", "kokoro", True, [each for each in everything if each[1]["held_out"] and each[1]["voice"] != HEART]),
        ("natural", "kokoro", False, [each for each in everything if not each[1]["held_out"]]),
    )
    for stem, engine, held_out, mine in parts:
        for place in sorted({each[1]["number"] // NUMBERS_PER_FILE for each in mine}):
            lines = [each for each in mine if each[1]["number"] // NUMBERS_PER_FILE == place]
            yield f"{stem}-{place:02d}.opus", {"engine": engine, "held_out": held_out}, lines


def _write(path: Path, clips: Path, lines: Sequence[tuple[str, dict[str, Any]]]) -> list[list[Any]]:
    """Write one file; returns its rows of the index."""
    gap = np.zeros(round(GAP_S * SAMPLE_RATE_HZ), np.float32)
    pieces, rows, start = [gap], [], gap.size
    for name, line in lines:
        wave = set_level(np.load(clips / f"{name}.npy").astype(np.float32) / 32768, LEVEL_DBFS)
        said = line["said"]
        facts = (line["number"], line["voice"], said["lang"], said["kind"], dict(said["slots"]), start, wave.size, said["text"])
        rows.append(list(facts))
        pieces += [wave, gap]
        start += wave.size + gap.size
    soundfile.write(path, np.concatenate(pieces), SAMPLE_RATE_HZ, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
    path.write_bytes(with_serial(path.read_bytes()))
    return rows


def _entry_as_json(name: str, entry: dict[str, Any]) -> str:
    head = json.dumps({key: value for key, value in entry.items() if key != "clips"})[1:-1]
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in entry["clips"])
    return f'{json.dumps(name)}: {{{head}, "clips": [\n{rows}]}}'


def with_serial(ogg: bytes, serial: int = SERIAL) -> bytes:
    """An Ogg stream under another serial number, its checksums made anew (RFC 3533, section 6)."""
    content, at = bytearray(ogg), 0
    while at < len(content):
        segments = content[at + 26]
        end = at + 27 + segments + sum(content[at + 27 : at + 27 + segments])
        content[at + 14 : at + 18] = serial.to_bytes(4, "little")
        content[at + 22 : at + 26] = bytes(4)
        content[at + 22 : at + 26] = _checksum(content[at:end]).to_bytes(4, "little")
        at = end
    return bytes(content)


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (_CRC_POLYNOMIAL if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_TABLE = _table()


def _checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _TABLE[(value >> 24) ^ byte]
    return value
