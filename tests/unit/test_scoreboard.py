"""The board of claims: own figures replace shipped ones key by key, a run goes on where it was, and the table can be searched."""

import base64
import copy
import html
import io
import json
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autoglm_lab import widgets
from autoglm_lab.benchmarks.scoreboard import governor_report, parts
from autoglm_lab.benchmarks.scoreboard.figures import merge, subtract
from autoglm_lab.benchmarks.scoreboard.measuring import KIND, kept_bundles, measure, plan, read
from autoglm_lab.benchmarks.scoreboard.parts import FULL, QUICK, Part
from autoglm_lab.benchmarks.scoreboard.rows import ALL_VERDICTS, CLAIMED, Figure, board, comparison, counts
from autoglm_lab.benchmarks.verdicts import HOLDS, NOT, VERDICTS
from autoglm_lab.benchmarks.verdicts_articles import read_figures
from autoglm_lab.marks import NotWrittenError
from autoglm_lab.paths import data_dir
from autoglm_lab.widgets import scoreboard_view as view

TREES = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1), max_leaves=8)
FIGURES = st.dictionaries(st.sampled_from("abc"), TREES)


@pytest.fixture(scope="module")
def shipped():
    return read_figures(data_dir() / "reports")


@pytest.fixture(scope="module")
def own(shipped):
    """Own figures that turn K34 round, and repeat the rest of the race."""
    power = copy.deepcopy(shipped["power"])
    for standing in power["rates"]["0.8"]["fast"]:
        if standing["rule"] == "load steps 80/50":
            standing["energy"] = {"mean": 0.73, "low": 0.72, "high": 0.75}
    return {"power": power | {"seeds": 3}, "sync": {"traffic": copy.deepcopy(shipped["sync"]["traffic"])}}


@pytest.fixture(scope="module")
def rows(own):
    return {row.key: row for row in board(own)}


# Figures


@given(FIGURES, FIGURES)
def test_a_merge_keeps_what_was_not_measured_again(shipped, own):
    both = merge(shipped, own)
    assert merge(both, own) == both and set(both) == {*shipped, *own}
    for name, value in own.items():
        if not isinstance(value, dict) or not isinstance(shipped.get(name), dict):
            assert both[name] == value
    assert merge(subtract(shipped, own), own) == both


@given(FIGURES)
def test_nothing_is_left_of_figures_without_themselves(figures):
    assert subtract(figures, figures) == {} and subtract(figures, {}) == figures == merge(figures, {})


# Rows


def test_the_board_has_every_claim_with_its_shipped_verdict(shipped):
    shown = board()
    assert [row.key for row in shown] == [f"K{number:02}" for number in range(1, 67)] and sum(counts(shown).values()) == 66
    for row, verdict in zip(shown, ALL_VERDICTS, strict=True):
        expected = verdict.row(shipped)
        assert (row.verdict, row.reason, row.command) == (expected["verdict"], expected["reason"], expected["command"])
        assert row.origin in ("shipped", "no figure") and row.same is None and row.figure_here is None
        assert row.verdict_here == row.verdict
        assert (row.origin == "no figure") == (row.how in ("", "arithmetic") and row.key not in ("K19", "K51", "K52")), row.key
    assert "0 claims judged again" in comparison(shown)


def test_claimed_numbers_stand_in_their_claims(rows):
    for key, number in CLAIMED.items():
        assert f"{number:g}" in rows[key].claimed and rows[key].figure is not None


def test_own_figures_judge_and_the_others_stay(rows):
    turned = rows["K34"]
    assert (turned.verdict, turned.verdict_here, turned.origin, turned.same) == (NOT, HOLDS, "here", False)
    assert turned.figure_here == Figure("saved, %", 27.0, 25.0, 28.0, 3) != turned.figure
    assert rows["K65"].origin == "here" and rows["K65"].same and rows["K65"].verdict == rows["K65"].verdict_here
    assert rows["K49"].origin == "in part", "the networks are the shipped ones"
    assert rows["K54"].origin == rows["K13"].origin == "shipped" and rows["K24"].origin == "no figure"
    assert "another verdict: K34 (does not hold -> holds)" in comparison(rows.values())
    assert rows["K34"].data()["same"] is False and json.dumps(rows["K34"].data())


