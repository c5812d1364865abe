"""A simulated phone behind the command `adb`, and a phone that is driven through it."""

import base64
import hashlib
import io
import json
import os
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autoglm_lab import agent, cli
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.adb import AdbPhone, differ, seconds
from autoglm_lab.phone.adb.front import FOLDER, answer, install, main
from autoglm_lab.phone.adb.identity import SERIAL
from autoglm_lab.phone.adb.kept import PLAIN_KEYBOARD, KeptPhone, changing, made, read, write
from autoglm_lab.phone.catalog import APPS, HOME_SCREEN, named
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.packages import ADB_KEYBOARD, GOOGLES, PACKAGES, TOLD, key_of, package, packages_to_try, spelling
from autoglm_lab.phone.public_apps import NAMES
from autoglm_lab.phone.screens import find
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import recognise
from autoglm_lab.runtime.engine import Answer as EngineAnswer
from autoglm_lab.runtime.engine import Stream

ROOT = Path(__file__).resolve().parents[2]
SIZE = (270, 600)  # small pictures are quick


def adb(script, *arguments, cwd=None):
    return subprocess.run([str(script), *arguments], capture_output=True, timeout=30, cwd=cwd)


def told(script, *arguments):
    done = adb(script, *arguments)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.decode()


def state(script):
    return read(script.parent / "phone").phone.state


def pixels(picture):
    return np.asarray(picture)


@pytest.fixture
def script(tmp_path):
    return install(tmp_path / "with a space", seed=7, size=SIZE, lang="en")


class QuickPhone(AdbPhone):
    """Driven through the same calls, each answered in this process."""

    def _call(self, *arguments):
        try:
            return answer(arguments, Path(self.adb).parent / "phone")
        except ValueError as error:
            raise RuntimeError(str(error)) from None


@pytest.fixture
def phone(script):
    return QuickPhone(adb=str(script), settle_s=0)


def in_chat(home):
    """Go to the chat with Mum, where one can type."""
    with changing(home) as kept:
        kept.phone.perform(Action("Launch", app="WeChat"))
        kept.phone.perform(Action("Tap", element=find(kept.phone.state, concept="mum").centre))


# what agents ask of adb, each call a process of its own


def test_it_says_which_phone_is_there(script):
    assert told(script, "version").startswith("Android Debug Bridge version")
    assert told(script, "devices") == f"List of devices attached\n{SERIAL}\tdevice\n\n"
    assert f"{SERIAL}\tdevice product:" in told(script, "devices", "-l") and "model:" in told(script, "devices", "-l")
    assert told(script, "connect", SERIAL).startswith("already connected")
    assert told(script, "disconnect") and told(script, "-s", SERIAL, "get-state") == "device\n"
    assert told(script, "shell", "wm", "size") == "Physical size: 270x600\n"
    assert told(script, "shell", "getprop", "persist.sys.locale") == "en-US\n"
    assert told(script, "shell", "getprop", "no.such.property") == "\n"


def test_a_screen_is_taken_in_two_ways(script, tmp_path):
    wanted = SimulatedPhone(7, size=SIZE, lang="en").screenshot()
    direct = adb(script, "exec-out", "screencap", "-p").stdout
    assert (pixels(Image.open(io.BytesIO(direct))) == pixels(wanted)).all()
    assert told(script, "shell", "screencap", "-p", "/sdcard/tmp.png") == ""
    assert "1 file pulled" in told(script, "-s", SERIAL, "pull", "/sdcard/tmp.png", str(tmp_path / "here.png"))
    assert (tmp_path / "here.png").read_bytes() == direct
    told(script, "pull", "/sdcard/../sdcard/tmp.png", str(tmp_path))
    assert (tmp_path / "tmp.png").read_bytes() == direct


