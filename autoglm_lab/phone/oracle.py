"""The oracle: for any state and task the right next action, with a one-line thought in the task's language.

It labels the training data and is the upper bound in evaluations.
"""

from __future__ import annotations

from typing import NamedTuple

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.catalog import Lang, app, named
from autoglm_lab.phone.screens import ROWS_VISIBLE, find
from autoglm_lab.phone.state import State
from autoglm_lab.phone.tasks import CANNOT_SEE, QUESTIONS, REPEAT, Task, answer

SWIPES = {
    "left": ((850, 500), (150, 500)),
    "right": ((150, 500), (850, 500)),
    "up": ((500, 800), (500, 300)),
    "down": ((500, 300), (500, 800)),
}


class Step(NamedTuple):
    """A thought and the action it leads to."""

    thinking: str
    action: Action


def next_step(task: Task, state: State, *, last: str = "", sees: bool = True, hears: bool = True) -> Step:
    """The right next step.

    `last` is the name of the agent's previous action in this task ("" at the start). `sees` and `hears` are False when
    the screen or the speech is unreadable: then the agent launches the app by name, or asks to repeat.
    """
    zh = task.lang == "zh"
    if not hears:
        return Step("听不清 / unclear speech", Action("finish", message=REPEAT))
    if task.kind in QUESTIONS and task.kind != "is_on":
        if not sees and task.kind != "who":
            return Step("看不清屏幕" if zh else "the screen is unreadable", Action("finish", message=CANNOT_SEE[task.lang]))
        return Step("看屏幕回答" if zh else "answer from the screen", Action("finish", message=answer(task, state)))
    if task.kind == "back":
        return _finish(task) if last == "Back" else Step("返回上一页" if zh else "go back one page", Action("Back"))
    if task.kind == "home":
        return _finish(task) if state.app is None else Step("回到桌面" if zh else "go to the home screen", Action("Home"))
    if state.app != task.app:
        return _towards(task, state, sees)
    if task.kind == "open_app":
        return _finish(task)
    if not sees:
        return Step("看不清，等一下" if zh else "unreadable, wait a moment", Action("Wait", duration="2 seconds"))
    inside = {"search": _search, "send": _send, "alarm": _alarm}.get(task.kind, _settings)
    return inside(task, state)


def _towards(task: Task, state: State, sees: bool) -> Step:
    """Get the task's app to the front."""
    wanted = app(task.app or "")
    name, zh = wanted.name(task.lang), task.lang == "zh"
    if not sees:
        thought = f"看不清屏幕，直接启动{name}" if zh else f"the screen is unreadable, launch {name}"
        return Step(thought, Action("Launch", app=wanted.key(task.lang)))
    if state.app is not None:
        return Step(f"要用{name}，先回桌面" if zh else f"{name} is another app, go home first", Action("Home"))
    page = state.look.page_of(wanted.id)
    if page > state.page:
        return Step(f"{name}在第二页，先向左滑" if zh else f"{name} is on the second page, swipe left", _swipe("left"))
    if page < state.page:
        return Step(f"{name}在第一页，先向右滑" if zh else f"{name} is on the first page, swipe right", _swipe("right"))
    return _tap(task, state, concept=wanted.id)


def _settings(task: Task, state: State) -> Step:
    setting, zh = named(task.slot("setting")), task.lang == "zh"
    name = setting.name(task.lang)
    if find(state, concept=setting.id) is None:
        place = state.look.settings_order.index(setting.id)
        way = "up" if place >= ROWS_VISIBLE else "down"
        words = {"up": ("往下翻找", "scroll down to"), "down": ("往上翻找", "scroll up to")}[way]
        return Step(f"{words[0]}{name}" if zh else f"{words[1]} {name}", _swipe(way))
    if task.kind == "is_on":
        return Step(f"看{name}的开关" if zh else f"look at the {name} switch", Action("finish", message=answer(task, state)))
    if state.toggles[setting.id] is (task.kind == "toggle_on"):
        return _finish(task)
    return _tap(task, state, concept=setting.id)


def _search(task: Task, state: State) -> Step:
    view, query = state.route[-1], task.slot("query")
    if view.name == "results" and view.arg == query:
        return _finish(task)
    if view.name != "search":
        return _tap(task, state, concept="search_field")
    if state.typed != query:
        return _type(task, query)
    return _tap(task, state, concept="search_button")


def _send(task: Task, state: State) -> Step:
    view, contact, message = state.route[-1], task.slot("contact"), task.slot("message")
    if view.name != "chat":
        return _tap(task, state, concept=contact)
    if view.arg != contact:
        return Step("不是这个聊天，返回" if task.lang == "zh" else "this is another chat, go back", Action("Back"))
    if state.chats[contact][-1] == (True, message):
        return _finish(task)
    if state.typed != message:
        return _type(task, message)
    return _tap(task, state, concept="send")


def _alarm(task: Task, state: State) -> Step:
    view, time = state.route[-1], task.slot("time")
    if view.name == "main":
        return _finish(task) if time in state.alarms else _tap(task, state, concept="add_alarm")
    if state.typed != time:
        return _type(task, time)
    return _tap(task, state, concept="save")


def _tap(task: Task, state: State, concept: str) -> Step:
    target = find(state, concept=concept)
    if target is None:
        raise ValueError(f"{concept!r} is not on the screen {state.view}")
    name = named(concept).name(task.lang)
    return Step(f"点{name}" if task.lang == "zh" else f"tap {name}", Action("Tap", element=target.centre))


def _type(task: Task, text: str) -> Step:
    return Step(f"输入{text}" if task.lang == "zh" else f"type {text}", Action("Type", text=text))


def _swipe(way: str) -> Action:
    start, end = SWIPES[way]
    return Action("Swipe", start=start, end=end)


def _finish(task: Task) -> Step:
    return Step("完成了" if task.lang == "zh" else "done", Action("finish", message=report(task)))


def report(task: Task) -> str:
    """What the agent says when a task is done."""
    lang: Lang = task.lang
    names = {k: named(v).name(lang) if k in ("app", "setting", "contact") else v for k, v in task.slots}
    zh, en = {
        "open_app": ("{app}已打开。", "{app} is open."),
        "toggle_on": ("{setting}已开启。", "{setting} is on now."),
        "toggle_off": ("{setting}已关闭。", "{setting} is off now."),
        "search": ("搜索结果在这里。", "Here are the results."),
        "send": ("已发给{contact}。", "Sent to {contact}."),
        "alarm": ("闹钟已设置。", "The alarm is set."),
        "back": ("已返回。", "Went back."),
        "home": ("已回到桌面。", "This is the home screen."),
    }[task.kind]
    return (zh if lang == "zh" else en).format(**names)
