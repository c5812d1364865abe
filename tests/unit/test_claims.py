"""The table of claims: what the shipped reports give, and what counts as reached."""

import json
from dataclasses import replace

import pytest

from autoglm_lab.benchmarks.claims import CLAIMS, PAGES, RACES, Claim, RaceClaim, table
from autoglm_lab.compress.recipe import Recipe, named
from autoglm_lab.evaluation.report import Report, read_reports
from autoglm_lab.paths import data_dir

WHOLE = Report(
    "as it is",
    bytes=200,
    parameters=100,
    macs=1000,
    success=0.98,
    ci95=(0.97, 0.99),
    n=1000,
    answer_ms=90,
    whole_ms=90,
    forward_ms=30,
    whole_forward_ms=30,
)
SMALL = replace(WHOLE, name="small", bytes=60, macs=600, success=0.97, ci95=(0.96, 0.98), answer_ms=50, whole_ms=100, forward_ms=20)
SMALL = replace(SMALL, steps=300, rate=0.001, alone=True)


def test_a_row_holds_the_figures_beside_those_of_the_whole():
    row = Claim("B2", "small", "as told", points=1, macs=0.4, faster=2).row(WHOLE, SMALL)
    assert row["asked"] == "at most 1 points lost, MACs -40%, answers 2 times faster"
    assert row["reached"] == "yes"
    assert row["forward_times_faster"] == "1.50" and row["training"] == "300 training steps at 0.001, alone"
    assert (row["points_lost"], row["share_of_fp32_bytes"], row["macs_saved"], row["times_faster"]) == (
        "1.0",
        "0.150",
        "0.400",
        "2.00",
    )
    assert row["command"] == "autoglm-lab compress --recipe small --steps 300 --rate 0.001 --alone --tasks 500 --out small"


@pytest.mark.parametrize("asked", [{"points": 0.9}, {"of_fp32": 0.14}, {"macs": 0.5}, {"faster": 2.1}])
def test_what_is_missed_is_said(asked):
    assert Claim("B2", "small", **asked).row(WHOLE, SMALL)["reached"] == "no"


def test_what_is_asked_of_another_runtime_has_to_be_measured_there():
    claim = Claim("B7", "small", points=1, runtime="ONNX Runtime")
    with pytest.raises(ValueError, match="'small' was measured in PyTorch, asked is ONNX Runtime"):
        claim.row(WHOLE, SMALL)
    row = claim.row(WHOLE, replace(SMALL, runtime="ONNX Runtime", flags="--pictures 8"))
    assert (row["asked"], row["reached"]) == ("at most 1 points lost", "yes")
    assert row["training"].endswith("alone, --pictures 8")
    assert row["command"].endswith("--alone --pictures 8 --out small; autoglm-lab export --model small --tasks 500 --out bundle")


def test_half_of_what_rounding_takes_has_to_come_back():
    claim = Claim("B9", "small", regained="rounded")
    for success, reached in ((0.93, "yes"), (0.965, "no")):
        assert claim.row(WHOLE, SMALL, {"rounded": replace(SMALL, success=success)})["reached"] == reached


def test_what_the_teacher_thought_is_part_of_the_command():
    row = Claim("B3", "small").row(WHOLE, replace(SMALL, alone=False, thoughts=4.0))
    assert row["command"].endswith("--steps 300 --rate 0.001 --thoughts 4 --tasks 500 --out small")
    assert row["training"] == "300 training steps at 0.001, thoughts 4"


def test_a_student_has_to_be_better_than_one_that_had_no_teacher():
    claim = Claim("B5", "small", better_than="alone")
    assert claim.asked() == "better than alone"
    for success, reached in ((0.96, "yes"), (0.97, "no"), (0.98, "no")):
        assert claim.row(WHOLE, SMALL, {"alone": replace(SMALL, success=success)})["reached"] == reached
    assert claim.row(WHOLE, SMALL)["reached"] == "no", "who was never measured was not beaten"


def test_what_was_not_measured_is_not_made_up():
    with pytest.raises(ValueError, match="lacks a figure"):
        Claim("B2", "small").row(WHOLE, Report("small", bytes=60))
    untimed = replace(SMALL, forward_ms=None, whole_forward_ms=None)
    assert Claim("B2", "small").row(WHOLE, untimed)["forward_times_faster"] == ""


def test_the_shipped_table_is_what_the_shipped_reports_give():
    assert (data_dir() / "claims.csv").read_text("utf-8") == table()
    reports = read_reports()
    assert reports.pop("whole").name == Recipe().name
    for stem, report in reports.items():
        assert named(stem).name == report.name == stem
        assert report.n is not None and report.n >= 1000
    assert {claim.report for claim in CLAIMS} >= set(reports)
    in_runtime = read_reports(data_dir() / "reports" / "onnx")
    assert {claim.report for claim in CLAIMS if claim.runtime} >= set(in_runtime) - {"whole"}
    assert all(report.runtime == "ONNX Runtime" and (report.n or 0) >= 1000 for report in in_runtime.values())


def test_a_race_is_won_or_lost_by_its_median():
    found = {
        "ratios": {"cache": {"median": 6.5, "lo": 5.9, "hi": 7.0, "runs": 3}},
        "cold_start_s": {"median": 0.7, "lo": 0.6, "hi": 0.8, "runs": 3},
    }
    won, lost = RaceClaim("A5", "cache", "3.4x", least=6).row("b", found), RaceClaim("C9", "cold_start_s", most=0.6).row("b", found)
    assert (won["asked"], won["reached"], won["measured"], won["measured_low"], won["runs"]) == (
        "at least 6",
        "yes",
        "6.5",
        "5.9",
        "3",
    )
    assert (lost["asked"], lost["reached"]) == ("at most 0.6", "no")
    assert RaceClaim("A5", "cache").row("b", found)["reached"] == ""
    assert RaceClaim("A5", "cache", least=9, of="int8").row("b", found)["asked"] == "", "asked of another bundle only"
    with pytest.raises(KeyError):
        RaceClaim("A5", "tokens").row("b", found)


def test_every_shipped_race_has_every_figure():
    races = list((data_dir() / "reports" / "race").glob("*.json"))
    assert races
    lines = [line for line in table().splitlines() if "bench --bundle" in line]
    known = {race.figure for race in RACES}
    told = [json.loads(path.read_text()) for path in races]
    assert len(lines) == sum(len(known & {*found, *found["ratios"]}) for found in told)
    always = {race.figure for race in RACES if not race.figure.startswith(("decode_vs", "same_file_vs"))} - {"answer_vs_compile"}
    assert all(always <= {*found, *found["ratios"]} for found in told)
    whole = json.loads((data_dir() / "reports" / "race" / "whole.json").read_text())
    assert known <= {*whole, *whole["ratios"]}, "the whole agent is raced against everything"


def test_the_page_of_the_phone_bundle_is_measured():
    pages = {path.stem for path in (data_dir() / "reports" / "page").glob("*.json")}
    assert "phone" in pages
    lines = [line for line in table().splitlines() if "page_times bundle" in line]
    assert len(lines) == len(pages) * len(PAGES)
    assert next(line for line in lines if line.startswith("C4,phone,a browser") and ",page_mb," in line).split(",")[5] == "yes"