def test_a_launched_app_is_the_one_in_front(script):
    launch = ("shell", "monkey", "-p", "com.android.settings", "-c", "android.intent.category.LAUNCHER", "1")
    assert "settings" not in told(script, "shell", "dumpsys", "window")
    assert "injected: 1" in told(script, *launch)
    assert any(
        "mCurrentFocus" in line and "com.android.settings" in line
        for line in told(script, "shell", "dumpsys", "window").splitlines()
    )
    told(script, "shell", "input", "keyevent", "KEYCODE_HOME")
    assert state(script).app is None
    told(script, *launch)
    told(script, "shell", "input", "keyevent", "4")
    assert state(script).app is None


def test_the_keyboard_hears_only_while_it_is_in_use(script):
    home = script.parent / "phone"
    in_chat(home)

    def told(*arguments):
        return answer(arguments, home).decode()

    send = ("shell", "am", "broadcast", "-a", "ADB_INPUT_B64", "--es", "msg")
    text = 'naïve "你好" $HOME; 🎈'
    encoded = base64.b64encode(text.encode()).decode()
    assert ADB_KEYBOARD in told("shell", "ime", "list", "-s")
    usual = told("shell", "settings", "get", "secure", "default_input_method").strip()
    told(*send, encoded)
    assert state(script).typed == ""
    told("shell", "ime", "set", ADB_KEYBOARD)
    told(*send, "")  # how the public agent wakes it
    told(*send, encoded)
    told("shell", "am", "broadcast", "-a", "ADB_INPUT_TEXT", "--es", "msg", "'and more'")
    assert state(script).typed == text + "and more"
    told("shell", "am", "broadcast", "-a", "ADB_CLEAR_TEXT")
    told("shell", "ime", "set", usual)
    told("shell", "input", "text", "plain%stext")
    told("shell", "input", "keyevent", "KEYCODE_DEL")
    assert state(script).typed == "plain tex"


