"""Two engines as one: every order of events ends in one answer or one error, also with real threads; requests that wait."""

import threading
import time
from collections import Counter
from heapq import heappop, heappush

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm_lab.edge.hybrid.breaker import Breaker
from autoglm_lab.edge.hybrid.coordinator import (
    CLOUD,
    CLOUD_ONLY,
    DEVICE,
    DEVICE_ONLY,
    FAIL_OVER,
    OFFLINE_FIRST,
    Coordinator,
    Deliver,
    Fail,
    Policy,
    Start,
)
from autoglm_lab.edge.hybrid.engine import HybridEngine, NoAnswerError, brevity, client
from autoglm_lab.edge.hybrid.faulty_link import PORTAL
from autoglm_lab.edge.hybrid.outbox import Outbox, Receiver, new_id
from autoglm_lab.runtime.engine import Answer, Stream

HEDGE = Policy("hedge", hedge_after_s=0.5, deadline_s=2.0)
CASCADE = Policy("cascade", DEVICE, escalate_below=0.5, deadline_s=2.0)
POLICIES = (DEVICE_ONLY, CLOUD_ONLY, FAIL_OVER, OFFLINE_FIRST, HEDGE, CASCADE)


# --- every order of events


def play(policy, plans, open_routes=frozenset((DEVICE, CLOUD)), confidence=1.0):
    """Let engines answer, fail or stay silent after some seconds; the ends, their times, and which engines were asked how often."""
    coordinator = Coordinator(policy, 0.0, open_routes)
    events, ends, starts, number = [], [], Counter(), 0

    def do(commands, now):
        nonlocal number
        for command in commands:
            if isinstance(command, Start):
                starts[command.route] += 1
                delay, outcome = plans[command.route]
                if delay is not None:
                    number += 1
                    heappush(events, (now + delay, number, command.route, outcome))
            else:
                ends.append((now, command))

    do(coordinator.begin(), 0.0)
    while True:
        wakes_at = coordinator.wakes_at()
        if events and (wakes_at is None or events[0][0] <= wakes_at):
            now, _, route, outcome = heappop(events)
            sure = confidence if route == DEVICE else 1.0
            do(coordinator.reply(route, now, route, sure) if outcome == "answer" else coordinator.failure(route, now, outcome), now)
        elif wakes_at is not None:
            do(coordinator.tick(wakes_at), wakes_at)
        else:
            return ends, starts


def fate():
    return st.tuples(st.one_of(st.none(), st.floats(0, 20)), st.sampled_from(["answer", "cut", "refused"]))


def schedules():
    return st.tuples(
        st.builds(
            Policy,
            st.just("any"),
            st.sampled_from([DEVICE, CLOUD]),
            st.floats(0.1, 10),
            st.booleans(),
            st.one_of(st.none(), st.floats(0.01, 12)),
            st.one_of(st.none(), st.floats(0, 1)),
        ),
        st.fixed_dictionaries({DEVICE: fate(), CLOUD: fate()}),
        st.sampled_from([frozenset((DEVICE, CLOUD)), frozenset((DEVICE,)), frozenset((CLOUD,)), frozenset()]),
        st.floats(0, 1),
    )


def check_schedule(policy, plans, open_routes, confidence):
    ends, starts = play(policy, plans, open_routes, confidence)
    assert len(ends) == 1, "exactly one end"
    now, end = ends[0]
    assert now <= policy.deadline_s + 1e-9, "not after the deadline"
    assert max(starts.values(), default=0) <= 1, "no engine is asked twice"
    assert set(starts) <= open_routes, "what may not be asked is not"
    if isinstance(end, Deliver):
        delay, outcome = plans[end.route]
        assert outcome == "answer" and end.answer == end.route and delay is not None
    else:
        assert end.reason
        in_time = [
            route
            for route in starts
            if plans[route][0] is not None and plans[route][1] == "answer" and plans[route][0] < policy.deadline_s
        ]
        began = {policy.first: 0.0}
        assert not [route for route in in_time if began.get(route) == 0.0 and starts[route]], "an answer in time is not thrown away"


