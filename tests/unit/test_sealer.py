"""Sealing: published vectors through the code that seals, every change refused, no nonce twice whatever happens to the file."""

import json
import multiprocessing
import os
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.edge.privacy import nonces as counting
from autoglm_lab.edge.privacy.nonces import BLOCK, BOUND, NONCE_BYTES, CountedNonces, RandomNonces
from autoglm_lab.edge.privacy.padding import pad, padded_length, unpad
from autoglm_lab.edge.privacy.sealer import GCM, GCM_SIV, OVERHEAD, Label, Sealer, associated_data, decrypt, encrypt

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
LABEL = Label("chat", "7", 3)
GCM_TEXT = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
# (cipher, key, nonce, plaintext, associated data, ciphertext and tag)
VECTORS = {
    "SP 800-38D case 1": (GCM, "00" * 16, "00" * 12, "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
    "SP 800-38D case 2": (
        GCM,
        "00" * 16,
        "00" * 12,
        "00" * 16,
        "",
        "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
    ),
    "SP 800-38D case 4": (
        GCM,
        "feffe9928665731c6d6a8f9467308308",
        "cafebabefacedbaddecaf888",
        GCM_TEXT,
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
        "5bc94fbc3221a5db94fae95ae7121a47",
    ),
    "SP 800-38D case 14": (
        GCM,
        "00" * 32,
        "00" * 12,
        "00" * 16,
        "",
        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
    ),
    "SP 800-38D case 16": (
        GCM,
        "feffe9928665731c6d6a8f9467308308" * 2,
        "cafebabefacedbaddecaf888",
        GCM_TEXT,
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
    "Wycheproof aes_gcm 1": (
        GCM,
        "5b9604fe14eadba931b0ccf34843dab9",
        "028318abc1824029138141a2",
        "001d0c231287c1182784554ca3a21908",
        "",
        "26073cc1d851beff176384dc9896d5ff0a3ea7a5487cb5f7d70fb6c58d038554",
    ),
    "Wycheproof aes_gcm 2": (
        GCM,
        "5b9604fe14eadba931b0ccf34843dab9",
        "921d2507fa8007b7bd067d34",
        "001d0c231287c1182784554ca3a21908",
        "00112233445566778899aabbccddeeff",
        "49d8b9783e911913d87094d1f63cc7651e348ba07cca2cf04c618cb4d43a5b92",
    ),
    "RFC 8452, C.1, empty": (GCM_SIV, "01" + "00" * 15, "03" + "00" * 11, "", "", "dc20e2d83f25705bb49e439eca56de25"),
    "RFC 8452, C.1, 8 bytes": (
        GCM_SIV,
        "01" + "00" * 15,
        "03" + "00" * 11,
        "0100000000000000",
        "",
        "b5d839330ac7b786578782fff6013b815b287c22493a364c",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors(name):
    cipher, *rest = VECTORS[name]
    key, nonce, plaintext, associated, sealed = map(bytes.fromhex, rest)
    assert encrypt(cipher, key, nonce, plaintext, associated) == sealed
    assert decrypt(cipher, key, nonce, sealed, associated) == plaintext
    with pytest.raises(ValueError, match="tag does not fit"):
        decrypt(cipher, key, nonce, sealed[:-1] + bytes([sealed[-1] ^ 1]), associated)
    with pytest.raises(ValueError, match="tag does not fit"):
        decrypt(cipher, key, nonce, sealed, associated + b"\0")


@pytest.mark.parametrize(
    ("cipher", "key", "nonce", "reason"),
    [(3, KEY, bytes(12), "version 3"), (GCM, KEY[:31], bytes(12), "not 31 and 12"), (GCM, KEY, bytes(16), "not 32 and 16")],
)
def test_keys_nonces_and_ciphers_that_do_not_fit_are_refused(cipher, key, nonce, reason):
    for call in (encrypt, decrypt):
        with pytest.raises(ValueError, match=reason):
            call(cipher, key, nonce, b"text" * 8, b"")


@pytest.mark.parametrize("cipher", [GCM, GCM_SIV])
@given(text=st.binary(max_size=300), purpose=st.text(), record=st.text(), version=st.integers(0, 2**64 - 1))
def test_a_record_comes_back_as_it_was(cipher, text, purpose, record, version):
    sealer, label = Sealer({9: KEY}, cipher=cipher), Label(purpose, record, version)
    envelope = sealer.seal(text, label)
    assert sealer.open(envelope, label) == text
    assert envelope[:2] == bytes([cipher, 9]) and len(envelope) == OVERHEAD + len(text)


@pytest.mark.parametrize("cipher", [GCM, GCM_SIV])
def test_no_bit_can_be_changed_and_no_byte_cut(cipher):
    sealer = Sealer({1: KEY}, cipher=cipher)
    envelope = sealer.seal(b"meet at nine", LABEL)
    for bit in range(8 * len(envelope)):
        changed = bytearray(envelope)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="chat/7, version 3"):
            sealer.open(bytes(changed), LABEL)
    for end in range(len(envelope)):
        with pytest.raises(ValueError, match="chat/7, version 3"):
            sealer.open(envelope[:end], LABEL)


@pytest.mark.parametrize("other", [Label("chats", "7", 3), Label("chat", "8", 3), Label("chat", "7", 4), Label("cha", "t7", 3)])
def test_an_envelope_opens_only_as_the_record_that_it_is(other):
    sealer = Sealer({1: KEY, 2: KEY}, current=1)
    mine, its = sealer.seal(b"mine", LABEL), sealer.seal(b"another's", other)
    assert sealer.open(its, other) == b"another's"
    for envelope, label in ((mine, other), (its, LABEL)):  # two records swapped
        with pytest.raises(ValueError, match="does not open as"):
            sealer.open(envelope, label)
    relabelled = bytes([mine[0], 2]) + mine[2:]  # the same key under another id
    with pytest.raises(ValueError, match="does not open as"):
        sealer.open(relabelled, LABEL)


def test_the_ciphers_are_not_taken_for_each_other():
    envelope = Sealer({1: KEY}).seal(b"text", LABEL)
    with pytest.raises(ValueError, match="does not open as"):
        Sealer({1: KEY}).open(bytes([GCM_SIV]) + envelope[1:], LABEL)


labels = st.tuples(st.text(max_size=4), st.text(max_size=4), st.integers(0, 3), st.sampled_from([1, 2]), st.integers(0, 255))


@given(labels, labels)
def test_no_two_labels_are_encoded_alike(one, other):
    encoded = [associated_data(Label(*each[:3]), *each[3:]) for each in (one, other)]
    assert (encoded[0] == encoded[1]) == (one == other)


def test_rotation_opens_the_old_until_it_is_retired():
    sealer = Sealer({4: KEY})
    old = sealer.seal(b"old", LABEL)
    assert sealer.rotate(OTHER_KEY) == 5 == sealer.current and sealer.key_ids == (4, 5)
    assert sealer.open(old, LABEL) == b"old" and sealer.seal(b"new", LABEL)[1] == 5
    moved = sealer.reseal(old, LABEL)
    sealer.retire(4)
    assert sealer.open(moved, LABEL) == b"old"
    with pytest.raises(ValueError, match="sealed with key 4; there are 5"):
        sealer.open(old, LABEL)
    for key_id in (5, 6):
        with pytest.raises(ValueError, match="cannot be retired"):
            sealer.retire(key_id)


def test_another_key_opens_nothing_and_no_key_ends_at_a_zero_byte():
    cut = KEY[:5] + b"\0" + KEY[6:]
    same_start = KEY[:5] + b"\0" + OTHER_KEY[6:]
    envelope = Sealer({1: cut}).seal(b"text", LABEL)
    for key in (OTHER_KEY, same_start):
        with pytest.raises(ValueError, match="does not open as"):
            Sealer({1: key}).open(envelope, LABEL)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"keys": {}}, "0 keys"),
        ({"keys": {1: KEY}, "cipher": 7}, "cipher is 7"),
        ({"keys": {1: KEY}, "current": 2}, "current key is 2; there are 1"),
        ({"keys": {1: KEY[:16]}}, "key 1 has 16 bytes"),
        ({"keys": {256: KEY}}, "one byte"),
    ],
)
def test_a_sealer_that_cannot_be_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        Sealer(**options)
    with pytest.raises(ValueError, match="one byte"):
        Sealer({255: KEY}).rotate(OTHER_KEY)
    with pytest.raises(ValueError, match="0 to 2"):
        Label("chat", "7", -1)