def test_a_finger_that_stays_is_a_long_press(script):
    simulated = SimulatedPhone(7, size=SIZE, lang="en")
    first = simulated.state.look.pages[0][0]
    centre = find(simulated.state, concept=first).centre
    x, y = (str(place * side // 1000) for place, side in zip(centre, SIZE, strict=True))
    told(script, "shell", "input", "swipe", x, y, x, y, "3000")
    assert state(script).notice == named(first).en and state(script).app is None
    told(script, "shell", "input", "swipe", x, y, x, y, "50")
    assert state(script).app == first


BAD = {
    "unknown command": (("frobnicate",), "unknown command"),
    "nothing": ((), "no command"),
    "another phone": (("-s", "other", "shell", "wm", "size"), "'other' not found"),
    "no serial": (("-s",), "requires an argument"),
    "unknown shell command": (("shell", "svc", "wifi"), "svc: inaccessible or not found; this phone knows am, cat, dumpsys"),
    "unknown command, with those that are known": (("root",), "unknown command root; this adb knows version, devices"),
    "all of it": (("shell", "rm", "-rf", "/"), "rm: unknown arguments: -rf /; this phone knows rm"),
    "rm of nothing": (("shell", "rm", "/sdcard/none"), "rm: /sdcard/none: No such file"),
    "cat of nothing": (("shell", "cat", "/etc/passwd"), "cat: /etc/passwd: No such file"),
    "cat further up": (("shell", "cat", "../../adb"), "No such file"),
    "another transport": (("-t", "2", "shell", "wm", "size"), "'transport 2' not found"),
    "no transport": (("-t",), "requires an argument"),
    "random events": (
        ("shell", "monkey", "-p", "com.android.settings", "500"),
        "monkey: unknown arguments.*this phone knows monkey -p",
    ),
    "no events": (("shell", "monkey", "-p", "com.android.settings", "0"), "monkey: unknown arguments"),
    "less than an event": (("shell", "monkey", "-p", "com.android.settings", "-1"), "monkey: unknown arguments"),
    "two packages": (("shell", "monkey", "-p", "a.b", "-p", "com.android.settings", "1"), "monkey: unknown arguments"),
    "a category for no app": (
        ("shell", "monkey", "-p", "com.android.settings", "-c", "android.intent.category.TV", "1"),
        "aborted",
    ),
    "a number with lines": (("shell", "input", "tap", "1_0", "3"), "invalid number: 1_0"),
    "a number of elsewhere": (("shell", "input", "tap", "٣", "3"), "invalid number"),
    "a blank number": (("shell", "input tap '' 3"), "invalid number"),
    "three places": (("shell", "input", "tap", "1", "2", "3"), "input: unknown arguments"),
    "half a swipe": (("shell", "input", "swipe", "1", "2", "3"), "input: unknown arguments"),
    "less than no time": (("shell", "input", "swipe", "1", "2", "3", "400", "-5"), "invalid duration"),
    "half a millisecond": (("shell", "input", "swipe", "1", "2", "3", "400", "0.5"), "invalid duration"),
    "for ever": (("shell", "input", "swipe", "1", "2", "3", "400", "9999999"), "invalid duration"),
    "a small letter for a key": (("shell", "input", "keyevent", "home"), "no key home; it has HOME, BACK"),
    "a bad key after a good one": (("shell", "input", "keyevent", "3", "999"), "no key 999"),
    "a key of no name": (("shell", "input", "keyevent", "KEYCODE_BACK2"), "no key"),
    "no text": (("shell", "input", "text"), "input: unknown arguments"),
    "two texts": (("shell", "input", "text", "a", "b"), "input: unknown arguments"),
    "no app in a component": (("shell", "am", "start", "-n", "com.android.settings"), "bad component"),
    "no activity": (("shell", "am", "start", "-n", "com.android.settings/"), "bad component"),
    "an activity of no app": (("shell", "am", "start", "-n", "a.b/.C"), "a.b/.C. does not exist"),
    "a page of the web": (("shell", "am", "start", "-a", "android.intent.action.VIEW", "-d", "http://x"), "am: unknown arguments"),
    "no intent": (("shell", "am", "start"), "am: unknown arguments"),
    "another message": (("shell", "am", "broadcast", "-a", "REBOOT"), "am: unknown arguments"),
    "a service that is not there": (("shell", "dumpsys", "wifi"), "this phone knows dumpsys window, activity"),
    "a bar to another command": (("shell", "dumpsys window | sh"), "after a bar this phone knows grep"),
    "a bad pattern": (("shell", "dumpsys window | grep -E '('"), "grep: bad pattern"),
    "two bars": (("shell", "wm size || reboot"), "unknown arguments"),
    "two commands": (("shell", "wm size; wm size"), "unknown arguments"),
    "open quote": (("shell", "input text 'x"), "syntax error"),
    "half a point": (("shell", "input", "tap", "3"), "unknown arguments"),
    "no number": (("shell", "input", "tap", "3", "x"), "invalid number"),
    "infinite": (("shell", "input", "tap", "3", "inf"), "invalid number"),
    "no such key": (("shell", "input", "keyevent", "26"), "no key 26"),
    "foreign letters": (("shell", "input", "text", "你"), "no keys"),
    "unknown app": (("shell", "monkey", "-p", "a.b", "-c", "android.intent.category.LAUNCHER", "1"), "monkey aborted"),
    "no base64": (("shell", "am", "broadcast", "-a", "ADB_INPUT_B64", "--es", "msg", "ÿ"), "base64"),
    "no keyboard": (("shell", "ime", "set", "x/.Y"), "Unknown input method"),
    "no file": (("pull", "/sdcard/none.png", "x.png"), "failed to stat"),
    "a foreign file": (("pull", "../../adb", "x"), "failed to stat"),
    "no network": (("connect", "192.0.2.1"), "failed to connect"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_what_it_does_not_know_changes_nothing(tmp_path, case):
    home = install(tmp_path, size=SIZE).parent / "phone"
    before = (home / "phone.json").read_bytes()
    arguments, reason = BAD[case]
    with pytest.raises(ValueError, match=reason):
        answer(arguments, home)
    assert (home / "phone.json").read_bytes() == before


def test_an_error_is_one_line_and_exit_code_one(script, tmp_path):
    done = adb(script, "shell", "frobnicate")
    assert done.returncode == 1 and not done.stdout and done.stderr.count(b"\n") == 1
    (script.parent / "phone" / "phone.json").write_text('{"seed": 3}')
    done = adb(script, "shell", "wm", "size")
    assert done.returncode == 1 and b"no phone that was kept" in done.stderr and b"Traceback" not in done.stderr
    (script.parent / "phone" / "phone.json").unlink()
    assert adb(script, "devices").stdout == b"List of devices attached\n\n"
    assert b"no devices" in adb(script, "shell", "wm", "size").stderr


@pytest.mark.parametrize(
    "arguments", [("frob\nnicate",), ("shell", "input text 'x\ny' z"), ("shell", "screencap", "-p", "x" * 5000)]
)
def test_any_fault_is_one_line(script, arguments):
    done = adb(script, *arguments)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"Traceback" not in done.stderr


def test_a_fault_that_nobody_thought_of_is_one_line(script, monkeypatch, capsys):
    def fails(*_):
        raise RuntimeError("raqm_layout()\nfailed.")

    monkeypatch.setattr("autoglm_lab.phone.simulator.draw", fails)  # how a font that is damaged shows
    monkeypatch.setenv(FOLDER, str(script.parent / "phone"))
    assert main(["exec-out", "screencap", "-p"]) == 1
    assert capsys.readouterr().err == "adb: RuntimeError: raqm_layout() failed.\n"


def test_text_of_several_lines_leaves_a_phone_that_draws(script):
    home = script.parent / "phone"
    in_chat(home)
    answer(("shell", "ime", "set", ADB_KEYBOARD), home)
    encoded = base64.b64encode("a\nb\r\nc\u2029".encode()).decode()
    answer(("shell", "am", "broadcast", "-a", "ADB_INPUT_B64", "--es", "msg", encoded), home)
    assert state(script).typed == "a\nb\r\nc\u2029"
    assert answer(("exec-out", "screencap", "-p"), home).startswith(b"\x89PNG")


def test_calls_at_once_lose_nothing(script):
    in_chat(script.parent / "phone")
    with ThreadPoolExecutor(4) as many:
        list(many.map(lambda letter: told(script, "shell", "input", "text", letter), "abcdefgh"))
    assert sorted(state(script).typed) == list("abcdefgh")


def test_a_kept_phone_is_the_same_phone(tmp_path):
    kept = KeptPhone(made(11, size=SIZE, lang="zh"), keyboard=ADB_KEYBOARD)
    task = recognise("给妈妈发消息说生日快乐")
    while (step := next_step(task, kept.phone.state)).action.name != "finish":
        kept.phone.perform(step.action)
        write(kept, tmp_path)
        again = read(tmp_path)
        assert again.phone.state == kept.phone.state and again.keyboard == ADB_KEYBOARD
        assert (pixels(again.phone.screenshot()) == pixels(kept.phone.screenshot())).all()


@pytest.mark.parametrize(
    "damage",
    ["[]", "{", '{"state": 3}', "null", r'"typed": "\ud800"']
    + [f'"page": {page}' for page in (-1, 7)]
    + ['"route": [{"app": "x", "name": "main", "arg": ""}]', '"route": [{"app": "wechat", "name": "chat", "arg": "nobody"}]'],
)
def test_a_damaged_file_is_an_error(damage):
    whole = KeptPhone(made(7)).to_json()
    name = damage.partition(":")[0]
    text = whole.replace({'"page"': '"page": 0', '"route"': '"route": []', '"typed"': '"typed": ""'}.get(name, whole), damage)
    assert text != whole
    with pytest.raises(ValueError, match="no phone that was kept"):
        KeptPhone.from_json(text)


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"seed": True}, {"seed": 1, "size": (10, 600)}, {"seed": 1, "lang": "fr"}, {"seed": 1, "family": "none"}],
)
def test_a_phone_that_cannot_be_is_an_error(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        install(tmp_path, **wrong)


def test_another_adb_is_not_written_over(tmp_path):
    (tmp_path / "adb").write_text("mine")
    with pytest.raises(ValueError, match="another command"):
        install(tmp_path)
    assert (tmp_path / "adb").read_text() == "mine"


def test_the_command_line_installs_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "autoglm_lab.cli", "adb", "--dir", str(tmp_path / "x"), "--seed", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and f'export PATH={tmp_path / "x"}:"$PATH"' in done.stdout
    assert SERIAL in told(tmp_path / "x" / "adb", "devices")
    assert state(tmp_path / "x" / "adb").look.seed == 3


# a phone that is driven through adb


def test_a_task_is_solved_as_on_the_simulated_phone(tmp_path):
    script = install(tmp_path, seed=5, size=SIZE, lang="zh")
    phone, simulated = AdbPhone(adb=str(script), settle_s=0), SimulatedPhone(5, size=SIZE, lang="zh")
    task, start = recognise("给妈妈发消息说生日快乐"), state(script)
    for _ in range(12):
        assert (pixels(phone.screenshot()) == pixels(simulated.screenshot())).all()
        assert phone.current_app() == simulated.current_app()
        action = next_step(task, state(script)).action
        if action.name == "finish":
            break
        assert phone.perform(action) == simulated.perform(action)
        assert state(script) == simulated.state
    assert task.done(start, state(script), action.message)


def test_every_other_action_does_what_it_does_on_the_simulated_phone(phone, script):
    simulated = SimulatedPhone(7, size=SIZE, lang="en")
    icon = find(simulated.state, concept=simulated.state.look.pages[0][0]).centre
    for action in (
        Action("Long Press", element=icon),
        Action("Wait", duration="0 seconds"),
        Action("Double Tap", element=icon),
        Action("Swipe", start=(500, 800), end=(500, 300)),
        Action("Home"),
        Action("Swipe", start=(850, 500), end=(150, 500)),
        Action("Tap", element=(999, 999)),
        Action("Take_over", message="log in"),
        Action("finish", message="done"),
    ):
        assert phone.perform(action) == simulated.perform(action), action
        assert state(script) == simulated.state, action


def test_text_takes_the_place_of_what_was_there_and_the_keyboard_comes_back(phone, script):
    in_chat(script.parent / "phone")
    for text in ("%s & $(reboot) 'x'", "你好，世界 🎈", ""):
        assert phone.perform(Action("Type", text=text))
        assert state(script).typed == text
        assert read(script.parent / "phone").keyboard == PLAIN_KEYBOARD


def test_without_the_keyboard_only_plain_text_is_typed(tmp_path):
    script = install(tmp_path, seed=7, size=SIZE, lang="en", adb_keyboard=False)
    phone = QuickPhone(adb=str(script), settle_s=0)
    in_chat(script.parent / "phone")
    assert phone.perform(Action("Type", text="it's $5; 100%sure"))
    assert state(script).typed == "it's $5; 100%sure"
    with pytest.raises(ValueError, match="install ADBKeyboard"):
        phone.perform(Action("Type", text="你好"))


def test_a_clock_that_ticks_is_no_change():
    before = Image.new("RGB", (100, 1000))
    clock, button = before.copy(), before.copy()
    clock.putpixel((50, 10), (255, 255, 255))
    button.putpixel((50, 500), (255, 255, 255))
    assert not differ(before, clock) and differ(before, button) and differ(before, before.resize((1000, 100)))


def fake(folder, body):
    """An adb that does what a few lines of shell say."""
    script = folder / "adb"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize(
    ("listed", "serial", "error", "reason"),
    [
        ("", None, RuntimeError, "no phone is connected"),
        (r"a\tunauthorized\n", None, RuntimeError, "a is unauthorized"),
        (r"a\toffline\n", None, RuntimeError, "a is offline; wake it up"),
        (r"a\tauthorizing\n", None, RuntimeError, "a is authorizing; unlock it, answer its question"),
        (
            r"a\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://x]\n",
            None,
            RuntimeError,
            "a is no permissions; this computer may not speak to it: add yourself to the group plugdev",
        ),
        (r"a\trecovery\n", None, RuntimeError, "a is recovery; .*restart it"),
        (r"a\tsulking\n", None, RuntimeError, "a is not ready: sulking"),
        (r"a\t\n", None, RuntimeError, "no phone is connected"),
        (r"a\tdevice\nb\toffline\n", "b", RuntimeError, "b is offline"),
        (r"a\tdevice\nb\tdevice\n", None, ValueError, "2 phones are connected; name one of a, b"),
        (r"a\tdevice\n", "c", ValueError, "c is not connected; connected are a"),
    ],
)
def test_no_phone_or_not_the_one(tmp_path, listed, serial, error, reason):
    with pytest.raises(error, match=reason):
        AdbPhone(serial, adb=fake(tmp_path, rf"printf 'List of devices attached\n{listed}\n'"))


def test_no_adb():
    with pytest.raises(FileNotFoundError, match="platform tools"):
        AdbPhone(adb="no-such-adb")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exit 0", "no picture"),
        ("echo closed >&2; exit 1", "closed"),
        ("exec sleep 20", "did not answer within"),
    ],
)
def test_a_phone_that_fails_is_named(tmp_path, body, reason):
    answers = r'case "$1$4" in devices) printf "x\na\tdevice\n";; *getprop*) echo zh-CN;; '
    phone = AdbPhone(adb=fake(tmp_path, f"{answers} *) {body};; esac"), timeout_s=0.5)
    assert phone.lang == "zh"
    with pytest.raises(RuntimeError, match=f"phone a .*{reason}"):
        phone.screenshot()


