"""The cable without a browser: a real server behind a real link, cut at any moment; nothing is lost, done twice or left behind."""

import base64
import gc
import io
import re
import socket
import threading
import time
import weakref

import pytest
from PIL import Image

from autoglm_lab import session, widgets
from autoglm_lab.edge.hybrid.coordinator import CLOUD, DEVICE
from autoglm_lab.phone.actions import Action
from autoglm_lab.runtime.engine import Answer, Stream
from autoglm_lab.widgets import cable_view as view
from autoglm_lab.widgets.cable_driver import FAULTS, POLICIES, SILENCE_S, SLOW_BYTES_PER_S, Driver, Settings
from tests.unit.served import Fake

PIECES = ["do(", 'action="Launch"', ', app="', "Settings", '"', ")"]
APART_S = 0.06


class Cloud(Fake):
    """Six pieces, each a token, and the last one once it may."""

    def __init__(self):
        super().__init__(PIECES)
        self.may_end = threading.Event()
        self.may_end.set()

    def _spoken(self, given):
        for number, piece in enumerate(super()._spoken(given)):
            if number == len(self.pieces) - 1:
                self.may_end.wait(10)
            yield piece


class Device:
    """A small model that goes home, in two pieces."""

    def answer(self, *_, **__):
        text = 'do(action="Home")'
        return Stream(iter([text[:8], text[8:], Answer.read(text, 2, {})]))


@pytest.fixture
def actions():
    return []


@pytest.fixture
def cloud():
    return Cloud()


@pytest.fixture
def driver(actions, cloud):
    with Driver(Device(), cloud, "open Settings", None, APART_S, actions.append) as opened:
        yield opened


@pytest.fixture
def widget():
    yield widgets.cable(Device(), Cloud())
    session.close("widgets.cable")


def ask(driver, **settings):
    driver.settings = Settings(**settings)
    driver.start()
    return driver.wait()


def says(widget, **content):
    widget._handle_custom_msg({"id": "7", **content}, [])
    assert widget.answered == "7"
    return widget.message


def kinds(request, lane):
    return [event.kind for event in request.events if event.lane == lane]


def own_threads():
    return {each for each in threading.enumerate() if re.match(r"(cable|link|server|device|cloud|Thread-\d+)", each.name)}


def test_every_piece_is_noted_as_it_comes(driver, actions):
    request = ask(driver)
    assert request.route == CLOUD and [event.text for event in request.pieces(CLOUD)] == PIECES
    moments = [event.ms for event in request.pieces(CLOUD)]
    assert moments == sorted(moments) and moments[-1] - moments[0] > 1000 * APART_S * 3, "they come one after the other"
    assert kinds(request, DEVICE) == [] and request.discarded == {} and moments[-1] <= request.ms
    assert actions == [Action("Launch", app="Settings")] and driver.tally == view.Tally(1, 1, 0, 0, 0)


@pytest.mark.parametrize("at", [0, 200, 330])
def test_a_cut_at_a_moment_and_the_device_answers(driver, cloud, actions, at):
    cloud.may_end.clear()  # or the answer might be here before the cut
    request = ask(driver, fault="cut at", cut_at_ms=at)
    cloud.may_end.set()
    [cut] = [event for event in request.events if event.kind == view.CUT]
    assert request.route == DEVICE and cut.ms >= at - 1 and actions == [Action("Home")]
    assert len(request.pieces(CLOUD)) < len(PIECES) and kinds(request, CLOUD)[-1] == view.FAILURE
    assert request.discarded == ({CLOUD: len(request.pieces(CLOUD))} if request.pieces(CLOUD) else {})
    assert f"the cable was cut at {cut.ms:.0f} ms" in request.sentence() and request.fault == f"cut at {at} ms"
    assert not driver.link.is_cut and ask(driver).route == CLOUD, "it is plugged in again"
    assert driver.tally == view.Tally(2, 2, 0, 0, 0) and len(actions) == 2


def test_a_cut_that_comes_after_the_answer(driver):
    request = ask(driver, fault="cut at", cut_at_ms=2000)
    assert request.route == CLOUD and view.CUT not in kinds(request, view.CABLE) and not driver.link.is_cut