def test_a_source_that_repeats_its_nonce_is_refused():
    sealer = Sealer({1: KEY}, nonces=lambda: lambda: bytes(NONCE_BYTES))
    sealer.seal(b"once", LABEL)
    with pytest.raises(ValueError, match="same nonce twice"):
        sealer.seal(b"twice", LABEL)


# Nonces


def test_a_million_random_nonces_are_all_different_and_counted():
    nonces = RandomNonces(used=5)
    assert len({nonces() for _ in range(10**6)}) == 10**6 and nonces.used == 10**6 + 5


def test_the_bound_of_a_key_is_kept_and_a_new_key_begins_anew():
    with pytest.raises(ValueError, match="rotate to a new key"):
        RandomNonces(used=BOUND)()
    with pytest.raises(ValueError, match="used is 5 and bound 4"):
        RandomNonces(used=5, bound=4)
    sealer = Sealer({1: KEY}, nonces=lambda: RandomNonces(bound=2))
    sealer.seal(b"", LABEL)
    sealer.seal(b"", LABEL)
    with pytest.raises(ValueError, match="rotate to a new key"):
        sealer.seal(b"", LABEL)
    sealer.rotate(OTHER_KEY)
    assert sealer.seal(b"", LABEL)


def some(path, count=3 * BLOCK // 2, **options):
    """Nonces of one opening."""
    nonces = CountedNonces(path, **options)
    return [nonces() for _ in range(count)]


@pytest.mark.parametrize("draw", [bytes, secrets.token_bytes])
def test_counted_nonces_do_not_come_again_after_a_restart(tmp_path, draw):
    every = [nonce for _ in range(4) for nonce in some(tmp_path / "count", draw=draw)]
    assert len(set(every)) == len(every) and {len(nonce) for nonce in every} == {NONCE_BYTES}
    assert int((tmp_path / "count").read_text()) == 4 * 2 * BLOCK


@pytest.mark.parametrize("stop", ["before the write", "after the write"])
def test_a_crash_while_the_count_is_written_repeats_nothing(tmp_path, monkeypatch, stop):
    path = tmp_path / "count"
    nonces = CountedNonces(path, draw=bytes)
    used = [nonces() for _ in range(BLOCK)]  # the next one has to be reserved

    def crash(part):
        if stop == "before the write" or part.is_dir():
            raise OSError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(counting, "_flush", crash)
        with pytest.raises(OSError, match="power"):
            nonces()
    after = some(path, draw=bytes)
    assert not set(used) & set(after)
    assert not set(after) & {nonces() for _ in range(BLOCK)}, "nor does who goes on after the failure"


def test_only_a_random_start_survives_a_backup_that_is_put_back(tmp_path):
    for draw, repeats in ((bytes, True), (secrets.token_bytes, False)):
        path = tmp_path / draw.__name__
        used = some(path, draw=draw)
        backup = path.read_bytes()
        used += some(path, draw=draw)
        path.write_bytes(backup)
        assert bool(set(used) & set(some(path, draw=draw))) is repeats


def _count(path, barrier, queue):
    barrier.wait(60)
    queue.put(some(path, 40 * BLOCK, draw=bytes))


def test_two_processes_count_apart(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue, barrier = context.Queue(), context.Barrier(2)
    processes = [context.Process(target=_count, args=(tmp_path / "count", barrier, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    every = [nonce for _ in processes for nonce in queue.get(timeout=60)]
    for process in processes:
        process.join()
    assert len(set(every)) == len(every) == 80 * BLOCK


def test_a_forked_process_does_not_count_on_from_where_its_parent_stands(tmp_path):
    nonces = CountedNonces(tmp_path / "count", draw=bytes)
    nonces()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, nonces())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, NONCE_BYTES) != nonces()


def test_a_count_that_reached_its_bound_or_is_none_is_refused(tmp_path):
    path = tmp_path / "count"
    nonces = CountedNonces(path, bound=3)
    assert len({nonces() for _ in range(3)}) == 3
    for source in (nonces, CountedNonces(path, bound=3)):
        with pytest.raises(ValueError, match="its bound; rotate"):
            source()
    for text in ("", "many", "-1", str(2**40)):
        path.write_text(text)
        with pytest.raises(ValueError, match="holds no count of nonces"):
            CountedNonces(path)
    with pytest.raises(ValueError, match="bound is 0"):
        CountedNonces(path, bound=0)


# Padding


@given(st.binary(max_size=400), st.integers(1, 130))
def test_padding_comes_off_again_and_shows_only_steps(message, step):
    padded = pad(message, step)
    assert unpad(padded) == message and len(padded) == padded_length(len(message), step)
    assert len(padded) % step == 0 and len(message) < len(padded) <= len(message) + step


@pytest.mark.parametrize("damaged", [b"", b"\0\0", b"text", b"text\x80\0\1"])
def test_what_carries_no_padding_is_refused(damaged):
    with pytest.raises(ValueError, match="no padding"):
        unpad(damaged)
    with pytest.raises(ValueError, match="step is 0"):
        padded_length(3, 0)


def test_sealed_requests_of_one_step_have_one_length():
    sealer = Sealer({1: KEY})
    texts = [json.dumps({"task": "open " + "x" * n}).encode() for n in range(40)]
    assert {len(sealer.seal(pad(text), LABEL)) for text in texts} == {OVERHEAD + 64}