def test_a_figure_that_is_still_the_shipped_one_is_not_shown_as_own(shipped):
    fixed = {"offload": {"worlds": {"worse": {"fixed": dict.fromkeys(shipped["offload"]["worlds"]["worse"]["fixed"], 1.0)}}}}
    row = next(row for row in board(fixed) if row.key == "K48")
    assert row.origin == "in part" and row.figure_here is None and row.reason_here != row.reason and row.same is False


def test_figures_that_lack_one_are_an_error(shipped):
    with pytest.raises(KeyError):
        board(shipped={name: value for name, value in shipped.items() if name != "power"})


# Measuring


def counting(name, figures, calls, **more):
    return Part(name, f"the part {name}", 70, lambda bundles, progress: calls.append(name) or figures, **more)


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    calls, folder = [], tmp_path / "mine"
    first = counting("offload", {"offload": {"x": 1}}, calls)

    def fail(bundles, progress):
        calls.append("power")
        raise RuntimeError("stopped")

    run = plan(folder, parts=(first, Part("power", "races", 70, fail)), bundles={})
    assert run.minutes == 3 and "in about 3 min" in str(run) and "the part offload" in str(run)
    with pytest.raises(RuntimeError, match="stopped"):
        measure(folder, run)
    assert read(folder) == {"offload": {"x": 1}}
    run = plan(folder, parts=(first, counting("power", {"power": {"y": 2}}, calls)), bundles={})
    assert [part.name for part in run.todo] == ["power"] and [part.name for part in run.existing] == ["offload"]
    assert "there: the part offload" in str(run)
    assert measure(folder, run) == {"offload": {"x": 1}, "power": {"y": 2}}
    assert calls == ["offload", "power", "power"]
    assert plan(folder, parts=(first,), bundles={}).minutes == 0


def test_a_full_result_stands_for_the_quick_one_and_replaces_it(tmp_path):
    calls, folder = [], tmp_path / "mine"
    quick, full = (counting(name, {"sync": {"n": n}}, calls) for name, n in (("quick_sync", 4), ("sync", 20)))
    assert measure(folder, plan(folder, parts=(quick,), bundles={})) == {"sync": {"n": 4}}
    assert plan(folder, parts=(full,), bundles={}).todo == (full,), "a quick result is not a full one"
    assert measure(folder, plan(folder, parts=(full,), bundles={})) == {"sync": {"n": 20}}
    (folder / "quick_sync.json").unlink()
    assert not plan(folder, parts=(quick,), bundles={}).todo


def test_what_cannot_be_measured_is_left_out_with_a_reason(tmp_path):
    needs = counting("memory", {}, [], needs_bundle=True), counting("privacy", {}, [], modules=("no_such_package",))
    run = plan(tmp_path / "mine", parts=needs, bundles={"int8": tmp_path})
    assert not run.todo and "a bundle of the whole agent" in run.missing["the part memory"]
    assert "no_such_package" in run.missing["the part privacy"] and "left out: the part memory" in str(run)
    assert plan(tmp_path / "mine", parts=needs[:1], bundles={"whole": tmp_path}).todo == needs[:1]


def test_a_folder_of_somebody_else_and_a_broken_result_are_refused(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "letter.txt").write_text("dear")
    with pytest.raises(NotWrittenError, match="nothing there is touched"):
        plan(theirs, quick=True)
    folder = tmp_path / "mine"
    measure(folder, plan(folder, parts=(counting("power", {"power": {}}, []),), bundles={}))
    for text in ("{", "[]", '{"part": "sync", "figures": {}}', '{"part": "power"}'):
        (folder / "power.json").write_text(text)
        with pytest.raises(ValueError, match=r"power\.json is no result of a scoreboard"):
            read(folder)
    assert json.loads((folder / ".autoglm-lab.json").read_text())["kind"] == KIND


def test_only_whole_bundles_with_the_name_of_a_report_count(tiny_bundle, tmp_path):
    for name in ("int8", "mine", "whole"):
        (tmp_path / name).symlink_to(tiny_bundle)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "manifest.json").write_text("{}")
    assert list(kept_bundles(tmp_path)) == ["int8", "whole"]


def test_quick_parts_give_the_shape_of_the_shipped_reports(shipped):
    """The cheap ones here; the race in its own test, and all of them in chapter 14."""
    for part in (QUICK[0], QUICK[3]):
        [(report, figures)] = part.measure({}, iter).items()
        assert_same_shape(figures, shipped[report], report)
    exact = parts.plans(["worse"], deadlines=False)["offload"]["worlds"]["worse"]
    for name, reward in shipped["offload"]["worlds"]["worse"]["fixed"].items():
        assert exact["fixed"][name] == pytest.approx(reward, rel=1e-6), "exact plans do not depend on the machine"


