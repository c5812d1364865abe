"""Many answers at once are the same as one at a time; whoever comes, goes, or sends something broken disturbs nobody."""

import asyncio
import os
import queue
import random
import threading
import time
from functools import partial

import numpy as np
import onnxruntime
import pytest
from filelock import FileLock

from autoglm_lab.runtime.onnx_engine import OnnxEngine, Step
from autoglm_lab.runtime.rows import Rows
from autoglm_lab.runtime.sampling import Sampling
from autoglm_lab.runtime.sessions import quiet
from autoglm_lab.serve.batching import BatchingScheduler
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.queue import Done, FairQueue, Job
from autoglm_lab.serve.reading import GenerationRequest
from autoglm_lab.serve.sequential import SequentialScheduler
from autoglm_lab.serve.service import Service
from autoglm_lab.serve.stream_parser import Piece
from tests.unit.tiny_agent import write_tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    here = tmp_path_factory.getbasetemp()
    folder = (here.parent if "PYTEST_XDIST_WORKER" in os.environ else here) / "tiny"
    with FileLock(f"{folder}.lock"):  # one for all workers
        return folder if (folder / "manifest.json").exists() else write_tiny_bundle(folder)


@pytest.fixture(scope="module")
def engine(folder):
    return OnnxEngine(folder, threads=1)


