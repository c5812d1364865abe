"""Reports of a simulated phone about itself, in its shell: windows, activities, the tree of what is on the screen, properties."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.adb.identity import MODEL, SERIAL
from autoglm_lab.phone.adb.kept import KeptPhone, read
from autoglm_lab.phone.catalog import CONTROLS, named
from autoglm_lab.phone.packages import LAUNCHER, package
from autoglm_lab.phone.screens import Element, elements

TYPING = ("chat", "editor", "search")  # views with a keyboard
DENSITY = 440  # dots per inch
_CLASSES = {
    "toggle": "Switch",
    "field": "EditText",
    "big_field": "EditText",
    "pill": "Button",
    "round": "ImageButton",
    "button": "ImageButton",
}
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def front_package(kept: KeptPhone) -> str:
    """The package of the app in front."""
    state = kept.phone.state
    return LAUNCHER if state.app is None else package(state.app, state.look.lang)


def dumpsys(folder: Path, words: list[str]) -> str | None:
    """The services that agents ask: window, activity, input_method, power. None for any other."""
    device = read(folder)
    name = front_package(device)
    record = f"ActivityRecord{{4d5e6f u0 {name}/.Main t1}}"
    match words:
        case ["window"] | ["window", "windows" | "displays" | "policy" | "w" | "d"]:
            return f"WINDOW MANAGER WINDOWS\n  mCurrentFocus=Window{{1a2b3c u0 {name}/{name}.Main}}\n  mFocusedApp={record}\n"
        case ["activity"] | ["activity", "activities" | "top" | "a"]:
            return f"ACTIVITY MANAGER ACTIVITIES\n  topResumedActivity={record}\n  ResumedActivity: {record}\n"
        case ["input_method"]:
            view = device.phone.state.view
            keyboard = str(view is not None and view.name in TYPING).lower()
            return f"Current Input Method Manager state:\n  mCurMethodId={device.keyboard}\n  mInputShown={keyboard}\n"
        case ["power"]:
            return "POWER MANAGER (dumpsys power)\n  mWakefulness=Awake\n  mHoldingDisplaySuspendBlocker=true\n"
    return None


def tree(kept: KeptPhone) -> str:
    """Write what is on the screen as the XML that `uiautomator dump` writes: boxes in pixels, texts, what can be tapped."""
    width, height = kept.phone.size
    root = ElementTree.Element("hierarchy", rotation="0")
    screen = _node(kept, Element("screen", (0, 0, 1000, 1000)), 0, (width, height))
    root.append(screen)
    items = [item for item in elements(kept.phone.state) if item.text or item.effect or _description(item, kept)]
    screen.extend(_node(kept, item, number, (width, height)) for number, item in enumerate(items))
    return '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>' + ElementTree.tostring(root, encoding="unicode")


def _node(device: KeptPhone, item: Element, number: int, size: tuple[int, int]) -> ElementTree.Element:
    left, top, right, bottom = (round(place * size[axis % 2] / 1000) for axis, place in enumerate(item.box))
    label = item.kind != "icon" or device.phone.state.look.labels
    name = "FrameLayout" if item.kind == "screen" else _CLASSES.get(item.kind, "TextView" if label else "ImageView")
    edits = item.kind in ("field", "big_field")
    flags = {
        "checkable": item.kind == "toggle",
        "checked": item.kind == "toggle" and item.on,
        "clickable": bool(item.effect),
        "enabled": item.kind != "pill" or bool(item.effect),
        "focusable": bool(item.effect) or edits,
        "focused": edits and device.phone.state.view is not None and device.phone.state.view.name in TYPING,
        "scrollable": False,
        "long-clickable": item.kind == "icon",
        "password": False,
        "selected": False,
    }
    return ElementTree.Element(
        "node",
        {
            "index": str(number),
            "text": _plain(item.text) if label else "",
            "resource-id": item.concept,
            "class": f"android.widget.{name}",
            "package": front_package(device),
            "content-desc": _plain(_description(item, device)),
            **{flag: str(value).lower() for flag, value in flags.items()},
            "bounds": f"[{left},{top}][{right},{bottom}]",
        },
    )


def _description(item: Element, device: KeptPhone) -> str:
    """Name what a picture without a text stands for."""
    lang = device.phone.state.look.lang
    if item.concept == "back":
        return {"zh": "返回", "en": "Back"}[lang]
    if item.kind == "icon" or item.concept in {control.id for control in CONTROLS}:
        return named(item.concept).name(lang)
    return ""


def _plain(text: str) -> str:
    return _NO_XML.sub(".", text)


def chip() -> dict[str, Any]:
    """Read the texts of a simulated phone's processor, written by hand, for there is none."""
    texts: dict[str, Any] = json.loads((data_dir() / "chips" / "newer_cores.json").read_text("utf-8"))
    return texts


def properties(folder: Path, words: list[str]) -> str | None:
    """Answer `getprop`: one property, or all of them."""
    locale = {"zh": "zh-CN", "en": "en-US"}[read(folder).phone.state.look.lang]
    values = {
        "persist.sys.locale": locale,
        "ro.product.locale": locale,
        "ro.product.model": MODEL,
        "ro.serialno": SERIAL,
        "ro.build.version.release": "14",
        "ro.build.version.sdk": "34",
        "sys.boot_completed": "1",
        **chip()["getprop"],
    }
    if not words:
        return "".join(f"[{name}]: [{value}]\n" for name, value in values.items())
    return f"{values.get(words[0], '')}\n" if len(words) == 1 else None


def settings(folder: Path, words: list[str]) -> str | None:
    """Answer `settings get`: the keyboard in use."""
    return f"{read(folder).keyboard}\n" if words == ["get", "secure", "default_input_method"] else None


def window_manager(folder: Path, words: list[str]) -> str | None:
    """Answer `wm`: the size of the screen in pixels, and its dots per inch."""
    width, height = read(folder).phone.size
    return {"size": f"Physical size: {width}x{height}\n", "density": f"Physical density: {DENSITY}\n"}.get(" ".join(words))


def packages(folder: Path, words: list[str]) -> str | None:
    """Answer `pm list packages`: the apps that are installed."""
    if words[:2] != ["list", "packages"] or len(words) > 3:
        return None
    look = read(folder).phone.state.look
    names = sorted(package(app_id, look.lang) for app_id in look.installed)
    return "".join(f"package:{name}\n" for name in names if not words[2:] or words[2] in name)
