"""A shelf of lazy modules and a pool of buffers: built once, never dropped in use, bounded, and clear about what is wrong."""

import os
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm_lab.evaluation.memory_now import memory_now
from autoglm_lab.runtime.shelf import Pool, Shelf, caches


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def shelf(*names, sizes=None, **options):
    """A shelf whose modules are their names in a list, and how often each was built."""
    made, built = Shelf(**options), Counter()
    for name in names:

        def build(name=name):
            built[name] += 1
            return [name]

        made.offer(name, build, (sizes or {}).get(name, 0))
    return made, built


def test_nothing_is_built_before_it_is_needed_and_then_once():
    made, built = shelf("image", "audio")
    assert not made.built and not built
    for _ in range(3):
        with made.lease("image") as module:
            assert module == ["image"]
    assert built == {"image": 1} and made.built == {"image": 0}


def test_however_many_ask_at_once_it_is_built_once():
    slow, begun, built = threading.Event(), threading.Barrier(9), []
    made = Shelf()
    made.offer("image", lambda: (slow.wait(5) and built.append(1)) or "module")
    got = []

    def ask():
        begun.wait()
        with made.lease("image") as module:
            got.append(module)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    begun.wait()
    slow.set()
    for thread in threads:
        thread.join(5)
    assert got == ["module"] * 8 and built == [1]


def test_others_are_used_while_one_is_built():
    going, done = threading.Event(), threading.Event()
    made = Shelf()
    made.offer("slow", lambda: going.set() or done.wait(5))
    made.offer("quick", lambda: 1)
    thread = threading.Thread(target=lambda: made.lease("slow").__enter__())
    thread.start()
    assert going.wait(5)
    with made.lease("quick") as quick:
        assert quick == 1 and not done.is_set()
    done.set()
    thread.join(5)


def test_a_builder_that_fails_is_heard_and_tried_again():
    results = [OSError("the file is torn"), "whole"]

    def build():
        result = results.pop(0)
        if isinstance(result, OSError):
            raise result
        return result

    made = Shelf(room_bytes=10)
    made.offer("image", build, 10)
    with pytest.raises(OSError, match="torn"), made.lease("image"):
        pass
    assert not made.built
    with made.lease("image") as module:
        assert module == "whole"


def test_what_was_used_longest_ago_makes_room():
    clock = Clock()
    made, built = shelf("a", "b", "c", sizes={"a": 4, "b": 4, "c": 4}, room_bytes=8, clock=clock)
    for name in ("a", "b", "a", "c"):
        clock.now += 1
        with made.lease(name):
            assert sum(made.built.values()) <= 8
    assert made.built == {"a": 4, "c": 4} and built == {"a": 1, "b": 1, "c": 1}


def test_what_is_in_use_is_not_dropped():
    made, _ = shelf("a", "b", sizes={"a": 4, "b": 6}, room_bytes=8)
    with made.lease("a") as a, pytest.raises(ValueError, match=r"no room for b \(6 bytes\): a are in use"), made.lease("b"):
        pass
    assert a == ["a"]
    with made.lease("b"):
        assert made.built == {"b": 6}


def test_idleness_counts_from_the_end_of_the_last_use():
    clock = Clock()
    made, built = shelf("a", idle_s=10, clock=clock)
    with made.lease("a"):
        clock.now += 100  # a long answer
        assert made.sweep() == []
    clock.now += 9.9
    assert made.sweep() == [] and made.built
    clock.now += 0.2
    assert made.sweep() == ["a"] and not made.built
    with made.lease("a"):
        assert built["a"] == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"room_bytes": 0}, "one byte or more"),
        ({"idle_s": 0}, "more than zero"),
        ({"idle_s": float("nan")}, "more than zero"),
    ],
)
def test_a_shelf_that_makes_no_sense_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        Shelf(**options)


def test_offers_and_names_are_checked():
    made, _ = shelf("a", room_bytes=8)
    with pytest.raises(ValueError, match="already"):
        made.offer("a", list)
    with pytest.raises(ValueError, match="b takes 9 bytes, the shelf has room for 8"):
        made.offer("b", list, 9)
    with pytest.raises(KeyError, match="'c' is not on the shelf; there are a"), made.lease("c"):
        pass


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 5)), max_size=40))
def test_room_and_idleness_hold_after_any_use(uses):
    clock = Clock()
    made, _ = shelf(*"abcd", sizes={"a": 1, "b": 2, "c": 3, "d": 4}, room_bytes=6, idle_s=8, clock=clock)
    last = {}
    for name, wait in uses:
        clock.now += wait
        with made.lease(name) as module:
            assert module == [name] and sum(made.built.values()) <= 6
        last[name] = clock.now
        assert all(clock.now - last[other] < 8 for other in made.built)


def test_a_pool_lends_the_smallest_that_fits_and_takes_it_back():
    pool = caches(2, 4, 3, {8: 1, 32: 2})
    with pool.lease(5) as small, pool.lease(5) as larger:
        assert small.shape == (3, 2, 2, 8, 4) and larger.shape[3] == 32 and pool.left == {8: 0, 32: 1}
        none_left = "no buffer of 20 places is left; there are 0 of 8, 0 of 32"
        with pool.lease(20), pytest.raises(ValueError, match=none_left), pool.lease(20):
            pass
    assert pool.left == {8: 1, 32: 2}
    with pytest.raises(ValueError, match="no buffer of 33 places"), pool.lease(33):
        pass
    with pool.lease(8) as again:
        assert again is small
    for classes in ({}, {0: 1}, {4: 0}):
        with pytest.raises(ValueError, match="one buffer or more"):
            Pool(classes, np.zeros)


def test_a_pool_never_lends_a_buffer_twice():
    pool, lent, wrong = Pool({1: 4}, np.zeros), set(), []

    def use():
        for _ in range(300):
            try:
                with pool.lease(1) as buffer:
                    if id(buffer) in lent:
                        wrong.append(1)
                    lent.add(id(buffer))
                    lent.discard(id(buffer))
            except ValueError:
                pass

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not wrong and pool.left == {1: 4}


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells it")
def test_memory_tells_written_pages_from_pages_of_a_file(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(32 << 20))
    code = f"""
import mmap, sys
from autoglm_lab.evaluation.memory_now import memory_now
file = open({str(tmp_path / "weights")!r}, "rb")
start = memory_now()
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
total = sum(mapped[place] for place in range(0, len(mapped), 4096))
read = memory_now()
own = bytearray(b"x") * (32 << 20)
end = memory_now()
grown = read.private - start.private, read.of_files - start.of_files, end.private - read.private
print(*(bytes >> 20 for bytes in grown), end.peak >= end.resident)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    private_of_file, of_file, private_of_own, peak = done.stdout.split()
    assert int(private_of_file) <= 1 and int(of_file) >= 31, "pages of a file are nobody's own"
    assert int(private_of_own) >= 31 and peak == "True"


def test_a_process_that_is_not_there():
    with pytest.raises(ValueError, match="no process 999999999"):
        memory_now(999_999_999)