class Showing(AdbPhone):
    """A phone that shows what a list holds, one picture after another."""

    def __init__(self, *pictures):
        self.serial, self.settle_s, self.lang, self._seen, self.pictures = "a", 0, "en", None, list(pictures)

    def _call(self, *arguments):
        return self.pictures.pop(0) if "screencap" in arguments[-1] else b""


def png(colour, size=(100, 1000)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("cut", [30, 60, 100, -20, -5])
def test_half_a_picture_is_a_failure_of_the_phone(cut):
    whole = adb_png()
    with pytest.raises(RuntimeError, match="phone a gives a broken picture"):
        Showing(whole[:cut]).screenshot()
    for place in range(8, len(whole), 211):  # a byte that was turned
        with suppress(RuntimeError):  # nothing else, whatever the picture is
            Showing(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :]).screenshot()


def adb_png():
    out = io.BytesIO()
    SimulatedPhone(7, size=(64, 140)).screenshot().save(out, "PNG")
    return out.getvalue()


def test_a_black_screen_is_looked_at_twice():
    assert Showing(png("black"), png("white")).screenshot().getpixel((50, 500)) == (255, 255, 255)
    with pytest.raises(RuntimeError, match="the screen of phone a is black; is it off"):
        Showing(png("black"), png("black")).screenshot()
    clock = Image.new("RGB", (100, 1000))
    clock.putpixel((50, 10), (255, 255, 255))
    out = io.BytesIO()
    clock.save(out, "PNG")
    with pytest.raises(RuntimeError, match="is black"):
        Showing(out.getvalue(), out.getvalue()).screenshot()


