"""The choice of a bundle for a device: by what it can and what was measured, never worse for more, and clear where nothing fits."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.edge.chips import CAPABILITIES, Candidate, Crashes, Device, candidates, choose, first_that_agrees
from autoglm_lab.paths import data_dir

CHIPS = data_dir() / "chips"
REPORTS = candidates(data_dir() / "reports" / "onnx")
NAMES = [each.name for each in CAPABILITIES]
CPUINFO, MEMINFO = "Features : fp asimd asimddp\n", "MemAvailable: 1000 kB\n"


def test_two_families_get_what_they_can_run():
    newer, older = (Device.of_file(CHIPS / f"{name}_cores.json") for name in ("newer", "older"))
    assert newer.can == {"64-bit", "byte products", "byte matrices", "16-bit floats"} and older.can == {"64-bit"}
    quick, plain = choose(REPORTS, newer), choose(REPORTS, older)
    assert "byte products" in next(each for each in REPORTS if each.name == quick.bundle).needs
    assert next(each for each in REPORTS if each.name == plain.bundle).needs == {"64-bit"}
    assert plain.reasons["int8"] == "needs byte products" and quick.reasons[quick.bundle].startswith("taken")
    for path in CHIPS.glob("*.json"):
        assert "by hand" in json.loads(path.read_text())["note"], "nobody may take them for readings"


def test_this_machine_is_read():
    here = Device.here()
    assert "64-bit" in here.can and here.free_bytes > 10**8 and choose(REPORTS, here).bundle


def test_a_phone_is_read_over_adb():
    said = {
        "getprop": "[ro.product.board]: [x]\n[ro.product.cpu.abilist]: [arm64-v8a]\n[odd]: []\n",
        "cat /proc/cpuinfo": CPUINFO,
        "cat /proc/meminfo": MEMINFO,
    }
    assert Device.over_adb(said.__getitem__) == Device("x", frozenset({"64-bit", "byte products"}), 1_024_000)


def test_a_64_bit_processor_with_a_32_bit_system_is_32_bit():
    device = Device.of_texts({"ro.product.cpu.abilist": "armeabi-v7a,armeabi"}, "Features: asimd asimddp\n", MEMINFO)
    assert device.can == {"byte products"}
    choice = choose(REPORTS, device)
    assert choice.bundle is None and set(choice.reasons.values()) == {"needs 64-bit"}


def test_an_old_system_tells_its_abi_in_the_older_property():
    assert "64-bit" in Device.of_texts({"ro.product.cpu.abi": "arm64-v8a"}, CPUINFO, MEMINFO).can


def test_what_does_not_fit_says_why():
    device = Device("small", frozenset(NAMES), 120_000_000)
    bundles = [Candidate("large", frozenset({"64-bit"}), 64_000_000, 20, 0.98), Candidate("weak", frozenset(), 1, 5, 0.5)]
    choice = choose(bundles, device)
    assert choice.bundle is None
    assert choice.reasons == {"large": "needs 154 MB, 120 are free", "weak": "right in 50.0% of the steps, 97.0% are asked"}


one_bundle = st.builds(
    Candidate,
    st.sampled_from("abcdef"),
    st.frozensets(st.sampled_from(NAMES)),
    st.integers(0, 10**8),
    st.floats(1, 100),
    st.floats(0.9, 1),
)


@given(
    st.lists(one_bundle, max_size=6, unique_by=lambda bundle: bundle.name),
    st.frozensets(st.sampled_from(NAMES)),
    st.sampled_from(NAMES),
    st.integers(0, 3 * 10**8),
)
def test_a_feature_more_never_makes_the_choice_worse(bundles, can, more, free):
    device = Device("d", can, free)
    ms = {bundle.name: bundle.answer_ms for bundle in bundles} | {None: float("inf")}
    before, after = choose(bundles, device), choose(bundles, replace(device, can=can | {more}))
    assert ms[after.bundle] <= ms[before.bundle]
    assert choose(bundles, replace(device, can=can | {"warp drive"})) == before, "what nobody knows changes nothing"
    assert set(before.reasons) == {bundle.name for bundle in bundles}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "describes no device"),
        ("[]", "describes no device"),
        ('{"getprop": {}}', "describes no device"),
        ('{"getprop": {}, "cpuinfo": "", "meminfo": ""}', "no ABI or no processor features"),
        (json.dumps({"getprop": {"ro.product.cpu.abi": "x"}, "cpuinfo": CPUINFO, "meminfo": "junk"}), "no free memory"),
    ],
)
def test_junk_is_refused_by_name(tmp_path, text, reason):
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(ValueError, match=rf"odd\.json describes no device.*{reason if 'describes' not in reason else ''}"):
        Device.of_file(tmp_path / "odd.json")


def test_reports_without_figures_are_refused(tmp_path):
    (tmp_path / "half.json").write_text('{"bytes": 3}')
    with pytest.raises(ValueError, match=r"half\.json is no report"):
        candidates(tmp_path)


def test_outcome_beats_name(tmp_path):
    crashes = Crashes(tmp_path / "crashes.json")

    def broken():
        raise OSError("no driver")

    backends = {"first": broken, "second": lambda: "Tap", "third": lambda: "Launch"}
    taken, reasons = first_that_agrees(backends, lambda said: said == "Launch", crashes)
    assert taken == "third" and reasons == {"first": "OSError: no driver", "second": "answers something else"}
    assert not crashes.known
    with pytest.raises(RuntimeError, match="no backend is left: first OSError: no driver; second answers something else"):
        first_that_agrees({"first": broken, "second": lambda: "Tap"}, lambda said: said == "Launch", crashes)


def test_what_killed_the_process_is_not_tried_again(tmp_path):
    path = tmp_path / "crashes.json"
    code = f"""
import os
from pathlib import Path
from autoglm_lab.edge.chips import Crashes, first_that_agrees
first_that_agrees({{"fatal": lambda: os._exit(9)}}, bool, Crashes(Path({str(path)!r})))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    crashes = Crashes(path)
    assert crashes.known == {"fatal"}
    taken, reasons = first_that_agrees({"fatal": lambda: os._exit(9), "safe": lambda: 1}, bool, crashes)
    assert taken == "safe" and reasons == {"fatal": "took the process down when it was tried"}
    crashes.forget()
    assert not crashes.known
    path.write_text("{ torn")
    assert not crashes.known, "a torn record forbids nothing"
