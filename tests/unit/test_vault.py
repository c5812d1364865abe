"""The vault: what goes in comes out, only with the key, whole or not at all, and what was purged is gone from the disk."""

import multiprocessing
import os
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoglm_lab.edge import vault as module
from autoglm_lab.edge.privacy.sealer import OVERHEAD
from autoglm_lab.edge.privacy.wrapping import Passphrase, keyring_key
from autoglm_lab.edge.vault import Vault
from autoglm_lab.marks import NotWrittenError

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
WORDS = Passphrase("correct horse battery", cost=2**12)
SECRET = b"the doctor is at nine, bring the letter"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records.vault"


def on_disk(path):
    """All bytes of the vault's files."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


def envelopes(path):
    with closing(sqlite3.connect(path)) as connection:
        return {row[:2]: row[2] for row in connection.execute("SELECT tbl, id, envelope FROM record")}


def test_records_come_back_after_closing(path):
    with Vault.open(path, KEY) as vault:
        vault.put("chat", "1", SECRET)
        vault.put("chat", "2", b"")
        vault.put("chat", "1", SECRET * 2)
        vault.put("alarm", "1", b"\0" * 70)
    with Vault.open(path, KEY) as vault:
        assert vault.get("chat", "1") == SECRET * 2 and vault.get("chat", "2") == b"" and vault.get("alarm", "1") == b"\0" * 70
        assert vault.ids("chat") == ["1", "2"] and vault.ids("none") == []
        assert vault.delete("chat", "1") and not vault.delete("chat", "1")
        for missing in (("chat", "1"), ("alarm", "2")):
            with pytest.raises(KeyError, match="holds no"):
                vault.get(*missing)
    with pytest.raises(ValueError, match="is closed"):
        vault.get("chat", "2")
    assert list(path.parent.iterdir()) == [path] and path.stat().st_mode & 0o077 == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.none() | st.binary(max_size=200)), max_size=12))
def test_a_vault_is_a_dictionary_that_lasts(tmp_path_factory, steps):
    path, expected = tmp_path_factory.mktemp("vault") / "v", {}
    for number, (table, id, data) in enumerate(steps):
        with Vault.open(path, KEY) as vault:
            if number % 4 == 3:
                vault.rotate()
            if data is None:
                assert vault.delete(table, id) is (expected.pop((table, id), None) is not None)
            else:
                vault.put(table, id, data)
                expected[table, id] = data
    if steps:
        with Vault.open(path, KEY) as vault:
            assert {(t, i): vault.get(t, i) for t in "ab" for i in vault.ids(t)} == expected


# Keys


def test_a_passphrase_opens_it_and_nothing_of_it_lies_in_the_file(path):
    with Vault.open(path, WORDS) as vault:
        vault.put("chat", "1", SECRET)
        data_key = next(iter(vault._sealer._keys.values()))
    for plain in (SECRET, data_key, data_key.hex().encode(), WORDS.words.encode()):
        assert plain not in on_disk(path)
    with Vault.open(path, Passphrase(WORDS.words)) as vault:  # the file knows its own cost
        assert vault.get("chat", "1") == SECRET
    assert "horse" not in repr(WORDS)


@pytest.mark.parametrize(
    ("made_with", "key", "reason"),
    [
        (KEY, OTHER, "wrong key for records"),
        (WORDS, Passphrase("correct horse batterz"), "wrong passphrase for records"),
        (KEY, WORDS, "opens with a key of 32 bytes"),
        (WORDS, KEY, "opens with a passphrase"),
        (KEY, KEY[:31], "31 bytes"),
        (KEY[:5] + b"\0" + KEY[6:], KEY[:5] + b"\0" + OTHER[6:], "wrong key"),
    ],
)
def test_another_key_is_refused_and_changes_nothing(path, made_with, key, reason):
    with Vault.open(path, made_with) as vault:
        vault.put("chat", "1", SECRET)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=reason):
        Vault.open(path, key)
    assert path.read_bytes() == before
    with Vault.open(path, made_with) as vault:
        assert vault.get("chat", "1") == SECRET


def test_passphrases_and_costs_that_protect_nothing_are_refused(path):
    with pytest.raises(ValueError, match="7 letters"):
        Passphrase("letmein")
    for cost in (2**11, 3 * 2**12, 2**19):
        with pytest.raises(ValueError, match="cost of scrypt"):
            Passphrase("long enough", cost)
    Vault.open(path, WORDS).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE vault SET value = replace(value, '4096', '16') WHERE name = 'key'")
    with pytest.raises(ValueError, match="cost of scrypt is 16"):
        Vault.open(path, WORDS)


class FakeRing:
    """A keyring in memory."""

    def __init__(self):
        self.entries = {}

    def get_password(self, service, name):
        return self.entries.get((service, name))

    def set_password(self, service, name, text):
        self.entries[service, name] = text


def test_a_keyring_keeps_the_key_and_the_file_does_not(path):
    pytest.importorskip("keyring")
    ring = FakeRing()
    key = keyring_key("vault", backend=ring)
    assert key == keyring_key("vault", backend=ring) != keyring_key("another", backend=ring) and len(key) == 32
    with Vault.open(path, key) as vault:
        vault.put("chat", "1", SECRET)
    assert key not in on_disk(path) and key.hex().encode() not in on_disk(path)
    with Vault.open(path, keyring_key("vault", backend=ring)) as vault:
        assert vault.get("chat", "1") == SECRET
    ring.entries["autoglm-lab", "vault"] = "no key"
    with pytest.raises(ValueError, match="keeps no key of 32 bytes under autoglm-lab/vault"):
        keyring_key("vault", backend=ring)


def test_a_system_without_a_keyring_says_so():
    fail = pytest.importorskip("keyring.backends.fail")
    with pytest.raises(ValueError, match=r"NoKeyringError.*use a passphrase"):
        keyring_key("vault", backend=fail.Keyring())


# Files that are none


@pytest.fixture
def whole(path):
    """A vault of several pages."""
    with Vault.open(path, KEY) as vault:
        for number in range(20):
            vault.put("chat", f"{number}", SECRET * 20)
    return path


def test_a_file_that_was_cut_says_so(whole):
    data = whole.read_bytes()
    assert len(data) > 4 * 4096
    for end in (1, 50, 99, 100, 4095, 4096, len(data) // 2, len(data) - 1):
        whole.write_bytes(data[:end])
        with pytest.raises(ValueError, match="was cut"):
            Vault.open(whole, KEY)
    whole.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        Vault.open(whole, KEY)


@pytest.mark.parametrize("key", [KEY, OTHER, WORDS])
def test_a_newer_version_does_not_look_like_a_wrong_key(whole, key):
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("PRAGMA user_version = 2")
    before = whole.read_bytes()
    with pytest.raises(ValueError, match="format 2, this package reads up to 1; install a newer"):
        Vault.open(whole, key)
    assert whole.read_bytes() == before


def test_what_is_no_vault_is_refused_and_left_alone(path, tmp_path):
    other = tmp_path / "notes.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE note (text)")
    path.write_bytes(b"a letter to my mother, " * 100)
    for place in (other, path):
        before = place.read_bytes()
        with pytest.raises(ValueError, match="is no vault"):
            Vault.open(place, KEY)
        assert place.read_bytes() == before
    with pytest.raises(ValueError, match="is no file"):
        Vault.open(tmp_path, KEY)


def test_a_damaged_page_says_so_and_the_others_still_open(whole):
    data = bytearray(whole.read_bytes())
    data[-4096:] = bytes(4096)
    whole.write_bytes(bytes(data))
    with Vault.open(whole, KEY) as vault:
        outcomes = set()
        for number in range(20):
            try:
                outcomes.add(vault.get("chat", f"{number}") == SECRET * 20)
            except ValueError as error:
                outcomes.add(str(error).split(" (")[0])
        assert outcomes == {True, "records.vault is damaged"}


@pytest.mark.parametrize("value", ["", "[]", "{}", '[0, 0, "zz", 0, ""]', '[0, 0, "", 0, "00"]', "[1, 2, 3]"])
def test_a_damaged_key_entry_says_so(path, value):
    Vault.open(path, KEY).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE vault SET value = ? WHERE name = 'key'", (value,))
    with pytest.raises(ValueError, match="key entry"):
        Vault.open(path, KEY)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM vault")
    with pytest.raises(ValueError, match="lacks its key"):
        Vault.open(path, KEY)


# Changes by somebody without the key


def edit(path, statement, *values):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET envelope = (SELECT envelope FROM record WHERE id = '2') WHERE id = '1'",
        "UPDATE record SET id = '3' WHERE id = '1'; UPDATE record SET id = '1' WHERE id = '2'",
        "UPDATE record SET version = version + 1 WHERE id = '1'",
        "UPDATE record SET envelope = substr(envelope, 1, length(envelope) - 1) WHERE id = '1'",
        "UPDATE record SET envelope = x'' WHERE id = '1'",
    ],
)
def test_records_cannot_be_swapped_renamed_or_cut(path, statement):
    with Vault.open(path, KEY) as vault:
        vault.put("chat", "1", SECRET)
        vault.put("chat", "2", b"another")
    for part in statement.split("; "):
        edit(path, part)
    with Vault.open(path, KEY) as vault, pytest.raises(ValueError, match="chat/1"):
        vault.get("chat", "1")


def test_an_old_version_of_a_record_does_not_come_back(path):
    """Neither under the version that is due, nor after it was deleted and put anew."""
    with Vault.open(path, KEY) as vault:
        vault.put("chat", "1", b"pay Mum")
        old = envelopes(path)["chat", "1"]
        vault.delete("chat", "1")
        vault.put("chat", "1", b"pay nobody")
        edit(path, "UPDATE record SET envelope = ?", old)
        with pytest.raises(ValueError, match="chat/1, version 2"):
            vault.get("chat", "1")


def test_lengths_show_only_steps(path):
    with Vault.open(path, KEY) as vault:
        for number in range(64):
            vault.put("chat", f"{number}", b"x" * number)
    assert {len(sealed) for sealed in envelopes(path).values()} == {OVERHEAD + 64}


# Gone from the disk


def test_what_was_deleted_stays_in_the_log_until_it_is_purged(path):
    with Vault.open(path, KEY) as vault:
        for number in range(30):
            vault.put("chat", f"{number}", SECRET * 30)
        vault.put("chat", "kept", b"kept")
        sealed = envelopes(path)
        for number in range(29):
            vault.delete("chat", f"{number}")
        vault.put("chat", "29", b"replaced")
        parts = {each: sealed["chat", each][40:72] for each in map(str, range(30))}
        assert any(part in on_disk(path) for part in parts.values()), "deleting is not removing"
        vault.purge()
        left = on_disk(path)
        assert not any(part in left for part in parts.values()) and SECRET not in left
        assert sealed["chat", "kept"] in left and vault.get("chat", "kept") == b"kept" and vault.get("chat", "29") == b"replaced"
        assert path.stat().st_size < 5 * 4096, "free pages are given back"


def test_purging_beside_a_reader_says_that_not_all_is_gone(path, monkeypatch):
    monkeypatch.setattr(module, "BUSY_S", 0.1)
    with Vault.open(path, KEY) as vault, closing(sqlite3.connect(path, isolation_level=None)) as reader:
        vault.put("chat", "1", SECRET)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM record").fetchall()
        vault.delete("chat", "1")
        with pytest.raises(ValueError, match=r"another process (reads|uses) records\.vault"):
            vault.purge()
        reader.execute("COMMIT")
        vault.purge()
        assert vault.ids("chat") == []


# Rotation


def test_rotation_seals_everything_anew_and_leaves_nothing_of_the_old_key(path):
    with Vault.open(path, KEY) as vault:
        for number in range(5):
            vault.put("chat", f"{number}", SECRET + bytes([number]))
        before = envelopes(path)
        vault.rotate()
        after = envelopes(path)
        assert before.keys() == after.keys() and not set(before.values()) & set(after.values())
        assert {sealed[1] for sealed in after.values()} == {1} and {sealed[1] for sealed in before.values()} == {0}
        assert not any(sealed[14:] in on_disk(path) for sealed in before.values())
        vault.rotate(WORDS)
        assert vault.get("chat", "4") == SECRET + b"\4"
    with pytest.raises(ValueError, match="opens with a passphrase"):
        Vault.open(path, KEY)
    with Vault.open(path, WORDS) as vault:
        assert [vault.get("chat", f"{number}")[-1] for number in range(5)] == list(range(5))


def test_a_rotation_that_meets_a_changed_record_changes_nothing(path):
    with Vault.open(path, KEY) as vault:
        vault.put("chat", "1", SECRET)
        vault.put("chat", "2", SECRET)
        edit(path, "UPDATE record SET version = 9 WHERE id = '2'")
        before = envelopes(path)
        with pytest.raises(ValueError, match="chat/2, version 9"):
            vault.rotate()
        assert envelopes(path) == before and vault.get("chat", "1") == SECRET
    with Vault.open(path, KEY) as vault:
        assert vault.get("chat", "1") == SECRET


def test_a_key_that_sealed_as_much_as_it_may_is_rotated(path, monkeypatch):
    monkeypatch.setattr(module, "BOUND", 4)
    with Vault.open(path, KEY) as vault:
        for number in range(4):
            vault.put("chat", f"{number % 2}", bytes([number]))
        with pytest.raises(ValueError, match=r"call rotate\(\)"):
            vault.put("chat", "0", b"five")
        assert vault.get("chat", "0") == b"\2"
        vault.rotate()
        vault.put("chat", "0", b"five")
        vault.put("chat", "0", b"six")
        with pytest.raises(ValueError, match=r"call rotate\(\)"):
            vault.put("chat", "0", b"two were sealed by the rotation")


def test_another_process_that_rotates_is_followed_unless_it_changed_the_key(path):
    with Vault.open(path, KEY) as mine, Vault.open(path, KEY) as its:
        mine.put("chat", "1", SECRET)
        its.rotate()
        assert mine.get("chat", "1") == SECRET
        mine.put("chat", "2", b"after")
        assert its.get("chat", "2") == b"after"
        its.rotate(OTHER)
        with pytest.raises(ValueError, match="wrong key"):
            mine.put("chat", "3", b"lost?")
        assert its.ids("chat") == ["1", "2"]


# Several at once


def _put_many(path, name, count):
    for number in range(count):
        with Vault.open(path, KEY) as vault:
            vault.put("chat", f"{name}{number}", f"{name}{number}".encode())


def test_two_processes_begin_and_fill_one_vault(path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_put_many, args=(path, name, 15)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with Vault.open(path, KEY) as vault:
        assert len(vault.ids("chat")) == 30 and all(vault.get("chat", id) == id.encode() for id in vault.ids("chat"))
    with closing(sqlite3.connect(path)) as connection:
        assert len(set(connection.execute("SELECT version FROM record"))) == 30
    assert len({sealed[2:14] for sealed in envelopes(path).values()}) == 30


def _die_in_the_middle(path):
    vault = Vault.open(path, KEY)
    vault.put("chat", "2", SECRET)
    with vault._transaction(write=True):
        vault._connection.execute("DELETE FROM record")
        vault._set("version", 99)
        os._exit(7)


def test_a_process_that_dies_in_the_middle_leaves_what_was_before(path):
    with Vault.open(path, KEY) as vault:
        vault.put("chat", "1", SECRET)
    process = multiprocessing.get_context("spawn").Process(target=_die_in_the_middle, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == 7
    with Vault.open(path, KEY) as vault:
        assert vault.ids("chat") == ["1", "2"] and vault.get("chat", "2") == SECRET
        vault.put("chat", "3", SECRET)
        assert vault._version() == 3


def test_threads_share_a_vault(path):
    with Vault.open(path, KEY) as vault:
        threads = [
            threading.Thread(target=lambda name=name: [vault.put("chat", f"{name}{n}", b"x") for n in range(20)]) for name in "abc"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(vault.ids("chat")) == 60


def test_a_writer_that_does_not_end_is_named(path, monkeypatch):
    monkeypatch.setattr(module, "BUSY_S", 0.1)
    with Vault.open(path, KEY) as vault, closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(ValueError, match=r"another process uses records\.vault"):
            vault.put("chat", "1", SECRET)
        writer.execute("ROLLBACK")
        vault.put("chat", "1", SECRET)


def test_nothing_is_begun_where_nothing_can_be_written(tmp_path):
    (tmp_path / "a file").write_text("x")
    with pytest.raises(NotWrittenError, match="is a file"):
        Vault.open(tmp_path / "a file" / "vault", KEY)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a file"]


def test_a_copy_in_the_middle_of_the_work_opens_or_says_why(path, tmp_path):
    """A backup without the log holds what was there when the log was last written back, never half of it."""
    with Vault.open(path, KEY) as vault:
        for number in range(10):
            vault.put("chat", f"{number}", SECRET)
        shutil.copy(path, tmp_path / "copy")
    with Vault.open(tmp_path / "copy", KEY) as copy:
        assert all(copy.get("chat", id) == SECRET for id in copy.ids("chat"))


# Beside a library


def test_beside_sqlcipher(path, tmp_path):
    """Both hide the data and refuse a wrong key; SQLCipher hides ids as well, and says less about what is wrong."""
    sqlcipher = pytest.importorskip("sqlcipher3")

    def connected(key):
        connection = sqlcipher.connect(str(tmp_path / "cipher"))
        connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
        return connection

    with closing(connected(KEY)) as connection:
        connection.execute("CREATE TABLE chat (id TEXT PRIMARY KEY, data BLOB)")
        connection.execute("INSERT INTO chat VALUES (?, ?)", ("doctor", SECRET))
        connection.commit()
    with Vault.open(path, KEY) as vault:
        vault.put("chat", "doctor", SECRET)
    theirs, ours = (tmp_path / "cipher").read_bytes(), on_disk(path)
    assert SECRET not in theirs and SECRET not in ours
    assert b"doctor" not in theirs and b"doctor" in ours, "ids are readable: give some that say nothing"
    with closing(connected(OTHER)) as connection, pytest.raises(sqlcipher.DatabaseError, match="not a database"):
        connection.execute("SELECT * FROM chat")
    with pytest.raises(ValueError, match="wrong key"):
        Vault.open(path, OTHER)
    with closing(connected(KEY)) as connection, Vault.open(path, KEY) as vault:
        assert connection.execute("SELECT data FROM chat").fetchone()[0] == SECRET == vault.get("chat", "doctor")
