"""A real phone, driven through Android's command `adb`, with the same methods as the simulated one."""

from __future__ import annotations

import base64
import io
import re
import shlex
import shutil
import struct
import subprocess
import time
import zlib

from PIL import Image, ImageChops

from autoglm_lab.phone.actions import Action, Point
from autoglm_lab.phone.catalog import HOME_SCREEN, Lang
from autoglm_lab.phone.packages import ADB_KEYBOARD, key_of, packages_to_try

STATUS_BAR = 0.034  # of the height: clock and battery change by themselves
LONG_PRESS_MS = 3000
LONGEST_WAIT_S = 60.0
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_BROKEN_PICTURE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
# the beginning of what `adb devices` says of a phone that is not ready, and what helps
_ADVICE = {
    "unauthorized": "unlock it and allow USB debugging from this computer",
    "authorizing": "unlock it, answer its question about USB debugging, and try again",
    "connecting": "wait a moment and try again",
    "offline": "wake it up; if that does not help, unplug it and plug it in again, or run `adb reconnect`",
    "no permissions": "this computer may not speak to it: add yourself to the group plugdev, install udev's rules for Android "
    "(`apt install android-sdk-platform-tools-common`), and plug it in again",
    "recovery": "it is in its recovery mode: restart it",
    "sideload": "it is in its recovery mode: restart it",
    "bootloader": "it is in its bootloader: restart it",
    "host": "it is no phone, but a computer",
}
_INSTALL = (
    "install Android's platform tools: `apt install adb`, `brew install android-platform-tools`, or "
    "https://developer.android.com/tools/releases/platform-tools"
)


