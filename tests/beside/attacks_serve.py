"""Attacks on both local servers, with figures: who is kept waiting, what is let in, how much memory stays.

.venv/bin/python -m tests.beside.attacks_serve
Names on the command line choose some of them: never_reading half_close rebinding broken requests together.
"""

import contextlib
import json
import random
import socket
import sys
import threading
import time
import warnings
from collections import Counter

import httpx
import psutil

from autoglm_lab.serve import Limits, running
from tests.unit.served import Fake, asked, audio_part, coded, data_url, image_part, text_part

CHAT = "/v1/chat/completions"
BODY = json.dumps(asked()).encode()


def connected(url, buffer=4096):
    port = int(url.split(":")[2].split("/")[0])
    link = socket.socket()
    for kind in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        link.setsockopt(socket.SOL_SOCKET, kind, buffer)
    link.settimeout(60)
    link.connect(("127.0.0.1", port))
    return link


def said(url, content, *, half_close=False):
    """The status line of the answer to some bytes, "cut" where there is none."""
    with connected(url, 65_536) as link:
        try:
            link.sendall(content)
            if half_close:
                link.shutdown(socket.SHUT_WR)
            answer = link.recv(65_536)
            while answer.startswith(b"HTTP/1.1 100"):
                answer = answer.partition(b"\r\n\r\n")[2] or link.recv(65_536)
        except OSError as error:
            return type(error).__name__
    return answer.split(b"\r\n")[0].decode(errors="replace") or "cut"


def raw(host="127.0.0.1", line=f"POST {CHAT}", body=BODY, kind="application/json", **headers):
    lines = [f"{line} HTTP/1.1", f"Host: {host}", *([f"Content-Type: {kind}"] if kind else []), f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def megabytes():
    return psutil.Process().memory_info().rss / 1e6


def never_reading():
    """Eight clients that send requests for ever and read nothing, at a server with eight places."""
    stop = threading.Event()

    def flood(url):
        while not stop.is_set():
            with contextlib.suppress(OSError), connected(url) as link:
                link.settimeout(0.5)
                while not stop.is_set():
                    try:
                        link.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20)
                    except TimeoutError:
                        time.sleep(0.05)

    with running(Fake(), limits=Limits(connections=8, send_s=5.0)) as url:
        before = megabytes()
        crowd = [threading.Thread(target=flood, args=(url,)) for _ in range(8)]
        for thread in crowd:
            thread.start()
        time.sleep(3)
        statuses, slowest = Counter(), 0.0
        for _ in range(50):
            began = time.monotonic()
            for name, method, path in (("health", "GET", "/health"), ("chat", "POST", CHAT)):
                try:
                    body = asked() if name == "chat" else None
                    statuses[name, httpx.request(method, url.removesuffix("/v1") + path, json=body, timeout=10).status_code] += 1
                except httpx.HTTPError as error:
                    statuses[name, type(error).__name__] += 1
            slowest = max(slowest, time.monotonic() - began)
        more = megabytes() - before
        stop.set()
        for thread in crowd:
            thread.join(20)
    return {"answers": statuses, "slowest_pair_s": round(slowest, 2), "more_mb": round(more)}


def half_close():
    """Clients that close their side when they have asked, streaming or not, at once or slowly answered."""
    statuses = Counter()
    with running(Fake(apart_s=0.02)) as url:
        for number in range(100):
            body = json.dumps(asked(stream=number % 2 == 0)).encode()
            statuses[said(url, raw(body=body), half_close=True)] += 1
    return statuses


def rebinding():
    """Requests under names that lead here, and of pages of another origin."""
    found = {}
    with running(Fake()) as url:
        port = url.split(":")[2].split("/")[0]
        for name, content in {
            "own name": raw(f"localhost:{port}"),
            "foreign name": raw("evil.example"),
            "foreign name with port": raw(f"evil.example:{port}"),
            "no Content-Type": raw(kind=""),
            "text/plain": raw(kind="text/plain"),
            "foreign Origin": raw(Origin="https://evil.example"),
            "Origin null": raw(Origin="null"),
            "another port of this machine": raw(Origin="http://127.0.0.1:1"),
            "a slash too many": raw("evil.example", "GET /v1/models/", b""),
            "own origin": raw(f"localhost:{port}", Origin=f"http://localhost:{port}"),
        }.items():
            found[name] = said(url, content)
    return found


