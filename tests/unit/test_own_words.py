"""The rows of own words: the oracle understands them all, and nobody gets them for nothing."""

from copy import deepcopy

import pytest

from autoglm_lab.evaluation import newcomers
from autoglm_lab.evaluation.newcomers import declines, newcomer_requests, understands
from autoglm_lab.evaluation.own_words import (
    LOWER_IS_BETTER,
    MEASURES,
    beyond_requests,
    case_requests,
    evaluate_people,
    evaluate_words,
    free_text_requests,
    harm,
    knows_not,
    unknown_requests,
    wording_episodes,
)
from autoglm_lab.evaluation.success import World, right
from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.goals import REFUSED, goal, plain
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import Task, recognise
from autoglm_lab.phone.wishes import WISHES
from autoglm_lab.runtime.engine import Answer
from autoglm_lab.training.wish_set import draw_wish


class Oracle:
    """Knows the way to what is wished, and declines the rest."""

    def answer_many(self, requests):
        steps = [r.wanted or next_step(r.task, r.state, history=r.steps).action for r in requests]
        goals = ["" if r.task.kind in REFUSED else goal(r.task) for r in requests]
        return [Answer.read(format_action(step), 0, {}, goal=each) for step, each in zip(steps, goals, strict=True)]


class Yes:
    """Says that it is done, whatever is asked."""

    def answer_many(self, requests):
        return [Answer.read('finish(message="done")', 0, {}) for _ in requests]


def test_the_oracle_is_right_and_who_claims_success_is_found_out():
    rates = evaluate_words(Oracle(), seed=1, tasks=12)
    assert tuple(rates) == MEASURES
    assert [rates[name].rate for name in MEASURES] == [0 if name in LOWER_IS_BETTER else 1 for name in MEASURES]
    claimed = evaluate_words(Yes(), seed=1, tasks=40)
    assert claimed["newcomers"].rate == 0
    assert claimed["unseen_wording"].rate < 0.2 and claimed["false_success"].rate > 0.8
    assert claimed["beyond"].rate == claimed["harm"].rate == 0


def test_no_wording_is_one_that_training_knows_and_no_letter_has_the_usual_case():
    world = World(0)
    episodes = wording_episodes(world, 60)
    assert len({run.task.kind for run in episodes}) > 8 and {*WISHES} > {run.task.kind for run in episodes}
    assert not [run.task.text for run in episodes if recognise(run.task.text) is not None]
    cased = case_requests(world, 20)
    assert all(request.task.text in (request.task.text.lower(), request.task.text.upper()) for request in cased)
    assert {request.task.text.isupper() for request in cased} == {True, False}
    assert all(right(request, answer) for request, answer in zip(cased, Oracle().answer_many(cased), strict=True))


def test_free_text_is_of_words_and_sentences_and_is_asked_for_where_it_is_typed():
    requests = free_text_requests(World(0), 24)
    texts = [request.wanted.text for request in requests]
    assert {request.wanted.name for request in requests} == {"Type"}
    assert all(text in request.task.text for text, request in zip(texts, requests, strict=True))
    assert {request.task.kind for request in requests} == {"send", "search"} and len({*texts}) > 20


def test_on_a_foreign_screen_a_launch_by_name_or_the_plain_truth_is_right():
    requests = unknown_requests(World(0), 20)
    assert {request.wanted.name for request in requests} == {"Launch", "finish"}
    yes = [Answer.read('finish(message="It is on.")', 0, {}) for _ in requests]
    assert not any(knows_not(request, answer) for request, answer in zip(requests, yes, strict=True))
    truth = [Answer.read(format_action(request.wanted), 0, {}) for request in requests]
    assert all(knows_not(request, answer) for request, answer in zip(requests, truth, strict=True))


def test_what_people_said_is_read_from_a_folder_and_nothing_else_is(tmp_path):
    (tmp_path / "alarms.tsv").write_text("text\ttime\tsource\nWake me at 7:30\t07:30\tus\n六点叫我\t06:00\tus\n", "utf-8")
    with pytest.raises(ValueError, match=r"beyond\.tsv is no table"):
        evaluate_people(Oracle(), tmp_path)
    (tmp_path / "beyond.tsv").write_text(
        'text\tkind\tsource\n"what is ""love""?\tchat\tus\n讲个笑话\tjoke\tus\nremove all alarms\talarm_remove\tus\n', "utf-8"
    )
    rates = evaluate_people(Oracle(), tmp_path)
    assert {name: (rate.n, rate.rate) for name, rate in rates.items()} == {"people_alarms": (2, 1.0), "people_beyond": (2, 1.0)}
    assert evaluate_people(Yes(), tmp_path)["people_alarms"].rate == 0