@given(schedules())
@settings(max_examples=600, deadline=None)
def test_every_schedule_ends_once(schedule):
    check_schedule(*schedule)


def test_fail_over():
    ends, starts = play(FAIL_OVER, {CLOUD: (0.2, "cut"), DEVICE: (0.3, "answer")})
    assert ends == [(0.5, Deliver(DEVICE, DEVICE))] and starts == {CLOUD: 1, DEVICE: 1}
    ends, _ = play(CLOUD_ONLY, {CLOUD: (0.2, "cut"), DEVICE: (0.3, "answer")})
    assert ends == [(0.2, Fail("no engine answered (cloud: cut)"))]
    ends, _ = play(FAIL_OVER, {CLOUD: (0.2, "cut"), DEVICE: (0.3, "refused")})
    assert ends[0][1].reason == "no engine answered (cloud: cut; device: refused)"


def test_silence_ends_at_the_deadline():
    ends, starts = play(FAIL_OVER, {CLOUD: (None, "answer"), DEVICE: (0.3, "answer")})
    assert ends == [(8.0, Fail("no answer within the deadline"))] and starts == {CLOUD: 1}, "which is why one hedges"
    ends, _ = play(HEDGE, {CLOUD: (None, "answer"), DEVICE: (0.3, "answer")})
    assert ends == [(0.8, Deliver(DEVICE, DEVICE))]


def test_hedging_takes_the_first_and_drops_the_second():
    ends, starts = play(HEDGE, {CLOUD: (0.6, "answer"), DEVICE: (1.0, "answer")})
    assert ends == [(0.6, Deliver(CLOUD, CLOUD))] and starts == {CLOUD: 1, DEVICE: 1}
    ends, starts = play(HEDGE, {CLOUD: (0.4, "answer"), DEVICE: (1.0, "answer")})
    assert ends == [(0.4, Deliver(CLOUD, CLOUD))] and starts == {CLOUD: 1}, "in time: the device is left alone"


def test_a_cascade_keeps_what_it_has():
    sure = play(CASCADE, {DEVICE: (0.1, "answer"), CLOUD: (0.3, "answer")}, confidence=0.9)
    assert sure == ([(0.1, Deliver(DEVICE, DEVICE))], {DEVICE: 1})
    unsure = play(CASCADE, {DEVICE: (0.1, "answer"), CLOUD: (0.3, "answer")}, confidence=0.2)
    assert unsure == ([(pytest.approx(0.4), Deliver(CLOUD, CLOUD))], {DEVICE: 1, CLOUD: 1})
    for cloud in ((0.3, "cut"), (None, "answer"), (5.0, "answer")):
        ends, _ = play(CASCADE, {DEVICE: (0.1, "answer"), CLOUD: cloud}, confidence=0.2)
        assert ends[0][1] == Deliver(DEVICE, DEVICE) and ends[0][0] <= 2.0, "an unsure answer is better than none"
    offline = play(CASCADE, {DEVICE: (0.1, "answer"), CLOUD: (0.3, "answer")}, frozenset((DEVICE,)), confidence=0.2)
    assert offline == ([(0.1, Deliver(DEVICE, DEVICE))], {DEVICE: 1})


def test_what_may_not_be_asked():
    assert play(CLOUD_ONLY, {}, frozenset((DEVICE,)))[0] == [(0.0, Fail("the cloud may not be asked"))]
    assert play(FAIL_OVER, {DEVICE: (0.1, "answer")}, frozenset((DEVICE,)))[0] == [(0.1, Deliver(DEVICE, DEVICE))]


def test_times_that_cannot_be():
    for changes in ({"deadline_s": 0}, {"hedge_after_s": 0}, {"deadline_s": float("nan")}):
        with pytest.raises(ValueError, match="above 0"):
            Policy("bad", **changes)


# --- the breaker


