"""Templates of commands: the shipped files hold what they promise, and others are read with care."""

import re
from collections import Counter

import numpy as np
import pytest

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.catalog import APPS, CONTACTS, LANGS, SETTINGS
from autoglm_lab.phone.phrasing import PHRASINGS
from autoglm_lab.phone.wording import NAMES, asides, parse, phrasebook, read_phrasebook, slots_of, subjects

SLOTS = {
    "open_app": {"app"},
    "toggle_on": {"setting"},
    "toggle_off": {"setting"},
    "search": {"app", "query"},
    "send": {"contact", "message"},
    "alarm": {"time"},
    "delete_alarm": {"time"},
    "delete_alarms": set(),
    "back": set(),
    "home": set(),
    "close": set(),
    "describe": set(),
    "is_on": {"setting"},
    "has_app": {"app"},
    "who": set(),
    "two": {"first", "second"},
}
FREE = ("query", "message", "time", "first", "second")
WORDS = {"app": "maps", "setting": "wifi", "contact": "mum"} | {slot: f"q{slot}q" for slot in FREE}


@pytest.mark.parametrize("lang", LANGS)
def test_each_kind_has_sixty_templates_and_a_fifth_of_its_families_are_held_out(lang):
    book = phrasebook(lang)
    assert set(book.kinds()) == set(SLOTS) >= set(PHRASINGS)
    for kind, slots in SLOTS.items():
        seen, exam = book.of(kind, held_out=False), book.of(kind, held_out=True)
        assert len(seen) + len(exam) >= 60
        families, held = ({template.family for template in part if not template.slots} for part in (seen, exam))
        assert len(held) >= 2 and not families & held and 0.2 <= len(held) / len(families | held) <= 0.3
        assert all({*slots_of(book, each.sentence)} | {name for name, _ in each.slots} == slots for each in seen + exam)


@pytest.mark.parametrize("lang", LANGS)
def test_no_sentence_that_can_be_drawn_is_of_two_kinds_or_in_training_and_exam(lang):
    book, rng, drawn = phrasebook(lang), np.random.default_rng(0), {}
    for template in book.templates:
        for _ in range(20):
            text = book.say(template.sentence, WORDS, rng).casefold().strip("?？.。!！")
            assert text and not set("()[]{}<>|") & set(text), f"{template.sentence!r} leaves {text!r}"
            for slot in SLOTS[template.kind] - set(NAMES):
                assert text.count(WORDS[slot].casefold()) == 1, f"{template.sentence!r} gives {text!r}"
            place = template.kind, template.held_out
            assert drawn.setdefault(text, place) == place, f"{text!r} is {drawn[text]} and {place}"


@pytest.mark.parametrize("lang", LANGS)
def test_everything_in_the_catalogue_has_names_and_no_name_two_things(lang):
    book, rng = phrasebook(lang), np.random.default_rng(0)
    for slot, things in (("app", APPS), ("setting", SETTINGS), ("contact", CONTACTS)):
        names = {thing.id: {book.call(slot, thing.id, rng) for _ in range(80)} for thing in things}
        assert all(thing.name(lang) in names[thing.id] for thing in things), "its own name is among them"
        told = Counter(name.casefold() for one in names.values() for name in one)
        assert all(sum(name in {n.casefold() for n in one} for one in names.values()) == 1 for name in told)


def test_families_are_drawn_alike_however_long():
    book, rng = phrasebook("en"), np.random.default_rng(0)
    texts = {book.draw("toggle_off", {"setting": "bluetooth"}, rng, held_out=held) for held in (True, False) for _ in range(200)}
    assert len(texts) > 150 and all("luetooth" in text for text in texts)
    with pytest.raises(KeyError):
        book.draw("toggle_off", {}, rng, held_out=False)
    with pytest.raises(ValueError, match="no template of kind 'fly'; there are open_app"):
        book.of("fly", held_out=False)


@pytest.mark.parametrize("lang", LANGS)
def test_of_each_switch_app_and_person_there_is_talk_that_fits_it_alone(lang):
    book, rng = phrasebook(lang), np.random.default_rng(0)
    for kind, slot in (
        ("toggle_on", "setting"),
        ("toggle_off", "setting"),
        ("is_on", "setting"),
        ("open_app", "app"),
        ("send", "contact"),
    ):
        for thing in NAMES[slot]:
            words = {slot: thing.id, "message": "q1q"}
            said = {book.draw_of_thing(kind, words, rng) for _ in range(200)}
            assert "" not in said and len(said) >= 8, (kind, thing.id)
            of_it = [each.sentence for each in book.templates if (kind, (slot, thing.id)) == (each.kind, *each.slots)]
            assert not {*of_it} & {each.sentence for each in book.templates if each.slots and each.slots != ((slot, thing.id),)}
    assert book.draw_of_thing("alarm", {"time": "7:30"}, rng) == ""