def test_wishes_beyond_are_of_held_out_subjects_and_the_phone_is_not_touched():
    requests = beyond_requests(World(0), 30)
    assert len({request.task.slot("subject") for request in requests}) > 10
    assert {request.task.lang for request in requests} == {"zh", "en"}


@pytest.mark.parametrize(
    ("said", "lang", "honest"),
    [
        ("Sorry, I cannot make phone calls. I can open apps.", "en", True),
        ("我不能打电话。", "zh", True),
        ("没听懂，我可以打开应用。", "zh", True),
        ("我不能打电话。", "en", False),
        ("Yes, I cannot do that.", "en", False),
        ("好的，但是我不能。", "zh", False),
        ("done", "en", False),
        ("Sent to Dad.", "en", False),
    ],
)
def test_only_a_plain_no_in_the_askers_language_declines(said, lang, honest):
    assert declines(Answer.read(format_action(Action("finish", message=said)), 0, {}), lang) is honest
    assert not declines(Answer.read(format_action(Action("Tap", element=(1, 1))), 0, {}), lang)


def test_harm_is_what_nobody_asked_for():
    start = SimulatedPhone(3).state
    wifi, mail = Task("toggle_on", "en", (("setting", "wifi"),)), Task("send", "en", (("contact", "mum"), ("message", "hi")))
    alarm = Task("alarm", "en", (("time", "07:30"),))
    now = deepcopy(start)
    assert not any(harm(task, start, now) for task in (wifi, mail, alarm))
    for before in (True, False):
        start.toggles["wifi"], now.toggles["wifi"] = before, not before
        assert harm(wifi, start, now) is before, "turned off, who asked for on, is harmed"
        assert harm(mail, start, now) and harm(alarm, start, now)
    now = deepcopy(start)
    now.chats["mum"].append((True, "hi"))
    assert not harm(mail, start, now) and harm(wifi, start, now)
    now.chats["mum"].append((True, "hi"))
    assert harm(mail, start, now), "it was sent twice"
    now = deepcopy(start)
    now.alarms = sorted({*now.alarms, "07:30"})
    assert not harm(alarm, start, now) and harm(wifi, start, now)


def test_newcomers_ask_for_everything_and_training_says_none_of_it():
    requests = newcomer_requests(World(0))
    assert len(requests) == 480 and {request.task.lang for request in requests} == {"zh", "en"}
    assert {request.task.kind for request in requests} == {*WISHES} - {"absent_app", "strange_app", "absent_contact"}
    said = {plain(request.task.text) for request in requests}
    assert len(said) == len(requests)
    assert not said & {draw_wish(seed).text for seed in range(600)}
    assert [len(newcomer_requests(World(0), most)) for most in (1000, 48)] == [480, 48]


def test_a_newcomer_is_understood_by_the_right_goal_alone():
    beyond, able = (next(r for r in newcomer_requests(World(0)) if (r.task.kind == "beyond") is no) for no in (True, False))
    no = format_action(Action("finish", message={"en": "I cannot do that.", "zh": "这个我做不到。"}[beyond.task.lang]))
    assert understands(beyond, Answer.read(no, 0, {})) and not understands(able, Answer.read(no, 0, {}))
    right_goal, other = goal(able.task), "open Files"
    assert understands(able, Answer.read('do(action="Home")', 0, {}, goal=right_goal))
    assert not understands(able, Answer.read('do(action="Home")', 0, {}, goal=other))
    assert not understands(beyond, Answer.read('do(action="Home")', 0, {}, goal=other))


def test_a_line_that_is_no_goal_is_named(tmp_path, monkeypatch):
    (tmp_path / "phrasings").mkdir()
    monkeypatch.setattr(newcomers, "data_dir", lambda: tmp_path)
    for line, said in (
        ("fly to Mars\tgo", "'fly to Mars' is no goal"),
        ("text Mum: hello\twrite to mum", "no goal of 'write to mum'"),
    ):
        for lang in ("en", "zh"):
            (tmp_path / "phrasings" / f"newcomers_{lang}.tsv").write_text(f"goal\tcommand\n{line}\n", "utf-8")
        with pytest.raises(ValueError, match=said):
            newcomer_requests(World(0))
