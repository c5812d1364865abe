"""An encrypted store in one file: SQLite holds records that are sealed one by one, and their key only wrapped.

The data key is random and never lies in the file in the clear: it is sealed with a key from the system's keyring or from a
passphrase (`privacy.wrapping`). A record opens only as the table, id and version that it was put as. Readable without the key are
names of tables, ids, how many records there are and their size in steps of 64 bytes: give ids that say nothing. An old copy of the
whole file that is put back opens, and nothing tells that it is old.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from autoglm_lab import atomic
from autoglm_lab.edge.privacy.nonces import BOUND, RandomNonces
from autoglm_lab.edge.privacy.padding import pad, unpad
from autoglm_lab.edge.privacy.sealer import KEY_BYTES, Label, Sealer
from autoglm_lab.edge.privacy.wrapping import KeyEntry, Passphrase, Protection

APPLICATION, FORMAT = 0x41474C56, 1  # written into the head of the file; the first says that it is a vault
BUSY_S = 5.0  # to wait for another process that writes
_SQLITE, _PAGE, _PAGES = b"SQLite format 3\0", slice(16, 18), slice(28, 32)  # where the head holds size and number of pages
_SCHEMA = """
CREATE TABLE vault (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE record (tbl TEXT, id TEXT, version INTEGER NOT NULL, envelope BLOB NOT NULL, PRIMARY KEY (tbl, id)) WITHOUT ROWID;
"""
_PUT = "INSERT INTO record VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version, envelope = excluded.envelope"


class Vault:
    """Sealed records by table and id. Open one with `Vault.open`; several processes and threads may use one file.

    Every method raises ValueError for a file that is damaged, locked by another process for more than 5 seconds, or whose key
    another process changed.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, key: Protection) -> None:
        self.path, self._connection, self._key = path, connection, key
        self._lock = threading.RLock()
        self._entry: KeyEntry | None = None
        self._sealer: Sealer | None = None

    @classmethod
    def open(cls, path: Path | str, key: Protection) -> Vault:
        """Open a vault with a key of 32 bytes or a `Passphrase`; where there is no file yet, begin one.

        ValueError, each with its reason: a wrong key or kind of key, a file of a newer version, one that was cut or is damaged, and
        what is no vault. NotWrittenError where nothing can be written.
        """
        place = Path(path)
        if not isinstance(key, Passphrase) and len(key) != KEY_BYTES:
            raise ValueError(f"the key has {len(key)} bytes; a vault opens with {KEY_BYTES} bytes or a Passphrase")
        if not place.exists():
            atomic.check_file(place)
            with atomic.lock(place):
                if not place.exists():  # no other process was faster
                    _create(place, key)
        _check_head(place)
        vault = cls(place, _connect(place), key)
        try:
            with vault._transaction():
                pass
        except BaseException:
            vault.close()
            raise
        return vault

    def put(self, table: str, id: str, data: bytes) -> None:
        """Store a record in place of the one of that id."""
        with self._transaction(write=True) as sealer:
            version = self._next_version()
            self._connection.execute(_PUT, (table, id, version, sealer.seal(pad(data), Label(table, id, version))))

    def get(self, table: str, id: str) -> bytes:
        """Read a record. KeyError when there is none, ValueError when it was changed or is another record's."""
        with self._transaction() as sealer:
            row = self._connection.execute("SELECT version, envelope FROM record WHERE tbl = ? AND id = ?", (table, id)).fetchone()
        if row is None:
            raise KeyError(f"{self.path.name} holds no {table}/{id}")
        return unpad(sealer.open(row[1], Label(table, id, row[0])))

    def ids(self, table: str) -> list[str]:
        """Ids of a table's records, in order; none for a table that has no record."""
        with self._transaction():
            return [id for (id,) in self._connection.execute("SELECT id FROM record WHERE tbl = ? ORDER BY id", (table,))]

    def delete(self, table: str, id: str) -> bool:
        """Delete a record; False when there was none. Its envelope stays in the log of the file until `purge`."""
        with self._transaction(write=True):
            return self._connection.execute("DELETE FROM record WHERE tbl = ? AND id = ?", (table, id)).rowcount > 0

    def purge(self) -> None:
        """Remove from the disk what was deleted or replaced: free pages and log are written anew. Copies of the file keep it.

        ValueError while another process reads or writes: then some of it is still there.
        """
        with self._lock, _reasons(self.path):
            self._truncate_log()
            self._connection.execute("VACUUM")
            self._truncate_log()

    def rotate(self, key: Protection | None = None) -> None:
        """Seal every record with a new data key, wrapped by `key` if one is given, and purge what the old one sealed.

        All records or none: one that does not open leaves everything as it was (ValueError).
        """
        with self._lock:
            with self._transaction(write=True) as sealer:
                assert self._entry is not None
                rows = self._connection.execute("SELECT tbl, id, version, envelope FROM record").fetchall()
                data_key, first = secrets.token_bytes(KEY_BYTES), self._version() - len(rows)  # each of them counts as sealed
                entry = KeyEntry.wrap(data_key, (self._entry.key_id + 1) % 256, first, key or self._key)
                successor = Sealer({entry.key_id: data_key})
                for table, id, version, envelope in rows:
                    label = Label(table, id, version)
                    self._connection.execute(_PUT, (table, id, version, successor.seal(sealer.open(envelope, label), label)))
                self._set("key", json.dumps(entry))
            self._key, self._entry, self._sealer = key or self._key, entry, successor
            self.purge()

    def close(self) -> None:
        """Close the file; the vault cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _transaction(self, write: bool = False) -> Iterator[Sealer]:
        """One transaction, with the sealer of the key that the file has now. Taken back when anything raises."""
        with self._lock, _reasons(self.path):
            self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield self._unwrap()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite takes some failures back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def _unwrap(self) -> Sealer:
        entry = KeyEntry.read(self._value("key"), self.path.name)
        if self._sealer is None or entry != self._entry:
            data_key = entry.unwrap(self.path.name, self._key)
            n_nonces = max(0, self._version() - entry.first)
            self._entry, self._sealer = entry, Sealer({entry.key_id: data_key}, nonces=lambda: RandomNonces(n_nonces))
        return self._sealer

    def _value(self, name: str) -> Any:
        row = self._connection.execute("SELECT value FROM vault WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise ValueError(f"{self.path.name} lacks its {name}; it is damaged")
        return row[0]

    def _set(self, name: str, value: Any) -> None:
        self._connection.execute("UPDATE vault SET value = ? WHERE name = ?", (value, name))

    def _version(self) -> int:
        return int(self._value("version"))

    def _next_version(self) -> int:
        """Count up for the whole file, so that no record ever has a version again, even after it was deleted."""
        assert self._entry is not None
        version = self._version() + 1
        if version - self._entry.first > BOUND:
            raise ValueError(f"{BOUND:,} records were sealed with the key of {self.path.name}, which is its bound; call rotate()")
        self._set("version", version)
        return version

    def _truncate_log(self) -> None:
        busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise ValueError(f"another process reads {self.path.name}: some deleted records are still there; purge again later")


def _create(place: Path, key: Protection) -> None:
    """Write an empty vault, whole or not at all."""
    entry = KeyEntry.wrap(secrets.token_bytes(KEY_BYTES), 0, 0, key)
    with atomic.file(place) as part:
        part.touch(0o600)
        with closing(sqlite3.connect(part, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.executescript(_SCHEMA)
            connection.executemany("INSERT INTO vault VALUES (?, ?)", [("key", json.dumps(entry)), ("version", 0)])


def _connect(place: Path) -> sqlite3.Connection:
    with _reasons(place):
        address = f"{place.absolute().as_uri()}?mode=rw"  # never begin a file that is gone by now
        connection = sqlite3.connect(address, BUSY_S, isolation_level=None, check_same_thread=False, uri=True)
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
    return connection


def _check_head(place: Path) -> None:
    """Say what is wrong with a file before its key is tried. ValueError for no vault, a newer one, and one that was cut."""
    if not place.is_file():
        raise ValueError(f"{place} is no file; give the name of a vault, or a new name")
    head, size, expected = _read_head(place)
    if not head:
        raise ValueError(f"{place.name} is empty: it was cut, or is no vault; delete it to begin a new one")
    if not head.startswith(_SQLITE[: len(head)]) or (len(head) == 100 and head[68:72] != APPLICATION.to_bytes(4, "big")):
        raise ValueError(f"{place.name} is no vault of autoglm-lab; give another name")
    for _ in range(3):  # while another process writes its log back, the head may be ahead of the file
        if size < expected:
            time.sleep(0.1)
            head, size, expected = _read_head(place)
    if len(head) < 100 or size < expected:
        raise ValueError(f"{place.name} was cut: it has {size:,} of {expected:,} bytes; take a backup")
    if (version := int.from_bytes(head[60:64], "big")) > FORMAT:
        raise ValueError(f"{place.name} has format {version}, this package reads up to {FORMAT}; install a newer autoglm-lab")


def _read_head(place: Path) -> tuple[bytes, int, int]:
    """First 100 bytes of a file, its size, and the size that they name."""
    with place.open("rb") as file:
        head, size = file.read(100), os.fstat(file.fileno()).st_size
    page = int.from_bytes(head[_PAGE], "big")
    return head, size, (65536 if page == 1 else page) * int.from_bytes(head[_PAGES], "big")


@contextmanager
def _reasons(place: Path) -> Iterator[None]:
    """Say in one line what SQLite refused."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise ValueError(f"{place.name} is closed; open it again") from None
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise ValueError(f"another process uses {place.name} and did not end in {BUSY_S:g} s; try again when it has") from None
        raise ValueError(f"{place.name} cannot be used: {error}") from None
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{place.name} is damaged ({error}); take a backup") from None
