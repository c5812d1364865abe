"""A server that runs: in a thread beside a notebook, or as the command `autoglm-lab serve`."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from autoglm_lab.hosts import AllowedHosts
from autoglm_lab.runtime.bundle import ROWS, Bundle, is_bundle
from autoglm_lab.runtime.engine import Engine
from autoglm_lab.runtime.reload import Mode, Watch, read_settings
from autoglm_lab.serve.api import application
from autoglm_lab.serve.batching import BatchingScheduler
from autoglm_lab.serve.connections import TimeoutProtocol
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.queue import Scheduler
from autoglm_lab.serve.sequential import SequentialScheduler
from autoglm_lab.serve.service import Service

NAME = "autoglm-lab"  # of the model, unless it is given another: nothing that a client takes for one of OpenAI's
START_S = 20.0
ROWS_AT_ONCE = 16


class Url(str):
    """Address of a server, ending in /v1, with the server behind it as `service`."""

    service: Service


@contextmanager
def running(
    served: Engine | Scheduler | Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: Limits | None = None,
    api_key: Mapping[str, str] | str | None = None,
    allow_hosts: Iterable[str] = (),
    exchange: Mode = "available",
    settings: Path | None = None,
) -> Iterator[Url]:
    """A server in a thread, for as long as the `with` block lasts; its address, ending in /v1.

    `served` is an engine (one answer at a time), a bundle (many at once, if it was exported with `rows`), or a scheduler. Port 0
    takes any that is free. It is asked under that address, a loopback name, or one in `allow_hosts`. `exchange` as in `Service`.
    `settings` is a JSON file of limits, over `limits`; a new content holds from the next request on, a broken one changes nothing.
    ValueError for an address that others reach without a key, and for settings that are broken; OSError when the port is taken.
    """
    check_address(host, api_key)
    base = limits or Limits()
    limits = base if settings is None else read_settings(settings, Limits, base)
    listening = listen(host, port)
    try:
        service = Service(partial(scheduler, served, limits), limits, api_key, AllowedHosts(host, allow_hosts), exchange=exchange)
    except BaseException:
        listening.close()
        raise
    server = _server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="server", daemon=True)
    thread.start()
    try:
        _wait(server, thread)
        url = Url(f"http://{_url_host(host)}:{listening.getsockname()[1]}/v1")
        url.service = service
        with watched(service, settings, base):
            yield url
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        service.end()  # the web framework keeps the application in its caches; the weights must not stay with it


def scheduler(
    served: Engine | Scheduler | Path | str,
    limits: Limits,
    name: str = NAME,
    *,
    rows: int = ROWS_AT_ONCE,
    workers: int | None = None,
    threads: int | None = None,
    **engine_options: Any,
) -> Scheduler:
    """Make the scheduler of a server: `BatchingScheduler` for a bundle with rows, `SequentialScheduler` for every other engine.

    `rows` answers at most are written together; 1 writes each on its own. `workers` see, hear and read (or answer) side by side,
    with the machine's cores shared out between them: `threads` overrules that. `engine_options` of a bundle: `speculate`,
    `mapped` and `lazy`, as in `OnnxEngine`. FileNotFoundError for a folder that is no bundle, ValueError for one that is damaged.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(served, Path | str):
        folder = Path(served)
        if not is_bundle(folder):
            raise FileNotFoundError(f"{folder.name} is no bundle; write one with `autoglm-lab export --rows --out DIR`")
        workers = workers or cores
        if rows > 1 and (folder / ROWS).is_file() and ROWS in Bundle.open(folder).files:  # what is not listed is not used
            return BatchingScheduler(
                folder, most=rows, workers=workers, cores=threads or cores, queue=limits.queue, name=name, **engine_options
            )
        from autoglm_lab.runtime.onnx_engine import OnnxEngine

        engine = OnnxEngine(folder, threads=threads or max(1, cores // workers), **engine_options)
        return SequentialScheduler(engine, workers=workers, queue=limits.queue, name=name)
    return (
        served
        if isinstance(served, Scheduler)
        else SequentialScheduler(served, workers=workers or 1, queue=limits.queue, name=name)
    )


@contextmanager
def watched(
    service: Service, settings: Path | None, base: Limits, say: Callable[[str], Any] = lambda words: None
) -> Iterator[None]:
    """Read a file of settings anew whenever its content is another one; `say` is told what came of it."""
    if settings is None:
        yield
        return

    def changed(path: Path) -> None:
        service.set_limits(read_settings(path, Limits, base))
        say(f"the settings were read anew from {path.name}")

    with Watch(settings, changed, complain=lambda error: say(f"the settings were not changed: {error}")):
        yield


def serve(
    service: Service,
    host: str,
    port: int,
    anew: Callable[[], Scheduler] | None = None,
    watch: Path | None = None,
    settings: Path | None = None,
    base: Limits | None = None,
) -> None:
    """Serve until it is interrupted; SIGHUP exchanges what computes the answers for `anew()`, under load.

    So does a new content of the file `watch`, looked at every second: the manifest of a bundle, which is written last. `settings`
    is a JSON file of limits over `base`, looked at as often.

    ValueError for an address that others reach without a key; OSError when the port is taken.
    """
    check_address(host, service.api_key)
    listening = listen(host, port)

    def exchange(*_: Any) -> None:
        assert anew is not None
        try:
            service.swap(anew)
            print("the bundle was opened anew", flush=True)
        except (ValueError, OSError) as error:
            print(f"the bundle was not exchanged: {error}", flush=True)

    def reopen(*_: Any) -> None:
        threading.Thread(target=exchange, name="exchange").start()

    if anew is not None and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, reopen)
    url = f"http://{_url_host(host)}:{listening.getsockname()[1]}/v1"
    print(f"serving {service.scheduler.name} at {url}   (Ctrl+C ends it)", flush=True)
    bundle = Watch(watch, exchange) if watch is not None and anew is not None else nullcontext()
    with bundle, watched(service, settings, base or service.limits, partial(print, flush=True)):
        _server(service).run(sockets=[listening])


def check_address(host: str, api_key: object) -> None:
    """ValueError when others could reach the server and nothing asks who they are."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and not api_key:
        raise ValueError(f"{host} can be reached by others; give a key with --api-key-file, or serve on 127.0.0.1")


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. OSError says that the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: otherwise asyncio waits 40 ms to fill packets
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"port {port} of {host} cannot be used ({error.strerror}); give another one") from None
    listener.listen(128)
    return listener


def _server(service: Service) -> uvicorn.Server:
    limits = service.limits
    protocol: Any = partial(TimeoutProtocol, send_s=limits.send_s)
    config = uvicorn.Config(
        application(service),
        http=protocol,
        ws="none",
        log_level="error",
        access_log=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=15,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=64_000,
        timeout_graceful_shutdown=10,
    )
    return uvicorn.Server(config)


def _wait(server: uvicorn.Server, thread: threading.Thread) -> None:
    until = time.monotonic() + START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise OSError("the server did not start")
        time.sleep(0.01)