class AdbPhone:
    """The phone called `serial` (as `adb devices` lists it), or the only one that is connected.

    `settle_s` is how long the screen is given after an action, `timeout_s` how long one call of `adb` may take. FileNotFoundError
    when there is no adb, RuntimeError when no phone is ready, ValueError when it is not clear which one is meant. A phone that does
    not answer, or an action that fails on it, is a RuntimeError.
    """

    def __init__(self, serial: str | None = None, adb: str = "adb", *, settle_s: float = 1.0, timeout_s: float = 20.0) -> None:
        path = shutil.which(adb)
        if path is None:
            raise FileNotFoundError(f"there is no command {adb!r}; {_INSTALL}")
        self.adb, self.settle_s, self.timeout_s = path, settle_s, timeout_s
        self.serial = _choose(self._call("devices").decode(errors="replace"), serial)
        self.lang = self._language()
        self._last_screenshot: Image.Image | None = None

    def screenshot(self) -> Image.Image:
        """The screen as an RGB picture. RuntimeError when the phone gives none, half of one, or a black one.

        Screens that protect themselves are black, but so are some for a moment while an app starts: a second look is taken.
        """
        self._last_screenshot = self._take()
        if _black(self._last_screenshot):
            time.sleep(self.settle_s)
            self._last_screenshot = self._take()
        if _black(self._last_screenshot):
            raise RuntimeError(f"the screen of phone {self.serial} is black; is it off, or does the app forbid pictures of it?")
        return self._last_screenshot

    def _take(self) -> Image.Image:
        answer = self._call("-s", self.serial, "exec-out", "screencap -p")
        start = answer.find(_PNG)  # phones with two displays write a warning first
        if start < 0:
            raise RuntimeError(f"phone {self.serial} gives no picture of its screen; is it off, or does the app forbid it?")
        try:
            if _PNG_END not in answer:
                raise EOFError("it has no end")
            with Image.open(io.BytesIO(answer[start:])) as picture:
                return picture.convert("RGB")
        except (*_BROKEN_PICTURE, Image.DecompressionBombError) as error:
            size = len(answer) - start
            raise RuntimeError(
                f"phone {self.serial} gives a broken picture of its screen ({size:,} bytes: {error}); is the cable loose?"
            ) from None

    def current_app(self) -> str:
        """The app in front, by the name the public agent knows; "System Home" for every app that it does not know."""
        for line in self._shell("dumpsys", "window").splitlines():
            if "mCurrentFocus" in line or "mFocusedApp" in line:
                for name in re.findall(r"([\w.]+)/", line):
                    key = key_of(name, self.lang)
                    if key is not None:
                        return key
        return HOME_SCREEN

    def perform(self, action: Action) -> bool:
        """Do one action. True when the screen below the status bar differs from the last screenshot.

        `finish` and `Take_over` do nothing. ValueError for a text that the phone's keyboard cannot type, and for an app that it
        does not have.
        """
        if action.name in ("finish", "Take_over"):
            return False
        before = self._last_screenshot or self._take()
        self._do(action, before.size)
        time.sleep(self.settle_s)
        self._last_screenshot = self._take()
        return differ(before, self._last_screenshot)

    def _do(self, action: Action, size: tuple[int, int]) -> None:
        match action:
            case Action(name="Tap", element=(_, _) as point):
                self._input("tap", *pixel(point, size))
            case Action(name="Double Tap", element=(_, _) as point):
                self._input("tap", *pixel(point, size))
                self._input("tap", *pixel(point, size))
            case Action(name="Long Press", element=(_, _) as point):
                self._input("swipe", *pixel(point, size), *pixel(point, size), LONG_PRESS_MS)
            case Action(name="Swipe", start=(_, _) as start, end=(_, _) as end):
                self._swipe(pixel(start, size), pixel(end, size))
            case Action(name="Type", text=str(text)):
                self._type(text)
            case Action(name="Launch", app=str(app)):
                self._launch(app)
            case Action(name="Wait", duration=str(duration)):
                time.sleep(seconds(duration))
            case Action(name="Back" | "Home"):
                self._input("keyevent", f"KEYCODE_{action.name.upper()}")

    def _swipe(self, start: Point, end: Point) -> None:
        far = (start[0] - end[0]) ** 2 + (start[1] - end[1]) ** 2
        self._input("swipe", *start, *end, max(1000, min(far // 1000, 2000)))  # slow enough to drag rather than to fling

    def _type(self, text: str) -> None:
        """Type into the field in front: in the place of what it holds, or after it where only the plain keyboard is there."""
        if ADB_KEYBOARD not in self._shell("ime", "list", "-s").split():
            self._type_plain(text)
            return
        usual = self._shell("settings", "get", "secure", "default_input_method").strip()
        if usual != ADB_KEYBOARD:
            self._shell("ime", "set", ADB_KEYBOARD)
            time.sleep(self.settle_s)  # the keyboard hears nothing while it comes up
        try:
            self._shell("am", "broadcast", "-a", "ADB_CLEAR_TEXT")
            if text:
                self._shell("am", "broadcast", "-a", "ADB_INPUT_B64", "--es", "msg", base64.b64encode(text.encode()).decode())
            time.sleep(self.settle_s)
        finally:
            if usual not in (ADB_KEYBOARD, "", "null"):
                self._shell("ime", "set", usual)

    def _type_plain(self, text: str) -> None:
        if not (text.isascii() and text.isprintable()):
            raise ValueError(
                f"the keyboard of phone {self.serial} cannot type {text[:40]!r}; install ADBKeyboard on the phone and "
                "enable it in its settings (https://github.com/senzhk/ADBKeyBoard)"
            )
        for part in re.split("(?<=%)(?=s)", text):  # %s is how `input text` is told of a space
            if part:
                self._input("text", part.replace(" ", "%s"))

    def _launch(self, app: str) -> None:
        """Start an app by its name or its package. ValueError for one that is not known, or not on the phone."""
        packages = packages_to_try(app)
        if not packages:
            raise ValueError(f"no app is called {app!r}; give the package of one, as in `adb shell pm list packages`")
        for package in packages:
            try:
                if "aborted" not in self._shell("monkey", "-p", package, "-c", "android.intent.category.LAUNCHER", "1"):
                    return
            except RuntimeError as error:
                if "aborted" not in str(error):
                    raise
        raise ValueError(f"phone {self.serial} has no app {app!r} that can be started ({', '.join(packages)})")

    def _language(self) -> Lang:
        locale = self._shell("getprop", "persist.sys.locale").strip() or self._shell("getprop", "ro.product.locale").strip()
        return "zh" if locale.startswith("zh") else "en"

    def _input(self, *words: str | int) -> None:
        self._shell("input", *(str(word) for word in words))

    def shell(self, *words: str) -> str:
        """Run a command that changes nothing on the phone; return its output. RuntimeError when the phone does not answer."""
        return self._shell(*words)

    def _shell(self, *words: str) -> str:
        """Run a command on the phone; return its output. adb hands the phone's shell one line, so every word is quoted for it."""
        return self._call("-s", self.serial, "shell", shlex.join(words)).decode(errors="replace")

    def _call(self, *arguments: str) -> bytes:
        phone = f"phone {arguments[1]}" if arguments[0] == "-s" else "adb"
        try:
            process = subprocess.run(
                [self.adb, *arguments], check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=self.timeout_s
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{phone} did not answer within {self.timeout_s:g} s: {arguments[-1][:80]}") from None
        except OSError as error:
            raise RuntimeError(f"{phone} cannot be asked {arguments[-1][:80]!r}: {error.strerror}") from None
        if process.returncode:
            message = (process.stderr or process.stdout).decode(errors="replace").strip()
            raise RuntimeError(f"{phone} failed at {arguments[-1][:80]!r}: {message[:300]}")
        return process.stdout


def pixel(point: Point, size: tuple[int, int]) -> Point:
    """The pixel that the public agent means by coordinates 0..999 of a screenshot of `size`.

    >>> pixel((500, 999), (1080, 2400))
    (540, 2397)
    """
    return int(point[0] / 1000 * size[0]), int(point[1] / 1000 * size[1])


def seconds(duration: str) -> float:
    """Read a duration, in seconds; one second when no time is given, a minute at most.

    >>> seconds("2 seconds"), seconds("1 minute"), seconds("a while")
    (2.0, 60.0, 1.0)
    """
    parts = re.findall(r"(?<![\d.,-])(\d+(?:[.,]\d+)?)\s*([^\W\d_]*)", duration)
    times = [float(number.replace(",", ".")) * _unit_s(unit.casefold()) for number, unit in parts]
    return min(sum(times), LONGEST_WAIT_S) if times else 1.0


def _unit_s(unit: str) -> float:
    """A unit of time in seconds, by how its name begins; a number without one is of seconds."""
    names = {"ms": 0.001, "milli": 0.001, "毫秒": 0.001, "m": 60.0, "分": 60.0, "h": 3600.0, "小时": 3600.0}
    return next((length for name, length in names.items() if unit.startswith(name)), 1.0)


def differ(before: Image.Image, after: Image.Image) -> bool:
    """True if two pictures of the screen differ below the status bar."""
    if before.size != after.size:
        return True
    below = (0, round(STATUS_BAR * before.height), before.width, before.height)
    return ImageChops.difference(before.crop(below), after.crop(below)).getbbox() is not None


def _black(picture: Image.Image) -> bool:
    """Return True when nothing but the status bar shows anything."""
    return not differ(picture, Image.new("RGB", picture.size))


def _choose(listing: str, name: str | None) -> str:
    """Pick the serial of the phone to use from what `adb devices` writes."""
    phones = {
        serial: state.strip() for serial, _, state in (line.partition("\t") for line in listing.splitlines()) if state.strip()
    }
    if name is None and not phones:
        raise RuntimeError("no phone is connected; connect one with USB debugging switched on, and see what `adb devices` lists")
    if name is None and len(phones) > 1:
        ready = [serial for serial, state in phones.items() if state.split()[0] == "device"]
        if len(ready) != 1:
            raise ValueError(f"{len(phones)} phones are connected; name one of {', '.join(phones)} as serial")
        name = ready[0]
    serial = name if name is not None else next(iter(phones))
    if serial not in phones:
        raise ValueError(f"phone {serial} is not connected; connected are {', '.join(phones) or 'none'}")
    state = phones[serial]
    if state.split()[0] == "device":
        return serial
    kind = next((kind for kind in _ADVICE if state.startswith(kind)), None)
    raise RuntimeError(f"phone {serial} is {kind}; {_ADVICE[kind]}" if kind else f"phone {serial} is not ready: {state}")
