"""Serves the phone in a browser: a page, a bundle, and what runs it. After its first load the page needs no server."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import threading
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.bundle import FEATURES, GRAPHS, TOKENIZER, Bundle
from autoglm_lab.runtime.grammar import Grammar
from autoglm_lab.runtime.prompt import MAX_TOKENS, write_prompt
from autoglm_lab.web.assets import runtime_files
from autoglm_lab.web.deck import deck

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".json": "application/json", ".webp": "image/webp", ".wasm": "application/wasm",
    ".svg": "image/svg+xml", ".onnx": "application/octet-stream",
}  # fmt: skip
# a page that shares its process with no other may share memory between threads
ALONE = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
MAX_TOLD_BYTES, MAX_TOLD = 4_000, 1_000
STAGES = ("features", "image", "audio", "prefill", "decode", "total")
MAX_NEW_TOKENS = 96


class BrowserPhone:
    """A bundle as a page on `url`, until `close`. `latencies` holds the times that phones sent, if their owners agreed.

    >>> with BrowserPhone("bundle") as served:                              # doctest: +SKIP
    ...     print(served.url)
    """

    def __init__(self, folder: Path | str, *, phone: SimulatedPhone | None = None, port: int = 0, host: str = "127.0.0.1") -> None:
        """Port 0 is any free one; with host "0.0.0.0" other devices reach the page. ValueError for a bad bundle or a busy port."""
        if not 0 <= port <= 65_535:
            raise ValueError(f"port is {port}; ports are 0 (any) to 65535")
        self.bundle, self.phone = Bundle.open(folder), phone or SimulatedPhone(7, lang="en")
        self.files = page_files(self.bundle, self.phone, runtime_files())
        self.latencies: list[dict[str, Any]] = []
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise ValueError(f"port {port} of {host} cannot be used ({error.strerror}); give another one, or 0 for any") from None
        self._server.page = self
        self.host, self.port = host, int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> BrowserPhone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where a browser finds it: on this machine, or in its network when it is served there."""
        return f"http://{_own_address() if self.host == '0.0.0.0' else self.host}:{self.port}/"

    @cached_property
    def transfer_bytes(self) -> int:
        """What a first load transfers, compressed, without pictures of the simulated phone."""
        return sum(len(file.packed) for name, file in self.files.items() if "/deck/" not in name)

    def qr_svg(self) -> str:
        """The address as a QR code. ImportError without segno."""
        try:
            import segno
        except ImportError:
            raise ImportError("a QR code needs segno: pip install segno") from None
        code: str = segno.make(self.url, micro=False).svg_inline(omitsize=True, border=2, dark="#000", light="#fff")
        return code

    def close(self) -> None:
        """Stop serving; pages that were loaded go on."""
        self._server.shutdown()
        self._server.server_close()
        self.files = {}  # a notebook keeps what its cells showed, and the bundle must not stay with it


class File:
    """What is served under one name, plain and compressed."""

    def __init__(self, name: str, content: bytes) -> None:
        self.kind, self.content = KINDS[Path(name).suffix], content

    @cached_property
    def packed(self) -> bytes:
        """Compressed with gzip, if that makes it smaller."""
        packed = gzip.compress(self.content, 6, mtime=0)
        return packed if len(packed) < len(self.content) else self.content


def page_files(bundle: Bundle, phone: SimulatedPhone, runtime: Mapping[str, Path]) -> dict[str, File]:
    """Everything that a page loads, by the path under which it does.

    All but `index.html` and the service worker lie in a folder named after their contents, so that a page never mixes two bundles.
    """
    cards, pictures = deck(phone)
    contents = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir())}
    contents |= {f"runtime/{name}": path.read_bytes() for name, path in runtime.items()}
    contents |= {
        f"bundle/{name}": (bundle.folder / name).read_bytes() for name in (*GRAPHS.values(), *FEATURES.values(), TOKENIZER)
    }
    contents |= {f"deck/{number}.webp": picture for number, picture in enumerate(pictures)}
    contents["page.json"] = json.dumps(settings(bundle, cards)).encode()
    roots = {name: contents.pop(name) for name in ("index.html", "sw.js")}
    version = hashlib.sha256(b"".join(name.encode() + content for name, content in sorted(contents.items()))).hexdigest()[:16]
    paths = [f"v/{version}/{name}" for name in contents]
    here = {b"@VERSION@": version.encode(), b"@FILES@": json.dumps(["./", *paths]).encode()}
    for name, content in roots.items():
        for mark, value in here.items():
            content = content.replace(mark, value)
        roots[name] = content
    all_files = roots | dict(zip(paths, contents.values(), strict=True))
    return {name: File(name, content) for name, content in all_files.items()}


