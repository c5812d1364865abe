"""Times are taken in turns, and the machine says what it can do."""

import json
import platform
import time

import pytest

from autoglm_lab.cli import main
from autoglm_lab.evaluation.bench import bench
from autoglm_lab.evaluation.machine import cpu_flags
from autoglm_lab.evaluation.timing import Spread, Timing, paired
from autoglm_lab.runtime.engine import Answer, Stream


def test_calls_are_timed_in_turns_and_warm_ups_are_not_counted():
    order, seconds = [], 0.0

    def take(name, ms):
        nonlocal seconds
        order.append(name)
        seconds += (ms[0] if len(order) <= 2 else ms[order.count(name) - 1]) / 1000

    calls = {"slow": lambda: take("slow", (200, 20, 30, 28)), "quick": lambda: take("quick", (50, 1, 2, 3))}
    times = paired(calls, runs=3, warm_up=1, clock=lambda: seconds)
    assert order == ["slow", "quick"] * 4
    assert times["slow"] == Timing(pytest.approx(28), pytest.approx(20.8), pytest.approx(29.8)), "a warm-up does not count"
    assert times["quick"] == Timing(pytest.approx(2), pytest.approx(1.1), pytest.approx(2.9))
    assert paired({"real": lambda: time.sleep(0.02)}, runs=1, warm_up=0)["real"].median_ms >= 20
    for calls, runs in (({}, 3), ({"one": int}, 0)):
        with pytest.raises(ValueError, match="at least one of each"):
            paired(calls, runs)


def test_the_processor_names_its_instructions():
    flags = cpu_flags()
    assert flags == tuple(sorted(set(flags)))
    if platform.machine() in ("x86_64", "AMD64") and platform.system() == "Linux":
        assert "sse2" in flags


class Clock:
    """Answers at once, and says that it took a while: the first time longer than later."""

    def __init__(self, decode_ms, tokens):
        self.decode_ms, self.tokens, self.asked = decode_ms, tokens, []

    def answer(self, task="", image=None, audio=None, **options):
        self.asked.append((task, image.tobytes(), None if audio is None else audio.tobytes(), options))
        late = 1000.0 if len(self.asked) <= 4 else 0.0
        heard = {} if audio is None else {"audio": 2.0}
        ms = {"features": 1.0 + late, "image": 3.0, **heard, "prefill": 5.0, "decode": self.decode_ms}
        return Stream(iter([Answer("", tokens=self.tokens, ms=ms | {"total": sum(ms.values())})]))


def test_engines_get_the_same_requests_and_each_stage_is_told():
    short, long = Clock(8.0, 5), Clock(30.0, 11)
    found = bench({"short": short, "long": long}, requests=4, rounds=2)
    assert short.asked == long.asked and len(short.asked) == 4 * 3
    assert short.asked[:4] == short.asked[4:8] and len({asked[1] for asked in short.asked}) == 4
    assert [bool(task) for task, _, audio, _ in short.asked[:4]] == [audio is None for _, _, audio, _ in short.asked[:4]]
    assert found["short"]["features"] == Timing(1.0, 1.0, 1.0), "the first round is not counted"
    assert found["short"]["audio"] == Timing(2.0, 2.0, 2.0)
    assert found["short"]["first_token"].low_ms == pytest.approx(9, abs=0.2) and found["short"]["first_token"].high_ms <= 11
    assert found["short"]["per_token"].median_ms == 2.0 and found["long"]["per_token"].median_ms == 3.0
    with pytest.raises(ValueError, match="0 engines"):
        bench({})


def test_bench_tells_the_machine(capsys):
    assert main(["bench", "--requests", "2", "--rounds", "1", "--threads", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["threads"] == 1 and set(told["engines"]) == {"shipped"}
    assert {"features", "image", "audio", "prefill", "decode", "first_token", "total"} <= set(told["engines"]["shipped"])
    assert main(["bench", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_spreads_say_how_they_were_made():
    found = Spread.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.median, found.lo, found.hi, found.runs) == (3.0, 1.2, 4.8, 5)
    assert str(found) == "3 (1.2 to 4.8, 5 runs)"


def test_a_race_needs_a_bundle(capsys):
    assert main(["bench", "--against", "generate"]) == 2
    assert "--bundle" in capsys.readouterr().err
    assert main(["bench", "--bundle", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
