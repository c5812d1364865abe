"""Seals records with AES-GCM: nobody without the key reads or changes one, or puts it in another's place.

An envelope is 1 byte version | 1 byte key id | 12 bytes nonce | ciphertext and 16 bytes tag. The version names the cipher. The
record's identity (its `Label`), the version and the key id are authenticated with it: an envelope opens only as the record that it
was sealed as. Length and time of a message stay visible; `padding` blurs the length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autoglm_lab.edge.privacy.nonces import NONCE_BYTES, Nonces, RandomNonces

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
except ImportError as error:
    raise ImportError("sealing needs cryptography: pip install 'autoglm-lab[edge]'") from error

GCM, GCM_SIV = 1, 2  # first byte of an envelope: AES-GCM (NIST SP 800-38D) or AES-GCM-SIV (RFC 8452)
KEY_BYTES, TAG_BYTES = 32, 16
OVERHEAD = 2 + NONCE_BYTES + TAG_BYTES  # bytes of an envelope beyond its plaintext
_CIPHERS: dict[int, type[AESGCM] | type[AESGCMSIV]] = {GCM: AESGCM, GCM_SIV: AESGCMSIV}


@dataclass(frozen=True)
class Label:
    """Identity of a record: for which purpose, which one, and which version of it. ValueError for a version outside 64 bits."""

    purpose: str
    record: str
    version: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.version < 2**64:
            raise ValueError(f"version of {self.purpose}/{self.record} is {self.version}; it lies in 0 to 2**64 - 1")

    def __str__(self) -> str:
        """Purpose, record and version as an error names them."""
        return f"{self.purpose}/{self.record}, version {self.version}"


def associated_data(label: Label, cipher: int, key_id: int) -> bytes:
    """Encode what is authenticated beside a record so that no two labels give the same bytes: each text after its length."""
    texts = [text.encode() for text in (label.purpose, label.record)]
    return struct.pack(">BBQ", cipher, key_id, label.version) + b"".join(struct.pack(">I", len(text)) + text for text in texts)


def encrypt(cipher: int, key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Ciphertext and tag under one nonce. ValueError for an unknown cipher, or a key or nonce of the wrong length."""
    return _cipher(cipher, key, nonce).encrypt(nonce, plaintext, associated)


def decrypt(cipher: int, key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Plaintext of `encrypt`. ValueError as `encrypt`, and when anything of it was changed."""
    try:
        return _cipher(cipher, key, nonce).decrypt(nonce, ciphertext, associated)
    except InvalidTag:
        raise ValueError("the tag does not fit: the bytes, the key or what they belong to is another") from None


def _cipher(cipher: int, key: bytes, nonce: bytes) -> AESGCM | AESGCMSIV:
    if cipher not in _CIPHERS:
        raise ValueError(f"version {cipher} of an envelope is not known; this package reads {', '.join(map(str, _CIPHERS))}")
    if len(key) not in (16, 24, 32) or len(nonce) != NONCE_BYTES:
        raise ValueError(f"a key has 16, 24 or 32 bytes and a nonce {NONCE_BYTES}, not {len(key)} and {len(nonce)}")
    return _CIPHERS[cipher](key)


class Sealer:
    """Keys by id, of which one seals and all open.

    `nonces` makes a source of nonces for each key that seals. ValueError for a key that has not 32 bytes, an id that is no byte, a
    current key that is not there, and an unknown cipher.
    """

    def __init__(
        self,
        keys: Mapping[int, bytes],
        current: int | None = None,
        cipher: int = GCM,
        nonces: Callable[[], Nonces] = RandomNonces,
    ) -> None:
        if not keys or cipher not in _CIPHERS:
            raise ValueError(f"there are {len(keys)} keys, the cipher is {cipher}; one key and {GCM} or {GCM_SIV} are needed")
        self.current = max(keys) if current is None else current
        if self.current not in keys:
            raise ValueError(f"the current key is {self.current}; there are {', '.join(map(str, sorted(keys)))}")
        self._keys: dict[int, bytes] = {}
        for key_id, key in keys.items():
            self._add(key_id, key)
        self._cipher, self._make_nonces = cipher, nonces
        self._nonces, self._last = nonces(), b""

    @property
    def key_ids(self) -> tuple[int, ...]:
        """Ids of all keys that open envelopes."""
        return tuple(sorted(self._keys))

    def seal(self, plaintext: bytes, label: Label) -> bytes:
        """Make the envelope of a record. ValueError when the nonces of the key are used up, or their source repeats itself."""
        nonce = self._nonces()
        if nonce == self._last:
            raise ValueError("the source of nonces gave the same nonce twice; under one key each may be used once")
        self._last = nonce
        associated = associated_data(label, self._cipher, self.current)
        ciphertext = encrypt(self._cipher, self._keys[self.current], nonce, plaintext, associated)
        return bytes((self._cipher, self.current)) + nonce + ciphertext

    def open(self, envelope: bytes, label: Label) -> bytes:
        """Read an envelope as the record that `label` names.

        ValueError for one that is cut, of an unknown version or key, changed in any byte, or sealed as another record.
        """
        if len(envelope) < OVERHEAD:
            raise ValueError(f"the envelope of {label} has {len(envelope)} bytes; the shortest has {OVERHEAD}: it was cut")
        cipher, key_id, nonce, ciphertext = envelope[0], envelope[1], envelope[2 : 2 + NONCE_BYTES], envelope[2 + NONCE_BYTES :]
        if cipher not in _CIPHERS:
            raise ValueError(f"the envelope of {label} has version {cipher}; this package reads {', '.join(map(str, _CIPHERS))}")
        if key_id not in self._keys:
            raise ValueError(f"{label} was sealed with key {key_id}; there are {', '.join(map(str, self.key_ids))}")
        try:
            return decrypt(cipher, self._keys[key_id], nonce, ciphertext, associated_data(label, cipher, key_id))
        except ValueError:
            raise ValueError(f"the envelope does not open as {label}: it was changed, or record or key are others") from None

    def rotate(self, key: bytes) -> int:
        """Seal with a new key from now on and return its id; the old keys go on opening. ValueError after id 255."""
        key_id = max(self._keys) + 1
        self._add(key_id, key)
        self.current, self._nonces, self._last = key_id, self._make_nonces(), b""
        return key_id

    def retire(self, key_id: int) -> None:
        """Forget a key, and with it everything that it sealed. ValueError for the current key or one that is not there."""
        if key_id == self.current or key_id not in self._keys:
            raise ValueError(f"key {key_id} cannot be retired: it is the current one, or not there; rotate first")
        del self._keys[key_id]

    def reseal(self, envelope: bytes, label: Label) -> bytes:
        """Open an envelope and seal it with the current key. ValueError as `open` and `seal`."""
        return self.seal(self.open(envelope, label), label)

    def _add(self, key_id: int, key: bytes) -> None:
        if not 0 <= key_id <= 255:
            raise ValueError(f"a key has the id {key_id}; it is one byte, 0 to 255: begin a new store with new keys")
        if len(key) != KEY_BYTES:
            raise ValueError(f"key {key_id} has {len(key)} bytes; AES-256 needs {KEY_BYTES}")
        self._keys[key_id] = bytes(key)
