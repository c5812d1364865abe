"""A network that fails on demand: a local TCP relay in front of a server, which delays, cuts, slows down or answers nonsense."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass
from typing import Literal

Kind = Literal["none", "refuse", "cut", "slow", "portal", "busy", "broken", "silent"]
KINDS: tuple[Kind, ...] = ("none", "refuse", "cut", "slow", "portal", "busy", "broken", "silent")
PORTAL = "<html><body>Welcome! Please log in to use this network.</body></html>"
PIECE = 4096
QUIET_S = 0.05  # without a byte: the request has come


@dataclass(frozen=True)
class Fault:
    """The behaviour of the link for the next connections.

    `cut` closes the connection `after_s` after the answer's first byte (0: before it); `slow` lets `bytes_per_s` pass; `portal`
    answers 200 with a page, as a captive portal does, `busy` 429, `broken` 500; `silent` takes all and says nothing; `refuse`
    closes at once. `delay_s` comes before everything else. ValueError for an unknown kind.
    """

    kind: Kind = "none"
    delay_s: float = 0.0
    after_s: float = 0.0
    bytes_per_s: float = 2000.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"there is no fault {self.kind!r}; there are {', '.join(KINDS)}")


STATUS = {"portal": "200 OK", "busy": "429 Too Many Requests", "broken": "500 Internal Server Error"}


class Link:
    """Relays connections from a port of its own to `port`, with the `fault` that is set when each begins. Use it in a `with`."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.target, self.fault, self.is_cut = (host, port), Fault(), False
        self.n_connections, self.sent_bytes = 0, 0
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server((host, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True, name="link").start()

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop(self._listener)  # a thread waits in it
        self._drop_all()

    def cut_now(self) -> None:
        """Cut the cable: every connection ends at once, and no new one is taken until `mend`."""
        self.is_cut = True
        self._drop_all()

    def mend(self) -> None:
        """Plug the cable in again."""
        self.is_cut = False

    def _drop_all(self) -> None:
        for each in list(self._sockets):
            self._drop(each)

    def _drop(self, each: socket.socket) -> None:
        self._sockets.discard(each)
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            self.n_connections += 1
            self._sockets.add(near)
            threading.Thread(target=self._serve, args=(near, self.fault), daemon=True, name="link").start()

    def _serve(self, near: socket.socket, fault: Fault) -> None:
        far = None
        try:
            time.sleep(fault.delay_s)
            if self.is_cut or fault.kind == "refuse":
                return
            if fault.kind in STATUS:
                self._say(near, STATUS[fault.kind])
            elif fault.kind == "silent":
                while near.recv(PIECE):
                    pass
            else:
                far = socket.create_connection(self.target)
                self._sockets.add(far)
                self._relay(near, far, fault)
        except (OSError, ValueError):  # one of the two went away
            pass
        finally:
            for each in filter(None, (near, far)):
                self._drop(each)

    def _say(self, near: socket.socket, status: str) -> None:
        while near.recv(PIECE) and select.select([near], [], [], QUIET_S)[0]:
            pass  # the whole request: who closes before that is a reset, and no answer
        kind, body = ("text/html", PORTAL) if status.startswith("200") else ("application/json", '{"error": {"message": "later"}}')
        near.sendall(
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
        )

    def _relay(self, near: socket.socket, far: socket.socket, fault: Fault) -> None:
        cut_at: float | None = None
        while not self.is_cut:
            left_s = None if cut_at is None else cut_at - time.monotonic()
            if left_s is not None and left_s <= 0:
                return
            ready, _, _ = select.select([near, far], [], [], left_s)
            for source in ready:
                piece = source.recv(PIECE)
                if not piece:
                    return
                if source is far and fault.kind == "cut" and cut_at is None:
                    cut_at = time.monotonic() + fault.after_s
                    if fault.after_s == 0:
                        return
                if fault.kind == "slow":
                    time.sleep(len(piece) / fault.bytes_per_s)
                (far if source is near else near).sendall(piece)
                self.sent_bytes += len(piece) if source is near else 0
