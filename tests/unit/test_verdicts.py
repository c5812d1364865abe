"""Verdicts on claims: each follows from its figures, another figure gives another verdict, and a missing one is an error."""

import copy
import json

import pytest

from autoglm_lab.measure.claims import COLUMNS
from autoglm_lab.measure.verdicts import EDGE, HOLDS, IN_PART, NONE, NOT, UNKNOWABLE, VERDICTS, Verdict
from autoglm_lab.paths import data_dir

FOLDER = data_dir() / "reports" / "edge"
ASKED = ("K07", "K13", "K14", "K15", "K16", "K29", "K32", "K33", "K34", "K35", "K36", "K47", "K65", "K66")
BY_KEY: dict[str, Verdict] = {verdict.key: verdict for verdict in EDGE}


@pytest.fixture(scope="module")
def measured():
    return {name: json.loads((FOLDER / f"{name}.json").read_text("utf-8")) for name in ("memory", "exchange", "power")}


def rule(reports, name, table="fast"):
    return next(each for each in reports["power"]["rates"]["0.8"][table] if each["rule"] == name)


def test_every_claim_of_a_budget_has_a_verdict_and_a_reason(measured):
    assert tuple(BY_KEY) == ASKED
    for verdict in EDGE:
        row = verdict.row(measured)
        assert row["verdict"] in VERDICTS and len(row["reason"]) > 30 and set(row) <= set(COLUMNS)
        if row["measured"]:
            assert float(row["measured_low"]) <= float(row["measured"]) <= float(row["measured_high"])
            assert int(row["runs"]) >= 5 and row["command"] and row["runtime"]


def test_the_verdicts_of_what_was_measured(measured):
    results = {key: BY_KEY[key].row(measured)["verdict"] for key in ASKED}
    assert results["K34"] == results["K65"] == results["K13"] == NOT and results["K16"] == results["K36"] == IN_PART
    assert results["K35"] == results["K07"] == results["K33"] == UNKNOWABLE
    assert results["K14"] == results["K15"] == results["K32"] == results["K47"] == results["K66"] == NONE


def test_another_figure_gives_another_verdict(measured):
    other = copy.deepcopy(measured)
    rule(other, "load steps 80/50")["energy"] = {"mean": 0.73, "low": 0.72, "high": 0.75}
    assert BY_KEY["K34"].row(other)["verdict"] == HOLDS
    rule(other, "ondemand, 800 MHz at least")["energy"] = {"mean": 0.99, "low": 0.98, "high": 1.0}
    assert BY_KEY["K16"].row(other)["verdict"] == NOT
    rule(other, "budget")["miss_rate"] = {"mean": 0.001, "low": 0.0, "high": 0.002}
    assert BY_KEY["K65"].row(other)["verdict"] == HOLDS
    rule(other, "by deadline", "both")["energy"] = {"mean": 0.1, "low": 0.1, "high": 0.1}
    assert BY_KEY["K36"].row(other)["verdict"] == IN_PART
    rule(other, "by deadline", "both")["energy"] = {"mean": 0.9, "low": 0.9, "high": 0.9}
    assert BY_KEY["K36"].row(other)["verdict"] == NOT


def test_a_missing_figure_is_an_error(measured):
    other = copy.deepcopy(measured)
    del other["power"]["rates"]["0.8"]
    with pytest.raises(KeyError):
        BY_KEY["K34"].row(other)


def test_what_was_asked_of_this_part_is_reached(measured):
    """A governor within 5 % of the optimum that misses at most 1 %, at both rates, on 20 seeds; memory; no request lost."""
    assert measured["power"]["seeds"] == 20
    for standings in measured["power"]["rates"].values():
        results = {each["rule"]: each for each in standings["fast"]}
        best, near = results["the optimum"], results["by deadline"]
        assert near["energy"]["mean"] <= 1.05 * best["energy"]["mean"] and near["miss_rate"]["mean"] <= 0.01
    ways = measured["memory"]["ways"]
    assert ways["mapped"]["private_mb"]["hi"] <= 0.45 * ways["read"]["private_mb"]["lo"] and measured["memory"]["runs"] >= 5
    assert ways["mapped"]["shared_out_of_two_mb"]["median"] < 0.8 * ways["read"]["shared_out_of_two_mb"]["median"]
    for mode in measured["exchange"]["modes"].values():
        assert mode["lost"] == mode["mixed"] == 0 and mode["generations"] == 21
    modes = measured["exchange"]["modes"]
    assert modes["small"]["peak_mb"] < modes["available"]["peak_mb"], "never two models"
    assert (measured["exchange"]["clients"], measured["exchange"]["swaps"]) == (8, 20)