def test_a_breaker_opens_rests_and_tries_once():
    now = [0.0]
    breaker = Breaker(most_failures=2, rest_s=10, clock=lambda: now[0])
    assert breaker.allows() and breaker.state == "closed"
    breaker.fail()
    breaker.succeed()
    breaker.fail()
    assert breaker.allows(), "failures have to come in a row"
    breaker.fail()
    assert breaker.state == "open" and not breaker.allows()
    now[0] = 10.0
    assert breaker.state == "half-open" and breaker.allows() and not breaker.allows(), "one trial at a time"
    breaker.fail()
    assert not breaker.allows() and breaker.state == "open"
    now[0] = 20.0
    assert breaker.allows()
    breaker.succeed()
    assert breaker.state == "closed"
    with pytest.raises(ValueError, match="above 0"):
        Breaker(most_failures=0)


# --- real threads


class Fake:
    """An engine that answers, fails or hangs as it is told."""

    def __init__(self, name, seconds=0.0, error=None, tokens=8):
        self.name, self.seconds, self.error, self.tokens, self.requests = name, seconds, error, tokens, []

    def answer(self, task="", image=None, audio=None, **options):
        self.requests.append((task, image, audio, options))
        return Stream(self._pieces())

    def _pieces(self):
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        yield Answer.read(f'finish(message="{self.name}")', self.tokens, {})


def ask(hybrid, task="hello", **options):
    return hybrid.answer(task, **options).answer.action.message


def test_the_cloud_fails_and_the_device_answers():
    trips = []
    with HybridEngine(Fake("device"), Fake("cloud", error=ConnectionError("cut")), on_trip=trips.append) as hybrid:
        assert ask(hybrid) == "device"
    assert trips[0].route == DEVICE and trips[0].routes == (CLOUD, DEVICE) and trips[0].reasons == {CLOUD: "ConnectionError: cut"}


def test_nobody_answers():
    with HybridEngine(Fake("d", error=OSError("hot")), Fake("c", error=ConnectionError("cut"))) as hybrid:
        with pytest.raises(NoAnswerError, match="cloud: ConnectionError: cut; device: OSError: hot"):
            ask(hybrid)
        with pytest.raises(ValueError, match="request is empty"):
            hybrid.answer(" ")


def test_pictures_stay_where_they_are():
    cloud = Fake("cloud")
    with HybridEngine(Fake("device"), cloud, private=True) as hybrid:
        assert ask(hybrid, image="a screen") == "device" and ask(hybrid, audio="a voice") == "device"
        assert not cloud.requests
        assert ask(hybrid) == "cloud", "words alone may go"
    hot = HybridEngine(Fake("device", error=OSError("hot")), cloud, private=True)
    with hot, pytest.raises(NoAnswerError, match="device: OSError: hot"):
        ask(hot, image="a screen")
    assert all(request[1] is None for request in cloud.requests)


def test_a_page_of_a_hotel_is_no_answer():
    class Portal(Fake):
        def _pieces(self):
            yield Answer.read(PORTAL, 9, {})

    with HybridEngine(Fake("device"), Portal("portal")) as hybrid:
        assert ask(hybrid) == "device"


def test_the_breaker_leaves_the_cloud_alone():
    cloud = Fake("cloud", error=ConnectionError("cut"))
    with HybridEngine(Fake("device"), cloud, breaker=Breaker(most_failures=2, rest_s=60)) as hybrid:
        assert [ask(hybrid) for _ in range(5)] == ["device"] * 5
    assert len(cloud.requests) == 2


def test_slow_clouds_do_not_pile_up():
    cloud = Fake("cloud", seconds=0.6)
    with HybridEngine(Fake("device"), cloud, Policy("hedge", hedge_after_s=0.02, deadline_s=5)) as hybrid:
        assert [ask(hybrid) for _ in range(8)] == ["device"] * 8
        assert len(cloud.requests) == 4, "the fifth did not wait for a place"


def test_late_answers_are_dropped():
    trips, cloud = [], Fake("cloud", seconds=0.3)
    with HybridEngine(Fake("device"), cloud, Policy("hedge", hedge_after_s=0.02, deadline_s=5), on_trip=trips.append) as hybrid:
        assert ask(hybrid) == "device"
        time.sleep(0.5)
        assert ask(hybrid, "again") == "device" and len(trips) == 2, "the late answer to the first is not one to the second"


