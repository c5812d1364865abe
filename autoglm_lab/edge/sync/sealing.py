"""Seals of messages: whoever carries them reads nothing and changes nothing without notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from autoglm_lab.edge.privacy.sealer import Sealer


class Seal(Protocol):
    """Seal bytes for a context, and open them again: ValueError for another context, another key, or a changed byte."""

    def seal(self, data: bytes, context: bytes) -> bytes:
        """Seal."""
        ...

    def open(self, envelope: bytes, context: bytes) -> bytes:
        """Open, or ValueError."""
        ...


class ClearSeal:
    """No seal at all, for pictures and for comparisons of what the protocol itself takes."""

    def seal(self, data: bytes, context: bytes) -> bytes:
        """Give the data as they are."""
        return data

    def open(self, envelope: bytes, context: bytes) -> bytes:
        """Give the data as they are."""
        return envelope


class SyncSeal:
    """AES-GCM by a `Sealer`: version, key id, 12 bytes of nonce, ciphertext, 16 bytes of tag. ImportError without cryptography."""

    def __init__(self, sealer: Sealer) -> None:
        from autoglm_lab.edge.privacy.sealer import Label

        self._sealer, self._label = sealer, Label

    def seal(self, data: bytes, context: bytes) -> bytes:
        """Seal data; the context is not in the envelope, the reader has to know it."""
        return self._sealer.seal(data, self._label("sync", context.decode()))

    def open(self, envelope: bytes, context: bytes) -> bytes:
        """Open an envelope. ValueError as `Sealer.open`."""
        return self._sealer.open(envelope, self._label("sync", context.decode()))