def test_what_was_done_before_a_screen_went_black_is_kept():
    class Going:
        reads_history = True

        def answer(self, *_, **__):
            return Stream(iter([EngineAnswer.read('do(action="Back")', 1, {})]))

    [first, last] = agent.run("x", Showing(png("white"), png("black"), png("black"), png("black")), Going())
    assert first.changed and first.error is None and last.screenshot is None and "is black" in last.end


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("1 minute", 60),
        ("2 seconds", 2),
        ("0.5 minutes", 30),
        ("1 min", 60),
        ("3 mins", 60),
        ("500 ms", 0.5),
        ("1 hour", 60),
        ("5", 5),
        ("1,5 s", 1.5),
        ("10 s 500 ms", 10.5),
        ("3秒", 3),
        ("1分钟", 60),
        ("500毫秒", 0.5),
        ("a while", 1),
        ("", 1),
        ("-5 seconds", 1),
        ("9" * 400, 60),
    ],
)
def test_a_time_to_wait_has_a_unit(written, wanted):
    assert seconds(written) == wanted


def test_any_app_can_be_launched_and_what_cannot_is_said(phone, script):
    for name in ("google chrome", "com.android.chrome", "Chrome"):
        phone.perform(Action("Home"))
        assert phone.perform(Action("Launch", app=name)) and phone.current_app() == "Chrome"
    with pytest.raises(ValueError, match="no app is called 'No such app'; give the package"):
        phone.perform(Action("Launch", app="No such app"))
    for name in ("bilibili", "tv.danmaku.bili"):
        with pytest.raises(ValueError, match=f"phone {SERIAL} has no app '{name}' that can be started .tv.danmaku.bili"):
            phone.perform(Action("Launch", app=name))


