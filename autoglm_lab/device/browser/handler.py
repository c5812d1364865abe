"""HTTP for the page: its files, the times that it sends, and who may ask."""

from __future__ import annotations

import hmac
import socket
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import TYPE_CHECKING, Any

from autoglm_lab.device.browser.latency import MAX_BODY_BYTES, read_latency

if TYPE_CHECKING:
    from autoglm_lab.device.browser.server import BrowserPhone

# a page that shares its process with no other may share memory between threads; nothing of it is shown or read elsewhere
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
CONNECTIONS = 64  # a browser opens six at most
PIECE_BYTES = 65_536  # each of which a client has `timeout` to read
TEXT = "text/plain; charset=utf-8"


class PageServer(ThreadingHTTPServer):
    """A thread for each connection. When there are too many, the oldest of the address that has most of them makes room."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], page: BrowserPhone, connections: int = CONNECTIONS) -> None:
        self.page, self.connections = page, connections
        self._open: dict[socket.socket, str] = {}
        self._lock = Lock()
        super().__init__(address, PageHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer one more connection, in a thread."""
        with self._lock:
            if len(self._open) >= self.connections:
                self._make_room()
            self._open[request] = client_address[0]
        super().process_request(request, client_address)

    def _make_room(self) -> None:
        [(crowd, _)] = Counter(self._open.values()).most_common(1)
        oldest = next(link for link, address in self._open.items() if address == crowd)
        del self._open[oldest]
        with suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)  # its thread stumbles over that and ends

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and end what is still open."""
        super().server_close()
        with self._lock:
            links = list(self._open)
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors of a connection: somebody closed a page in the middle of a transfer."""


class PageHandler(BaseHTTPRequestHandler):
    """One connection."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_GET(self) -> None:
        """One file."""
        if self._foreign():
            return
        path = self.path.split("?")[0].lstrip("/") or "index.html"
        file = self.server.page.files.get(path)
        if file is None:
            self._reply(HTTPStatus.NOT_FOUND, TEXT, b"there is no such file")
            return
        packed = "gzip" in self.headers.get("Accept-Encoding", "")
        content = file.packed if packed else file.content
        headers = {"Cache-Control": "public, max-age=31536000, immutable" if path.startswith("v/") else "no-cache"}
        if packed and content is not file.content:
            headers["Content-Encoding"] = "gzip"
        self._reply(HTTPStatus.OK, file.kind, content, headers)

    def do_POST(self) -> None:
        """The times of one answer, from a page that was loaded here and whose owner agreed."""
        length, kind = self.headers.get("Content-Length", ""), self.headers.get("Content-Type", "")
        if self._foreign():
            return
        if self.path != "/latency" or not (length.isascii() and length.isdigit() and len(length) < 10):
            self._refuse(HTTPStatus.BAD_REQUEST, "only times are taken, POST /latency with a Content-Length")
        elif int(length) > MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"times take at most {MAX_BODY_BYTES:,} bytes")
        elif kind.partition(";")[0].strip().lower() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "times are sent as application/json")
        elif not hmac.compare_digest(self.headers.get("X-Page-Token", "").encode(), self.server.page.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "the page was not loaded from here; load it again")
        else:
            self._take(self.rfile.read(int(length)))

    def _take(self, content: bytes) -> None:
        try:
            self.server.page.latencies.add(read_latency(content))
        except ValueError as error:
            self._reply(HTTPStatus.BAD_REQUEST, TEXT, str(error).encode())
        else:
            self._reply(HTTPStatus.NO_CONTENT, TEXT, b"")

    def _foreign(self) -> bool:
        """Refuse whoever asks under another name, or from a page of another origin."""
        hosts = self.headers.get_all("Host", [])
        here = str(self.connection.getsockname()[0])
        problem = self.server.page.hosts.refusal(hosts[0] if len(hosts) == 1 else None, self.headers.get("Origin"), here)
        if problem is not None:
            self._refuse(HTTPStatus.FORBIDDEN, problem)
        return problem is not None

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Say why, and end the connection: what else was sent is not read."""
        self.close_connection = True
        self._reply(status, TEXT, reason.encode(), {"Connection": "close"})

    def _reply(self, status: HTTPStatus, kind: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        for at in range(0, len(content), PIECE_BYTES):
            self.wfile.write(content[at : at + PIECE_BYTES])

    def log_message(self, *_: object) -> None:
        """Log nothing: a notebook is no log."""
