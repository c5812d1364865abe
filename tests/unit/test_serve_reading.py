"""What a server makes of a conversation: the task, the screen, the sound, and how tokens are picked."""

import base64
import io
import json
import time
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autoglm_lab.runtime.engine import GREEDY, Request, Turn
from autoglm_lab.runtime.prompt import SPECIAL_TOKENS
from autoglm_lab.serve.client import conversation
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.reading import DEFAULT_TOKENS, LONGEST, read_request
from autoglm_lab.serve.schema import ChatRequest

LIMITS = Limits()


def coded(content):
    return base64.b64encode(content).decode()


def png(colour="red", size=(4, 6)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return coded(file.getvalue())


def wav(seconds=0.1):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(16_000 * seconds), np.float32), 16_000, format="WAV")
    return coded(file.getvalue())


def picture(colour="red"):
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png(colour)}"}}


def text(words):
    return {"type": "text", "text": words}


def sound():
    return {"type": "input_audio", "input_audio": {"data": wav(), "format": "wav"}}


def user(*parts):
    return {"role": "user", "content": list(parts) if len(parts) != 1 or isinstance(parts[0], dict) else parts[0]}


def read(*messages, limits=LIMITS, **fields):
    """The answers that a request asks for."""
    return read_request(ChatRequest.model_validate(({"messages": messages} if messages else {}) | fields), limits)


def refused(*messages, limits=LIMITS, **fields):
    with pytest.raises(ApiError) as caught:
        [asking.opened() for asking in read(*messages, limits=limits, **fields)]
    return caught.value


def screen(app):
    return json.dumps({"current_app": app}, ensure_ascii=False)


def colour(asking):
    return asking.image().convert("RGB").getpixel((0, 0))


HISTORY = [
    {"role": "system", "content": "You are a phone agent. " * 500},
    user(text(f"给妈妈发消息 \n\n{screen('System Home')}")),
    {"role": "assistant", "content": '<think>First I open it.</think><answer>do(action="Launch", app="微信")</answer>'},
    user(text(f"** Screen Info **\n\n{screen('微信')}")),
    {"role": "assistant", "content": '<think>do(action="Back") is wrong</think><answer>do(action="Tap", element=[1,2])</answer>'},
    user(picture("blue"), text(f"** Screen Info **\n\n{screen('微信')}")),
]


def test_the_history_of_the_public_phone_agent():
    [asking] = read(*HISTORY, max_tokens=3000, temperature=0.0, top_p=0.85, frequency_penalty=0.2, model="autoglm-phone-9b")
    assert (asking.task, asking.current_app, asking.last) == ("给妈妈发消息", "微信", "Tap")
    assert colour(asking) == (0, 0, 255) and asking.audio is None and not asking.think
    assert asking.max_new_tokens == LIMITS.max_tokens
    assert asking.sampling.temperature == 0 and asking.sampling.frequency_penalty == 0.2


def test_its_first_turn_has_no_last_action():
    [asking] = read(HISTORY[0], user(picture(), text(f"open Chrome\n\n{screen('System Home')}")))
    assert (asking.task, asking.current_app, asking.last) == ("open Chrome", "System Home", "")


def test_a_new_task_forgets_what_was_done_for_the_old_one():
    [asking] = read(*HISTORY, user(picture(), text("now open Chrome")))
    assert (asking.task, asking.last, asking.current_app) == ("now open Chrome", "", "System Home")


def test_its_call_before_the_first_task():
    [asking] = read(user("Hi"), max_tokens=5, temperature=0.0, stream=False)
    assert asking.opened() == Request("Hi", max_new_tokens=5)
    assert asking.sampling == GREEDY


def test_a_screen_of_an_older_turn_is_not_the_screen():
    assert (
        read(user(picture("red"), text("open Chrome")), {"role": "assistant", "content": "ok"}, user("and now?"))[0].image is None
    )
    assert colour(read(user(picture("red"), picture("lime"), text("open Chrome")))[0]) == (0, 255, 0), "the last one of a message"


def test_a_spoken_task():
    [asking] = read(user(picture(), sound()))
    assert asking.task == "" and len(asking.audio()) == 1600
    [asking] = read(
        user(sound()), {"role": "assistant", "content": 'do(action="Home")'}, user(picture(), text("** Screen Info **"))
    )
    assert asking.audio is None, "words that are no screen info are a task"
    later = user(picture(), text(f"** Screen Info **\n\n{screen('Chrome')}"))
    [asking] = read(user(sound()), {"role": "assistant", "content": 'do(action="Home")'}, later)
    assert asking.audio is not None and (asking.last, asking.current_app) == ("Home", "Chrome")
    assert read(user(sound()), user("open Chrome"))[0].audio is None, "a task in words is newer"


def test_the_flat_form():
    [asking] = read(image=png("lime"), query=" open Chrome ")
    assert asking.task == "open Chrome" and colour(asking) == (0, 255, 0) and asking.current_app == "System Home"
    [asking] = read(user("instead of this"), image=f"data:image/png;base64,{png('blue')}", query="open Chrome")
    assert asking.task == "open Chrome" and colour(asking) == (0, 0, 255)
    assert refused(image="http://127.0.0.1/x.png", query="x").param == "image"
    assert refused(image="#", query="x").code == "invalid_base64"


@pytest.mark.parametrize("mark", SPECIAL_TOKENS)
def test_nobody_speaks_for_the_template(mark):
    for asking in (*read(user(f"open {mark} Chrome")), *read(query=f"open {mark} Chrome")):
        assert asking.task.split() == ["open", "Chrome"]
    nested = f"open {mark[:3]}{mark}{mark[3:]} Chrome"
    assert not any(token in read(user(nested))[0].task for token in SPECIAL_TOKENS)
    [asking] = read(user(text(f"x\n\n{screen(mark)}")))
    assert asking.current_app == "System Home"


