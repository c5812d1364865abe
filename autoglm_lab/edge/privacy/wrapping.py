"""Keys that protect a key: one from a passphrase, or one that the system's keyring keeps; and the entry of a protected key."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from autoglm_lab.edge.privacy.sealer import KEY_BYTES, Label, Sealer

COST = 2**15  # of scrypt: 32 MB and about a tenth of a second for each guess
BLOCK, LANES = 8, 1
SALT_BYTES = 16
MOST_MEMORY = 2**28  # bytes that a file may make scrypt take


@dataclass(frozen=True)
class Passphrase:
    """Words that a person remembers. ValueError for less than 8 letters, or a cost that is no power of two from 2**12."""

    words: str = field(repr=False)
    cost: int = COST

    def __post_init__(self) -> None:
        if len(self.words) < 8:
            raise ValueError(f"the passphrase has {len(self.words)} letters; take 8 or more, better four words")
        _check_cost(self.cost)

    def key(self, salt: bytes, cost: int) -> bytes:
        """Derive a key of 32 bytes by scrypt (RFC 7914) with the salt and cost that a file names. ValueError as `_check_cost`."""
        _check_cost(cost)
        return hashlib.scrypt(self.words.encode(), salt=salt, n=cost, r=BLOCK, p=LANES, maxmem=2 * MOST_MEMORY, dklen=KEY_BYTES)


Protection = bytes | Passphrase  # wraps the key of a store: 32 bytes, or words


class KeyEntry(NamedTuple):
    """Key of a store as its file holds it, sealed. `salt` and `cost` are of scrypt, empty and 0 under a key of 32 bytes."""

    key_id: int
    first: int  # version at which the key began: so many records were sealed with those before
    salt: str
    cost: int
    envelope: str

    @classmethod
    def wrap(cls, data_key: bytes, key_id: int, first: int, key: Protection) -> KeyEntry:
        """Seal the key of a store with another key or a passphrase."""
        salt = secrets.token_bytes(SALT_BYTES) if isinstance(key, Passphrase) else b""
        entry = cls(key_id, first, salt.hex(), key.cost if isinstance(key, Passphrase) else 0, "")
        return entry._replace(envelope=entry._sealer(key).seal(data_key, entry._label).hex())

    @classmethod
    def read(cls, text: str, store: str) -> KeyEntry:
        """Read an entry from JSON. ValueError, with the name of the store, for what is none."""
        try:
            key_id, first, salt, cost, envelope = json.loads(text)
            bytes.fromhex(salt + envelope)
            return cls(int(key_id), int(first), str(salt), int(cost), str(envelope))
        except (ValueError, TypeError):
            raise ValueError(f"the key entry of {store} is damaged; take a backup") from None

    def unwrap(self, store: str, key: Protection) -> bytes:
        """Open the key. ValueError, with the name of the store, for a wrong key and for a passphrase in place of a key."""
        if bool(self.salt) != isinstance(key, Passphrase):
            raise ValueError(f"{store} opens with {'a passphrase' if self.salt else 'a key of 32 bytes'}, not with the other")
        sealer = self._sealer(key)
        try:
            return sealer.open(bytes.fromhex(self.envelope), self._label)
        except ValueError:
            kind = "passphrase" if self.salt else "key"
            raise ValueError(f"this is the wrong {kind} for {store}, or its key entry was changed") from None

    @property
    def _label(self) -> Label:
        """All other fields, so that none of them can be changed."""
        return Label("key of a store", json.dumps(self[:4]))

    def _sealer(self, key: Protection) -> Sealer:
        return Sealer({0: key.key(bytes.fromhex(self.salt), self.cost) if isinstance(key, Passphrase) else key})


def _check_cost(cost: int) -> None:
    """ValueError unless a cost of scrypt is a power of two that is neither cheap for a thief nor too much for this machine."""
    if cost < 2**12 or cost & (cost - 1) or 128 * BLOCK * cost > MOST_MEMORY:
        raise ValueError(f"the cost of scrypt is {cost}; it is a power of two, 4096 to {MOST_MEMORY // (128 * BLOCK)}")


def keyring_key(name: str, service: str = "autoglm-lab", backend: Any = None) -> bytes:
    """Key of 32 bytes that the system's keyring keeps under `name`, made at the first call.

    ImportError without the package `keyring`; ValueError where the system has no keyring (a container, a server without a desktop),
    or what it keeps is no key.
    """
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise ImportError("a key in the system's keyring needs keyring: pip install keyring") from error
    ring = backend or keyring
    try:
        if ring.get_password(service, name) is None:
            ring.set_password(service, name, secrets.token_hex(KEY_BYTES))
        text = ring.get_password(service, name)  # of two processes that made one, the one that was kept
    except KeyringError as error:
        raise ValueError(f"the keyring keeps no key here ({type(error).__name__}); use a passphrase: Passphrase(...)") from None
    try:
        key = bytes.fromhex(text or "")
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"the keyring keeps no key of {KEY_BYTES} bytes under {service}/{name}; delete that entry or name another")
    return key
