"""Governors on a simulated phone: no job is lost, no governor beats the optimum, and the rules do what they are known for."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm_lab.edge.governors import (
    budget,
    by_deadline,
    fixed,
    load_steps,
    ondemand,
    performance,
    powersave,
    race_to_idle,
    schedutil,
)
from autoglm_lab.edge.measured import steps_of_tasks, variant
from autoglm_lab.edge.optimum import as_planned, least_energy, schedule, yds
from autoglm_lab.edge.power import SNAPDRAGON_835, TICK_S, Heat, Job, PowerTable, bursts, checked, simulate

TABLE = SNAPDRAGON_835
WORK = [[0.3, 0.3, 0.33], [0.28, 0.35], [0.3]]
GOVERNORS = {
    "performance": performance,
    "powersave": powersave,
    "ondemand": ondemand,
    "schedutil": schedutil,
    "load steps": load_steps(),
    "budget": budget(500),
    "budget with a floor": budget(500, 0.5),
    "fixed": fixed(0.7),
    "by deadline": by_deadline(),
    "race to idle": race_to_idle,
}
some_jobs = st.lists(st.builds(Job, st.floats(0, 5), st.floats(0.01, 0.4), st.floats(0.2, 2)), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"speeds": (0.5, 1.0), "busy": (1.0, 2.0)}, "five or more"),
        ({"speeds": (*TABLE.speeds[:-1], 0.99)}, "rise from above 0 to 1"),
        ({"speeds": (TABLE.speeds[1], TABLE.speeds[0], *TABLE.speeds[2:])}, "rise from above 0 to 1"),
        ({"busy": (*TABLE.busy[:-1], TABLE.busy[0])}, "power has to rise"),
        ({"busy": (math.nan, *TABLE.busy[1:])}, "power has to rise"),
        ({"idle": TABLE.busy[0]}, "from above 80 .idle."),
    ],
)
def test_a_table_that_cannot_be_is_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        replace(TABLE, **change)


@pytest.mark.parametrize("job", [Job(-1, 1, 1), Job(0, 0, 1), Job(0, 1, -1), Job(0, math.nan, 1), Job(0, math.inf, 1)])
def test_a_job_that_cannot_be_is_refused(job):
    with pytest.raises(ValueError, match="job 0 is"):
        checked([job])


def test_jobs_and_governors_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="no jobs"):
        simulate(performance, [], TABLE)
    for rate, count, people in ((0.0, 3, 1), (1.0, 0, 1), (1.0, 3, 0)):
        with pytest.raises(ValueError, match="all of them have to be positive"):
            bursts(rate, count, 0, WORK, people=people)
    with pytest.raises(ValueError, match=r"1 people cannot ask 5\.0 times a second"):
        bursts(5.0, 3, 0, WORK)
    with pytest.raises(ValueError, match="asked for speed nan"):
        simulate(fixed(math.nan), [Job(0, 1, 1)], TABLE)
    with pytest.raises(ValueError, match="cap"):
        Heat(cap=0.0)


def test_the_least_power_lies_under_every_operating_point():
    speeds, powers = np.array(TABLE.speeds), np.array(TABLE.busy)
    least = TABLE.least_power(speeds)
    assert (least <= powers + 1e-9).all() and least[-1] == powers[-1]
    fine = TABLE.least_power(np.linspace(0, 1, 101))
    assert (np.diff(fine, 2) > -1e-9).all(), "mixtures leave no dent"
    assert TABLE.critical_speed == 391 / 1024, "slower points take longer and more"
    assert least[0] < powers[0], "below it, running in turns with sleep takes less than running slowly"


@pytest.mark.parametrize("name", GOVERNORS)
def test_every_job_is_done_once_and_takes_at_least_its_work(name):
    jobs = bursts(1.0, 40, 3, WORK)
    run = simulate(GOVERNORS[name], jobs, TABLE)
    assert len(run.latencies) == 40 and run.seconds >= max(job.arrival + job.deadline for job in jobs) - TICK_S
    for latency, job in zip(run.latencies, jobs, strict=True):
        assert latency >= job.work - 1e-9
    assert run.missed == sum(latency > job.deadline + 1e-9 for latency, job in zip(run.latencies, jobs, strict=True))
    assert run.p95_s <= max(run.latencies) and 0 <= run.missed_share <= 1


def test_energy_is_power_times_time():
    run = simulate(performance, [Job(0, 0.5, 2.0)], TABLE)
    assert run.energy == pytest.approx(0.5 * TABLE.busy[-1] + 1.5 * TABLE.idle, rel=1e-6)
    slow = simulate(powersave, [Job(0, 0.05, 2.0)], TABLE)
    assert slow.energy == pytest.approx(0.05 / TABLE.speeds[0] * TABLE.busy[0], rel=1e-6)
    asleep = replace(TABLE, idle=60)
    assert simulate(performance, [Job(1.0, 0.5, 1.0)], asleep).energy == pytest.approx(1.5 * 60 + 0.5 * TABLE.busy[-1], rel=1e-6)


def test_the_optimum_of_known_cases():
    assert yds([Job(0, 1, 4)]) == [(4.0, 0.25)]
    stretches = yds([Job(0, 1, 10), Job(2, 3, 3)])  # the second in a hurry, in the middle of the first
    assert stretches == [(3.0, 1.0), (7.0, pytest.approx(1 / 7))]
    assert yds([Job(0, 1, 1), Job(5, 1, 2)]) == [(1.0, 1.0), (2.0, 0.5)]


@settings(deadline=None, max_examples=60)
@given(some_jobs)
def test_the_optimum_does_all_the_work_and_falls_in_speed(jobs):
    stretches = yds(jobs)
    assert sum(length * speed for length, speed in stretches) == pytest.approx(sum(job.work for job in jobs))
    speeds = [speed for _, speed in stretches]
    assert speeds == sorted(speeds, reverse=True) or np.allclose(speeds, sorted(speeds, reverse=True))


@settings(deadline=None, max_examples=40)
@given(some_jobs, st.sampled_from(sorted(GOVERNORS)))
def test_no_governor_that_misses_nothing_beats_the_optimum(jobs, name):
    run = simulate(GOVERNORS[name], jobs, TABLE)
    if not run.missed:
        assert run.energy >= least_energy(jobs, TABLE, run.seconds) * (1 - 1e-6)


@settings(deadline=None, max_examples=40)
@given(some_jobs)
def test_the_schedule_in_time_does_the_work_of_its_stretches(jobs):
    plan = schedule(jobs)
    assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(plan)), "one thing at a time"
    assert sum((end - begin) * speed for begin, end, speed in plan) == pytest.approx(sum(job.work for job in jobs))
    assert plan[0][0] >= min(job.arrival for job in jobs) - 1e-9


def test_who_follows_the_schedule_takes_what_it_takes():
    jobs = bursts(0.8, 40, 3, WORK)
    run = simulate(as_planned(schedule(jobs)), jobs, TABLE)
    assert 1 <= run.energy / least_energy(jobs, TABLE, run.seconds) < 1.05, "whole operating points"
    assert max(run.latencies) < 1 + 3 * TICK_S


def test_jobs_that_nothing_could_do_in_time_have_no_optimum():
    with pytest.raises(ValueError, match=r"1\.50 times the fastest clock"):
        least_energy([Job(0, 1.5, 1)], TABLE, 2.0)


def test_what_is_known_of_the_rules():
    jobs = bursts(0.8, 90, 1, WORK)
    runs = {name: simulate(governor, jobs, TABLE) for name, governor in GOVERNORS.items()}
    full, best = runs["performance"].energy, least_energy(jobs, TABLE, runs["performance"].seconds)
    assert runs["by deadline"].energy < 1.1 * best and runs["by deadline"].missed_share <= 0.01
    assert runs["load steps"].energy > 0.9 * full, "load is high whenever there is work: the steps save next to nothing"
    assert runs["budget"].missed_share > 0.2, "a budget knows no deadline"
    assert runs["budget with a floor"].missed_share < runs["budget"].missed_share
    best_clock = simulate(fixed(TABLE.critical_speed), jobs, TABLE)
    assert runs["powersave"].energy > 1.1 * best_clock.energy, "slower is not always less"
    assert runs["powersave"].missed_share > 0.9


def test_a_budget_without_a_floor_stops_the_clock_and_with_one_does_not():
    leaky = PowerTable("leaky", (0.2, 0.4, 0.6, 0.8, 1.0), (95, 96, 97, 98, 99), idle=94)
    jobs = [Job(0, 0.1, 20)]
    asked: list[float] = []

    def watched(phone):
        asked.append(budget(100)(phone))
        return asked[-1]

    simulate(watched, jobs, leaky)
    assert asked[-1] < 1e-6, "what the budget cannot reach it asks for less and less"
    assert simulate(budget(100, 0.4), jobs, leaky).trace[-1][1] == 0.4


def test_an_error_in_the_estimate_costs_energy_or_deadlines():
    jobs = bursts(0.8, 90, 2, WORK)
    right, wrong = (simulate(by_deadline(0.05, error), jobs, TABLE) for error in (0.0, 0.5))
    assert wrong.missed > right.missed
    assert simulate(by_deadline(0.05, 0.5), jobs, TABLE) == wrong, "the same seed, the same errors"


def test_heat_caps_the_clock_and_lets_it_go_with_hysteresis():
    heat = Heat(seconds=1.0)
    limits = [heat.limit(1341, 0.5) for _ in range(20)]
    assert limits[0] == 1.0 and limits[-1] == heat.cap and heat.celsius > heat.hot
    while heat.limit(0, 0.05) < 1:
        assert heat.celsius > heat.hot - heat.band
    assert heat.hot - heat.band - 1 < heat.celsius <= heat.hot - heat.band
    assert heat.limit(0, 0.05) == 1.0
    hot = simulate(performance, bursts(2.5, 200, 0, WORK, people=4), TABLE, heat=Heat(seconds=5.0, hot=30.0))
    assert {speed for _, speed in hot.trace} >= {1.0, TABLE.speeds[TABLE.step(0.6)]}


def test_bursts_have_their_rate_and_come_again():
    jobs = bursts(0.8, 2000, 5, WORK)
    assert 2000 / jobs[-1].arrival == pytest.approx(0.8, rel=0.1)
    assert jobs == bursts(0.8, 2000, 5, WORK) != bursts(0.8, 2000, 6, WORK)


def test_tasks_have_as_many_steps_as_the_oracle_needs():
    steps = steps_of_tasks()
    assert len(steps) == 200 and min(steps) == 1 and 2 < np.mean(steps) < 4 and len(set(steps)) > 3
    assert steps == steps_of_tasks.__wrapped__(), "the same each time"


def test_figures_come_from_the_reports_or_not_at_all(tmp_path):
    whole = variant("whole")
    assert 0 < whole.first_token_ms < whole.answer_ms and 0.9 < whole.success <= 1 and whole.n >= 500
    with pytest.raises(ValueError, match=r"no report of 'none'.*whole"):
        variant("none")
    (tmp_path / "half.json").write_text('{"answer_ms": 3}')
    with pytest.raises(ValueError, match=r"half\.json lacks a figure.*first_token_ms"):
        variant("half", tmp_path)
    (tmp_path / "odd.json").write_text('{"answer_ms": 3, "first_token_ms": 4, "success": 1, "n": 1, "bytes": 1, "whole_ms": 3}')
    with pytest.raises(ValueError, match="cannot be"):
        variant("odd", tmp_path)
