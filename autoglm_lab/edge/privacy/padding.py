"""Padding of messages to whole steps, so that their sealed length tells no more than the number of steps."""

from __future__ import annotations

STEP = 64  # bytes


def padded_length(length: int, step: int = STEP) -> int:
    """Length in bytes after padding: the next multiple of `step` above `length`. ValueError for a step below 1.

    >>> padded_length(0), padded_length(63), padded_length(64)
    (64, 64, 128)
    """
    if step < 1:
        raise ValueError(f"step is {step}; messages are padded to steps of 1 byte or more")
    return (length // step + 1) * step


def pad(message: bytes, step: int = STEP) -> bytes:
    r"""Append 0x80 and zeros up to a whole number of steps (ISO/IEC 7816-4); at least one byte, so that it can be undone.

    >>> pad(b"hello", 8)
    b'hello\x80\x00\x00'
    """
    return (message + b"\x80").ljust(padded_length(len(message), step), b"\0")


def unpad(padded: bytes) -> bytes:
    """Undo `pad`. ValueError for bytes that carry no padding.

    Call it on bytes whose seal was checked: on others the error would tell an attacker about the plaintext.
    """
    message, mark, rest = padded.rpartition(b"\x80")
    if not mark or rest.strip(b"\0"):
        raise ValueError(f"these {len(padded)} bytes end in no padding; a padded message ends in 0x80 and zeros")
    return message
