"""Times as people give them: each form means one time only, and the usual ones are there."""

import pytest

from autoglm_lab.phone.catalog import LANGS
from autoglm_lab.phone.clock import clock_forms, known_times, times_in


@pytest.mark.parametrize("lang", LANGS)
def test_no_form_means_two_times(lang):
    meant = {}
    for hour in range(24):
        for minute in range(60):
            forms = clock_forms(hour, minute, lang)
            assert len(forms) >= 5 and len(set(forms)) == len(forms)
            for form in forms:
                assert meant.setdefault(form.casefold(), (hour, minute)) == (hour, minute), form


@pytest.mark.parametrize(
    ("said", "lang", "hour", "minute"),
    [
        ("6", "en", 6, 0),
        ("6 am", "en", 6, 0),
        ("6:30pm", "en", 18, 30),
        ("half past six", "en", 6, 30),
        ("quarter to eight", "en", 7, 45),
        ("a quarter past three in the afternoon", "en", 15, 15),
        ("noon", "en", 12, 0),
        ("midnight", "en", 0, 0),
        ("18:30", "en", 18, 30),
        ("seven oh five", "en", 7, 5),
        ("12:05 am", "en", 0, 5),
        ("ten to one", "en", 12, 50),
        ("three minutes past eleven at night", "en", 23, 3),
        ("twelve thirty", "en", 12, 30),
        ("twelve minutes past nine", "en", 9, 12),
        ("eight tomorrow morning", "en", 8, 0),
        ("two fifty-nine", "en", 2, 59),
        ("早上六点半", "zh", 6, 30),
        ("下午三点一刻", "zh", 15, 15),
        ("晚上九点", "zh", 21, 0),
        ("明早七点", "zh", 7, 0),
        ("两点零五", "zh", 2, 5),
        ("十八点三十分", "zh", 18, 30),
        ("中午十二点", "zh", 12, 0),
        ("凌晨零点十分", "zh", 0, 10),
        ("下午2点45分", "zh", 14, 45),
        ("7点整", "zh", 7, 0),
        ("晚上十一点三刻", "zh", 23, 45),
        ("六点二十三", "zh", 6, 23),
    ],
)
def test_what_people_say_is_there(said, lang, hour, minute):
    assert said in clock_forms(hour, minute, lang)


@pytest.mark.parametrize(("hour", "minute"), [(24, 0), (-1, 0), (3, 60)])
def test_no_such_time(hour, minute):
    with pytest.raises(ValueError, match="is no time of the day"):
        clock_forms(hour, minute, "en")


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_form_is_read_as_its_time_wherever_it_stands(lang):
    around = ("wake me at {}, please", "{}") if lang == "en" else ("帮我定{}的闹钟", "{}")
    for hour, minute in ((0, 0), (6, 5), (6, 30), (12, 0), (15, 45), (21, 41), (23, 59)):
        for form in clock_forms(hour, minute, lang):
            for sentence in around:
                assert times_in(sentence.format(form.lower())) == [f"{hour:02d}:{minute:02d}"], form


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("seven thirty pm", ["19:30"]),
        ("7 p.m", ["19:00"]),
        ("at 7 tonight", ["19:00"]),
        ("7 30 am", ["07:30"]),
        ("6:45, no, a quarter to eight", ["06:45", "07:45"]),
        ("16:30", ["16:30"]),
        ("116:30", []),
        ("sixty", []),
        ("今晚八点", ["20:00"]),
        ("room 7", ["07:00"]),
        ("nineteen to ten at night", ["21:41"]),
        ("nothing", []),
        ("", []),
    ],
)
def test_times_are_read_as_people_write_them(text, times):
    assert times_in(text) == times


def test_no_form_is_that_of_two_times():
    assert len(known_times()) > 90_000 and set(known_times().values()) == {f"{h:02d}:{m:02d}" for h in range(24) for m in range(60)}
