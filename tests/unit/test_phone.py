"""The simulated phone: it does what it is told, nothing when nothing is hit, and its oracle reaches every goal."""

from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.adb.kept import KeptPhone
from autoglm_lab.phone.catalog import APPS, HOME_SCREEN, app_by_key
from autoglm_lab.phone.icons import families
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.screens import elements, find
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.state import Look
from autoglm_lab.phone.tasks import WEIGHTS, recognise, sample


def tap(phone, **wanted):
    return phone.perform(Action("Tap", element=find(phone.state, **wanted).centre))


def open_app(phone, app_id):
    assert phone.perform(Action("Launch", app=next(a for a in APPS if a.id == app_id).key(phone.state.look.lang)))


def test_the_same_seed_draws_the_same_phone_and_another_seed_another():
    first, again, other = (np.asarray(SimulatedPhone(seed).screenshot()) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).mean() > 0.2


@pytest.mark.parametrize("size", [(540, 1200), (1080, 2400), (64, 64), (1200, 540)])
def test_it_draws_itself_at_any_size(size):
    assert SimulatedPhone(1, size=size).screenshot().size == size


def test_a_screen_too_small_to_draw_is_an_error():
    with pytest.raises(ValueError, match="at least 64"):
        SimulatedPhone(1, size=(10, 2000)).screenshot()


@pytest.mark.parametrize("seed", range(8))
def test_tapping_nothing_changes_nothing(seed):
    phone = SimulatedPhone(seed)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        task = sample(phone.state, rng)
        targets = [item.box for item in elements(phone.state) if item.effect]
        for _ in range(60):
            x, y = (int(v) for v in rng.integers(0, 1000, 2))
            if not any(left <= x + 0.5 < right and top <= y + 0.5 < bottom for left, top, right, bottom in targets):
                assert not phone.perform(Action("Tap", element=(x, y)))
        action = next_step(task, phone.state).action
        if action.name != "finish":
            phone.perform(action)


def test_every_app_opens_and_back_and_home_return():
    phone = SimulatedPhone(5)
    for app_id in phone.state.look.installed:
        open_app(phone, app_id)
        assert app_by_key(phone.current_app()).id == app_id
        assert phone.perform(Action("Back"))
        assert phone.current_app() == HOME_SCREEN
    assert not phone.perform(Action("Back"))


def test_pages_turn_by_swipe_and_stop_at_the_ends():
    phone = SimulatedPhone(5)
    left, right = Action("Swipe", start=(850, 500), end=(150, 500)), Action("Swipe", start=(150, 500), end=(850, 500))
    assert not phone.perform(right)
    assert phone.perform(left) and phone.state.page == 1
    assert not phone.perform(left)
    assert phone.perform(right) and phone.state.page == 0
    assert not phone.perform(Action("Swipe", start=(500, 500), end=(460, 500)))


def test_a_toggle_turns_and_dark_mode_darkens():
    phone = SimulatedPhone(2)
    open_app(phone, "settings")
    if find(phone.state, concept="dark") is None:
        phone.perform(Action("Swipe", start=(500, 800), end=(500, 300)))
    was = phone.state.toggles["dark"]
    before = np.asarray(phone.screenshot()).mean()
    tap(phone, concept="dark")
    assert phone.state.toggles["dark"] is not was
    assert bool(np.asarray(phone.screenshot()).mean() > before) is was
    assert not phone.perform(Action("Double Tap", element=find(phone.state, concept="dark").centre))  # twice is never


def test_a_search_a_message_and_an_alarm():
    phone = SimulatedPhone(9)
    searchable = next(a for a in APPS if a.searchable and a.id in phone.state.look.installed)
    open_app(phone, searchable.id)
    assert not phone.perform(Action("Type", text="early"))  # no field has the focus yet
    tap(phone, concept="search_field")
    phone.perform(Action("Type", text="咖啡"))
    tap(phone, concept="search_button")
    assert (phone.state.view.name, phone.state.view.arg) == ("results", "咖啡")
    open_app(phone, "wechat")
    tap(phone, concept="mum")
    assert find(phone.state, concept="send") is None  # nothing to send yet
    phone.perform(Action("Type", text="hello"))
    tap(phone, concept="send")
    assert phone.state.chats["mum"][-1] == (True, "hello")
    open_app(phone, "clock")
    tap(phone, concept="add_alarm")
    phone.perform(Action("Type", text="7:75"))
    assert find(phone.state, concept="save") is None  # no such time
    phone.perform(Action("Type", text="7:05"))
    tap(phone, concept="save")
    assert "07:05" in phone.state.alarms and "07:05" in phone.state.notice