def settings(bundle: Bundle, cards: dict[str, Any]) -> dict[str, Any]:
    """What the page has to know: how requests are written, when an answer ends, what to draft, and the deck."""
    prompts = {f"{'image' * image} {'audio' * audio}".strip(): write_prompt("{task}", "{app}", "{last}", image=image, audio=audio)
               for image in (False, True) for audio in (False, True)}  # fmt: skip
    drafts = None
    if not bundle.shared_scale:
        drafts = Grammar(Tokenizer.from_file(str(bundle.folder / TOKENIZER))).drafts(MAX_NEW_TOKENS)
    return {
        "prompts": prompts, "end": bundle.end, "places": bundle.places, "max_tokens": MAX_TOKENS, "max_new_tokens": MAX_NEW_TOKENS,
        "recipe": bundle.recipe.get("name", ""), "bytes": bundle.bytes, "deck": cards,
        "drafts": drafts, "sizes": {name: (bundle.folder / file).stat().st_size for name, file in (GRAPHS | FEATURES).items()},
    }  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    page: BrowserPhone

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody closed a page in the middle of a transfer: no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """One file."""
        path = self.path.split("?")[0].lstrip("/") or "index.html"
        file = self.server.page.files.get(path)
        if file is None:
            self._reply(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such file", {})
            return
        packed = "gzip" in self.headers.get("Accept-Encoding", "")
        content = file.packed if packed else file.content
        headers = {"Cache-Control": "public, max-age=31536000, immutable" if path.startswith("v/") else "no-cache"}
        if packed and content is not file.content:
            headers["Content-Encoding"] = "gzip"
        self._reply(HTTPStatus.OK, file.kind, content, headers)

    def do_POST(self) -> None:
        """The times of one answer, from a page whose owner agreed."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/latency" or not length.isdigit() or int(length) > MAX_TOLD_BYTES:
            self.close_connection = True
            self._reply(HTTPStatus.BAD_REQUEST, "text/plain", b"only times are taken, POST /latency", {})
            return
        try:
            told = read_latency(self.rfile.read(int(length)))
        except ValueError as error:
            self._reply(HTTPStatus.BAD_REQUEST, "text/plain; charset=utf-8", str(error).encode(), {})
            return
        if len(self.server.page.latencies) < MAX_TOLD:
            self.server.page.latencies.append(told)
        self._reply(HTTPStatus.NO_CONTENT, "text/plain", b"", {})

    def _reply(self, status: HTTPStatus, kind: str, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        about = {"Content-Type": kind, "Content-Length": str(len(content)), **ALONE, **headers}
        for name, value in about.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet: a notebook is no log."""


def read_latency(content: bytes) -> dict[str, Any]:
    """What a phone tells: `{"device": text, "ms": {stage: number}}`. ValueError for anything else."""
    try:
        told = json.loads(content)
        device, ms = str(told["device"])[:200], {str(name): float(value) for name, value in dict(told["ms"]).items()}
    except (ValueError, TypeError, KeyError, UnicodeDecodeError):
        raise ValueError('times are told as {"device": "...", "ms": {"total": 12.3}}') from None
    if not set(ms) <= set(STAGES) or "total" not in ms or not all(0 <= value < 1e6 for value in ms.values()):
        raise ValueError(f"stages are {', '.join(STAGES)}, each a number of milliseconds, total among them")
    return {"device": device, "ms": ms}


def _own_address() -> str:
    """This machine's address in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
