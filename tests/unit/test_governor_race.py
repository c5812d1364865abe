"""The race of governors: the same worlds for all, the optimum first, intervals that come again; tables of one's own; counters."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.cli import main
from autoglm_lab.edge import governors
from autoglm_lab.edge.measured import Variant, variant
from autoglm_lab.edge.power import SNAPDRAGON_835, SNAPDRAGON_835_BOTH, read_table
from autoglm_lab.edge.probe import energy_between, probe
from autoglm_lab.edge.race import OPTIMUM, Interval, Standing, modes, pareto_front, race, tasks, worlds
from autoglm_lab.paths import data_dir

FEW = {"performance": lambda: governors.performance, "by deadline": governors.by_deadline, "powersave": lambda: governors.powersave}
WORK = tasks(25.0)


def test_the_optimum_is_first_and_all_meet_the_same_worlds():
    standings = race(SNAPDRAGON_835, worlds(0.8, 3, WORK, count=20), FEW)
    assert [each.rule for each in standings][:2] == ["the optimum", "by deadline"]
    results = {each.rule: each for each in standings}
    assert results["performance"].energy == Interval(1.0, 1.0, 1.0)
    assert results["powersave"].miss_rate.mean == 1 and results["powersave"].per_job is None
    assert standings == race(SNAPDRAGON_835, worlds(0.8, 3, WORK, count=20), FEW)


def standing(rule, energy, misses):
    return Standing(rule, *(Interval(value, value, value) for value in (energy, misses)), None, None, None)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=12, unique=True))
def test_on_the_front_are_those_that_nobody_beats(points):
    standings = [standing(str(place), *point) for place, point in enumerate(points)]
    beaten = {
        str(place)
        for place, (energy, misses) in enumerate(points)
        if any((e, m) != (energy, misses) and e <= energy and m <= misses for e, m in points)
    }
    front = pareto_front(standings)
    assert set(front) == {each.rule for each in standings} - beaten
    assert front == sorted(front, key=lambda rule: points[int(rule)][0])
    assert pareto_front([*standings, standing(OPTIMUM, 0, 0)]) == front
    assert pareto_front([*standings, *(replace(each, rule=f"{each.rule}, again") for each in standings)]) == front


def test_the_shipped_fronts_are_those_of_the_shipped_figures():
    report = json.loads((data_dir() / "reports" / "edge" / "power.json").read_text("utf-8"))
    for rate, tables in report["rates"].items():
        for table, rows in tables.items():
            standings = [standing(row["rule"], row["energy"]["mean"], row["miss_rate"]["mean"]) for row in rows]
            assert report["fronts"][rate][table] == pareto_front(standings)
    assert [front["fast"] for front in report["fronts"].values()] == [["by deadline"], ["by deadline"]]


def test_two_clusters_are_never_worse_than_one():
    jobs = worlds(0.4, 2, WORK, count=15)
    best = [race(table, jobs, FEW)[0].energy.mean for table in (SNAPDRAGON_835, SNAPDRAGON_835_BOTH)]
    assert best[1] < best[0]


def test_too_much_work_has_no_optimum():
    standings = race(SNAPDRAGON_835, worlds(1.6, 1, tasks(60.0), count=20, people=4), FEW)
    assert "the optimum" not in [each.rule for each in standings]


def test_an_interval_holds_its_mean():
    interval = Interval.of([1.0, 2.0, 3.0, 4.0])
    assert interval.low < interval.mean == 2.5 < interval.high
    assert str(Interval.of([0.25, 0.25])) == "25.0% (25.0 to 25.0)"


def test_a_smaller_model_saves_energy_and_one_that_is_wrong_pays_for_it():
    whole, skipped = variant("whole"), variant("skip_last", data_dir() / "reports" / "edge")
    quick = Variant("quick", 1.0, 1.0, whole.success, 1000, 1, of_whole=0.5)
    wrong = Variant("wrong", 1.0, 1.0, skipped.success, 1000, 1, of_whole=0.5)
    results = {each.name: each for each in modes(SNAPDRAGON_835, 0.8, 2, [whole, quick, wrong])}
    assert results["whole"].per_right == pytest.approx(1) and results["quick"].per_right < 1 < results["wrong"].per_right
    with pytest.raises(ValueError, match="never gave no right answer in time"):
        modes(SNAPDRAGON_835, 0.8, 1, [whole, Variant("never", 1.0, 1.0, 0.0, 10, 1)])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "holds a list"),
        ('{"name": "x"}', "speeds"),
        ('{"name": "x", "speeds": ["a"], "busy": [1]}', "could not convert"),
        ('{"name": "x", "speeds": [0.2,0.4,0.6,0.8,1], "busy": [1,2,2,4,5], "idle": 0}', "power has to rise"),
        ('{"name": "x", "speeds": [0.2,0.4,0.6,0.8,1], "busy": [1,2,3,4,5], "idle": 0, "volts": 3}', "volts"),
    ],
)
def test_a_table_of_ones_own_is_read_whole_or_refused(tmp_path, capsys, text, reason):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_table(path)
    assert main(["power", "--table", str(path)]) == 2 and "table.json is no power table" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"no\.json is no power table"):
        read_table(tmp_path / "no.json")


def test_the_command_races_on_a_table_of_ones_own(tmp_path, capsys):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"name": "Mine", "speeds": [0.2, 0.4, 0.6, 0.8, 1], "busy": [1, 2, 4, 8, 16], "idle": 0.1}))
    assert main(["power", "--table", str(path), "--seeds", "1", "--rate", "0.5"]) == 0
    output = capsys.readouterr().out
    assert "Mine" in output and "the optimum" in output and "times 12" in output
    assert main(["power", "--table", str(path), "--seeds", "1", "--rate", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rates"]["0.5"][0]["rule"] == "the optimum"
    for wrong in (["--rate", "0"], ["--rate", "x"], ["--deadline", "-1"], ["--seeds", "0"]):
        with pytest.raises(SystemExit):
            main(["power", *wrong])
    assert main(["power", "--model", "none"]) == 2
    assert main(["power", "--rate", "9", "--seeds", "1"]) == 2, "one person cannot ask so often"


def files(root, **contents):
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


POWERCAP, BATTERY = "sys/class/powercap/intel-rapl:0", "sys/class/power_supply/BAT0"


def test_a_machine_without_counters_says_so(tmp_path):
    assert {each.state for each in probe(tmp_path)} == {"absent"}
    assert all(each.value is None for each in probe(tmp_path))


def test_counters_are_read_in_their_units(tmp_path):
    files(
        tmp_path,
        **{
            f"{POWERCAP}/energy_uj": "999000",
            f"{POWERCAP}/max_energy_range_uj": "1000000",
            f"{POWERCAP}/name": "package-0\n",
            f"{BATTERY}/power_now": "4500000",
            f"{BATTERY}/status": "Discharging",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1800000",
            "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "schedutil",
            "sys/class/thermal/thermal_zone0/temp": "41500",
            "sys/class/hwmon/hwmon0/power1_input": "soon",
        },
    )
    results = {each.what: each for each in probe(tmp_path, sleep=lambda _: files(tmp_path, **{f"{POWERCAP}/energy_uj": "99000"}))}
    processor = results["energy of the processor"]
    assert (processor.state, processor.value, processor.unit, processor.note) == ("measured", pytest.approx(1.0), "W", "package-0")
    assert (results["power of the battery"].value, results["power of the battery"].note) == (4.5, "Discharging")
    assert (results["clock"].value, results["clock"].unit, results["clock"].note) == (pytest.approx(1.8), "GHz", "schedutil")
    assert results["temperature"].value == 41.5
    assert results["power sensor"].state == "absent" and "unreadable" in results["power sensor"].note


def test_a_counter_that_stands_still_or_is_closed_is_no_zero(tmp_path, monkeypatch):
    files(tmp_path, **{f"{POWERCAP}/energy_uj": "0", f"{POWERCAP}/max_energy_range_uj": "1000"})
    [processor] = [each for each in probe(tmp_path, sleep=lambda _: None) if each.what == "energy of the processor"]
    assert (processor.state, processor.value, processor.note) == ("absent", None, "the counter stands still")

    def closed(path, *args, **kwargs):
        raise PermissionError(path)

    monkeypatch.setattr("pathlib.Path.read_text", closed)
    [processor] = [each for each in probe(tmp_path, sleep=lambda _: None) if each.what == "energy of the processor"]
    assert (processor.state, processor.value) == ("needs rights", None)


def test_a_counter_wraps_around():
    assert energy_between(100, 350, 1000) == 250e-6 and energy_between(900, 100, 1000) == 200e-6
    for before, after in ((-1, 5), (5, 2000)):
        with pytest.raises(ValueError, match="outside of a counter that ends at 1000"):
            energy_between(before, after, 1000)


def test_doctor_tells_of_the_counters(capsys):
    code = main(["doctor", "--power", "--json"])
    results = json.loads(capsys.readouterr().out)
    assert code == (0 if any(each["state"] == "measured" for each in results) else 1)
    main(["doctor", "--power"])
    assert "energy of the processor" in capsys.readouterr().out
