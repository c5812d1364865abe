"""Times are taken in turns, and the machine says what it can do."""

import platform
import time

import pytest

from autoglm_lab.measure.machine import cpu_flags
from autoglm_lab.measure.timing import paired


def test_calls_are_timed_in_turns_and_warm_ups_are_not_counted():
    order = []

    def slow():
        order.append("slow")
        time.sleep(0.02 if len(order) > 2 else 0.2)  # the first call of each is a warm-up

    found = paired({"slow": slow, "quick": lambda: order.append("quick")}, runs=3, warm_up=1)
    assert order == ["slow", "quick"] * 4
    assert 20 <= found["slow"].median_ms < 150 and found["slow"].low_ms <= found["slow"].median_ms <= found["slow"].high_ms
    assert found["quick"].median_ms < 10
    for calls, runs in (({}, 3), ({"one": int}, 0)):
        with pytest.raises(ValueError, match="at least one of each"):
            paired(calls, runs)


def test_the_processor_names_its_instructions():
    flags = cpu_flags()
    assert flags == tuple(sorted(set(flags)))
    if platform.machine() in ("x86_64", "AMD64") and platform.system() == "Linux":
        assert "sse2" in flags
