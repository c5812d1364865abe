"""Another model while a server answers: over HTTP, by a signal, by a new content of the folder; broken ones leave the old one."""

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from urllib.error import HTTPError
from urllib.request import urlopen

import openai
import pytest

from autoglm_lab import atomic
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.serve.answers import Answer
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.sequential import SequentialScheduler
from autoglm_lab.serve.server import running
from autoglm_lab.serve.service import Service
from tests.unit.served import Fake
from tests.unit.tiny_agent import write_tiny_bundle


def complete(url):
    client = openai.OpenAI(base_url=url, api_key="x", max_retries=0)
    return client.chat.completions.create(model="any", messages=[{"role": "user", "content": "open Settings"}])


def answer_text(url):
    return complete(url).choices[0].message.content


class Clients:
    """Threads that ask until they are told to stop; `answers` and `failures`."""

    def __init__(self, url, count=3):
        self.answers, self.failures, self._stop = [], [], threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url,)) for _ in range(count)]

    def _ask(self, url):
        while not self._stop.is_set():
            try:
                self.answers.append(answer_text(url))
            except Exception as error:
                self.failures.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


@pytest.mark.parametrize("exchange", ["available", "small"])
def test_no_request_is_lost_and_in_a_small_exchange_there_is_one_at_a_time(exchange):
    alive, most = weakref.WeakSet(), []

    def makes(text):
        def make():
            gc.collect()
            most.append(len(alive))
            time.sleep(0.1)  # a model takes time to load
            scheduler = SequentialScheduler(Fake([text], apart_s=0.005))
            alive.add(scheduler)
            return scheduler

        return make

    with running(Fake(["none"]), exchange=exchange) as url:
        url.service.swap(makes("0"))
        with Clients(url, 8) as clients:
            for number in range(1, 21):
                time.sleep(0.02)
                url.service.swap(makes(str(number)))
        assert clients.failures == []
        assert clients.answers[-1] == "20" and len(set(clients.answers)) > 5
    assert set(most[2:]) == ({0} if exchange == "small" else {1}), "how many were alive when the next one was loaded"


def test_requests_wait_for_a_small_exchange_and_are_told_when_it_takes_too_long():
    loading, loaded = threading.Event(), threading.Event()

    def slow():
        loading.set()
        loaded.wait(20)
        return SequentialScheduler(Fake(["new"]))

    with running(Fake(["old"]), exchange="small") as url:
        swap = threading.Thread(target=url.service.swap, args=(slow,))
        swap.start()
        assert loading.wait(10)
        with pytest.raises(HTTPError) as unwell:
            urlopen(url.replace("/v1", "/health"))
        assert unwell.value.code == 503
        with Clients(url, 2) as clients:
            time.sleep(0.3)
            assert clients.answers == clients.failures == []
            loaded.set()
            swap.join(10)
        assert clients.failures == [] and set(clients.answers) == {"new"}


def test_an_error_keeps_nothing_of_the_requests_that_it_ended():
    with running(Fake(["slow"], before_s=0.3), limits=Limits(deadline_s=0.05)) as url:
        for _ in range(4):
            with pytest.raises(openai.InternalServerError):
                complete(url)
        time.sleep(0.5)
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Answer)]


@pytest.mark.parametrize("exchange", ["available", "small"])
def test_what_cannot_be_made_leaves_the_old_one(exchange):
    def broken():
        raise ValueError("half a bundle")

    with running(Fake(["old"]), exchange=exchange) as url:
        with pytest.raises(ValueError, match="half a bundle"):
            url.service.swap(broken)
        assert answer_text(url) == "old"


def test_a_small_exchange_needs_what_makes_the_old_one_again():
    scheduler = SequentialScheduler(Fake(["old"]))
    with pytest.raises(ValueError, match="give a function that makes it"):
        Service(scheduler, exchange="small")
    scheduler.close()


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A bundle that answers otherwise than the tiny one."""
    return write_tiny_bundle(tmp_path_factory.mktemp("other") / "bundle", seed=3)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a signal of Unix")
@pytest.mark.parametrize("way", ["signal", "watch"])
def test_the_command_serves_another_bundle_without_a_restart(tiny_bundle, other, tmp_path, way):
    place = tmp_path / "bundle"
    with atomic.folder(place, "bundle") as part:
        shutil.copytree(tiny_bundle, part, dirs_exist_ok=True)
    wanted = [OnnxEngine(folder).answer("open Settings").answer.text for folder in (tiny_bundle, other)]
    assert wanted[0] != wanted[1]
    command = [sys.executable, "-m", "autoglm_lab.cli", "serve", "--bundle", str(place), "--port", "0", "--lazy", "60", "--mapped"]
    command += ["--watch"] if way == "watch" else []
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)
    try:
        url = re.search(r"http://\S+/v1", server.stdout.readline())[0]
        texts = [answer_text(url)]
        for broken in (False, True):
            with atomic.folder(place, "bundle") as part:
                shutil.copytree(other, part, dirs_exist_ok=True)
                if broken:
                    manifest = json.loads((part / "manifest.json").read_text())
                    (part / "manifest.json").write_text(json.dumps({**manifest, "places": -1}))
            if way == "signal":
                server.send_signal(signal.SIGHUP)
            line = server.stdout.readline()
            assert ("was not exchanged" if broken else "was opened anew") in line
            texts.append(answer_text(url))
        assert texts == [wanted[0], wanted[1], wanted[1]]
    finally:
        server.terminate()
        server.communicate(timeout=20)
