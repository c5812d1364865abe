"""The oracle: for any state and task the right next action, with a one-line thought in the task's language.

It labels the training data and is the upper bound in evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.catalog import Lang, app, named
from autoglm_lab.phone.goals import FREE, REFUSED, goal, plain
from autoglm_lab.phone.refusal import CANNOT, NAMED_SUBJECTS, NOT_UNDERSTOOD, STRANGE_APP, UNCLEAR, UNKNOWN_SCREEN, refuse
from autoglm_lab.phone.screens import ROWS_VISIBLE, find
from autoglm_lab.phone.state import Look, State
from autoglm_lab.phone.tasks import CANNOT_SEE, MISSING_ALARM, NO_ALARMS, NOTHING_OPEN, QUESTIONS, REPEAT, Task, answer
from autoglm_lab.phone.wording import subjects

SWIPES = {
    "left": ((850, 500), (150, 500)),
    "right": ((150, 500), (850, 500)),
    "up": ((500, 800), (500, 300)),
    "down": ((500, 300), (500, 800)),
}


MEMORY = 4  # actions that the agent remembers


class Step(NamedTuple):
    """A thought and the action it leads to."""

    thinking: str
    action: Action


Done = tuple[str, bool]  # the name of an action, and whether it changed the screen


def next_step(
    task: Task, state: State, *, last: str = "", history: Sequence[Done] = (), sees: bool = True, hears: bool = True
) -> Step:
    """The right next step.

    `history` holds the agent's previous actions in this task, oldest first; `last` is the name of the last one, for who knows no
    more. `sees` and `hears` are False when the screen or the speech is unreadable: then the agent launches the app by name, or
    asks to repeat.
    """
    zh = task.lang == "zh"
    history = history or ([(last, True)] if last else [])
    last = history[-1][0] if history else ""
    if not hears:
        return Step("听不清 / unclear speech", Action("finish", message=REPEAT))
    if task.kind in ("beyond", "strange_app"):
        return Step("这个做不到" if zh else "this is beyond me", Action("finish", message=report(task)))
    if task.kind == "two":
        return _two(task, state, history, sees)
    question = task.kind in QUESTIONS and task.kind != "is_on"
    if not sees and (task.kind in ("absent_app", "close") or (question and task.kind != "who")):
        return Step("看不清屏幕" if zh else "the screen is unreadable", Action("finish", message=CANNOT_SEE[task.lang]))
    if task.kind == "absent_app":
        return _absent_app(task, state, history)
    if question:
        return Step("看屏幕回答" if zh else "answer from the screen", Action("finish", message=answer(task, state)))
    if task.kind in ("back", "home", "close"):
        return _leave(task, state, last)
    if state.app != task.app:
        return _towards(task, state, sees)
    if task.kind == "open_app":
        return _finish(task)
    if not sees:
        return Step("看不清，等一下" if zh else "unreadable, wait a moment", Action("Wait", duration="2 seconds"))
    inside = {
        "search": _search,
        "send": _send,
        "alarm": _alarm,
        "delete_alarm": _delete_alarm,
        "delete_alarms": _delete_alarm,
        "absent_contact": _absent_contact,
    }.get(task.kind, _settings)
    return inside(task, state)


def _leave(task: Task, state: State, last: str) -> Step:
    """Go back one page, or to the home screen, once."""
    zh = task.lang == "zh"
    if task.kind == "back":
        return _finish(task) if last == "Back" else Step("返回上一页" if zh else "go back one page", Action("Back"))
    if task.kind == "close" and state.app is None and last != "Home":
        return Step("什么都没开" if zh else "nothing is open", Action("finish", message=NOTHING_OPEN[task.lang]))
    return _finish(task) if state.app is None else Step("回到桌面" if zh else "go to the home screen", Action("Home"))


def meaning(task: Task) -> Action:
    """The goal of a command, or the closing sentence that declines it; words to be copied are in `plain` letters."""
    refused = task.kind in REFUSED
    text = report(task) if refused else goal(task)
    for words in free_words(task):
        text = text.replace(words, plain(words))
    return Action("finish", message=text) if refused else Action("Goal", text=text)


def free_words(task: Task, slots: Sequence[str] = FREE) -> list[str]:
    """The texts in these slots of a task and its parts: words of the command's own, which are copied."""
    return [value for part in task.parts or (task,) for slot, value in part.slots if slot in slots]


def next_on_unknown_screen(task: Task, *, history: Sequence[Done] = ()) -> Step:
    """The right next step on a screen that belongs to no phone of this world: the app that is needed, by name, or a plain word."""
    zh, last = task.lang == "zh", history[-1][0] if history else ""
    part = task.parts[0] if task.parts else task
    if task.kind in ("beyond", "strange_app", "who") or (task.kind == "back" and last == "Back"):
        return next_step(task, State(Look.random(0)), history=history)
    if task.kind in ("back", "home", "close") and last not in ("Back", "Home"):
        name = "Back" if task.kind == "back" else "Home"
        return Step("先离开这里" if zh else "leave this place first", Action(name))
    if part.app is not None and last != "Launch":
        target = app(part.app)
        thought = f"不认识这个界面，启动{target.name(task.lang)}" if zh else f"an unknown screen, launch {target.name(task.lang)}"
        return Step(thought, Action("Launch", app=target.key(task.lang)))
    message = refuse(UNKNOWN_SCREEN[task.lang], task.lang)
    return Step("不认识这个界面" if zh else "an unknown screen", Action("finish", message=message))