def test_the_race_gives_the_shape_of_the_shipped_report(shipped):
    names = {"fast": ("performance", governor_report.FLOOR), "both": ("performance",)}
    figures = governor_report.report(2, (0.8,), names, ("whole", "int8_static"))
    assert_same_shape({**figures, "rates": {}, "modes": []}, shipped["power"], "power")
    assert {each["rule"] for each in figures["rates"]["0.8"]["fast"]} == {"the optimum", "performance", governor_report.FLOOR}
    for table, standings in figures["rates"]["0.8"].items():
        assert set(standings[0]) == set(shipped["power"]["rates"]["0.8"][table][0])
    assert [mode["name"] for mode in figures["modes"]] == ["whole", "int8_static"]
    assert {rule for rules in parts.RULES_BY_TABLE.values() for rule in rules} <= set(governor_report.rules())


def test_answers_of_bundles_are_timed_beside_the_whole_one(tiny_bundle, shipped, monkeypatch):
    monkeypatch.setattr(parts, "REQUESTS", 2)
    monkeypatch.setattr(parts, "ROUNDS", 1)
    [answers] = [part for part in FULL if part.name == "answers"]
    figures = answers.measure({"int8": tiny_bundle, "whole": tiny_bundle}, iter)
    assert_same_shape(figures["onnx"], shipped["onnx"], "onnx")
    for name in ("ratios", "cold_start_s", "peak_rss_mb"):
        assert name in figures["race"]["whole"] and name in shipped["race"]["whole"]
    whole, other = figures["onnx"]["whole"], figures["onnx"]["int8"]
    assert whole["answer_ms"] == whole["whole_ms"] == other["whole_ms"] > 0 and other["bytes"] > 0
    assert {row.key: row.origin for row in board(figures)}["K64"] == "here"


def assert_same_shape(own, shipped, place):
    assert isinstance(own, dict) == isinstance(shipped, dict), place
    if isinstance(own, dict):
        for name, value in own.items():
            assert name in shipped, f"{place}.{name} is in no shipped report"
            assert_same_shape(value, shipped[name], f"{place}.{name}")


def test_every_part_has_a_name_of_its_own_and_the_quick_ones_take_less_than_a_minute():
    names = [part.name for part in (*QUICK, *FULL)]
    assert len(set(names)) == len(names) and sum(part.seconds for part in QUICK) < 60
    assert not any(part.needs_bundle for part in QUICK)
    assert {name.removeprefix("quick_") for name in names} <= set(names)


