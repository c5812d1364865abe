"""An attacker who waits for a nonce that is used twice: under one keystream two messages give away each other.

AES-GCM adds a keystream to the message. Of two messages under one key and nonce the XOR of the ciphertexts is the XOR of the texts;
who guesses the one (a crib) reads the other. AES-GCM-SIV only tells then whether both are equal (RFC 8452).
"""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np

from autoglm_lab import atomic
from autoglm_lab.edge.privacy.nonces import BLOCK, NONCE_BYTES, CountedNonces, Draw
from autoglm_lab.edge.privacy.personas import request
from autoglm_lab.edge.privacy.sealer import GCM, KEY_BYTES, TAG_BYTES, encrypt
from autoglm_lab.phone.catalog import APPS, SETTINGS
from autoglm_lab.phone.phrasing import PHRASINGS
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import sample


def xor(one: bytes, other: bytes) -> bytes:
    r"""Exclusive or of two byte strings, as long as the shorter one.

    >>> xor(b"\x0f\xff", b"\x01")
    b'\x0e'
    """
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


@cache
def cribs() -> tuple[bytes, ...]:
    """Requests that an attacker expects: every English wording that opens an app or turns a setting on or off."""
    commands = [wording.format(app=app.en) for wording in PHRASINGS["open_app"]["en"] for app in APPS]
    for kind in ("toggle_on", "toggle_off"):
        commands += [wording.format(setting=setting.en) for wording in PHRASINGS[kind]["en"] for setting in SETTINGS]
    return tuple(request(command) for command in commands)


def recover(first: bytes, second: bytes, guesses: Collection[bytes]) -> bytes:
    """Read a message from two ciphertexts under one keystream: the guess for the first decides that makes the second look best.

    It has as many bytes as the guess; none when no guess has the length of the first.
    """
    both = xor(first, second)
    texts = [xor(both, guess) for guess in guesses if len(guess) == len(first)]
    return max(texts, key=_likeness, default=b"")


def _likeness(text: bytes) -> float:
    counts = _letters()
    return sum(math.log(counts[letter] + 0.01) for letter in text)


@cache
def _letters() -> Counter[int]:
    return Counter(b"".join(cribs()))


def recovery(seed: int, pairs: int = 40, cipher: int = GCM, reuse: bool = True) -> float:
    """Share of messages that are read to the last byte the crib reaches, over pairs of an expected request and any other one.

    The two of a pair have one nonce with `reuse`, else one each. A message that is shorter than its crib is read whole.
    """
    rng, key = np.random.default_rng([seed, 43]), secrets.token_bytes(KEY_BYTES)
    right = 0
    for number in range(pairs):
        expected = cribs()[int(rng.integers(len(cribs())))]
        secret = request(sample(SimulatedPhone(1000 * seed + number, lang="en").state, rng, lang="en").text)
        nonce = secrets.token_bytes(NONCE_BYTES)
        other = nonce if reuse else secrets.token_bytes(NONCE_BYTES)
        first, second = (encrypt(cipher, key, n, text, b"")[:-TAG_BYTES] for n, text in ((nonce, expected), (other, secret)))
        text = recover(first, second, cribs())
        right += text == secret[: len(expected)]
    return right / pairs


def reuse_after_restore(draw: Draw, folder: Path, count: int = 8 * BLOCK) -> float:
    """Share of nonces that were used before, once the file of a counter was put back from a backup; its start comes from `draw`."""
    path = folder / "nonces"
    nonces = CountedNonces(path, draw=draw)
    earlier_nonces = {nonces()}
    backup = path.read_text("ascii")
    earlier_nonces |= {nonces() for _ in range(count)}
    atomic.write_text(path, backup)
    restored = CountedNonces(path, draw=draw)
    return sum(restored() in earlier_nonces for _ in range(count)) / count
