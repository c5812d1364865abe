"""Two engines as one: every order of events ends in one answer or one error, also with real threads; requests that wait."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm_lab.edge.hybrid.breaker import Breaker
from autoglm_lab.edge.hybrid.coordinator import (
    CLOUD,
    CLOUD_ONLY,
    DEVICE,
    FAIL_OVER,
    OFFLINE_FIRST,
    Coordinator,
    Deliver,
    Fail,
    Policy,
)
from autoglm_lab.edge.hybrid.engine import HybridEngine, NoAnswerError, brevity, client
from autoglm_lab.edge.hybrid.faulty_link import PORTAL
from autoglm_lab.edge.hybrid.outbox import Outbox, new_id
from autoglm_lab.edge.hybrid.schedules import BOTH, LINK, MemoryStore, Schedule, faults, play, send_all, tally
from autoglm_lab.runtime.engine import Answer, Stream

HEDGE = Policy("hedge", hedge_after_s=0.5, deadline_s=2.0)
CASCADE = Policy("cascade", DEVICE, escalate_below=0.5, deadline_s=2.0)


# --- every order of events


def outcome(policy, fates, open_routes=BOTH, confidence=1.0):
    """The ends of a request with their times, and how often each engine was asked."""
    course = play(Schedule(policy, fates, open_routes, confidence))
    return course.ends, course.starts_by_route


def fate():
    return st.tuples(st.one_of(st.none(), st.floats(0, 20)), st.sampled_from(["answer", "cut", "refused"]))


def requests():
    policies = st.builds(
        Policy,
        st.just("any"),
        st.sampled_from([DEVICE, CLOUD]),
        st.floats(0.1, 10),
        st.booleans(),
        st.one_of(st.none(), st.floats(0.01, 12)),
        st.one_of(st.none(), st.floats(0, 1)),
    )
    open_routes = st.sampled_from([BOTH, frozenset((DEVICE,)), frozenset((CLOUD,)), frozenset()])
    return st.builds(Schedule, policies, st.fixed_dictionaries({DEVICE: fate(), CLOUD: fate()}), open_routes, st.floats(0, 1))


@given(requests())
@settings(max_examples=600, deadline=None)
def test_every_request_ends_once_and_in_time(schedule):
    course = play(schedule)
    assert faults(schedule, course) == set()
    [(_, end)] = course.ends
    assert end.answer == end.route if isinstance(end, Deliver) else end.reason


def test_random_schedules_keep_every_promise_and_are_the_same_again():
    counts = tally(range(300))
    assert counts == tally(range(300)) and counts.n == counts.n_answers + counts.n_errors == 300
    assert min(counts.n_answers, counts.n_errors) > 50 and counts.n_actions == 1500
    assert counts.n_unsound == 0 and counts.first_unsound is None
    without = tally(range(50), has_ids=False)
    assert without.n_actions_twice > 50 and without.first_unsound is not None and without.n_actions_lost == 0


@pytest.mark.parametrize(
    ("method", "change", "fault"),
    [
        ("wakes_at", lambda self: None, "n_endless"),
        ("reply", lambda self, route, now, answer, confidence: self._end(Deliver(route, answer)), "n_twice"),
        ("due", property(lambda self: self.began + 1.5 * self.policy.deadline_s), "n_late"),
        ("_give_up", lambda self, reason: self._end(Fail(reason)), "n_lost"),
        ("begin", lambda self: self._start(self.policy.first), "n_forbidden"),
        ("failure", lambda self, route, now, reason: self._end(Deliver(route, route)), "n_invented"),
    ],
)
def test_a_coordinator_that_breaks_a_promise_is_caught(monkeypatch, method, change, fault):
    monkeypatch.setattr(Coordinator, method, change)
    assert getattr(tally(range(300)), fault) > 0


def test_fail_over():
    ends, starts = outcome(FAIL_OVER, {CLOUD: (0.2, "cut"), DEVICE: (0.3, "answer")})
    assert ends == [(0.5, Deliver(DEVICE, DEVICE))] and starts == {CLOUD: 1, DEVICE: 1}
    ends, _ = outcome(CLOUD_ONLY, {CLOUD: (0.2, "cut"), DEVICE: (0.3, "answer")})
    assert ends == [(0.2, Fail("no engine answered (cloud: cut)"))]
    ends, _ = outcome(FAIL_OVER, {CLOUD: (0.2, "cut"), DEVICE: (0.3, "refused")})
    assert ends[0][1].reason == "no engine answered (cloud: cut; device: refused)"


def test_silence_ends_at_the_deadline():
    ends, starts = outcome(FAIL_OVER, {CLOUD: (None, "answer"), DEVICE: (0.3, "answer")})
    assert ends == [(8.0, Fail("no answer within the deadline"))] and starts == {CLOUD: 1}, "which is why one hedges"
    ends, _ = outcome(HEDGE, {CLOUD: (None, "answer"), DEVICE: (0.3, "answer")})
    assert ends == [(0.8, Deliver(DEVICE, DEVICE))]


def test_hedging_takes_the_first_and_drops_the_second():
    ends, starts = outcome(HEDGE, {CLOUD: (0.6, "answer"), DEVICE: (1.0, "answer")})
    assert ends == [(0.6, Deliver(CLOUD, CLOUD))] and starts == {CLOUD: 1, DEVICE: 1}
    ends, starts = outcome(HEDGE, {CLOUD: (0.4, "answer"), DEVICE: (1.0, "answer")})
    assert ends == [(0.4, Deliver(CLOUD, CLOUD))] and starts == {CLOUD: 1}, "in time: the device is left alone"


def test_a_cascade_keeps_what_it_has():
    sure = outcome(CASCADE, {DEVICE: (0.1, "answer"), CLOUD: (0.3, "answer")}, confidence=0.9)
    assert sure == ([(0.1, Deliver(DEVICE, DEVICE))], {DEVICE: 1})
    unsure = outcome(CASCADE, {DEVICE: (0.1, "answer"), CLOUD: (0.3, "answer")}, confidence=0.2)
    assert unsure == ([(pytest.approx(0.4), Deliver(CLOUD, CLOUD))], {DEVICE: 1, CLOUD: 1})
    for cloud in ((0.3, "cut"), (None, "answer"), (5.0, "answer")):
        ends, _ = outcome(CASCADE, {DEVICE: (0.1, "answer"), CLOUD: cloud}, confidence=0.2)
        assert ends[0][1] == Deliver(DEVICE, DEVICE) and ends[0][0] <= 2.0, "an unsure answer is better than none"
    offline = outcome(CASCADE, {DEVICE: (0.1, "answer"), CLOUD: (0.3, "answer")}, frozenset((DEVICE,)), confidence=0.2)
    assert offline == ([(0.1, Deliver(DEVICE, DEVICE))], {DEVICE: 1})


def test_what_may_not_be_asked():
    assert outcome(CLOUD_ONLY, {}, frozenset((DEVICE,)))[0] == [(0.0, Fail("the cloud may not be asked"))]
    assert outcome(FAIL_OVER, {DEVICE: (0.1, "answer")}, frozenset((DEVICE,)))[0] == [(0.1, Deliver(DEVICE, DEVICE))]


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


@given(st.lists(st.sampled_from(LINK), max_size=30))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_and_nothing_done_twice(fates):
    """A link that loses requests and replies, repeats them, and a program that ends at any point of it."""
    texts = [bytes([number]) for number in range(5)]
    actions, replies = send_all(texts, fates)
    assert actions == texts, "each once, and in order"
    assert [replies[request_id] for request_id in sorted(replies)] == [b"done " + text for text in texts]


def test_without_ids_a_copy_is_performed_again():
    assert (
        send_all([b"pay"], ["twice"], has_ids=False)[0] == send_all([b"pay"], ["lost after"], has_ids=False)[0] == [b"pay", b"pay"]
    )
    assert send_all([b"pay"], ["crash before", "crash after", "lost before"])[0] == [b"pay"]


def test_ids_are_not_shared():
    box = Outbox(MemoryStore())
    box.add("a", b"1")
    box.add("a", b"1")
    with pytest.raises(ValueError, match="another request has the id 'a'"):
        box.add("a", b"2")
    assert new_id(1.0) < new_id(2.0) and len({new_id(1.0) for _ in range(100)}) == 100


def test_two_threads_do_not_send_the_same():
    store, sent = MemoryStore(), []
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