def test_the_demo_drives_a_phone_behind_adb(tmp_path):
    script = install(tmp_path / "bin", seed=7, size=SIZE, lang="en")
    env = dict(os.environ, PATH=f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    call = [
        sys.executable,
        "-m",
        "autoglm_lab.cli",
        "demo",
        "--adb",
        "--task",
        "open Settings",
        "--out",
        str(tmp_path / "film"),
        "--json",
    ]
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["end"].startswith("finished: ") and report["success"] is None and (tmp_path / "film" / "filmstrip.png").exists()
    assert state(script).app == "settings"


def test_the_doctor_chooses_a_bundle_for_a_phone(tmp_path, monkeypatch, capsys):
    script = install(tmp_path / "bin", seed=7, size=SIZE, lang="en")
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    before = state(script)
    assert cli.main(["doctor", "--adb", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "byte products" in told["can"] and told["reasons"][told["bundle"]].startswith("taken") and state(script) == before
    assert cli.main(["doctor", "--adb"]) == 0
    assert f"->   {told['bundle']}" in capsys.readouterr().out
    assert cli.main(["doctor", "--adb", "--bits", "4"]) == 2
    assert "--adb asks a phone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("serial", "reason"), [(["nobody"], "phone nobody is not connected; connected are autoglm-phone"), ([], "no phone is")]
)
def test_the_demo_says_in_one_line_which_phone_is_not_there(tmp_path, serial, reason):
    script = install(tmp_path / "bin", seed=7, size=SIZE)
    if not serial:
        (script.parent / "phone" / "phone.json").unlink()
    env = dict(os.environ, PATH=f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    call = [
        sys.executable,
        "-m",
        "autoglm_lab.cli",
        "demo",
        "--task",
        "open Settings",
        "--out",
        str(tmp_path / "film"),
        "--adb",
        *serial,
    ]
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith(f"autoglm-lab: {reason}") and done.stderr.count("\n") == 1
    assert not (tmp_path / "film").exists()


# the names of apps


def test_every_app_has_packages_and_they_tell_which_app_it_is():
    assert set(PACKAGES) == {app.id for app in APPS}
    for app in APPS:
        for lang in ("zh", "en"):
            assert key_of(package(app.id, lang), lang) == app.key(lang)
    assert key_of("com.example", "en") is None


def test_the_name_of_a_product_never_starts_another_company_s_app():
    for app in APPS:
        for lang in ("zh", "en"):
            mine, both = package(app.id, lang), {package(app.id, "zh"), package(app.id, "en")}
            for name in (app.key(lang), app.key(lang).swapcase(), mine):
                tried = packages_to_try(name)
                assert tried[0] == mine and not set(tried) & both - {mine}, name
    assert packages_to_try("Google Mail") == packages_to_try("gmail") == ["com.google.android.gm"]
    assert packages_to_try("Clock") == ["com.android.deskclock", "com.google.android.deskclock"], "a system app has two names"
    assert packages_to_try("地图") == packages_to_try("Maps")[::-1] == ["com.autonavi.minimap", "com.google.android.apps.maps"]


def test_a_phone_without_gmail_is_not_given_another_mail(phone, monkeypatch):
    shell = phone._shell
    monkeypatch.setattr(phone, "_shell", lambda *words: "monkey aborted" if words[0] == "monkey" else shell(*words))
    with pytest.raises(ValueError, match=rf"phone {SERIAL} has no app 'Google Mail' that can be started \(com.google.android.gm\)"):
        phone.perform(Action("Launch", app="Google Mail"))


def test_every_name_that_is_told_is_of_an_app():
    assert set(TOLD.values()) <= {app.key_en for app in APPS}


def test_an_app_that_nobody_knows_is_the_home_screen(tmp_path):
    body = r'case "$1$4" in devices) printf "x\na\tdevice\n";; *dumpsys*) echo "mCurrentFocus=Window{1 u0 a.b/a.b.C}";; esac'
    assert AdbPhone(adb=fake(tmp_path, body)).current_app() == HOME_SCREEN


NO_AGENT = not os.environ.get("OPEN_AUTOGLM_DIR")


def public_table():
    return runpy.run_path(os.path.join(os.environ["OPEN_AUTOGLM_DIR"], "phone_agent/config/apps.py"))["APP_PACKAGES"]


@pytest.mark.skipif(NO_AGENT, reason="OPEN_AUTOGLM_DIR names no checkout of the public agent")
def test_every_name_of_the_public_table_starts_its_app():
    names = public_table()
    assert {name: packages_to_try(name)[:1] for name in names} == {name: [target] for name, target in names.items()}
    assert set(NAMES) == set(names.values())


def test_the_public_table_is_whole():
    """The digest is that of the public agent's table, with which the test above compares it where there is a checkout."""
    lines = sorted(f"{spelling(name)} {target}" for target, names in NAMES.items() for name in names)
    assert (len(NAMES), len(lines)) == (86, 100)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest == "e6bf996367004aac98c01efed6b7ca1d59dc811c00af704e4bbd909724cdd991"
    assert [packages_to_try(line.split()[0])[0] for line in lines] == [line.split()[1] for line in lines]


@pytest.mark.skipif(NO_AGENT, reason="OPEN_AUTOGLM_DIR names no checkout of the public agent")
def test_the_public_agent_tells_names_that_are_known():
    names = public_table()
    first = {name: told for told, name in reversed(names.items())}
    keys = {key for app in APPS for key in (app.key_zh, app.key_en)}
    for name in {*(name for both in PACKAGES.values() for name in both), *GOOGLES.values()} - {"com.chaoxing.mobile"}:
        assert TOLD.get(first[name], first[name]) in keys
    assert {key for key in keys if key not in names} == {"Google Keep", "学习通"}


@pytest.mark.slow
@pytest.mark.skipif(NO_AGENT, reason="OPEN_AUTOGLM_DIR names no checkout of the public agent")
def test_the_public_agent_opens_an_app():
    pytest.importorskip("openai")
    done = subprocess.run(
        [sys.executable, "tests/beside/open_autoglm.py", "--only", "open Clock"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
