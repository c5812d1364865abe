"""A cable between an agent and a real server: whatever happens to it, there is one answer, and its action is performed once."""

import socket
import threading
import time
from contextlib import contextmanager, suppress
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from autoglm_lab.edge.hybrid.coordinator import CLOUD, DEVICE, Policy
from autoglm_lab.edge.hybrid.engine import HybridEngine
from autoglm_lab.edge.hybrid.faulty_link import KINDS, Fault, Link
from autoglm_lab.phone.actions import parse_answer
from autoglm_lab.runtime.engine import Answer, Stream
from autoglm_lab.serve import RemoteEngine, running
from tests.unit.served import Fake

PATIENT = Policy("patient", deadline_s=6.0)


class Device:
    """A small model that gives up."""

    def answer(self, *_, **__):
        return Stream(iter([Answer.read('finish(message="device")', 3, {})]))


class Waiting(Fake):
    """Says its pieces over a third of a second, and the last ones once it may: what is cut before is cut on any machine."""

    def __init__(self):
        super().__init__(apart_s=0.05)
        self.may_end = threading.Event()

    def _spoken(self, given):
        for number, piece in enumerate(super()._spoken(given)):
            if number == len(self.pieces) - 2:
                self.may_end.wait(10)
            yield piece


@pytest.fixture(scope="module")
def server():
    fake = Waiting()
    with running(fake) as address:
        yield fake, int(address.split(":")[2].split("/")[0])


@pytest.fixture
def cloud(server):
    """A server whose answer comes in pieces, to its end unless a test says otherwise."""
    server[0].may_end.set()
    return server


@contextmanager
def hybrid_over(port, policy=PATIENT, timeout_s=1.0):
    trips = []
    with Link(port) as link:
        remote = RemoteEngine(f"http://127.0.0.1:{link.port}/v1", model="m", timeout_s=timeout_s, retries=0)
        with HybridEngine(Device(), remote, policy, on_trip=trips.append) as engine:
            yield link, engine, trips


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_ends_in_an_answer(cloud, kind):
    with hybrid_over(cloud[1]) as (link, engine, trips):
        link.fault = Fault(kind, bytes_per_s=200)
        began = time.monotonic()
        action = engine.answer("open Settings").answer.action
        assert action.name == ("Launch" if kind == "none" else "finish") and trips[0].route == (CLOUD if kind == "none" else DEVICE)
        assert time.monotonic() - began < PATIENT.deadline_s


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.1, 0.2, 60.0])
def test_a_cable_that_is_cut_at_some_moment(cloud, after_s):
    if after_s < 60:
        cloud[0].may_end.clear()
    with hybrid_over(cloud[1]) as (link, engine, trips):
        link.fault = Fault("cut", after_s=after_s)
        answer = engine.answer("open Settings").answer
        assert (trips[0].route == CLOUD) == (answer.action.name == "Launch") == (after_s == 60), "all of it, or none"
        assert parse_answer(answer.text)[1] == answer.action


def test_a_cable_is_cut_at_its_time_though_more_waits_to_be_passed_on():
    much = bytes(64 << 20)
    with socket.create_server(("127.0.0.1", 0)) as far, Link(far.getsockname()[1]) as link:
        link.fault = Fault("cut", after_s=0.1)
        with socket.create_connection(("127.0.0.1", link.port), timeout=5) as near:
            near.sendall(b"?")
            server, _ = far.accept()
            sender = threading.Thread(target=_send, args=(server, much), daemon=True)
            sender.start()
            time.sleep(0.3)  # a reader who is late: the buffers are full by now
            received = 0
            with suppress(ConnectionError):
                while piece := near.recv(1 << 20):
                    received += len(piece)
            sender.join(5)
            assert 0 < received < len(much) / 2 and not sender.is_alive()


def _send(connection, content):
    with connection, suppress(OSError):
        connection.sendall(content)


def test_a_cable_that_is_cut_by_hand_and_mended(cloud):
    cloud[0].may_end.clear()
    with hybrid_over(cloud[1]) as (link, engine, trips):
        threading.Timer(0.15, link.cut_now).start()
        assert engine.answer("open Settings").answer.action.name == "finish"
        assert engine.answer("open Settings").answer.action.name == "finish", "still cut"
        cloud[0].may_end.set()
        link.mend()
        assert engine.answer("open Settings").answer.action.name == "Launch"
        assert [trip.route for trip in trips] == [DEVICE, DEVICE, CLOUD] and link.n_connections >= 3


def test_hedging_waits_for_nobody(cloud):
    with hybrid_over(cloud[1], Policy("hedge", hedge_after_s=0.1, deadline_s=30.0), timeout_s=20.0) as (link, engine, trips):
        link.fault = Fault("silent")
        began = time.monotonic()
        assert engine.answer("open Settings").answer.action.name == "finish"
        assert time.monotonic() - began < 15 and trips[0].routes == (CLOUD, DEVICE), "before the time-out of the cloud"


def test_an_agent_performs_each_action_once(cloud):
    """The steps of a run over a cable that fails in every way, one after the other: as many actions as answers."""
    with hybrid_over(cloud[1]) as (link, engine, trips):
        performed = []
        for kind in ("none", "cut", "portal", "none", "broken"):
            link.fault = Fault(kind, after_s=0.1)
            (cloud[0].may_end.clear if kind == "cut" else cloud[0].may_end.set)()
            performed.append(engine.answer("open Settings").answer.action.name)
        time.sleep(0.5)  # what is late comes now, and is dropped
        assert performed == ["Launch", "finish", "finish", "Launch", "finish"] and len(trips) == 5


def test_a_large_request_gets_its_status():
    """A request of several packets is read to its end before the answer, or the client would see a reset."""
    with Link(9) as link:
        link.fault = Fault("busy")
        with pytest.raises(HTTPError) as refused:
            urlopen(f"http://127.0.0.1:{link.port}/v1", data=bytes(500_000), timeout=5)
        assert refused.value.code == 429


def test_a_link_closes_its_port():
    with Link(9) as link:
        port = link.port
        with socket.create_connection(("127.0.0.1", port)):
            pass
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_an_unknown_fault_is_refused():
    with pytest.raises(ValueError, match="no fault 'fire'; there are none, refuse"):
        Fault("fire")