def test_measuring_brings_no_torch():
    package = "autoglm_lab.benchmarks.scoreboard"
    code = f"import sys, {package}.measuring, {package}.rows as rows; rows.board(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_command_prints_the_board_and_refuses_a_foreign_folder(tmp_path, capsys, monkeypatch):
    from autoglm_lab.benchmarks.scoreboard import measuring
    from autoglm_lab.cli import main

    monkeypatch.setattr(measuring, "QUICK", (counting("quick_sync", {"sync": {"traffic": {}}}, []),))
    assert main(["scoreboard", "--quick", "--out", str(tmp_path / "mine"), "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert len(result["rows"]) == 66 and result["rows"][0]["key"] == "K01" and "in about 2 min" in err
    assert main(["scoreboard", "--quick", "--out", str(tmp_path / "mine")]) == 0
    out, err = capsys.readouterr()
    assert "K34  does not hold" in out and "nothing to measure" in err
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter.txt").write_text("dear")
    assert main(["scoreboard", "--quick", "--out", str(tmp_path / "theirs")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# The table


@pytest.fixture
def widget(rows):
    return widgets.scoreboard(list(rows.values()))


def says(widget, **changes):
    widget._handle_custom_msg({"id": "7", "kind": "set", "changes": changes}, [])
    assert widget.answered == "7"
    return widget.message


def test_filters_leave_what_they_say_and_counts_do_not_hide_other_verdicts(widget, rows):
    assert says(widget, verdict=NOT) == ""
    assert set(widget.visible) == {key for key, row in rows.items() if row.verdict == NOT} and widget.table["of"] == 66
    before = dict(map(tuple, widget.table["tally"]))
    assert before == counts(rows.values())
    assert says(widget, chapter="11") == ""
    assert widget.visible == ["K13", "K34", "K65"] and dict(map(tuple, widget.table["tally"]))["holds"] == 0
    assert says(widget, verdict="", chapter="", words="Governor OTHER".lower()) == "" and widget.visible == []
    assert says(widget, words=" k34  GOVERNOR ") == "" and widget.visible == ["K34"]
    assert says(widget, words="", how="reason") == ""
    assert set(widget.visible) == {key for key, row in rows.items() if not row.how}
    assert "(reason)" in widget.summary and widget.summary.startswith(f"{len(widget.visible)} of 66 claims are shown")


def test_a_column_sorts_both_ways_with_equal_ones_by_key(widget, rows):
    for sort in ("key", "chapter", "claimed", "verdict", "how", "here"):
        widget.set(sort=sort, falling=False)
        rising = [view.SORTS[sort](rows[key]) for key in widget.visible]
        assert rising == sorted(rising) and len(rising) == 66
        widget.set(falling=True)
        assert [view.SORTS[sort](rows[key]) for key in widget.visible] == rising[::-1]
    widget.set(sort="here", falling=False)
    assert widget.visible[0] == "K34", "another verdict comes first"
    widget.set(sort="verdict")
    order = [VERDICTS.index(rows[key].verdict) for key in widget.visible]
    assert all(a < b for (v, a), (w, b) in zip(zip(order, widget.visible), zip(order[1:], widget.visible[1:])) if v == w)  # noqa: B905


def test_an_open_row_tells_its_reason_and_its_interval(widget, rows):
    assert says(widget, open="K34") == "" and rows["K34"].reason in widget.summary
    data = next(row for row in widget.rows if row["key"] == "K34")
    assert "claimed 27" in data["figure"] and "on this machine 27 (25 to 28, n = 3)" in data["figure"]
    low, middle, high = data["marks"]["here"]
    assert low < data["marks"]["claimed"][0] == middle < high and data["marks"]["shipped"][2] < low
    assert all(0 <= place <= 1 for name in ("shipped", "here", "claimed") for place in data["marks"][name])
    assert data["command"] == rows["K34"].command and data["same"] is False
    bare = next(row for row in widget.rows if row["key"] == "K01")
    assert bare["marks"] == {} and bare["figure"] == bare["here"] == "" and bare["how"] == "reason"
    says(widget, verdict=HOLDS)
    assert rows["K34"].reason not in widget.summary, "what is hidden is not open"


def test_wrong_choices_are_told_and_change_nothing(widget):
    assert says(widget, verdict="maybe").startswith("ValueError: verdict is 'maybe'; there are holds, ")
    for changes, reason in (
        ({"colour": "red"}, "no choice"),
        ({"open": "K99"}, "there are K01"),
        ({"falling": "yes"}, "it is a bool"),
        ({"sort": ""}, "sort is empty"),
        ({"chapter": "99"}, "there are 01"),
    ):
        assert reason in says(widget, **changes)
    assert widget.choice == {**widget.choice, "verdict": "", "open": "", "sort": "key", "falling": False}
    widget._handle_custom_msg({"id": "8", "kind": "sing"}, [])
    assert "asked for 'sing'" in widget.message
    with pytest.raises(ValueError, match="there are no rows"):
        widgets.scoreboard([])
    shipped_only = widgets.scoreboard()
    assert "here" not in shipped_only.options["sort"] and "there are key" in says(shipped_only, sort="here")


def test_a_static_page_shows_a_picture_and_the_counts(widget):
    widget.set(verdict=NOT)
    (live, _), (still, _) = widget.outputs()
    [tag] = re.findall(r"<img [^>]*>", still["text/html"])
    alt, source = re.fullmatch(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">', tag).groups()
    assert html.unescape(alt) == still["text/plain"] == live["text/plain"] == widget.summary
    pale = Image.open(io.BytesIO(base64.b64decode(source)))
    widget.set(verdict="")
    assert pale.width > 400 and pale.convert("RGB").tobytes() != widget.picture().quantize(256).convert("RGB").tobytes()
    assert "another verdict: K34" in widget.summary


def test_every_part_of_the_course_has_a_chapter(rows):
    assert {row.part for row in rows.values()} - {""} == set(view.CHAPTERS)
