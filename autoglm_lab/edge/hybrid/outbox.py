"""Requests that wait for the network: each is kept until its reply has come, sent again after a crash, and performed once."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Protocol

TABLE = "outbox"
Send = Callable[[str, bytes], bytes]  # id and request to the reply; raises OSError while there is no network


class RecordStore(Protocol):
    """A place that keeps records when the program ends (`edge.vault.Vault` is one)."""

    def put(self, table: str, id: str, data: bytes) -> object:
        """Keep a record."""
        ...

    def get(self, table: str, id: str) -> bytes:
        """Read a record. KeyError when there is none."""
        ...

    def ids(self, table: str) -> list[str]:
        """List the records of a table, in order."""
        ...

    def delete(self, table: str, id: str) -> object:
        """Forget a record."""
        ...


def new_id(now_s: float | None = None) -> str:
    """Make an id that sorts by time, and that no other request has."""
    return f"{int(1000 * (time.time() if now_s is None else now_s)):014d}-{secrets.token_hex(6)}"


class Outbox:
    """Requests by id, in a store that outlives the program, sent in the order of their ids (`new_id`).

    Sending is at least once: a crash after the reply and before it is noted sends again. `Receiver` makes it exactly once.
    """

    def __init__(self, store: RecordStore) -> None:
        self.store = store
        self._sending = threading.Lock()

    def add(self, request_id: str, request: bytes) -> None:
        """Keep a request before anything is sent. ValueError when another one has this id."""
        before = _read(self.store, TABLE, request_id)
        if before not in (None, request):
            raise ValueError(f"another request has the id {request_id!r}; give each request an id of its own")
        if before is None:
            self.store.put(TABLE, request_id, request)

    def pending(self) -> list[str]:
        """The ids of the requests without a reply, in order."""
        return list(self.store.ids(TABLE))

    def flush(self, send: Send, on_reply: Callable[[str, bytes], None]) -> int:
        """Send what waits, in order, until the network fails; how many replies came.

        A request is forgotten only after `on_reply` has returned. What else is raised comes through; nothing is lost.
        """
        replies = 0
        with self._sending:
            for request_id in self.pending():
                try:
                    reply = send(request_id, self.store.get(TABLE, request_id))
                except OSError:
                    break
                on_reply(request_id, reply)
                self.store.delete(TABLE, request_id)
                replies += 1
        return replies


class Receiver:
    """Performs each request once, however often it arrives, and gives every copy the same reply.

    A crash after `perform` and before its reply is kept leaves the request unknown: what must not happen twice even then belongs
    into one transaction with the reply.
    """

    def __init__(self, perform: Callable[[bytes], bytes], store: RecordStore, table: str = "replies") -> None:
        self.perform, self.store, self.table = perform, store, table
        self._performing = threading.Lock()

    def receive(self, request_id: str, request: bytes) -> bytes:
        """Perform a request, or look up the reply of the first time."""
        with self._performing:
            reply = _read(self.store, self.table, request_id)
            if reply is None:
                reply = self.perform(request)
                self.store.put(self.table, request_id, reply)
            return reply


def _read(store: RecordStore, table: str, record_id: str) -> bytes | None:
    try:
        return store.get(table, record_id)
    except KeyError:
        return None