def test_a_cut_by_hand_lasts_until_the_cable_is_mended(driver, actions):
    driver.start()
    while len(driver.current.pieces(CLOUD)) < 2:
        time.sleep(0.005)
    with pytest.raises(RuntimeError, match="under way"):
        driver.start()
    driver.cut()
    request = driver.wait()
    assert request.route == DEVICE and 2 <= request.discarded[CLOUD] < len(PIECES)
    assert ask(driver).route == DEVICE, "still cut"
    assert ask(driver, fault="cut at", cut_at_ms=0).route == DEVICE and driver.link.is_cut, "who cut by hand mends by hand"
    driver.mend()
    driver.breaker.succeed()  # three have failed
    assert ask(driver).route == CLOUD and len(actions) == 4


def test_the_cloud_alone_gives_an_error_and_nothing_is_done(driver, actions):
    request = ask(driver, policy="cloud only", fault="cut at", cut_at_ms=150)
    assert request.route is None and "no engine answered" in request.error and kinds(request, DEVICE) == []
    assert driver.tally == view.Tally(1, 0, 1, 0, 0) and actions == [] and "no answer after" in request.sentence()


def test_a_hedge_answers_first_and_the_late_answer_is_thrown_away(driver, actions):
    request = ask(driver, policy="hedge")
    assert request.route == DEVICE and request.discarded == {CLOUD: len(PIECES)} and kinds(request, CLOUD)[-1] == view.END
    assert request.events[-1].lane == CLOUD and request.events[-1].ms > request.ms, "it came, after the answer"
    assert actions == [Action("Home")] and driver.tally == view.Tally(1, 1, 0, 0, 0)


def test_the_device_first_asks_no_cloud(driver):
    request = ask(driver, policy="device first", fault="silent")
    assert request.route == DEVICE and kinds(request, CLOUD) == [] and request.ms < 1000 * SILENCE_S


@pytest.mark.parametrize(
    ("fault", "reason"), [("429", "429"), ("500", "500"), ("captive portal", "no action"), ("silent", "no answer")]
)
def test_faults_of_a_network(driver, fault, reason):
    assert ask(driver).route == CLOUD, "and a connection that was kept does not hide the fault"
    request = ask(driver, fault=fault)
    assert request.route == DEVICE and reason in request.reasons[CLOUD] and driver.tally == view.Tally(2, 2, 0, 0, 0)


def test_each_request_has_a_connection_of_its_own(driver):
    """One that a client kept would go on under the fault it began with."""
    with socket.create_connection(("127.0.0.1", driver.link.port), timeout=5) as kept:
        kept.sendall(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert kept.recv(100).startswith(b"HTTP/1.1 200"), "it stays open"
        assert ask(driver, fault="429").route == DEVICE
        while kept.recv(4096):
            pass


def test_a_slow_cable_takes_longer(driver):
    before = driver.link.sent_bytes
    slow = ask(driver, policy="cloud only", fault="slow")
    assert slow.route == CLOUD and slow.ms > 1000 * (driver.link.sent_bytes - before) / SLOW_BYTES_PER_S > 0


def test_the_breaker_leaves_the_cloud_alone(driver):
    for _ in range(3):
        assert view.START in kinds(ask(driver, fault="429"), CLOUD)
    request = ask(driver)
    assert driver.breaker.state == "open" and kinds(request, CLOUD) == [] and "left alone" in request.reasons[CLOUD]
    assert request.route == DEVICE


def test_an_engine_that_lost_or_doubled_would_show():
    actions = []
    executor = view.Executor(actions.append)
    for name in "abcd":
        executor.begin(name)
    executor.act("a", Action("Home"))
    executor.act("b", Action("Home"))
    executor.act("b", Action("Back"))
    executor.fail("c")
    assert executor.tally() == view.Tally(asked=4, answered=2, errors=1, lost=1, done_twice=1)
    assert executor.tally({"d"}).lost == 0 and actions == [Action("Home"), Action("Home"), Action("Back")]


def test_nothing_is_left_behind():
    before = own_threads()
    driver = Driver(Device(), Cloud(), "open Settings", None, APART_S, lambda action: None)
    ask(driver)
    ask(driver, policy="hedge")
    port = driver.link.port
    driver.start()
    time.sleep(0.1)
    driver.close()
    driver.close()
    assert driver.requests[-1].route == DEVICE and driver.tally == view.Tally(3, 3, 0, 0, 0), "what was under way has ended"
    until = time.monotonic() + 5
    while own_threads() - before and time.monotonic() < until:
        time.sleep(0.02)
    assert not own_threads() - before
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    with pytest.raises(RuntimeError, match="was closed"):
        driver.start()


def test_a_closed_cable_keeps_no_engine():
    device, cloud = Device(), Cloud()
    engines = [weakref.ref(device), weakref.ref(cloud)]
    driver = Driver(device, cloud, "open Settings", None, APART_S, lambda action: None)
    ask(driver)
    driver.close()
    del device, cloud
    until = time.monotonic() + 5
    while any(engine() is not None for engine in engines) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.02)
    assert [engine() for engine in engines] == [None, None] and len(driver.requests) == 1


