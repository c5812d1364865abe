"""Limits on what one client may ask of a server."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

PIXELS_AT_ONCE = 24_000_000


def _fixed(default: float) -> Any:
    """A limit that only a restart can change."""
    return field(default=default, metadata={"restart": True})


@dataclass(frozen=True)
class Limits:
    """Limits of a server. The defaults are safe for a laptop; everything beyond is refused with a message that says so."""

    body_bytes: int = 12_000_000  # of a whole request; a noisy screenshot of 1080 x 2400 takes 6 MB in base64
    held_bytes: int = 150_000_000  # of all requests that are being received or wait for their first word
    pixels: int = 16_000_000  # of a picture when it is unpacked
    pixels_at_once: int = _fixed(PIXELS_AT_ONCE)  # of all pictures that are unpacked, together; the next waits
    side: int = 8_192  # pixels of a picture from left to right, or from top to bottom
    audio_seconds: float = 30.0
    max_tokens: int = 256  # of an answer; a request for more gets this many
    choices: int = 8  # answers to one request (`n`)
    queue: int = _fixed(64)  # requests that wait; the next is told to come again
    connections: int = _fixed(256)
    deadline_s: float = 60.0  # from the request to its answer
    upload_s: float = 20.0  # for a request to arrive whole
    send_s: float = _fixed(20.0)  # for a client to read what it was sent
    keep_alive_s: float = 10.0  # silence in a stream before a comment says that it is alive
    image_hosts: frozenset[str] = frozenset()  # from which pictures may be fetched, `host` or `host:port`; none: only data URLs

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "image_hosts" and not value > 0:
                raise ValueError(f"{each.name} is {value}; a limit is above zero")
        from autoglm_lab.serve.fetch import check_image_hosts  # opens fast: the command line reads this file for its options

        check_image_hosts(self.image_hosts)