def _two(task: Task, state: State, history: Sequence[Done], sees: bool) -> Step:
    """The next step of two wishes: of the first until the phone shows that it is done, then of the second.

    Away from both apps the last actions tell which is next: an agent that has gone home among them has done the first.
    """
    first, second = task.parts
    if not sees:
        return next_step(second if _has_home_action(history) else first, state, history=history, sees=False)
    if state.app == first.app != second.app:
        step = next_step(first, state, history=history)
        return Step(step.thinking, Action("Home")) if step.action.name == "finish" else step
    if first.app == second.app == state.app:
        step = next_step(first, state, history=history)
        step = step if step.action.name != "finish" else next_step(second, state, history=history)
    elif (state.app == second.app and history) or _has_home_action(history):
        step = next_step(second, state, history=history)
    else:
        step = next_step(first, state, history=history)
    return _finish(task) if step.action.name == "finish" else step


def _has_home_action(history: Sequence[Done]) -> bool:
    """True if the agent has gone home within what it remembers, and not as its first action."""
    return any(name == "Home" for name, _ in history[-MEMORY:][1:]) or (len(history) > MEMORY and history[-MEMORY][0] == "Home")


def _absent_app(task: Task, state: State, history: Sequence[Done]) -> Step:
    """Look at both home pages, then say that the app is not there."""
    zh = task.lang == "zh"
    if state.app is not None:
        return Step("先回桌面" if zh else "go home first", Action("Home"))
    since = [name for name, changed in history[-MEMORY:] if changed or name == "Home"]
    if "Swipe" in since[since.index("Home") if "Home" in since else 0 :]:
        return Step("两页都没有" if zh else "it is on neither page", Action("finish", message=report(task)))
    way = "right" if state.page else "left"
    return Step("这一页没有，翻另一页" if zh else "not on this page, look at the other", _swipe(way))


def _absent_contact(task: Task, state: State) -> Step:
    if state.route[-1].name != "main":
        return Step("返回列表看看" if task.lang == "zh" else "back to the list", Action("Back"))
    return Step("列表里没有" if task.lang == "zh" else "not in the list", Action("finish", message=report(task)))


def _towards(task: Task, state: State, sees: bool) -> Step:
    """Get the task's app to the front."""
    target = app(task.app or "")
    name, zh = target.name(task.lang), task.lang == "zh"
    if not sees:
        thought = f"看不清屏幕，直接启动{name}" if zh else f"the screen is unreadable, launch {name}"
        return Step(thought, Action("Launch", app=target.key(task.lang)))
    if state.app is not None:
        return Step(f"要用{name}，先回桌面" if zh else f"{name} is another app, go home first", Action("Home"))
    page = state.look.page_of(target.id)
    if page > state.page:
        return Step(f"{name}在第二页，先向左滑" if zh else f"{name} is on the second page, swipe left", _swipe("left"))
    if page < state.page:
        return Step(f"{name}在第一页，先向右滑" if zh else f"{name} is on the first page, swipe right", _swipe("right"))
    return _tap(task, state, concept=target.id)


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


def _delete_alarm(task: Task, state: State) -> Step:
    """Delete one alarm or all of them: each is opened, and deleted there. A notice tells that something was deleted."""
    view, zh = state.route[-1], task.lang == "zh"
    due = state.alarms if task.kind == "delete_alarms" else [time for time in state.alarms if time == task.slot("time")]
    if view.name == "alarm" and view.arg in due:
        return _tap(task, state, concept="delete")
    if view.name != "main":
        return Step("返回闹钟列表" if zh else "back to the alarms", Action("Back"))
    if due:
        row = find(state, effect=f"alarm:{due[0]}")
        if row is not None:
            return Step(f"点{due[0]}" if zh else f"tap {due[0]}", Action("Tap", element=row.centre))
    if not state.notice:
        none = (NO_ALARMS if task.kind == "delete_alarms" else MISSING_ALARM)[task.lang]
        return Step("没有这样的闹钟" if zh else "no such alarm", Action("finish", message=none))
    return _finish(task)


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
    """The agent's closing message for a task."""
    lang: Lang = task.lang
    if task.kind == "beyond":
        return refuse(_reason(task.slot("subject"), lang), lang)
    names = {k: named(v).name(lang) if k in ("app", "setting", "contact") else v for k, v in task.slots}
    names |= {"name": task.missing} if task.kind == "absent_app" else {}
    zh, en = {
        "open_app": ("{app}已打开。", "{app} is open."),
        "toggle_on": ("{setting}已开启。", "{setting} is on now."),
        "toggle_off": ("{setting}已关闭。", "{setting} is off now."),
        "search": ("搜索结果在这里。", "Here are the results."),
        "send": ("已发给{contact}。", "Sent to {contact}."),
        "alarm": ("闹钟已设置。", "The alarm is set."),
        "back": ("已返回。", "Went back."),
        "home": ("已回到桌面。", "This is the home screen."),
        "close": ("已关闭。", "It is closed."),
        "delete_alarm": ("闹钟已删除。", "The alarm is deleted."),
        "delete_alarms": ("闹钟都已删除。", "All alarms are deleted."),
        "two": ("两件事都办好了。", "Both are done."),
        "absent_app": ("这部手机上没有{name}。", "{name} is not on this phone."),
        "strange_app": (STRANGE_APP["zh"], STRANGE_APP["en"]),
        "absent_contact": ("联系人里没有{name}。", "{name} is not among the contacts."),
    }[task.kind]
    return (zh if lang == "zh" else en).format(**names)


def _reason(subject: str, lang: Lang) -> str:
    """The clause that says why a wish of a subject is not fulfilled."""
    if subject in NOT_UNDERSTOOD:
        return UNCLEAR[lang]
    if subject in NAMED_SUBJECTS:
        return next(each for each in subjects() if each.id == subject).why[lang]
    return CANNOT[lang]