def test_a_cell_that_runs_again_closes_the_cable_of_before(widget):
    port = widget.driver.link.port
    other = widgets.cable(Device(), Cloud())
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    assert other.ask().route == CLOUD
    other.close()
    with pytest.raises(RuntimeError, match="was closed"):
        other.ask()


def test_messages_of_the_page(widget):
    assert widget.said == "Nothing was asked yet." and widget.state["tally"]["asked"] == 0 and widget.state["now"] is None
    assert says(widget, kind="set", fault="cut at") == says(widget, kind="set", cut_at_ms=150) == ""
    assert widget.settings == {"policy": "fail-over", "fault": "cut at", "cut_at_ms": 150}
    assert says(widget, kind="ask") == "" and "under way" in says(widget, kind="ask"), "the page may go on meanwhile"
    widget.driver.wait()
    assert widget.requests[0]["route"] == DEVICE and widget.said == widget.requests[0]["words"]
    assert widget.state["tally"] == {"asked": 1, "answered": 1, "errors": 0, "lost": 0, "done_twice": 0}
    assert says(widget, kind="cut") == "" and widget.state["cut"] and widget.said.endswith("The cable is cut.")
    assert says(widget, kind="mend") == "" and not widget.state["cut"]
    assert widget.driver.current is None and len(widget.requests) == 1


def test_the_page_sees_pieces_while_they_come(widget, monkeypatch):
    messages = []
    monkeypatch.setattr(widget, "send", lambda content, buffers=None: messages.append(content))
    widget.ask()
    states = [message["live"]["now"] for message in messages]
    counts = [[event[2] for event in now["events"]].count("piece") for now in states if now]
    assert counts == sorted(counts) and {*range(1, len(PIECES) + 1)} <= {*counts} and states[-1] is None


def test_the_phone_does_what_was_answered(widget):
    widget.ask()
    assert widget.phone.state.app == "settings"
    widget.set(policy="device first")
    widget.ask()
    assert widget.phone.state.app is None and widget.tally == view.Tally(2, 2, 0, 0, 0)


def test_picture_and_sentence(widget):
    for expected in ("Asked 0, answered 0, errors 0, lost 0, done twice 0.", "Request 1 (fail-over; cut at 200 ms): the device"):
        (_, _), (still, _) = widget.outputs()
        [encoded] = re.findall(r'src="data:image/png;base64,([^"]*)"', still["text/html"])
        assert Image.open(io.BytesIO(base64.b64decode(encoded))).width > 500
        assert expected in still["text/plain"]
        widget.set(fault="cut at", cut_at_ms=200)
        widget.ask()


def test_what_cannot_be_is_refused(widget):
    before = widget.settings
    for settings, reason in (
        ({"fault": "fire"}, "no fault 'fire'"),
        ({"policy": "hope"}, "no policy 'hope'"),
        ({"cut_at_ms": -1}, "from 0 to 2000"),
        ({"speed": 1}, "no setting speed"),
    ):
        assert reason in says(widget, kind="set", **settings)
    assert "asked for 'sing'" in says(widget, kind="sing") and widget.settings == before
    with pytest.raises(ValueError, match="apart_s is -1"):
        Driver(Device(), Cloud(), "t", None, -1, lambda action: None)
    assert {*POLICIES} == {"cloud only", "fail-over", "hedge", "device first"} and len(FAULTS) == 7