def asking(seed, **given):
    """A request of any kind: typed or spoken, with a screen or without, thinking or not, drawn by lot or not."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (40, 30, 3)).astype(np.uint8) if seed % 4 != 1 else None
    audio = rng.normal(0, 0.1, int(rng.integers(4_000, 20_000))).astype(np.float32) if seed % 3 == 2 else None
    sampling = Sampling(1.2, 0.95, 0.5, seed) if seed % 2 else Sampling()
    words = "" if audio is not None else f"open the app number {seed} " + "please " * int(rng.integers(0, 30))
    facts = {"image": None if image is None else lambda take=None: image.copy(), "audio": None if audio is None else audio.copy}
    return GenerationRequest(
        **{
            "task": words,
            **facts,
            "think": seed % 5 == 0,
            "max_new_tokens": int(rng.integers(2, 60)),
            "steps": (("Tap", True),),
            "sampling": sampling,
            **given,
        }
    )


def alone(engine, asked):
    """The answer to a request by itself, through the same ears."""
    job = Job(asked, queue.Queue())
    stream, told = engine.stream(asked.opened()), []
    job.prompt_tokens = stream.prompt_tokens
    for text in stream:
        told += job.feed(text)
        if job.parser.ended:
            return joined(told)
    return joined([*told, *job.end("stop")])


def joined(events):
    *pieces, done = events
    assert all(isinstance(piece, Piece) for piece in pieces) and isinstance(done, Done), events[-3:]
    # nonsense breaks letters, and what stands for a broken one is a matter of taste
    texts = ("".join(p.text for p in pieces if p.channel == channel) for channel in ("reasoning", "content"))
    return *(text.replace("\ufffd", "") for text in texts), done


def events(job, patience_s=60.0):
    """All that a job was told, to its end."""
    told = []
    while not told or isinstance(told[-1], Piece):
        told.append(job.mailbox.get(timeout=patience_s))
    return told


def submitted(scheduler, *asked, **facts):
    jobs = [Job(each, queue.Queue(), **facts) for each in asked]
    scheduler.submit(jobs)
    return jobs


def closing(scheduler):
    """Close it in a thread with an end: a test that hangs is a test that fails."""
    thread = threading.Thread(target=scheduler.close, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the scheduler does not end"


@pytest.fixture
def batches(folder):
    made = BatchingScheduler(folder, most=3, workers=2, cores=1, queue=500)
    yield made
    closing(made)


KINDS = [asking(seed) for seed in range(40)]


@pytest.fixture(scope="module")
def wanted(engine):
    return [alone(engine, each) for each in KINDS]


def test_the_answers_differ(wanted):
    texts = {thought + content for thought, content, _ in wanted}
    assert len(texts) > 30, "otherwise the tests below show nothing"


@pytest.mark.parametrize("most", [1, 3, 16])
def test_together_as_one_at_a_time_whoever_comes_and_goes(folder, wanted, most):
    scheduler = BatchingScheduler(folder, most=most, workers=2, cores=1, queue=500, patience_s=0.02)
    rng, jobs = random.Random(most), []
    try:
        for number in rng.sample(range(len(KINDS)), len(KINDS)):
            jobs.append((number, *submitted(scheduler, KINDS[number])))
            if rng.random() < 0.2:  # somebody who comes and goes
                [other] = submitted(scheduler, asking(number + 1000))
                other.cancelled = rng.random() < 0.5
                threading.Timer(rng.random() / 10, partial(setattr, other, "cancelled", True)).start()
            time.sleep(rng.choice([0, 0, 0.01, 0.05]))
        for number, job in jobs:
            assert joined(events(job)) == wanted[number]
    finally:
        closing(scheduler)
    assert scheduler.state() == {"waiting": 0, "writing": 0}


def test_turns_give_the_same_answers(engine, wanted):
    scheduler = SequentialScheduler(engine, workers=2, queue=500)
    jobs = submitted(scheduler, *KINDS)
    closing(scheduler)
    assert [joined(events(job)) for job in jobs] == wanted


def waited(condition, seconds=20.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.002)


ENDLESS = {"max_new_tokens": 250, "sampling": Sampling(1.5, seed=1), "think": True}


def test_who_goes_away_makes_room_at_once(folder):
    scheduler = BatchingScheduler(folder, most=1, workers=1, cores=1)
    [endless] = submitted(scheduler, asking(4, **ENDLESS))
    waited(lambda: endless.tokens > 0)
    [next_one] = submitted(scheduler, asking(8, max_new_tokens=3))
    endless.cancelled = True
    joined(events(next_one))
    assert endless.tokens < 250
    assert isinstance(events(endless)[-1], ApiError)
    closing(scheduler)


def broken(take=None):
    raise ApiError(415, "this is no picture")


def cracked(take=None):
    raise RuntimeError("a stumbling decoder")


def test_what_is_broken_disturbs_nobody(batches, wanted):
    good, bad = [], []
    for number in range(12):
        good += submitted(batches, KINDS[number])
        bad += submitted(
            batches,
            asking(0, image=broken),
            asking(0, image=cracked),
            asking(0, task="word " * 3000),
            asking(0, task=" "),
            asking(0, max_new_tokens=5000),
        )
    assert [joined(events(job)) for job in good] == wanted[:12]
    statuses = [events(job)[-1].status for job in bad]
    assert statuses == [415, 500, 400, 400, 400] * 12


def test_too_many_tokens_have_a_code_of_their_own(batches):
    [job] = submitted(batches, asking(0, task="word " * 3000))
    [error] = events(job)
    assert error.code == "context_length_exceeded" and "at most 512 fit" in error.message


def test_what_fails_while_it_is_written_is_told_and_the_next_are_answered(batches, wanted, monkeypatch):
    steps = batches._rows.step
    monkeypatch.setattr(batches._rows, "step", lambda tokens: int("a row is full"))
    jobs = submitted(batches, asking(4, **ENDLESS), asking(8, **ENDLESS))
    assert [events(job)[-1].status for job in jobs] == [500, 500]
    monkeypatch.setattr(batches._rows, "step", steps)
    assert joined(events(*submitted(batches, KINDS[3]))) == wanted[3]


def test_what_fails_on_its_way_into_the_batch_is_told(batches, wanted, monkeypatch):
    joins = batches._rows.join
    monkeypatch.setattr(batches._rows, "join", lambda *_: int("no room"))
    assert events(*submitted(batches, KINDS[3]))[-1].code == "engine_failed"
    monkeypatch.setattr(batches._rows, "join", joins)
    assert joined(events(*submitted(batches, KINDS[3]))) == wanted[3]


@pytest.mark.parametrize("kind", ["batches", "turns"])
def test_every_answer_ends_once_whenever_its_time_is_over(folder, engine, kind):
    scheduler = (
        BatchingScheduler(folder, most=4, workers=2, cores=1, queue=500)
        if kind == "batches"
        else SequentialScheduler(engine, workers=2, queue=500)
    )
    rng, jobs = random.Random(1), []
    for seed in range(30):  # in turns: at some moment within two seconds, never, long ago
        deadline = (time.monotonic() + rng.random() * 2, float("inf"), time.monotonic() - 1)[seed % 3]
        jobs += submitted(scheduler, asking(seed, max_new_tokens=40), deadline=deadline)
    ends = [events(job, 300)[-1] for job in jobs]
    closing(scheduler)
    assert all(job.mailbox.empty() for job in jobs), "nothing follows the end"
    assert [end for end in ends[1::3] if not isinstance(end, Done)] == [], "an answer that has time is whole"
    late = [*ends[2::3], *(end for end in ends[0::3] if not isinstance(end, Done))]
    assert {(end.status, end.code) for end in late} == {(503, "deadline_exceeded")}


class Ticking(Job):
    """A job whose time is over the second time that it is asked within a token."""

    asked = 0

    @property
    def given_up(self):
        self.asked += 1
        return self.asked > 4


@pytest.mark.parametrize("kind", ["batches", "turns"])
def test_time_that_runs_out_between_two_looks_loses_no_answer(folder, engine, kind):
    scheduler = BatchingScheduler(folder, most=2, workers=1, cores=1) if kind == "batches" else SequentialScheduler(engine)
    jobs = []
    for before in range(4):
        job = Ticking(asking(4, **ENDLESS), queue.Queue())
        job.asked = -before
        scheduler.submit([job])
        jobs.append(job)
    closing(scheduler)
    assert [events(job, 1)[-1].status for job in jobs] == [503] * 4


def test_a_full_queue_refuses_and_what_was_taken_is_answered(folder):
    scheduler = BatchingScheduler(folder, most=2, workers=1, cores=1, queue=3)
    jobs, refused = [], 0
    for seed in range(40):
        try:
            jobs += submitted(scheduler, asking(seed, max_new_tokens=5))
        except ApiError as error:
            refused += (error.status, error.headers) == (429, {"Retry-After": "1"})
    with pytest.raises(ApiError, match="waiting"):
        submitted(scheduler, *[asking(seed) for seed in range(4)])
    closing(scheduler)
    assert len(jobs) + refused == 40 and refused > 0 and len(jobs) >= 3
    assert [type(events(job, 1)[-1]) for job in jobs] == [Done] * len(jobs)
    with pytest.raises(ApiError, match="closing") as caught:
        submitted(scheduler, asking(1))
    assert caught.value.status == 503


class Stuck:
    """An engine that waits to be let go."""

    def __init__(self):
        self.go = threading.Event()

    def answer(self, *_, **__):
        self.go.wait(20)
        raise ValueError("gone")


def test_who_went_away_takes_no_place_in_a_full_queue():
    engine = Stuck()
    scheduler = SequentialScheduler(engine, queue=3)
    submitted(scheduler, GenerationRequest("x"))
    waited(lambda: scheduler.state()["writing"] == 1)
    dead = submitted(scheduler, GenerationRequest("x"), GenerationRequest("x"), GenerationRequest("x"))
    with pytest.raises(ApiError):
        submitted(scheduler, GenerationRequest("x"))
    dead[1].cancelled = True
    [last] = submitted(scheduler, GenerationRequest("x"))
    with pytest.raises(ApiError):
        submitted(scheduler, GenerationRequest("x"))
    engine.go.set()
    closing(scheduler)
    assert events(last)[-1].status == 400


def test_a_queue_in_which_every_client_has_its_turn():
    waiting = FairQueue(100)
    for client, count in (("a", 6), ("b", 2), ("c", 1)):
        waiting.put([Job(GenerationRequest(f"{client}{number}"), queue.Queue(), client) for number in range(count)])
    first = [waiting.get().asking.task for _ in range(4)]
    waiting.put([Job(GenerationRequest("d0"), queue.Queue(), "d")])
    assert first == ["a0", "b0", "c0", "a1"]
    assert [waiting.get().asking.task for _ in range(6)] == ["b1", "a2", "d0", "a3", "a4", "a5"]
    assert len(waiting) == 0
    waiting.close()
    assert waiting.get() is None


def test_another_engine_under_load_loses_no_answer(folder, engine, wanted):
    service = Service(BatchingScheduler(folder, most=3, workers=1, cores=1, queue=500))
    loop = asyncio.new_event_loop()
    turning = threading.Thread(target=loop.run_forever)
    turning.start()
    service.attach(loop)
    answered, failed, stop = [], [], threading.Event()

    def client(first):
        number = first
        while not stop.is_set():
            job = Job(KINDS[number % 40], queue.Queue())
            try:
                service.submit([job])
                answered.append((number % 40, joined(events(job))))
            except Exception as error:
                failed.append(error)
            number += 7

    clients = [threading.Thread(target=client, args=(first,)) for first in range(4)]
    for each in clients:
        each.start()
    for turn in range(4):
        time.sleep(0.3)
        service.swap(
            SequentialScheduler(engine, workers=1, queue=500)
            if turn % 2
            else BatchingScheduler(folder, most=4, workers=1, cores=1, queue=500)
        )
    stop.set()
    for each in clients:
        each.join(60)
    closing(service.scheduler)
    loop.call_soon_threadsafe(loop.stop)
    turning.join(10)
    loop.close()
    assert not failed and len(answered) > 20
    assert all(answer == wanted[number] for number, answer in answered)


def test_rows_score_as_steps_do_whoever_joins_and_leaves(folder, engine):
    session = onnxruntime.InferenceSession(str(folder / "rows.onnx"), quiet(1))
    rows, rng, written = Rows(session, 5, engine.bundle.places), random.Random(2), []
    worst = moves = 0
    for turn in range(250):
        move = rng.choice(["join", "step", "step", "leave"])
        if move == "join" and len(written) < 5:
            asked = engine.encode(asking(turn).opened())
            step = Step(engine.sessions["step"], asked.states, room=engine.bundle.places)
            scores = step.scores(asked.ids)
            assert rows.join(asked.states, step.cache, step.total) == len(written)
            written.append((step, int(scores.argmax())))
        elif move == "leave" and written:
            at = rng.randrange(len(written))
            last = rows.leave(at)
            assert last == len(written) - 1
            written[at] = written[last]
            written.pop()
        elif written:
            given = rows.step([token for _, token in written]).copy()
            for at, (step, token) in enumerate(written):
                scores = step.scores([token])
                worst, moves = max(worst, float(np.abs(given[at] - scores).max() / np.abs(scores).max())), moves + 1
                written[at] = (step, int(scores.argsort()[-1 - turn % 3]))
    assert worst < 1e-4 and moves > 150
    assert rows.count == len(written)


def test_rows_say_what_does_not_fit(folder, engine):
    session = onnxruntime.InferenceSession(str(folder / "rows.onnx"), quiet(1))
    with pytest.raises(ValueError, match="most is 0"):
        Rows(session, 0, 9)
    rows = Rows(session, 1, 9)
    with pytest.raises(ValueError, match="0 rows and 1 tokens"):
        rows.step([3])
    asked = engine.prepare("hi")
    step = Step(engine.sessions["step"], asked.states, room=20)
    step.scores(list(range(10, 18)))
    with pytest.raises(ValueError, match="room for 9"):
        rows.join(asked.states, step.cache, 9)
    rows.join(asked.states, step.cache, 8)
    with pytest.raises(ValueError, match="all 1 rows"):
        rows.join(asked.states, step.cache, 8)
    rows.step([3])
    with pytest.raises(ValueError, match="full"):
        rows.step([3])


def test_a_bundle_without_rows_says_so(folder, tmp_path):
    import json
    import shutil

    plain = tmp_path / "plain"
    shutil.copytree(folder, plain)
    manifest = json.loads((plain / "manifest.json").read_text())
    del manifest["files"]["rows.onnx"]
    (plain / "manifest.json").write_text(json.dumps(manifest))
    (plain / "rows.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="rows"):
        BatchingScheduler(plain)
    with pytest.raises(ValueError, match="workers is 0"):
        BatchingScheduler(folder, workers=0)
