"""Names for people in records: a keyed hash for each purpose, which nobody links to a person or to another purpose without the key.

A plain hash of a phone number is no pseudonym: there are few numbers, and everybody can hash them all (`enumeration`). A pseudonym
is still personal data to who has the key (GDPR, article 4(5)).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

try:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as error:
    raise ImportError("pseudonyms need cryptography: pip install 'autoglm-lab[edge]'") from error

NAME_BYTES = 16  # of a pseudonym: two of a million people are alike with a chance below 2**-88


def plain_hash(identity: str) -> str:
    """SHA-256 of an identity, as hex: what is often called anonymous."""
    return hashlib.sha256(identity.encode()).hexdigest()[: 2 * NAME_BYTES]


def purpose_key(master: bytes, purpose: str, epoch: int = 0) -> bytes:
    """Key of 32 bytes for a purpose and an epoch, by HKDF (RFC 5869). ValueError for a short master key or a negative epoch."""
    if len(master) < 16 or not 0 <= epoch < 2**64:
        raise ValueError(f"the master key has {len(master)} bytes and the epoch is {epoch}; 16 bytes or more, and 0 or more")
    info = b"autoglm-lab pseudonym" + struct.pack(">Q", epoch) + purpose.encode()
    return HKDF(SHA256(), 32, None, info).derive(master)


def keyed_hash(key: bytes, identity: str) -> str:
    """HMAC-SHA256 of an identity, as hex of 16 bytes."""
    return hmac.digest(key, identity.encode(), "sha256")[:NAME_BYTES].hex()


@dataclass(frozen=True)
class Pseudonyms:
    """The pseudonyms of one epoch; in the next one everybody has others, which breaks every link to the epochs before."""

    master: bytes
    epoch: int = 0

    def __call__(self, purpose: str, identity: str) -> str:
        """Pseudonym of an identity for a purpose, as hex of 16 bytes. ValueError as `purpose_key`."""
        return keyed_hash(purpose_key(self.master, purpose, self.epoch), identity)

    def next_epoch(self) -> Pseudonyms:
        """Pseudonyms of the next epoch."""
        return Pseudonyms(self.master, self.epoch + 1)
