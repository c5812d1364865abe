"""Prediction of the next step: real events, on-line judging, calibration and value. Cheats that such studies know are shut out."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm_lab.edge.intent import report as reporting
from autoglm_lab.edge.intent.calibration import Isotonic, calibration_error, reliability
from autoglm_lab.edge.intent.events import KINDS, N_READING, NUMBERS, kind_of
from autoglm_lab.edge.intent.judging import Forecasts, Score, over_users, share, totals
from autoglm_lab.edge.intent.personas import Persona, PersonaConfig, Stream, independent, stream
from autoglm_lab.edge.intent.predictors import Frequency, Markov, Recency, mix, online
from autoglm_lab.edge.intent.study import StudyConfig, calibrate, predictors, repeated_words, streams_of, study
from autoglm_lab.edge.intent.value import Price, gains, hit_and_miss_ms, policies
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import WEIGHTS, kept, sample

K = len(KINDS)
SMALL = StudyConfig(n_train=3, n_calibration=2, n_test=2, tasks=32)
PREDICTORS = {
    "frequency": partial(Frequency, 5),
    "recency": partial(Recency, 5),
    "markov 0": partial(Markov, 5, 0),
    "markov 3": partial(Markov, 5, 3),
}
some_events = st.lists(st.integers(0, 4), min_size=1, max_size=30).map(np.array)
some_scores = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.8, 1.0]), st.booleans()), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def small_study():
    return study(0, SMALL)


# Events


@pytest.mark.parametrize("kind", WEIGHTS)
def test_every_step_has_a_kind_and_reading_steps_leave_nothing_behind(kind):
    for seed in range(6):
        phone, rng = SimulatedPhone(seed), np.random.default_rng(seed)
        if kind == "back":
            phone.perform(Action("Launch", app="Settings"))
        task, history = sample(phone.state, rng, kind=kind), []
        while True:
            action, before = next_step(task, phone.state, history=history).action, kept(phone.state)
            before = (dict(before[0]), {who: list(chat) for who, chat in before[1].items()}, list(before[2]))
            number = NUMBERS[kind_of(action, phone.state, task.kind)]
            history.append((action.name, phone.perform(action)))
            lasts = kept(phone.state) != before
            assert lasts <= (number >= N_READING), f"{KINDS[number]} leaves something behind: it may not be prepared for"
            if KINDS[number].startswith("tap:") and number >= N_READING:
                assert lasts
            if action.name == "finish":
                assert number >= N_READING, "no screen follows"
                break


def test_a_step_that_no_task_needs_is_no_event():
    state = SimulatedPhone(0).state
    for action in (Action("Tap", element=(2, 2)), Action("Wait", duration="1 second"), Action("Swipe", start=(0, 0), end=(9, 9))):
        with pytest.raises(ValueError, match="is no kind of event"):
            kind_of(action, state, "open_app")


# Personas


def test_a_stream_is_the_same_each_time_and_another_for_another_person():
    one, again, other = (stream(Persona.random(seed), 20) for seed in (3, 3, 4))
    assert np.array_equal(one.events, again.events) and one.texts == again.texts
    assert one.texts != other.texts
    assert one.first.sum() == 20 and one.first[0] and len(one.texts) == 20
    assert not one.first[np.flatnonzero(one.events >= NUMBERS["finish:open_app"])].all()
    assert (one.task == np.cumsum(one.first) - 1).all(), "every task has a first step, and one only"
    assert one.before(0.5).task.max() == 9


def test_habits_change_when_three_quarters_are_over():
    person = Persona.random(5, PersonaConfig(habits=6))
    early, late = person.habits
    assert early[:3] == late[:3] and early[3:] != late[3:]
    assert not np.allclose(*person.chains)
    for chain in person.chains:
        assert np.allclose(chain.sum(axis=1), 1) and (np.diag(chain) == 0).all()
    late_only = {habit.task.slots for habit in late[3:]} - {habit.task.slots for habit in early}
    unchanged = replace(person, habits=(early, early), chains=(person.chains[0],) * 2)
    with_drift, without = stream(person, 80), stream(unchanged, 80)
    assert late_only
    assert np.array_equal(with_drift.before(0.75).events, without.before(0.75).events)
    assert not np.array_equal(with_drift.events, without.events)


def test_habits_say_the_same_words_and_switches_are_turned_over():
    person = Persona.random(5)
    phone, rng = SimulatedPhone(5), np.random.default_rng(0)
    for habit in person.habits[0]:
        first, second = habit.on(phone.state, rng), habit.on(phone.state, rng)
        if {name for name, _ in habit.task.slots} <= {"app", "setting", "contact"}:
            assert first.text == second.text
    toggles = [habit for habit in person.habits[0] if habit.task.kind.startswith("toggle")]
    for habit in toggles:
        on = habit.on(phone.state, rng).kind
        phone.state.toggles[habit.task.slot("setting")] ^= True
        assert habit.on(phone.state, rng).kind != on


@pytest.mark.parametrize("change", [{"habits": 1}, {"concentration": 0}, {"laid_down": 1.5}, {"drift_at": -0.1}])
def test_people_who_cannot_be_are_refused(change):
    with pytest.raises(ValueError, match="two habits or more"):
        PersonaConfig(**change)


def test_studies_without_people_or_tasks_are_refused():
    with pytest.raises(ValueError, match="one person or more"):
        StudyConfig(n_test=0)
    with pytest.raises(ValueError, match="one at least"):
        stream(Persona.random(0), 0)


# Predictors


@pytest.mark.parametrize("name", PREDICTORS)
@given(some_events, st.integers(0, 30))
def test_probabilities_add_up_and_the_future_is_not_read(name, events, moment):
    table = online(PREDICTORS[name])(events)
    assert table.shape == (len(events), 5) and np.allclose(table.sum(axis=1), 1) and (table >= 0).all()
    other = events.copy()
    other[moment:] = 4 - other[moment:]
    again = online(PREDICTORS[name])(other)
    assert np.array_equal(again[: moment + 1], table[: moment + 1]), "an event is judged before it is seen"
    both = mix(np.stack([table, table[:, ::-1]]), events)
    assert np.allclose(both.sum(axis=1), 1)


def test_markov_is_the_formula_of_witten_and_bell():
    chain = Markov(4, 1)
    for event in (0, 1, 0, 2, 0):
        chain.observe(event)
    shortest = (np.array([3, 1, 1, 0]) + 3 * 0.25) / (5 + 3)
    after_0 = (np.array([0, 1, 1, 0]) + 2 * shortest) / (2 + 2)
    assert np.allclose(chain.probabilities(), after_0)


def test_a_longer_context_tells_what_a_shorter_one_cannot():
    events = np.array([0, 1, 2, 0, 3, 4] * 12)  # what follows 0 depends on what came before it
    hits = {order: (online(partial(Markov, 5, order))(events).argmax(axis=1) == events)[12:].mean() for order in (0, 1, 2)}
    assert hits[0] < hits[1] < hits[2] == 1


def test_a_reader_learns_nothing_and_keeps_its_own_past():
    counts = Markov(3, 1).learn([np.array([0, 1] * 6)])
    reader, untouched = counts.reader(), counts.reader()
    assert reader.probabilities().argmax() in (0, 1)
    reader.observe(0)
    assert reader.probabilities().argmax() == 1
    for event in (2, 2, 2, 2, 2, 2, 2, 0):
        reader.observe(event)
    untouched.observe(0)
    assert np.array_equal(reader.probabilities(), untouched.probabilities())


def test_people_are_counted_one_by_one():
    counts = Markov(3, 1).learn([np.array([0]), np.array([1])])
    reader = counts.reader()
    reader.observe(0)
    assert reader.probabilities()[1] == pytest.approx((1 + 2 / 3) / 4), "1 followed 0 in nobody's past"


def test_a_mixture_goes_with_the_better_half_and_comes_back_after_a_change():
    events = np.array([0] * 40 + [1] * 40)
    sure = np.array([[0.9, 0.1], [0.1, 0.9]])[:, None].repeat(80, axis=1)
    weighed = mix(sure, events)
    assert weighed[39, 0] > 0.85 and weighed[79, 1] > 0.85 and weighed[42, 1] > 0.3
    with pytest.raises(ValueError, match=r"\[predictors, events, kinds\]"):
        mix(sure, events[1:])


def test_chains_that_cannot_be_are_refused():
    for kinds, order in ((1, 2), (4, -1)):
        with pytest.raises(ValueError, match="order of 0 or more"):
            Markov(kinds, order)


# Calibration


def best_steps(scores, right):
    """Isotonic regression by its min-max formula: slow, and of no algorithm."""
    values, place = np.unique(scores, return_inverse=True)
    hits, counts = np.bincount(place, right), np.bincount(place)

    def mean(low, high):
        return hits[low : high + 1].sum() / counts[low : high + 1].sum()

    size = len(values)
    return values, [max(min(mean(low, high) for high in range(spot, size)) for low in range(spot + 1)) for spot in range(size)]


@given(some_scores)
def test_pool_adjacent_violators_is_isotonic_regression(pairs):
    scores, right = np.array([score for score, _ in pairs]), np.array([hit for _, hit in pairs])
    steps = Isotonic.fit(scores, right)
    values, best = best_steps(scores, right)
    assert np.allclose(steps(values), best)
    fine = steps(np.linspace(0, 1, 101))
    assert (np.diff(fine) >= 0).all() and (fine >= 0).all() and (fine <= 1).all()
    assert calibration_error(reliability(steps(scores), right, 1)) == pytest.approx(0, abs=1e-12), "right on average"


def test_calibration_repairs_people_who_were_not_fitted_on():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 4000)
    right = rng.random(4000) < confidence**3  # far too sure of itself
    steps = Isotonic.fit(confidence[:2000], right[:2000])
    before, after = (calibration_error(reliability(each, right[2000:])) for each in (confidence[2000:], steps(confidence[2000:])))
    assert before > 0.2 and after < 0.05


def test_a_gate_belongs_to_the_numbers_of_one_predictor():
    rng = np.random.default_rng(0)
    right = rng.random(5000) < 0.7
    cautious, bold = (np.clip(rng.normal(middle + 0.1 * right, 0.1), 0, 1) for middle in (0.5, 0.8))
    precision = [right[each > 0.8].mean() if (each > 0.8).any() else 0.0 for each in (cautious, bold)]
    assert precision[0] - precision[1] > 0.05, "the same 0.8 means two things"
    own, others = Isotonic.fit(bold, right), Isotonic.fit(cautious, right)
    assert calibration_error(reliability(own(bold), right)) < 0.01 < calibration_error(reliability(others(bold), right))


@pytest.mark.parametrize(
    ("confidence", "right", "reason"),
    [
        ([], [], "one of each"),
        ([0.5], [True, False], "one of each"),
        ([1.2], [True], "outside 0 to 1"),
        ([float("nan")], [True], "outside 0 to 1"),
    ],
)
def test_confidences_that_are_none_are_refused(confidence, right, reason):
    for judge in (Isotonic.fit, reliability):
        with pytest.raises(ValueError, match=reason):
            judge(np.array(confidence), np.array(right, bool))


# Judging


def forecasts(guess, real, confidence, user=None, first=None):
    count = len(real)
    zeros = np.zeros(count)
    return Forecasts(
        np.array(user or [0] * count),
        zeros,
        np.array(first or [False] * count),
        np.array(guess),
        np.array(confidence),
        np.array(real),
        np.array(guess) == np.array(real),
    )


def test_hits_coverage_and_precision_of_a_known_case():
    score = Score.of(forecasts([1, 1, 2, 3], [1, 1, 2, 0], [0.9, 0.7, 0.95, 0.85]))
    assert (score.top1.mean, score.coverage.mean, score.precision.mean) == (0.75, 0.75, pytest.approx(2 / 3))
    assert score.ece.mean == pytest.approx((abs(0.95 + 0.9 - 2) + 0.3 + 0.85) / 4)
    assert Score.of(forecasts([1], [1], [0.5])).precision is None, "nothing is above the gate: no precision at all"
    with pytest.raises(ValueError, match="no events to judge"):
        Score.of(forecasts([], [], []))


def test_a_step_that_repeats_the_last_is_no_hit_for_who_repeats():
    events = Stream(np.array([0, 0, 0, 1, 1, 0]), np.array([0, 0, 0, 1, 1, 1]), ("a", "b"))
    table = online(partial(Recency, 2))(events.events)
    judged = Forecasts.of(7, events, table)
    assert judged.real.tolist() == [0, 1, 0] and not judged.right[1:].any()
    assert judged.first.tolist() == [True, True, False] and judged.user.tolist() == [7, 7, 7]
    for wrong in (table[1:], 2 * table):
        with pytest.raises(ValueError, match="adds up to 1"):
            Forecasts.of(7, events, wrong)


def test_intervals_are_over_people_and_not_over_events():
    user = np.repeat(np.arange(8), 100)
    same_for_all = np.tile(np.arange(100) < 50, 8).astype(float)
    by_person = (user < 4).astype(float)
    one = np.ones(800)
    narrow, wide = (over_users(totals(user, each, one), share) for each in (same_for_all, by_person))
    assert narrow.mean == wide.mean == 0.5
    assert narrow.high - narrow.low < 1e-9 and wide.high - wide.low > 0.4
    assert np.isnan(over_users(totals(user, 0 * one, 0 * one), share).mean)


# Value


@given(st.floats(1, 500), st.floats(1, 500), st.floats(0, 1))
def test_the_gate_is_where_preparing_begins_to_gain(saving, cost, probability):
    price = Price(saving, cost)
    expected = probability * saving - (1 - probability) * cost
    assert (expected > 1e-6) <= (probability > price.gate - 1e-9) and (probability > price.gate + 1e-9) <= (expected > -1e-6)
    assert Price(3.0, 12.0).gate == pytest.approx(0.8), "0.8 fits a miss that costs four times what a hit saves"


def test_steps_that_change_something_are_never_prepared_for():
    lasting = NUMBERS["tap:send"]
    sure = forecasts([lasting, 0, 0], [lasting, 0, 1], [1.0, 1.0, 1.0])
    for name, gain in policies(sure, sure.confidence, Price(10, 5)).items():
        assert gain[0] == 0, name
        assert name == "never" or gain[1] == 10
    assert gains(sure, np.ones(3, bool), Price(10, 5)).tolist() == [0, 10, -5]
    for saving, cost in ((0, 1), (1, 0), (float("nan"), 1), (1, float("inf"))):
        with pytest.raises(ValueError, match="both are above 0"):
            Price(saving, cost)


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_no_policy_beats_the_oracles(small_study, ratio):
    block = small_study.blocks["Markov-3, own"]["new"]
    gain = {name: each.sum() for name, each in policies(block, block.confidence, Price(100, 100 * ratio)).items()}
    assert gain["never"] == 0 and gain["gate oracle"] <= gain["event oracle"]
    for name in ("always", "raw 0.8", "raw p*", "calibrated p*"):
        assert gain[name] <= gain["gate oracle"], name


def test_two_rows_give_the_third():
    hit, miss = hit_and_miss_ms([(0.5, 100.0), (0.75, 60.0)])
    assert (hit, miss) == (20, 180)
    with pytest.raises(ValueError, match="two different shares"):
        hit_and_miss_ms([(0.5, 100.0), (0.5, 60.0)])


# Studies


def test_nobody_is_in_two_groups_or_two_seeds_and_blocks_are_in_order(small_study):
    for blocks in small_study.blocks.values():
        users = {name: set(block.user.tolist()) for name, block in blocks.items()}
        assert users["known"] == {0, 1, 2} and users["calibration"] == {3, 4} and users["new"] == users["drift"] == {5, 6}
        assert blocks["new"].age.min() >= 0.5 and blocks["new"].age.max() < 0.75 <= blocks["drift"].age.min()
    other = study(1, replace(SMALL, tasks=8)).blocks["MRU"]["known"]
    assert not set(other.user.tolist()) & set(range(SMALL.people))


def test_training_reads_the_first_half_of_the_trained_people_alone():
    everybody = streams_of(0, SMALL)
    seen = []

    def fit(sequences, kinds, seed):
        seen.extend(sequences)
        return lambda events: np.full((len(events), kinds), 1 / kinds)

    study(0, SMALL, fit)
    assert [each.tolist() for each in seen] == [each.before(0.5).events.tolist() for each in everybody[:3]]


def test_a_calibration_by_place_does_not_mix_first_steps_with_forced_ones():
    first = [True] * 50 + [False] * 50
    fitting = forecasts([1] * 100, [0] * 50 + [1] * 50, [0.9] * 100, first=first)
    judged = forecasts([1, 1], [1, 1], [0.9, 0.9], first=[True, False])
    assert calibrate(fitting, judged).tolist() == [0, 1]
    assert calibrate(fitting, judged, by_place=False).tolist() == [0.5, 0.5]


def test_words_are_repeated_only_where_the_same_sentence_came_before():
    events = Stream(np.array([1, 2, 1, 2, 1, 2]), np.array([0, 0, 1, 1, 2, 2]), ("a", "a", "b"))
    table = np.eye(3)[[1, 2, 1, 2, 1, 2]]
    assert repeated_words(events, table) == (1, 0), "the third task begins as the second, in other words"
    same = replace(events, texts=("a", "b", "b"))
    assert repeated_words(same, table) == (1, 1)


def test_personas_can_be_predicted_and_independent_tasks_cannot():
    people, world = (streams_of(0, replace(SMALL, n_test=8, tasks=60, independent=each)) for each in (False, True))

    def hits(streams):
        tables = predictors([each.before(0.5).events for each in streams[:3]])
        parts = [Forecasts.of(n, each, tables(each.events)["Markov-3, own"]) for n, each in enumerate(streams)]
        each = Forecasts.join(parts).between(0.5, 0.75)
        return each.where(each.first).right.mean(), each.where(~each.first).right.mean()

    (first, inside), (control, _) = hits(people), hits(world)
    assert first > control + 0.1, "habits make the first step of a task foreseeable"
    assert inside > first + 0.2, "most hits are steps that the task forces anyway"


def test_the_report_is_json_and_the_same_each_time():
    config = StudyConfig(n_train=2, n_calibration=2, n_test=2, tasks=24)
    one = reporting.report(seeds=2, config=config)
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert json.dumps(reporting.report(seeds=2, config=config)) == json.dumps(one)
    assert one["article"]["rules_ms"] == pytest.approx(224.86, abs=0.01) and one["article"]["misses_to_foresee"] > 0.7
    assert set(one["verdicts"]) == {"K50", "K51", "K52", "K53"} and one["verdicts"]["K50"]["ratio_it_fits"] == pytest.approx(4)
    assert one["verdicts"]["K53"]["top1"] == one["scores"][reporting.BEST]["new"]["all"]["top1"]
    for rows in one["value"].values():
        assert [row["gate"] for row in rows["new"]] == [0.2, 0.5, 0.8]
    assert independent(0, 3).texts != stream(Persona.random(0), 3).texts