def broken():
    """2,000 broken pictures and sounds, opened one after the other."""
    from autoglm_lab.serve.media import open_picture, open_sound
    from tests.unit.test_serve_conformance import KINDS, mutated

    def opened(kind, content):
        try:
            if kind == "picture":
                open_picture(data_url(content), Limits(), "p")
            else:
                open_sound(coded(content), Limits(), "p")
        except Exception as error:
            return getattr(error, "status", type(error).__name__)
        return 200

    rng, statuses = random.Random(0), Counter()
    for kind, content in KINDS:
        opened(kind, content)
    before = megabytes()
    for number in range(2000):
        kind, content = KINDS[number % len(KINDS)]
        statuses[opened(kind, mutated(content, rng))] += 1
    return {"statuses": statuses, "mb_before": round(before), "mb_after": round(megabytes())}


def requests():
    """2,000 broken requests over sockets: half of them with broken files, half of them no HTTP, no JSON, or no request."""
    from tests.unit.test_serve_conformance import KINDS, mutated

    rng, statuses = random.Random(1), Counter()
    whole = raw()
    with running(Fake()) as url:
        said(url, whole)
        before = megabytes()
        for number in range(1000):
            kind, content = KINDS[number % len(KINDS)]
            content = mutated(content, rng)
            part = image_part(data_url(content)) if kind == "picture" else audio_part(content)
            body = json.dumps(asked(part, text_part("x"))).encode()
            statuses["files", said(url, raw(body=body, Connection="close"))] += 1
        for _ in range(1000):
            statuses["bytes", said(url, mutated(whole, rng) + b"\r\n\r\n", half_close=True)] += 1
        after = megabytes()
        alive = said(url, whole)
    return {"statuses": statuses, "mb_before": round(before), "mb_after": round(after), "then": alive}


def together():
    """16 requests at once, each with a picture of 16 million pixels in 50 kB, and eight workers."""
    import io

    from PIL import Image

    from autoglm_lab.serve.sequential import SequentialScheduler

    file = io.BytesIO()
    Image.new("RGBA", (4000, 4000), (9, 9, 9, 99)).save(file, "PNG")
    body, statuses, peak, stop = (
        json.dumps(asked(image_part(data_url(file.getvalue())), text_part("x"))).encode(),
        Counter(),
        0.0,
        False,
    )

    def watch():
        nonlocal peak
        while not stop:
            peak = max(peak, megabytes())
            time.sleep(0.005)

    class Forgetful(Fake):
        def answer(self, task="", image=None, audio=None, **given):
            return super().answer(task, None, None, **given)

    with running(SequentialScheduler(Forgetful(), workers=8)) as url:
        before = megabytes()
        watcher = threading.Thread(target=watch)
        watcher.start()
        crowd = [threading.Thread(target=lambda: statuses.update([said(url, raw(body=body))])) for _ in range(16)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        stop = True
        watcher.join()
        after = megabytes()
    return {"statuses": statuses, "mb_before": round(before), "mb_peak": round(peak), "mb_after": round(after)}


ATTACKS = {attack.__name__: attack for attack in (never_reading, half_close, rebinding, broken, requests, together)}


def main():
    """Run them one after the other; their figures as they come."""
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or ATTACKS:
        began = time.monotonic()
        found = ATTACKS[name]()
        print(f"{name} ({time.monotonic() - began:.0f} s)")
        for key, value in found.items():
            print(f"    {key}: {dict(value) if isinstance(value, Counter) else value}", flush=True)


if __name__ == "__main__":
    main()
