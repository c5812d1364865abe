"""Serves the phone in a browser: a page, a bundle, and what runs it. After its first load the page needs no server."""

from __future__ import annotations

import gzip
import hashlib
import json
import secrets
import socket
import threading
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from autoglm_lab.device.browser.assets import runtime_files
from autoglm_lab.device.browser.deck import deck
from autoglm_lab.device.browser.handler import PageServer
from autoglm_lab.device.browser.latency import Latencies
from autoglm_lab.hosts import AllowedHosts
from autoglm_lab.phone.clock import known_times
from autoglm_lab.phone.goals import goal_openers, goal_tables, tails, time_openers
from autoglm_lab.phone.refusal import refusal_patterns
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.bundle import FEATURES, GRAPHS, TOKENIZER, Bundle
from autoglm_lab.runtime.constraints import CLOSED, GOAL, TYPE
from autoglm_lab.runtime.grammar import Grammar
from autoglm_lab.runtime.prompt import END, END_THINK, MAX_TOKENS, write_command, write_prompt
from autoglm_lab.runtime.understanding import MAX_GOAL

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webp": "image/webp",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".onnx": "application/octet-stream",
}
MAX_NEW_TOKENS = 96


class BrowserPhone:
    """A bundle as a page on `url`, until `close`. `latencies` holds the times that phones sent, if their owners agreed.

    >>> with BrowserPhone("bundle") as served:                              # doctest: +SKIP
    ...     print(served.url)
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        phone: SimulatedPhone | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        allow_hosts: Iterable[str] = (),
    ) -> None:
        """Port 0 is any free one; with host "0.0.0.0" other devices reach the page, by address or a name in `allow_hosts`.

        ValueError for a bad bundle or a busy port.
        """
        if not 0 <= port <= 65_535:
            raise ValueError(f"port is {port}; ports are 0 (any) to 65535")
        self.bundle, self.phone = Bundle.open(folder), phone or SimulatedPhone(7, lang="en")
        self.hosts, self.token, self.latencies = AllowedHosts(host, allow_hosts), secrets.token_urlsafe(16), Latencies()
        self.files = _page_files(self.bundle, self.phone, runtime_files(), self.token)
        try:
            self._server = PageServer((host, port), self)
        except OSError as error:
            raise ValueError(f"port {port} of {host} cannot be used ({error.strerror}); give another one, or 0 for any") from None
        self.host, self.port = host, int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> BrowserPhone:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Address for a browser: on this machine, or in its network when it is served there."""
        return f"http://{_own_address() if self.host == '0.0.0.0' else self.host}:{self.port}/"

    @cached_property
    def transfer_bytes(self) -> int:
        """Bytes that a first load transfers, compressed, without pictures of the simulated phone."""
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
    """Content that is served under one name, plain and compressed."""

    def __init__(self, name: str, content: bytes) -> None:
        self.kind, self.content = KINDS[Path(name).suffix], content

    @cached_property
    def packed(self) -> bytes:
        """Compressed with gzip, if that makes it smaller."""
        packed = gzip.compress(self.content, 6, mtime=0)
        return packed if len(packed) < len(self.content) else self.content


def _page_files(bundle: Bundle, phone: SimulatedPhone, runtime: Mapping[str, Path], token: str) -> dict[str, File]:
    """Everything that a page loads, by the path under which it does.

    All but `index.html` and the service worker lie in a folder named after their contents, so that a page never mixes two bundles.
    The page sends `token` with its times: only what was loaded here may.
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
    here = {b"@VERSION@": version.encode(), b"@FILES@": json.dumps(["./", *paths]).encode(), b"@TOKEN@": token.encode()}
    for name, content in roots.items():
        for mark, value in here.items():
            content = content.replace(mark, value)
        roots[name] = content
    all_files = roots | dict(zip(paths, contents.values(), strict=True))
    return {name: File(name, content) for name, content in all_files.items()}


def settings(bundle: Bundle, cards: dict[str, Any]) -> dict[str, Any]:
    """Settings of the page: how requests are written, when an answer ends, what to draft, and the deck."""
    prompts = {
        f"{'image' * image} {'audio' * audio}".strip(): write_prompt("{task}", "{app}", "{last}", image=image, audio=audio)
        for image in (False, True)
        for audio in (False, True)
    }
    drafts = None
    if not bundle.shared_scale:
        drafts = Grammar(Tokenizer.from_file(str(bundle.folder / TOKENIZER))).drafts(MAX_NEW_TOKENS)
    return {
        "prompts": prompts,
        "end": bundle.end,
        "places": bundle.places,
        "max_tokens": MAX_TOKENS,
        "max_new_tokens": MAX_NEW_TOKENS,
        "memory": bundle.memory,
        "recipe": bundle.recipe.get("name", ""),
        "bytes": bundle.bytes,
        "deck": cards,
        "refusals": refusal_patterns(),
        "drafts": drafts,
        "commands": command_settings() | {"confirm_below": bundle.confirm_below} if bundle.understands else None,
        "sizes": {name: (bundle.folder / file).stat().st_size for name, file in (GRAPHS | FEATURES).items()},
    }


def command_settings() -> dict[str, Any]:
    """Settings for understanding a command: how its prompt is written, and how the goal in the answer is read."""
    prompts = {"typed": write_command("{command}"), "spoken": write_command("", audio=True)}
    openers = {"spaced": goal_openers("en"), "close": goal_openers("zh")}
    times = {
        "spaced": time_openers("en"),
        "close": {opener: tails(opener) for opener in time_openers("zh")},
        "known": {"forms": known_times()},
    }
    marks = {"type": TYPE, "goal": GOAL, "closed": CLOSED, "end": END, "end_think": END_THINK}
    return {"prompts": prompts, "goals": goal_tables(), "openers": openers, "times": times, "marks": marks, "most": MAX_GOAL}


def _own_address() -> str:
    """This machine's address in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
