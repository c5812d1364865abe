"""The phone in a notebook: tap it, or watch the agent use it. What it shows is computed in `phone_view`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import traitlets
from numpy.typing import NDArray
from PIL import Image

from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.filmstrip import Frame, caption, filmstrip
from autoglm_lab.phone.simulator import Phone
from autoglm_lab.widgets import phone_view as view
from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.pictures import png


class PhoneWidget(LabWidget):
    """See `autoglm_lab.widgets.phone`."""

    _esm = source("screen.js", "agent.js", "phone.js")
    _css = source("phone.css", "agent.css")

    screen = traitlets.Bytes(b"").tag(sync=True)  # PNG
    app = traitlets.Unicode("").tag(sync=True)
    targets = traitlets.List(traitlets.Dict()).tag(sync=True)
    clips = traitlets.List(traitlets.Dict()).tag(sync=True)  # {"label", "src"}
    can_run = traitlets.Bool(False).tag(sync=True)
    task = traitlets.Unicode("").tag(sync=True)  # the command of the current or last run
    history = traitlets.List(traitlets.Dict()).tag(sync=True)  # the run's steps, see phone_view.entry
    busy = traitlets.Bool(False).tag(sync=True)  # a run has begun and not ended
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        phone: Phone,
        engine: Any = None,
        *,
        clips: Sequence[tuple[str, NDArray[np.float32]]] = (),
        runner: view.Runner | None = None,
    ) -> None:
        self.phone, self.engine = phone, engine
        self._runner = runner
        self._waves = [(label, wave) for label, wave in clips]
        self._frames: list[Frame] = []
        self._run: Iterator[view.Step] | None = None
        self._heard: tuple[str, NDArray[np.float32] | None] = "", None  # the command of the run, written or spoken
        self._question = ""  # the goal that the last run ended with a question about
        sounds = [{"label": label, "src": view.wav_url(wave)} for label, wave in self._waves]
        super().__init__(clips=sounds, can_run=engine is not None or runner is not None)
        self._look(f"The phone shows {phone.current_app()}.")

    def tap(self, x: int, y: int) -> bool:
        """Tap at agent coordinates 0..999; True when something changed. ValueError outside of them."""
        return self._by_hand(Action("Tap", element=(x, y)), view.target_at(self.targets, x, y))

    def swipe(self, x0: int, y0: int, x1: int, y1: int) -> bool:
        """Swipe from one point to another, in agent coordinates; True when something changed."""
        return self._by_hand(Action("Swipe", start=(x0, y0), end=(x1, y1)))

    def type_text(self, text: str) -> bool:
        """Type into the field that has the focus; True when something changed."""
        return self._by_hand(Action("Type", text=text))

    def back(self) -> bool:
        """Press the Back button; True when something changed."""
        return self._by_hand(Action("Back"))

    def home(self) -> bool:
        """Press the Home button; True when something changed."""
        return self._by_hand(Action("Home"))

    def start(self, task: str = "", clip: int | None = None) -> None:
        """Begin a run for a written command, or for the spoken clip of that number. `step` does its steps.

        Raises ValueError for an empty command or an unknown clip, RuntimeError when the widget has no engine.
        """
        if not self.can_run:
            raise RuntimeError("there is no engine to run a command; give one: widgets.phone(phone, engine)")
        if clip is None and not task.strip():
            raise ValueError("the command is empty; write what the phone should do")
        if clip is not None and not 0 <= clip < len(self._waves):
            raise ValueError(f"clip is {clip}; there are {len(self._waves)} clips, counted from 0")
        label, wave = (task.strip(), None) if clip is None else self._waves[clip]
        self._heard = "" if clip is not None else label, wave
        self._begin(label)

    def say_yes(self) -> None:
        """Begin the run anew whose goal the agent was not sure of: it was meant. `step` does its steps.

        RuntimeError when the last run did not end with a question.
        """
        if not self._question:
            raise RuntimeError("the agent asks nothing; start a run with start(task)")
        self._begin(self.task, self._question)

    def _begin(self, label: str, goal: str = "") -> None:
        self._run = self._steps(*self._heard, goal)
        self._frames, self._question = [], ""
        with self.hold_sync():
            self.task, self.history, self.busy = label, [], True
            self.said = f"Yes: {goal}" if goal else f"Command: {label}"

    def step(self) -> bool:
        """Let the agent do one step; False when the run has ended. RuntimeError when none has begun."""
        if self._run is None:
            raise RuntimeError("no run is under way; start one with start(task)")
        before = self.phone.screenshot()
        try:
            step = next(self._run, None)
        except BaseException:
            self._end()
            raise
        if step is None:
            self._end(f"The run ended after {len(self.history)} steps.")
            return False
        self._frames.append(Frame(before, step.action, step.thinking))
        with self.hold_sync():
            self.history = [*self.history, view.entry(step)]
            self.message = step.error or ""
            self._look(view.said_of(step))
            asks = getattr(step, "question", "")
            if asks:
                self._question = str(getattr(step, "goal", ""))
            if asks or step.error or step.action is None or step.action.name in ("finish", "Take_over"):
                self._end()
        return self.busy

    def run(self, task: str = "", clip: int | None = None) -> None:
        """Begin a run and do all its steps."""
        self.start(task, clip)
        while self.step():
            pass

    def picture(self) -> Image.Image:
        """The steps of the run as a filmstrip, or the screen before there are any."""
        if self._frames:
            return filmstrip(self._frames, 360)
        screen = self.phone.screenshot()
        return screen.resize((round(screen.width * 480 / screen.height), 480), Image.Resampling.LANCZOS)

    def sentence(self) -> str:
        """The command, the steps and the app in front."""
        shows = f"The phone shows {self.app}."
        if not self._frames:
            return shows
        steps = ", then ".join(caption(frame.action) for frame in self._frames)
        return f"Command: {self.task}. The agent's steps: {steps}. {shows}"

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: tap, swipe, type, back, home, start, yes or step."""
        kind, points = content.get("kind"), [int(v) for v in content.get("points", ())]
        if kind == "tap" and len(points) == 2:
            self.tap(*points)
        elif kind == "swipe" and len(points) == 4:
            self.swipe(*points)
        elif kind == "type":
            self.type_text(str(content["text"]))
        elif kind == "back":
            self.back()
        elif kind == "home":
            self.home()
        elif kind == "start":
            self.start(str(content.get("task", "")), content.get("clip"))
        elif kind == "yes":
            self.say_yes()
        elif kind == "step":
            self.step()
        else:
            raise ValueError(f"the page sent {content}, which asks for nothing known")

    def _by_hand(self, action: Action, target: str = "") -> bool:
        changed = self.phone.perform(action)
        what = caption(action) + (f" on {target}" if target else "")
        self._look(f"{what}: " + (f"the phone shows {self.phone.current_app()}." if changed else "nothing changed."))
        return changed

    def _steps(self, text: str, wave: NDArray[np.float32] | None, goal: str) -> Iterator[view.Step]:
        from autoglm_lab.agent.loop import MAX_STEPS, steps

        more: dict[str, Any] = {"goal": goal} if goal else {}  # a runner that asks nothing need not know of it
        return (self._runner or steps)(text, self.phone, self.engine, audio=wave, max_steps=MAX_STEPS, **more)

    def _look(self, text: str) -> None:
        with self.hold_sync():
            self.screen = png(self.phone.screenshot())
            self.app = self.phone.current_app()
            self.targets = view.targets(self.phone)
            self.said = text

    def _end(self, text: str = "") -> None:
        self._run, self.busy = None, False
        self.said = text or self.said