def test_long_press_names_an_app_and_wait_keeps_everything():
    phone = SimulatedPhone(1)
    icon = next(item for item in elements(phone.state) if item.kind == "icon")
    phone.perform(Action("Long Press", element=icon.centre))
    assert phone.state.notice == icon.text
    assert not phone.perform(Action("Wait", duration="2 seconds"))


def test_launching_an_unknown_app_changes_nothing():
    assert not SimulatedPhone(1).perform(Action("Launch", app="Solitaire"))


def test_held_out_icons_never_come_by_chance():
    held_out = set(families(held_out=True))
    assert held_out
    assert not held_out & {Look.random(seed).family for seed in range(400)}


@pytest.mark.parametrize("kind", sorted(WEIGHTS))
def test_the_oracle_reaches_every_goal_in_at_most_seven_answers(kind):
    rng = np.random.default_rng(3)
    for seed in range(40):
        phone = SimulatedPhone(seed)
        if kind == "back":
            open_app(phone, "settings")
        phone.state.page = seed % 2 if phone.state.view is None else 0
        task = sample(phone.state, rng, kind=kind, spoken=bool(seed % 3 == 0))
        start, last = deepcopy(phone.state), ""
        for _ in range(7):
            action = next_step(task, phone.state, last=last).action
            if action.name == "finish":
                break
            phone.perform(action)
            last = action.name
        assert task.done(start, phone.state, action.message), (task, action)
        wrong = deepcopy(phone.state)
        wrong.toggles["wifi"] = not wrong.toggles["wifi"]
        assert not task.done(start, wrong, action.message) or task.slots == (("setting", "wifi"),)


def test_finishing_at_once_is_no_success():
    rng = np.random.default_rng(8)
    for kind in ("open_app", "search", "send", "alarm"):
        phone = SimulatedPhone(4)
        task = sample(phone.state, rng, kind=kind)
        assert not task.done(deepcopy(phone.state), phone.state, "done")


def test_blind_and_deaf_oracles_have_a_way_out():
    phone = SimulatedPhone(4)
    task = recognise("open WeChat")
    assert next_step(task, phone.state, sees=False).action == Action("Launch", app="WeChat")
    assert next_step(task, phone.state, hears=False).action.name == "finish"


def test_phrasings_are_recognised():
    rng = np.random.default_rng(0)
    phone = SimulatedPhone(6)
    for _ in range(200):
        task = sample(phone.state, rng)
        found = recognise(task.text)
        assert found is not None, task.text
        if found.kind == task.kind:
            assert dict(found.slots) == dict(task.slots), task.text
    assert recognise("please bake a cake") is None


# whatever can be typed can be drawn

LETTERS = st.one_of(
    st.characters(exclude_categories=("Cs",)),
    st.characters(categories=("Cc", "Cf", "Mn", "Zl", "Zp")),
    st.sampled_from("²٣0:\n\r\u2029\u202e👨‍👩‍👧‍👦\u0301😀ש"),
)
ODD = (
    "a\nb",
    "a\r\nb",
    "\x00\x1b\x85",
    "\u2028\u2029",
    "👨‍👩‍👧‍👦 🏳️‍🌈",
    "e\u0301\u0302" * 40,
    "שלום\u202eabc",
    "²:30",
    "0" * 5000 + "7:30",
    "٣:30",
    "x" * 100_000,
)


def drawn_everywhere(text):
    """Type `text` into a chat, a search and an alarm, press what can be pressed there, and draw each screen, also as it is kept."""
    for app_id, way in (
        ("wechat", [("mum", ""), ("", "send"), ("back", "back")]),
        ("chrome", [("", "focus"), ("", "submit")]),
        ("clock", [("", "add"), ("", "save")]),
    ):
        phone = SimulatedPhone(7, size=(64, 140), lang="en")
        open_app(phone, app_id)
        for number, (concept, effect) in enumerate(way):
            if (item := find(phone.state, concept=concept, effect=effect)) is not None:
                phone.perform(Action("Tap", element=item.centre))
            if number == 0:
                phone.perform(Action("Type", text=text))
                assert phone.state.typed == text
            again = KeptPhone.from_json(KeptPhone(phone).to_json())
            assert again.phone.state == phone.state
            assert phone.screenshot().size == again.phone.screenshot().size == (64, 140)


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_text_is_drawn_and_kept(text):
    drawn_everywhere(text)


@settings(max_examples=60, deadline=None)
@given(st.text(LETTERS, max_size=300))
def test_any_text_that_can_be_typed_is_drawn_and_kept(text):
    drawn_everywhere(text)


@pytest.mark.parametrize("field", ["text", "app", "message"])
def test_half_a_character_is_no_text(field):
    name = {"text": "Type", "app": "Launch", "message": "finish"}[field]
    with pytest.raises(ValueError, match=f"{field} of {name}.*half"):
        Action(name, **{field: "a\ud83d"})
