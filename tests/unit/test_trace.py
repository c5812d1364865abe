"""Traces of bandwidth: both formats, what is refused, times to send, and a chain that is fitted to one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.edge.trace import PACKET_BYTES, Levels, fit, read_trace


def trace(tmp_path, text):
    path = tmp_path / "link.txt"
    path.write_text(text)
    return read_trace(path)


def test_packets_pass_at_their_milliseconds(tmp_path):
    link = trace(tmp_path, "10\n10\n30\n100\n")
    assert link.seconds_to_send(0, PACKET_BYTES) == pytest.approx(0.01)
    assert link.seconds_to_send(0, 2 * PACKET_BYTES) == pytest.approx(0.01), "two packets may pass in one millisecond"
    assert link.seconds_to_send(0, 2 * PACKET_BYTES + 1) == pytest.approx(0.03), "the rest of a byte takes a packet"
    assert link.seconds_to_send(0.02, 1) == pytest.approx(0.01)
    assert link.seconds_to_send(0.05, 2 * PACKET_BYTES) == pytest.approx(0.06), "after the last packet it begins anew"


def test_rates_trickle(tmp_path):
    link = trace(tmp_path, "0 9\n1 8\n3 2\n")
    assert link.period_s == 3 and link.total_bytes[-1] == 1.5e6, "the first rate holds before the first time: it counts for nothing"
    assert link.seconds_to_send(0, 500_000) == pytest.approx(0.5)
    assert link.seconds_to_send(0.5, 1_000_000) == pytest.approx(0.5 + 2.0)
    assert link.seconds_to_send(2.9, 25_000 + 100_000) == pytest.approx(0.1 + 0.1)
    assert link.rates().tolist() == pytest.approx([8, 2, 2])


def test_a_pause_is_waited_for(tmp_path):
    link = trace(tmp_path, "0 0\n1 8\n5 0\n6 8\n")
    assert link.seconds_to_send(1, 1) == pytest.approx(4, abs=1e-3)
    assert link.seconds_to_send(0, 1_000_000) == pytest.approx(1), "done when the last byte has passed, not after the pause"


@given(st.lists(st.integers(0, 400), min_size=1, max_size=40), st.floats(0, 3), st.integers(1, 90_000))
def test_what_was_sent_in_the_time_is_what_was_asked(tmp_path_factory, gaps, start, size):
    times = np.cumsum([1, *gaps])
    link = trace(tmp_path_factory.mktemp("trace"), "\n".join(map(str, times)))
    seconds = link.seconds_to_send(start, size)
    passed = link.bytes_until(start + seconds + 1e-6) - link.bytes_until(start)
    assert passed >= size and link.bytes_until(start + seconds - 1e-6) - link.bytes_until(start) < size


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("1\nx\n", "line 2 of link.txt holds no numbers: 'x'"),
        ("1\nnan\n", "finite"),
        ("-4\n5\n", "at least 0"),
        ("5\n4\n", "row 2 is 4 after 5"),
        ("0.5\n1.5\n", "whole milliseconds"),
        ("0\n0\n", "lets nothing pass"),
        ("0 1\n0 2\n", "row 2 is 0 after 0"),
        ("0 1\n", "single row"),
        ("0 0\n5 0\n", "lets nothing pass"),
        ("1 2\n3\n", "1 and 2 columns"),
        (" ".join(["1"] * 1000), "one or two"),
        ("PK\x03\x04 binary\n", "holds no numbers"),
    ],
)
def test_other_files_are_refused(tmp_path, text, reason):
    with pytest.raises(ValueError, match=reason):
        trace(tmp_path, text)


def test_sizes_that_cannot_be(tmp_path):
    link = trace(tmp_path, "10\n")
    for start, size in ((-1, 5), (0, -5), (0, float("nan")), (float("inf"), 1)):
        with pytest.raises(ValueError, match="at least 0"):
            link.seconds_to_send(start, size)
    assert link.seconds_to_send(0.005, 0) == 0


def test_a_chain_is_found_again():
    chain = Levels((0.5, 2.0), (0.1, 1.0, 5.0), ((0.6, 0.3, 0.1), (0.2, 0.5, 0.3), (0.05, 0.15, 0.8)))
    again = fit(chain.sample(20_000, 0), chain.edges)
    assert np.allclose(again.chain, chain.chain, atol=0.02) and np.allclose(again.mbit, chain.mbit)
    assert chain.level(np.array([0.1, 0.5, 9.0])).tolist() == [0, 1, 2]


def stay_lengths(levels, level):
    """Steps that each stay in a level lasts, from the first to the last."""
    inside = np.concatenate(([False], levels == level, [False]))
    changes = np.flatnonzero(inside[1:] != inside[:-1])
    return np.asarray(changes[1::2] - changes[::2])


def test_stays_in_a_chain_last_as_long_as_it_says():
    chain = Levels((0.5,), (0.1, 1.0), ((0.75, 0.25), (0.1, 0.9)))
    lengths = stay_lengths(chain.level(chain.sample(40_000, 1)), 0)
    assert lengths.mean() == pytest.approx(4, rel=0.05)
    assert stay_lengths(np.array([0, 0, 1, 0]), 0).tolist() == [2, 1] and stay_lengths(np.array([1]), 0).tolist() == []


@pytest.mark.parametrize("edges", [[], [1, 1], [0, 1], [50]])
def test_edges_that_cannot_be(edges):
    reason = "level 1" if edges == [50] else "have to rise"
    with pytest.raises(ValueError, match=reason):
        fit(np.array([1.0, 2.0, 3.0]), edges)