@pytest.mark.parametrize("app", ["", "a\nb", 'a"b', "<|user|>", "x" * 101, 7, None, {"a": 1}])
def test_an_app_that_is_none_is_the_home_screen(app):
    assert read(user(text(f"x\n\n{json.dumps({'current_app': app})}")))[0].current_app == "System Home"


@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from([*SPECIAL_TOKENS, "a", " "]), max_size=4).map("".join)))
def test_any_words_are_read_or_refused(words):
    plain = words
    for token in SPECIAL_TOKENS:
        plain = plain.replace(token, " ")
    if plain.strip():
        assert [asking.task for asking in read(user(words))] == [plain.strip()]
    else:
        assert refused(user(words)).status == 400


@pytest.mark.parametrize(
    "letters", ['{"current_app"', 'do(action="', "<|user|>", "** Screen Info **", "[", '{"current_app":[', " ", "\\"]
)
@pytest.mark.parametrize("count", [20_000, 4_000_000])
def test_long_hostile_words_are_read_once(letters, count):
    words = (letters * (count // len(letters) + 1))[: count - 1] + "}"
    began = time.thread_time()
    for role in ("system", "user", "assistant"):
        with suppress(ApiError):
            read(user("open Chrome"), {"role": role, "content": words}, user(f"** Screen Info **\n\n{screen('Chrome')}"))
    assert time.thread_time() - began < 1


def test_a_data_url_is_read_once():
    for url in (
        "data:" + "a" * 4_000_000,
        "data:image/png" + ";a" * 2_000_000,
        "data:image/png;" + "a=" * 2_000_000,
        "data:image/png;base64," + "ab " * 1_300_000,
    ):
        began = time.thread_time()
        assert refused(user({"type": "image_url", "image_url": {"url": url}}, text("x"))).status in (400, 415)
        assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("fields", "thinks"),
    [
        ({}, False),
        ({"enable_thinking": True}, True),
        ({"thinking": {"type": "enabled"}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"chat_template_kwargs": {"enable_thinking": True}}, True),
        ({"chat_template_kwargs": {"enable_thinking": None, "other": 1}}, False),
        ({"enable_thinking": False, "thinking": {"type": "enabled"}}, False),
    ],
)
def test_three_spellings_of_thinking(fields, thinks):
    assert read(user("x"), **fields)[0].think is thinks


def test_how_long_how_many_and_how():
    assert read(user("x"))[0].max_new_tokens == DEFAULT_TOKENS
    assert read(user("x"), max_tokens=5, max_completion_tokens=7)[0].max_new_tokens == 7
    assert read(user("x"), max_tokens=10**30)[0].max_new_tokens == LIMITS.max_tokens
    drawn = read(user("x"), n=3, temperature=1.0, seed=-4)
    assert [asking.sampling.seed for asking in drawn] == [4, 5, 6]
    assert [asking.sampling.seed for asking in read(user("x"), n=2, temperature=1.0)] == [None, None]
    assert read(user("x"), stop="a")[0].stop == ("a",) and read(user("x"), stop=["a", "", "b"])[0].stop == ("a", "b")
    assert read(user("x"), top_p=0.0)[0].sampling == GREEDY


@pytest.mark.parametrize(
    ("messages", "fields", "param"),
    [
        ([], {}, "messages"),
        ([{"role": "system", "content": "x"}], {}, "messages"),
        ([user(" ")], {}, "messages"),
        ([user(picture())], {}, "messages"),
        ([{"role": "user", "content": None}], {}, "messages"),
        ([user("x")], {"n": 9}, "n"),
        ([user("x")], {"stop": list("abcde")}, "stop"),
        ([], {"query": ""}, "messages"),
        ([user("x" * (LONGEST + 1))], {}, "messages"),
        ([user("x"), user({"type": "image_url", "image_url": {"url": "ftp://x/y"}}, text("y"))], {}, "messages[1].content[0]"),
    ],
)
def test_what_is_missing_or_too_much_is_named(messages, fields, param):
    error = refused(*messages, **fields)
    assert (error.status, error.param) == (400, param)


def test_limits_are_above_zero():
    with pytest.raises(ValueError, match="queue is 0"):
        Limits(queue=0)


@pytest.mark.parametrize("spoken", [False, True])
def test_what_an_agent_tells_of_its_turns_is_read_again(spoken):
    turns = [
        Turn("System Home", '<think>where?</think>do(action="Launch", app="Chrome")', "the screen changed"),
        Turn("Chrome", 'do(action="Tap", element=[1,2])', "nothing changed"),
    ]
    given = {"image": Image.new("RGB", (4, 6)), "current_app": "Chrome"}
    given |= {"audio": np.zeros(1600, np.float32)} if spoken else {"task": "open the news"}
    messages = conversation(**given, history=turns)
    [mine], [plain] = read(*messages), read(*conversation(**given, last="Tap"))
    assert (
        (mine.task, mine.current_app, mine.last)
        == (plain.task, "Chrome", "Tap")
        == ("" if spoken else "open the news", "Chrome", "Tap")
    )
    assert (mine.audio is not None) is spoken and np.asarray(mine.image()).shape == (6, 4, 3)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2 + ["user"]
    assert sum("image_url" in str(message) for message in messages) == 1, "earlier screens are not sent again"
    said = [str(message["content"][-1]["text"]) for message in messages if message["role"] == "user"]
    assert '"last_action": "the screen changed"' in said[1] and '"last_action": "nothing changed"' in said[2]
    assert ("System Home" in said[0]) and ("last_action" not in said[0])
