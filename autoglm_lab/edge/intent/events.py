"""Events of a phone: the steps that an agent takes, as kinds. A kind says what is tapped, and not where or in which words."""

from __future__ import annotations

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.catalog import APPS, CONTACTS, SETTINGS
from autoglm_lab.phone.oracle import SWIPES
from autoglm_lab.phone.screens import elements
from autoglm_lab.phone.state import State
from autoglm_lab.phone.tasks import WEIGHTS

_OPENS = (*(app.id for app in APPS), *(contact.id for contact in CONTACTS), "search_field", "search_button", "add_alarm")
_CHANGES = (*(setting.id for setting in SETTINGS), "save", "send")
_READING = (
    *(f"tap:{concept}" for concept in _OPENS),
    *(f"type:{view}" for view in ("chat", "editor", "search")),
    *(f"swipe:{way}" for way in SWIPES),
    "back",
    "home",
)
_LASTING = (*(f"tap:{concept}" for concept in _CHANGES), *(f"finish:{kind}" for kind in WEIGHTS))

KINDS: tuple[str, ...] = (*_READING, *_LASTING)
NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
N_READING = len(_READING)  # kinds below this number leave nothing that lasts, and a screen follows: only they may be prepared for


def kind_of(action: Action, state: State, task_kind: str) -> str:
    """Name the kind of an action on a screen. ValueError for one that no task of `phone.tasks.sample` needs."""
    if action.name == "Tap" and action.element is not None:
        x, y = action.element
        hit = [item.concept for item in elements(state) if item.effect and item.covers(x + 0.5, y + 0.5)]
        kind = f"tap:{hit[-1]}" if hit else "tap:nothing"
    elif action.name == "Type":
        kind = f"type:{state.view.name}" if state.view else "type:home"
    elif action.name == "Swipe":
        kind = f"swipe:{next((way for way, ends in SWIPES.items() if ends == (action.start, action.end)), 'otherwise')}"
    else:
        kind = f"finish:{task_kind}" if action.name == "finish" else action.name.lower()
    if kind not in NUMBERS:
        raise ValueError(f"{kind!r} is no kind of event; an event is a step of a task that `sample` draws")
    return kind
