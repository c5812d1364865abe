"""Wishes in people's own words: the oracle fulfils or declines each, and a strict judge agrees."""

from __future__ import annotations

import re
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest

from autoglm_lab.phone import free_text as free_text_module
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.catalog import LANGS, Lang
from autoglm_lab.phone.foreign import HELD_OUT, TRAINING, foreign_screen
from autoglm_lab.phone.free_text import free_text, message_or_query
from autoglm_lab.phone.goals import plain
from autoglm_lab.phone.oracle import next_on_unknown_screen, next_step, report
from autoglm_lab.phone.refusal import is_refusal
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.slips import retype, slip
from autoglm_lab.phone.state import Look, State, View
from autoglm_lab.phone.tasks import Task, kept
from autoglm_lab.phone.wishes import WISHES, _with_aside, sample_wish
from autoglm_lab.phone.wording import asides, phrasebook, strangers, subjects


def play(task: Task, phone: SimulatedPhone, most: int = 12) -> tuple[str, list[tuple[str, bool]]]:
    """The oracle's closing sentence and its actions."""
    history: list[tuple[str, bool]] = []
    for _ in range(most):
        action = next_step(task, phone.state, history=history).action
        if action.name == "finish":
            return action.message or "", history
        history.append((action.name, phone.perform(action)))
    raise AssertionError(f"{task} has no end: {history}")


@pytest.mark.parametrize("kind", WISHES)
def test_the_oracle_fulfils_every_kind_of_wish_within_nine_steps(kind: str) -> None:
    for seed in range(12):
        rng = np.random.default_rng([seed, 5])
        phone = SimulatedPhone(seed=seed)
        if kind == "back" or seed % 3 == 0:
            phone.state.route = [View(("wechat", "clock", "settings")[seed % 3])]
        if kind == "has_app":
            phone.state.route = []
        task = sample_wish(phone.state, rng, kind=kind)
        start = deepcopy(phone.state)
        message, history = play(task, phone)
        assert task.done(start, phone.state, message), (task, message, history)
        assert len(history) < (13 if kind == "two" else 9), (task, history)


def test_a_wish_that_is_not_fulfilled_is_not_done() -> None:
    for kind in ("delete_alarm", "delete_alarms", "two", "toggle_on", "send", "alarm"):
        for seed in range(8):
            rng = np.random.default_rng([seed, 6])
            phone = SimulatedPhone(seed=seed)
            phone.state.alarms = ["06:03", "07:17"]
            task = sample_wish(phone.state, rng, kind=kind)
            untouched = deepcopy(phone.state)
            message, _ = play(task, phone)
            if kept(phone.state) == kept(untouched):
                continue  # it was so before
            assert not task.done(untouched, untouched, message), task


@pytest.mark.parametrize("kind", ["beyond", "absent_app", "strange_app", "absent_contact", "two", "delete_alarm"])
def test_harm_done_on_the_way_is_seen(kind: str) -> None:
    phone = SimulatedPhone(seed=4)
    phone.state.alarms = ["06:03"]
    task = sample_wish(phone.state, np.random.default_rng(3), kind=kind)
    start = deepcopy(phone.state)
    message, _ = play(task, phone)
    phone.state.chats["boss"].append((True, "hello"))
    assert not task.done(start, phone.state, message)


def test_an_alarm_is_opened_and_deleted() -> None:
    phone = SimulatedPhone(seed=1, lang="en")
    phone.state.route, phone.state.alarms = [View("clock")], ["06:03", "07:17"]
    before = phone.screenshot()
    message, history = play(Task("delete_alarm", "en", (("time", "07:17"),)), phone)
    assert (message, phone.state.alarms) == ("The alarm is deleted.", ["06:03"])
    assert [name for name, _ in history] == ["Tap", "Tap"]
    assert phone.screenshot() != before
    message, _ = play(Task("delete_alarm", "en", (("time", "09:00"),)), phone)
    phone.state.notice = ""
    assert play(Task("delete_alarm", "en", (("time", "09:00"),)), phone)[0] == "There is no such alarm."


def test_both_pages_are_looked_at_before_an_app_is_said_to_be_absent() -> None:
    phone = SimulatedPhone(seed=2)
    gone = next(id for id in ("learn", "news", "food", "travel", "weibo", "shop", "video") if id not in phone.state.look.installed)
    task = Task("absent_app", "en", (("app", gone),))
    message, history = play(task, phone)
    assert history == [("Swipe", True)]
    assert message == report(task) and "is not on this phone" in message


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.id)
def test_every_subject_is_declined_in_both_languages(subject: object) -> None:
    for lang in LANGS:
        message = report(Task("beyond", lang, (("subject", subject.id),)))  # type: ignore[attr-defined]
        assert is_refusal(message, lang)
        assert len(message) < 140


def test_names_of_the_exam_never_reach_training() -> None:
    state = State.fresh(Look.random(3))
    for lang in LANGS:
        seen = {
            sample_wish(state, np.random.default_rng(i), kind=kind, lang=lang).slot("name")
            for i in range(150)
            for kind in ("absent_contact", "strange_app")
        }
        assert not seen & {*strangers("people", lang, held_out=True), *strangers("apps", lang, held_out=True)}
        assert len(seen) > 25
        exam = sample_wish(state, np.random.default_rng(0), kind="absent_contact", lang=lang, held_out=True)
        assert exam.slot("name") in strangers("people", lang, held_out=True)


