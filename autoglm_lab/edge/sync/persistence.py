"""A store in a file, beside a high-water mark that no backup may hold: it tells an old backup from the current data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from autoglm_lab import atomic
from autoglm_lab.edge.sync.framing import pack, pack_vector, unpack, unpack_vector
from autoglm_lab.edge.sync.message import Changes
from autoglm_lab.edge.sync.store import Store
from autoglm_lab.edge.sync.varint import ByteReader, varint
from autoglm_lab.edge.sync.version_vector import NOTHING

CHECKSUM_BYTES = 8


@dataclass(frozen=True)
class HighWaterMark:
    """The number of a device and of its last write, kept where backups do not look (Android: `getNoBackupFilesDir`)."""

    replica: int
    counter: int


def high_water_mark(store: Store) -> HighWaterMark:
    """The mark that belongs to a store now."""
    return HighWaterMark(store.replica, store.vector[store.replica])


def dump(store: Store) -> bytes:
    """Turn a store into bytes: its data, the members and their vectors; a checksum in front."""
    everything = Changes(store.replica, NOTHING, store.vector, store.entries(), store.floor)
    members = [varint(member) + pack_vector(vector) for member, vector in sorted(store.peer_vectors.items())]
    former = [varint(member) for member in sorted(store.former_members)]
    parts = [bytes([store.needs_new_id]), varint(len(members)), *members, varint(len(former)), *former, pack(everything)]
    return _checksum(b"".join(parts)) + b"".join(parts)


def load(data: bytes, mark: HighWaterMark | None) -> Store:
    """Build a store from its bytes. ValueError for bytes that were cut or changed.

    Unless the mark of the device is there and counts no write that the data lack, they are an old copy, and the store needs a new
    number before it writes: dots of lost writes would be given to new ones, which peers then take for known.
    """
    body = data[CHECKSUM_BYTES:]
    if not body or _checksum(body) != data[:CHECKSUM_BYTES]:
        raise ValueError(f"these {len(data):,} bytes are no store, or a damaged one; take the last backup")
    reader = ByteReader(body)
    needs_new_id = bool(reader.take(1)[0])
    peer_vectors = {reader.varint(): unpack_vector(reader) for _ in range(reader.varint())}
    former = {reader.varint() for _ in range(reader.varint())}
    everything = unpack(reader.take(reader.n_left))
    assert isinstance(everything, Changes)  # the checksum says that `dump` wrote it
    store = Store(everything.sender)
    store.take_over(everything)
    store.peer_vectors, store.former_members = peer_vectors, former
    own = high_water_mark(store)
    is_current = mark is not None and mark.replica == own.replica and mark.counter <= own.counter
    store.needs_new_id = needs_new_id or not is_current
    return store


def save(store: Store, path: Path, mark_path: Path) -> None:
    """Write a store, then its mark; a write counts as done, and may be sent, after both.

    In this order a crash in between leaves a mark that is too low, which does no harm: what it lacks nobody has met.
    """
    with atomic.file(path) as part:
        part.write_bytes(dump(store))
    mark = high_water_mark(store)
    atomic.write_text(mark_path, f"{mark.replica} {mark.counter}\n")


def read(path: Path, mark_path: Path) -> Store:
    """Read a store and judge by its mark; a mark that is missing or damaged vouches for nothing. ValueError as `load`."""
    try:
        replica, counter = mark_path.read_text("utf-8").split()
        mark = HighWaterMark(int(replica), int(counter))
    except (OSError, ValueError):
        mark = None
    return load(path.read_bytes(), mark)


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM_BYTES).digest()
