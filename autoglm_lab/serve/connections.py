"""Connections that end: a client has some seconds to say what it wants, and some to read what it was sent."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from autoglm_lab.serve.errors import ApiError

STALLED_S = 1.0  # for so long a client may say or read nothing while others want its place
PROBE_S, PROBES = 0.02, 50  # between two looks at a half-closed connection, and looks for each byte that is sent
CONTINUE = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")


class TimeoutProtocol(H11Protocol):
    """HTTP/1.1 with an end to all waiting: HEADERS_S for a request to begin, `send_s` for what was sent to be read.

    When there are too many connections, the one that has waited longest makes room, or one whose client does not read: neither
    kind keeps others out. Too many requests are refused further in (`guard.Guard`), in the shape that clients read. A client that
    has closed its own side only (RFC 9112, 9.6) still gets its answers.
    """

    HEADERS_S = 10.0

    def __init__(self, *arguments: Any, send_s: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.send_s, self.half_closed = send_s, False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._stalled: float | None = None  # since when the client has not read

    @property
    def answering(self) -> bool:
        """True while a request is being answered."""
        cycle: Any = self.cycle  # None before the first one
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for a client, and give it some time to say what it wants."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing is paused whenever something is left unread
        most, self.limit_concurrency = self.limit_concurrency, None
        self._wait()
        if most is not None and len(self.connections) > most:
            self._make_room(most)

    def _wait(self) -> None:
        self.since = self.loop.time()
        self._start("headers", self.HEADERS_S, self.leave)

    def _make_room(self, most: int) -> None:
        """End what is unused longest; what was used a moment ago only when there are twice too many."""
        others = [each for each in self.connections if isinstance(each, TimeoutProtocol) and each is not self]
        idle = [each for each in others if not each.answering]
        recent = self.loop.time() - STALLED_S
        unused = [each for each in others if each.stalled] or [each for each in idle if each.since < recent]
        if unused or len(self.connections) > 2 * most:
            min(unused or idle or [self], key=lambda each: each.since).leave()

    @property
    def stalled(self) -> bool:
        """True if the client has not read for a while."""
        return self._stalled is not None and self.loop.time() - self._stalled > STALLED_S

    def data_received(self, data: bytes) -> None:
        """Read what was said: a whole request ends the waiting, a part of one does not."""
        super().data_received(data)
        if self.answering:
            self._stop("headers")

    def pause_writing(self) -> None:
        """Start the timer when something is left unread: the client has `send_s` to read all of it."""
        super().pause_writing()
        self._stalled = self.loop.time()
        self._start("unread", self.send_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer when everything was read."""
        super().resume_writing()
        self._stalled = None
        self._stop("unread")

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection while there is a whole request to answer."""
        if not self.answering or self.cycle.more_body:
            if self.answering or self.conn.trailing_data[0]:
                self.send_400_response("The request ended before it was whole.")
            return False
        if not self.half_closed:
            self.half_closed = True
            self._probe(0)
        return True

    def _probe(self, count: int) -> None:
        """Tell a client that has closed its side only from one that is gone: that one resets the connection when it is sent a byte.

        Before an answer begins an interim response is sent, which every client of HTTP/1.1 reads over.
        """
        if not self.answering or self.transport.is_closing():
            return
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
            return
        if count % PROBES == 0 and not self.cycle.response_started and self.conn.their_http_version == b"1.1":
            self.transport.write(self.conn.send(CONTINUE))
        self._start("probe", PROBE_S, self._probe, count + 1)

    def on_response_complete(self) -> None:
        """Go on to what was asked meanwhile; a client that closed its side has had everything after that."""
        super().on_response_complete()
        if not self.answering:
            self._wait()
            if self.half_closed:
                self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the shape that clients read, unless an answer was already begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            advice = f"{msg} Send a whole request in HTTP/1.1, with a Host header."
            body = json.dumps(ApiError(400, advice, code="invalid_http").body).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
            answer = h11.Response(status_code=400, headers=headers, reason="Bad Request")
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers of the connection."""
        super().connection_lost(exc)
        for name in list(self._timers):
            self._stop(name)

    def leave(self) -> None:
        """Wait no longer for a client that says nothing, or does not read."""
        if self.stalled:
            self.transport.abort()
        elif not self.answering and not self.transport.is_closing():
            self.transport.close()

    def _start(self, name: str, seconds: float, call: Any, *arguments: Any) -> None:
        self._stop(name)
        self._timers[name] = self.loop.call_later(seconds, call, *arguments)

    def _stop(self, name: str) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()