def test_strangers_and_their_apps_are_nobody_of_this_world() -> None:
    for lang in LANGS:
        book = phrasebook(lang)
        known = " | ".join(form for slot in ("app", "contact") for form in book.names[slot].values()).casefold()
        for name in (name for part in ("apps", "people") for out in (True, False) for name in strangers(part, lang, held_out=out)):
            assert not re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", known), name


@pytest.mark.parametrize("lang", LANGS)
def test_what_is_copied_stands_in_the_sentence(lang: Lang) -> None:
    state = State.fresh(Look.random(5))
    for seed in range(300):
        task = sample_wish(state, np.random.default_rng(seed), kind=("send", "search", "absent_contact")[seed % 3], lang=lang)
        free = dict(task.slots)["query" if task.kind == "search" else "message"]
        assert free and free in task.text, task
        assert "\ue000" not in task.text


def test_free_text_has_everything_that_people_write() -> None:
    rng = np.random.default_rng(0)
    text = [free_text(lang, rng) for lang in LANGS for _ in range(600)]
    assert all(line == line.strip() and "\n" not in line and '"' not in line for line in text)
    for pattern in (r"\d", r"[A-Z]", r"[一-鿿]", r"[😀-🙏🎂-🗿]", r"[,.!?]", r"[，。！？]"):
        assert any(re.search(pattern, line) for line in text), pattern
    assert max(len(line.split()) for line in text) >= 10
    assert len({*text}) > 900


def test_what_is_copied_in_training_is_often_a_sentence_and_never_one_of_the_exam(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    known = free_text_module.subjects()
    monkeypatch.setattr(free_text_module, "subjects", lambda: asked.append(True) or known)
    monkeypatch.setattr(
        free_text_module, "phrasebook", lambda lang: SimpleNamespace(say=lambda template, slots, rng: f"{template}|{sorted(slots)}")
    )
    monkeypatch.setattr(free_text_module, "free_text", lambda lang, rng: "words of chance")
    texts = [message_or_query("en", np.random.default_rng(i)) for i in range(300)]
    templates = {text.split("|")[0] for text in texts if text != "words of chance"}
    assert 90 < len(asked) < 150 and len(templates) > 60
    exam = {template for subject in known if subject.held_out for template in subject.sentences["en"]}
    assert not templates & exam
    assert all(text.endswith("['app', 'contact', 'setting', 'time']") for text in texts if text != "words of chance")


@pytest.mark.parametrize("lang", LANGS)
def test_what_is_said_beside_a_wish_leaves_the_wish_and_never_follows_what_is_copied(lang: Lang) -> None:
    state, (before, after) = State.fresh(Look.random(5)), asides(lang)
    first, last = 0, 0
    for seed in range(400):
        kind = ("send", "search", "toggle_on", "describe")[seed % 4]
        task = sample_wish(state, np.random.default_rng(seed), kind=kind, lang=lang)
        text = plain(task.text)
        first += any(text.startswith(plain(aside)) for aside in before)
        last += any(text.endswith(plain(aside)) for aside in after)
    assert 40 < first < 120 and 5 < last < 50
    copied = {_with_aside("say \ue000", lang, np.random.default_rng(seed), ends_in_words=True) for seed in range(200)}
    assert len(copied) > 40 and all(text.endswith("say \ue000") for text in copied)
    exam = [plain(sample_wish(state, np.random.default_rng(seed), lang=lang, held_out=True).text) for seed in range(150)]
    assert sum(any(text.startswith(plain(aside)) for aside in before) for text in exam) < 8


def test_a_foreign_screen_is_never_taken_for_a_spoilt_one() -> None:
    """Snow says that a picture cannot be read; the grain of a foreign pattern stands in cells that can be told apart."""
    for seed in range(12):
        grey = np.asarray(foreign_screen(np.random.default_rng(seed), (224, 224), kind="noise").convert("L"), float)
        beside = np.corrcoef(grey[:, :-1].ravel(), grey[:, 1:].ravel())[0, 1]
        assert beside > 0.5, seed


def test_retyping_keeps_what_is_copied_and_changes_the_rest_a_little() -> None:
    rng = np.random.default_rng(1)
    said = "please send my mother a message: \ue000"
    forms = [retype(said, "en", rng) for _ in range(400)]
    assert all(form.count("\ue000") == 1 for form in forms)
    assert {said, said.upper()} < {*forms}
    assert all(abs(len(form) - len(said)) <= 4 for form in forms)
    assert {slip("alarms", np.random.default_rng(i)) for i in range(60)} >= {"alrms", "alarrms"}


@pytest.mark.parametrize("kind", {**TRAINING, **HELD_OUT})
def test_screens_of_other_worlds_are_drawn_at_any_size(kind: str) -> None:
    drawn = [foreign_screen(np.random.default_rng(i), (90, 200), kind=kind, held_out=kind in HELD_OUT) for i in range(2)]
    assert drawn[0].size == (90, 200)
    assert drawn[0] != drawn[1]


def test_on_an_unknown_screen_the_app_is_launched_or_the_truth_is_said() -> None:
    toggle = Task("toggle_on", "en", (("setting", "wifi"),))
    assert next_on_unknown_screen(toggle).action == Action("Launch", app="Settings")
    again = next_on_unknown_screen(toggle, history=[("Launch", False)]).action
    assert again.name == "finish" and "do not know this screen" in (again.message or "")
    asked = next_on_unknown_screen(Task("describe", "zh")).action
    assert "不认识这个界面" in (asked.message or "")
    assert next_on_unknown_screen(Task("home", "en")).action == Action("Home")
    assert next_on_unknown_screen(Task("who", "en")).action.name == "finish"
