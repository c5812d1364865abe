"""The shell of a simulated phone: what other agents ask of it, and that nothing invalid becomes something valid."""

import re
from xml.etree import ElementTree

import pytest

from autoglm_lab.cli import main as cli
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.adb.front import answer, install
from autoglm_lab.phone.adb.identity import SERIAL
from autoglm_lab.phone.adb.kept import PLAIN_KEYBOARD, changing, read
from autoglm_lab.phone.screens import elements, find
from tests.unit.test_adb import SIZE, adb, in_chat, state


@pytest.fixture
def script(tmp_path):
    return install(tmp_path, seed=7, size=SIZE, lang="en")


BESIDE = [
    "tap 5000 330",
    "tap 270 330",
    "tap -1 330",
    "tap 135 600",
    "tap 135 -0.5",
    "tap 1e5 1e5",
    "swipe 5000 330 5000 330",
    "swipe 500 330 10 330",
    "swipe 10 330 500 330",
    "swipe 135 -1 135 -1 900",
]


@pytest.mark.parametrize("words", BESIDE)
def test_a_finger_beside_the_screen_touches_nothing(tmp_path, words):
    home = install(tmp_path, seed=7, size=SIZE, lang="en").parent / "phone"
    for action in (Action("Launch", app="Settings"), Action("Home")):
        with changing(home) as kept:
            kept.phone.perform(action)
        before = (home / "phone.json").read_bytes()
        assert answer(("shell", f"input {words}"), home) == b""
        assert (home / "phone.json").read_bytes() == before


def test_the_last_pixel_is_of_the_screen(script):
    home = script.parent / "phone"
    with changing(home) as kept:
        kept.phone.perform(Action("Launch", app="Settings"))
    rows = [item for item in elements(state(script)) if item.kind == "toggle"]
    y = int(sum(rows[0].box[1::2]) / 2000 * SIZE[1])
    for x, hit in ((SIZE[0] - 1, True), (SIZE[0], False), (0, True), (SIZE[0] - 0.5, True)):
        before = state(script).toggles[rows[0].concept]
        answer(("shell", "input", "tap", str(x), str(y)), home)
        assert (state(script).toggles[rows[0].concept] != before) is hit


def test_keys_type_and_press(script):
    home = script.parent / "phone"

    def press(*keys):
        answer(("shell", "input", "keyevent", *keys), home)

    with changing(home) as kept:
        kept.phone.perform(Action("Launch", app="Chrome"))
        kept.phone.perform(Action("Tap", element=find(kept.phone.state, effect="focus").centre))
    press("KEYCODE_C", "KEYCODE_4", "KEYCODE_SPACE", "29", "7", "KEYCODE_X", "67", "224")
    assert state(script).typed == "c4 a0"
    press("66")
    assert state(script).view.name == "results" and state(script).view.arg == "c4 a0"
    press("KEYCODE_3", "KEYCODE_A")
    assert state(script).view.name == "results"
    press("KEYCODE_BACK", "111", "KEYCODE_HOME")
    assert state(script).app is None
    in_chat(home)
    press("KEYCODE_A", "KEYCODE_ENTER", "KEYCODE_B")
    assert state(script).typed == "a\nb"
    with changing(home) as kept:
        kept.phone.perform(Action("Launch", app="Clock"))
        kept.phone.perform(Action("Tap", element=find(kept.phone.state, effect="add").centre))
        kept.phone.perform(Action("Type", text="9:45"))
    press("ENTER")
    assert "09:45" in state(script).alarms


def test_the_tree_of_the_screen_says_where_to_tap(script):
    home = script.parent / "phone"
    for app in (None, "Settings", "WeChat", "Chrome"):
        with changing(home) as kept:
            kept.phone.perform(Action("Home"))
            if app:
                kept.phone.perform(Action("Launch", app=app))
        report = answer(("shell", "uiautomator", "dump"), home).decode()
        assert report == "UI hierchary dumped to: /sdcard/window_dump.xml\n"
        tree = ElementTree.fromstring(answer(("shell", "cat", "/sdcard/window_dump.xml"), home).decode())
        nodes = [node for node in tree.iter("node") if node.get("clickable") == "true"]
        wanted = [item for item in elements(state(script)) if item.effect]
        assert len(nodes) == len(wanted) > 0
        front = answer(("shell", "dumpsys window | grep mCurrentFocus"), home).decode()
        assert all(node.get("package") in front for node in nodes)
        for node, item in zip(nodes, wanted, strict=True):
            left, top, right, bottom = map(int, re.findall(r"\d+", node.get("bounds")))
            assert item.covers((left + right) / 2 / SIZE[0] * 1000, (top + bottom) / 2 / SIZE[1] * 1000)
            assert node.get("text") == item.text or node.get("content-desc")
    assert answer(("exec-out", "uiautomator", "dump", "/dev/tty"), home).startswith(b"<?xml")