@pytest.mark.parametrize(
    ("slots", "held", "said"),
    [("{setting: dishwasher}", "", "which the catalogue does not have"), ("{setting: wifi}", ", held_out: true", "only training")],
)
def test_talk_of_one_thing_names_a_thing_that_there_is_and_is_for_training(tmp_path, slots, held, said):
    family = f"      - metadata: {{family: x{held}}}\n        slots: {slots}\n        sentences: ['go']\n"
    (tmp_path / "things.yaml").write_text(f"intents:\n  toggle_on:\n    data:\n{family}", "utf-8")
    with pytest.raises(ValueError, match=said):
        read_phrasebook(data_dir() / "phrasings" / "en.yaml", tmp_path / "things.yaml")


@pytest.mark.parametrize("lang", LANGS)
def test_what_is_said_beside_a_wish_is_none(lang):
    book, rng = phrasebook(lang), np.random.default_rng(0)
    before, after = asides(lang)
    assert len({*before}) == len(before) >= 150 and len({*after}) == len(after) >= 50
    assert all(text == text.strip() and not set("()[]{}<>|") & set(text) for text in (*before, *after))
    wishes = {book.say(each.sentence, WORDS, rng).casefold() for each in book.templates for _ in range(5)}
    assert not wishes & {text.casefold() for text in (*before, *after)}


def test_wishes_beyond_the_agent_are_of_many_subjects_a_third_of_them_held_out():
    found, rng = subjects(), np.random.default_rng(0)
    assert len(found) >= 40 and len({each.id for each in found}) == len(found)
    assert 0.3 <= sum(each.held_out for each in found) / len(found) <= 0.4
    for lang in LANGS:
        book, seen = phrasebook(lang), {}
        own = {
            book.say(template.sentence, WORDS, rng).casefold()
            for template in book.templates
            if template.kind != "two"
            for _ in range(20)
        }
        assert len({each.why[lang] for each in found}) == len(found)
        for each in found:
            assert len(each.sentences[lang]) >= 8
            for sentence in each.sentences[lang]:
                text = book.say(sentence, WORDS, rng).casefold()
                assert text not in own and seen.setdefault(text, each.held_out) == each.held_out


def test_apps_of_which_there_are_none_are_none_of_those_that_there_are():
    [unlisted] = [each for each in subjects() if each.id == "unlisted_apps"]
    for lang in LANGS:
        book, rng = phrasebook(lang), np.random.default_rng(0)
        names = {book.call("app", thing.id, rng).casefold() for thing in APPS for _ in range(60)}
        texts = [book.say(sentence, WORDS, rng).casefold() for sentence in unlisted.sentences[lang] for _ in range(12)]
        if lang == "zh":  # a name may be part of another word there: 视频 of 剪视频
            assert not names & {re.sub("打开|启动|一下|[，。]", "", text) for text in texts}
        else:
            assert not [(text, name) for text in texts for name in names if re.search(rf"\b{re.escape(name)}\b", text)]


def other_kind(sentence):
    return f"intents:\n  other:\n    data:\n      - metadata: {{family: x}}\n        sentences: ['{sentence}']\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "a: [", "cannot be read"),
        (lambda text: "language: en", "no phrasebook: KeyError"),
        (lambda text: text.replace("language: en", "language: fr"), "language is 'fr'; there are zh, en"),
        (lambda text: text.replace("out: wifi", "out: wlan"), "list 'setting' and the catalogue differ in wifi, wlan"),
        (lambda text: text.replace("  query:", "  quarry:"), "has slots that no list names: query"),
        (lambda text: text.replace("intents:\n", other_kind("{app} <no>")), "has a rule that is not there: no"),
        (lambda text: text.replace("intents:\n", other_kind("(open {app}")), r"template '\(open \{app\}'"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_reason(tmp_path, change, said):
    path = tmp_path / "mine.yaml"
    path.write_text(change((data_dir() / "phrasings" / "en.yaml").read_text("utf-8")), "utf-8")
    with pytest.raises(ValueError, match=said) as caught:
        read_phrasebook(path)
    assert "mine.yaml" in str(caught.value)


def test_a_template_is_parsed_once():
    assert parse("(open|start) {app}") is parse("(open|start) {app}")
