"""Limits of a server that are read anew while it answers: whole or not at all, and one request keeps those that it began with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import openai
import pytest

from autoglm_lab import atomic
from autoglm_lab.runtime.reload import read_settings
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.sequential import SequentialScheduler
from autoglm_lab.serve.server import running
from autoglm_lab.serve.service import Service
from tests.unit.served import Fake


def write(path: Path, **values: object) -> Path:
    atomic.write_text(path, json.dumps(values))
    return path


def choices(url: str, count: int) -> int:
    client = openai.OpenAI(base_url=url, api_key="x", max_retries=0)
    return len(
        client.chat.completions.create(model="any", n=count, messages=[{"role": "user", "content": "open Settings"}]).choices
    )


def until(true: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.02)


def test_new_limits_hold_from_the_next_request_on(tmp_path: Path) -> None:
    settings = write(tmp_path / "limits.json", choices=2)
    with running(Fake(), settings=settings) as url:
        assert choices(url, 2) == 2
        with pytest.raises(openai.BadRequestError, match="at most 2 answers"):
            choices(url, 3)
        write(settings, choices=3)
        until(lambda: url.service.limits.choices == 3)
        assert choices(url, 3) == 3


@pytest.mark.parametrize(
    "content",
    [
        '{"choices": 3',
        '{"chioces": 3}',
        '{"choices": "3"}',
        '{"choices": 0}',
        "[]",
        '{"queue": 3}',
        '{"choices": 3, "send_s": 1}',
        '{"image_hosts": "example.org"}',
        '{"image_hosts": [3]}',
    ],
)
def test_a_broken_file_changes_nothing(tmp_path: Path, content: str) -> None:
    settings = write(tmp_path / "limits.json", choices=2)
    said: list[str] = []
    from autoglm_lab.serve.server import watched

    service = Service(SequentialScheduler(Fake()), read_settings(settings, Limits, Limits()))
    with watched(service, settings, Limits(), said.append):
        atomic.write_text(settings, content)
        until(lambda: said)
        assert said[0].startswith("the settings were not changed") and service.limits == Limits(choices=2)
        write(settings, choices=4)
        until(lambda: len(said) == 2)
        assert said[1] == "the settings were read anew from limits.json" and service.limits.choices == 4
    service.close()


def test_what_needs_a_restart_is_named() -> None:
    service = Service(SequentialScheduler(Fake()))
    with pytest.raises(ValueError, match="queue, connections can only be changed by a restart"):
        service.set_limits(Limits(queue=3, connections=9, choices=2))
    assert service.limits == Limits()
    service.close()


def test_what_a_file_does_not_name_is_as_on_the_command_line(tmp_path: Path) -> None:
    base = Limits(choices=5, deadline_s=7.0)
    settings = write(tmp_path / "limits.json", deadline_s=9, image_hosts=["example.org"])
    assert read_settings(settings, Limits, base) == Limits(choices=5, deadline_s=9, image_hosts=frozenset({"example.org"}))


def test_a_request_keeps_the_limits_that_it_began_with() -> None:
    service = Service(SequentialScheduler(Fake()))
    seen: list[int] = []
    with service.settled():
        service.set_limits(Limits(choices=3))
        seen.append(service.limits.choices)
        other = threading.Thread(target=lambda: seen.append(service.limits.choices))  # of another request
        other.start()
        other.join()
    assert [*seen, service.limits.choices] == [8, 3, 3]
    service.close()


def test_no_request_sees_two_generations(tmp_path: Path) -> None:
    """Clients ask while the limits change fifty times: nobody is told of an error that is in neither."""
    settings = write(tmp_path / "limits.json", max_tokens=8, choices=1)
    failures: list[Exception] = []
    with running(Fake(), settings=settings) as url:
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    choices(url, 1)
                except Exception as error:
                    failures.append(error)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        for number in range(50):
            url.service.set_limits(Limits(max_tokens=8 + number, choices=1 + number % 2))
        stop.set()
        for client in clients:
            client.join()
    assert not failures


def test_the_command_reads_its_settings_anew(tmp_path: Path) -> None:
    from tests.unit.tiny_agent import write_tiny_bundle

    write_tiny_bundle(tmp_path / "bundle")
    settings = write(tmp_path / "limits.json", choices=2)
    command = [
        sys.executable,
        "-m",
        "autoglm_lab.cli",
        "serve",
        "--bundle",
        tmp_path / "bundle",
        "--port",
        "0",
        "--settings",
        settings,
    ]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None
            with pytest.raises(openai.BadRequestError, match="at most 2 answers"):
                choices(found[0], 3)
            settings.write_text("{")
            assert "the settings were not changed: limits.json cannot be read" in server.stdout.readline()
            write(settings, choices=3)
            assert "the settings were read anew" in server.stdout.readline()
            assert choices(found[0], 3) == 3
        finally:
            server.terminate()


def test_broken_settings_end_the_command_at_once(tmp_path: Path) -> None:
    settings = write(tmp_path / "limits.json", chioces=2)
    command = [sys.executable, "-m", "autoglm_lab.cli", "serve", "--settings", str(settings)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and "chioces is unknown" in ended.stderr and "Traceback" not in ended.stderr