def test_a_tree_holds_any_text(script):
    home = script.parent / "phone"
    in_chat(home)
    with changing(home) as kept:
        kept.phone.perform(Action("Type", text="\x00 <a & 'b'> \ufffe 🎈\n"))
    tree = ElementTree.fromstring(answer(("exec-out", "uiautomator dump /dev/tty"), home).decode().partition("UI hier")[0])
    [field] = [node for node in tree.iter("node") if node.get("class") == "android.widget.EditText"]
    assert field.get("text") == ". <a & 'b'> . 🎈\n" and field.get("focused") == "true"


def test_other_agents_ask_in_other_words(script):
    home = script.parent / "phone"

    def asked(line):
        return answer(("shell", line), home).decode()

    assert "mInputShown=false" in asked("dumpsys input_method | grep mInputShown")
    in_chat(home)
    assert asked("dumpsys input_method | grep -i MINPUT").strip() == "mInputShown=true"
    assert PLAIN_KEYBOARD in asked("dumpsys input_method")
    lines = asked("dumpsys window | grep -E 'mCurrentFocus|mFocusedApp'").splitlines()
    assert len(lines) == 2 and all("com.tencent.mm" in line for line in lines)
    assert asked(r"dumpsys window windows | grep 'mCurrentFocus\|mFocusedApp' | grep -v mFocused").count("\n") == 1
    assert asked("dumpsys window | grep nothing") == ""
    assert "com.tencent.mm" in asked("dumpsys activity activities | grep -F topResumedActivity=")
    assert "mWakefulness=Awake" in asked("dumpsys power")
    asked("monkey -p com.android.settings 1")
    assert state(script).app == "settings"
    asked("am force-stop com.tencent.mm")
    assert state(script).app == "settings"
    asked("am force-stop com.android.settings")
    assert state(script).app is None
    asked("am start -n com.tencent.mm/.ui.LauncherUI")
    assert state(script).app == "wechat"
    asked("am start -W -a android.intent.action.MAIN -c android.intent.category.HOME")
    assert state(script).app is None
    asked("am start -a android.settings.SETTINGS")
    assert state(script).app == "settings"
    assert (
        "package:com.tencent.mm\n" in asked("pm list packages")
        and asked("pm list packages tencent.mm") == "package:com.tencent.mm\n"
    )
    asked("input touchscreen tap 1 1")
    in_chat(home)
    asked("input text '|'")
    assert state(script).typed == "|"
    asked("screencap -p /sdcard/a.png")
    asked("rm /sdcard/a.png")
    asked("rm -f /sdcard/a.png")
    with pytest.raises(ValueError, match="No such file"):
        asked("cat /sdcard/a.png")


def test_the_only_phone_is_meant_by_cable_and_by_emulator(script, monkeypatch):
    home = script.parent / "phone"
    for words in (("-d",), ("-e",), ("-t", "1"), ("-s", SERIAL)):
        assert answer((*words, "shell", "wm", "size"), home) == b"Physical size: 270x600\n"
    monkeypatch.setenv("ANDROID_SERIAL", "another")
    assert b"'another' not found" in adb(script, "shell", "wm", "size").stderr
    assert adb(script, "-s", SERIAL, "shell", "wm", "size").returncode == 0


def test_the_command_line_chooses_the_phone_and_resets_it(tmp_path, capsys):
    options = ["adb", "--dir", str(tmp_path / "x"), "--seed", "5", "--lang", "zh", "--size", "270x600", "--keyboard", "plain"]
    assert cli(options) == 0
    home = tmp_path / "x" / "phone"
    fresh = read(home)
    assert (fresh.phone.size, fresh.phone.state.look.lang, fresh.phone.state.look.seed) == (SIZE, "zh", 5)
    assert fresh.keyboards == (PLAIN_KEYBOARD,)
    answer(("shell", "screencap", "-p", "/sdcard/a.png"), home)
    answer(("shell", "monkey", "-p", "com.android.settings", "1"), home)
    assert cli(["adb", "--dir", str(tmp_path / "x"), "--reset"]) == 0
    again = read(home)
    assert (again.phone.state, again.phone.size, again.keyboards) == (fresh.phone.state, SIZE, (PLAIN_KEYBOARD,))
    with pytest.raises(ValueError, match="No such file"):
        answer(("shell", "cat", "/sdcard/a.png"), home)
    capsys.readouterr()
    assert cli(["adb", "--dir", str(tmp_path / "x"), "--reset", "--seed", "3"]) == 2
    assert cli(["adb", "--dir", str(tmp_path / "none"), "--reset"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "leave out --seed" in first and "holds no phone" in second and not (tmp_path / "none").exists()