def test_a_short_answer_is_trusted():
    policy = Policy("cascade", DEVICE, escalate_below=1 / 10)
    for tokens, route in ((8, "device"), (20, "cloud")):
        with HybridEngine(Fake("device", tokens=tokens), Fake("cloud"), policy) as hybrid:
            assert ask(hybrid) == route
    assert brevity(Answer("x", tokens=0)) == 1


def test_history_goes_to_who_reads_it():
    cloud, device = Fake("cloud", error=OSError("cut")), Fake("device")
    cloud.reads_history = True
    with HybridEngine(device, cloud) as hybrid:
        assert ask(hybrid, "go on", last="Tap", history=("turn",)) == "device"
    assert cloud.requests[0][3]["history"] == ("turn",) and "history" not in device.requests[0][3]
    assert device.requests[0][3]["last"] == "Tap"


def test_the_builder():
    sizes = []
    hybrid = client(Fake("cloud"), size="full", open_device=lambda size: sizes.append(size) or Fake("device"), policy=OFFLINE_FIRST)
    assert ask(hybrid) == "device" and sizes == ["full"]
    hybrid.close()
    assert client(Fake("cloud"), offline=False).name == "cloud"
    assert client(open_device=Fake).name == "lite", "no cloud at all: the device alone"
    for arguments, reason in (
        ({"size": "tiny"}, "'lite' and 'full'"),
        ({}, "open_device"),
        ({"offline": False}, "nothing that answers"),
    ):
        with pytest.raises(ValueError, match=reason):
            client(**arguments)


# --- requests that wait


class Memory(dict):
    """A store; `crash_at` ends the program at the n-th write."""

    def put(self, table, id, data):
        self[table, id] = data

    def get(self, table, id):
        return self[table, id]

    def ids(self, table):
        return sorted(id for name, id in self if name == table)

    def delete(self, table, id):
        del self[table, id]


class Crash(BaseException):
    """The program ended here."""


@given(st.lists(st.sampled_from(["sent", "lost before", "lost after", "crash before", "crash after", "twice"]), max_size=30))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_and_nothing_done_twice(fates):
    """A link that loses requests and replies, repeats them, and a program that ends at any point of it."""
    store, deeds, replies, fates = Memory(), [], {}, list(fates)
    receiver = Receiver(lambda request: deeds.append(request) or b"done " + request, Memory())

    def send(request_id, request):
        fate = fates.pop() if fates else "sent"
        if fate == "lost before":
            raise ConnectionError("cut")
        reply = receiver.receive(request_id, request)
        if fate == "twice":
            receiver.receive(request_id, request)
        if fate == "lost after":
            raise ConnectionError("cut")
        if fate == "crash before":
            raise Crash
        return reply

    def on_reply(request_id, reply):
        replies[request_id] = reply
        if fates and fates[-1] == "crash after":
            fates.pop()
            raise Crash

    ids = [new_id(second) for second in range(5)]
    for number, request_id in enumerate(ids):
        Outbox(store).add(request_id, bytes([number]))
    while Outbox(store).pending():
        try:
            Outbox(store).flush(send, on_reply)
        except Crash:
            continue
    assert deeds == [bytes([number]) for number in range(5)], "each once, and in order"
    assert list(replies) == ids and replies[ids[3]] == b"done \x03"


def test_ids_are_not_shared():
    box = Outbox(Memory())
    box.add("a", b"1")
    box.add("a", b"1")
    with pytest.raises(ValueError, match="another request has the id 'a'"):
        box.add("a", b"2")
    assert new_id(1.0) < new_id(2.0) and len({new_id(1.0) for _ in range(100)}) == 100


def test_two_threads_do_not_send_the_same():
    store, sent = Memory(), []
    box = Outbox(store)
    for number in range(20):
        box.add(new_id(number), bytes([number]))

    def send(request_id, request):
        sent.append(request)
        time.sleep(0.001)
        return b""

    threads = [threading.Thread(target=box.flush, args=(send, lambda *_: None)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 20
