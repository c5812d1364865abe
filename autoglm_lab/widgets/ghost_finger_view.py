"""A ghost finger over a phone, and a purse of milliseconds: each guess, what came, and what a gate gains and loses. No browser."""

from __future__ import annotations

import base64
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from autoglm_lab.edge.intent.events import KINDS, N_READING
from autoglm_lab.edge.intent.judging import Forecasts
from autoglm_lab.edge.intent.personas import Persona, stream
from autoglm_lab.edge.intent.predictors import Markov, online
from autoglm_lab.edge.intent.study import DRIFT, WARM, calibrate
from autoglm_lab.edge.intent.value import Price
from autoglm_lab.phone.catalog import named
from autoglm_lab.phone.draw import draw
from autoglm_lab.phone.oracle import SWIPES
from autoglm_lab.phone.screens import find
from autoglm_lab.phone.state import State
from autoglm_lab.widgets.charts import COLOURS, canvas, drawn
from autoglm_lab.widgets.pictures import small_png

Point = tuple[int, int]
TASKS, OTHERS = 80, 6  # of the person that is watched, and people whose guesses are calibrated on
SCREEN = (162, 360)  # width and height in pixels
GATES = np.linspace(0, 1, 101)
BEGIN = DRIFT - 0.1  # share of the tasks before the first step that is shown
MOST_COST = 4.0  # savings of one, the end of the slider


@dataclass(frozen=True)
class Moment:
    """One event: the screen before it, the best guess with its calibrated probability, and what came. Points in thousandths."""

    screen: Image.Image
    guess: str
    guess_at: Point | None  # None where it is no touch of this screen
    probability: float
    came: str
    came_at: Point | None
    first: bool  # first step of a task

    @property
    def right(self) -> bool:
        """True if the guess came."""
        return self.guess == self.came

    @property
    def may_prepare(self) -> bool:
        """True if the guess is a reading step."""
        return KINDS.index(self.guess) < N_READING


@dataclass(frozen=True)
class Purse:
    """Some moments under one gate and one price. ValueError without moments, or for a gate outside 0 to 1."""

    moments: tuple[Moment, ...]
    price: Price
    gate: float

    def __post_init__(self) -> None:
        if not self.moments:
            raise ValueError("there are no events; nothing can be gained")
        if not 0 <= self.gate <= 1:
            raise ValueError(f"gate is {self.gate}; it is a probability, 0 to 1")

    def gains(self, gate: float) -> list[float]:
        """Milliseconds gained or lost at each event under a gate."""
        return [
            0.0 if not each.may_prepare or each.probability <= gate else self.price.saving_ms if each.right else -self.price.cost_ms
            for each in self.moments
        ]

    @property
    def totals(self) -> list[float]:
        """Milliseconds gained over all events, for each of `GATES`."""
        return [sum(self.gains(float(gate))) for gate in GATES]

    @property
    def best_gate(self) -> float:
        """The gate with the largest total: of several the one that is nearest to p*."""
        totals = np.array(self.totals)
        best = GATES[totals >= totals.max() - 1e-9]
        return float(best[np.abs(best - self.price.gate).argmin()])

    def data(self) -> dict[str, Any]:
        """Everything that moves with gate and cost, as plain JSON values."""
        return {
            "gate": self.gate,
            "saving": self.price.saving_ms,
            "cost": round(self.price.cost_ms, 1),
            "rule": round(self.price.gate, 3),
            "best": round(self.best_gate, 2),
            "gains": [round(gain, 1) for gain in self.gains(self.gate)],
            "totals": [round(total, 1) for total in self.totals],
        }

    def events(self) -> list[dict[str, Any]]:
        """The moments as plain JSON values; screens are numbers of `screens`."""
        places = {id(each.screen): place for place, each in enumerate(self._distinct())}
        return [
            {
                "screen": places[id(each.screen)],
                "guess": label(each.guess),
                "guessAt": list(each.guess_at) if each.guess_at else None,
                "probability": round(each.probability, 3),
                "came": label(each.came),
                "cameAt": list(each.came_at) if each.came_at else None,
                "right": each.right,
                "first": each.first,
                "may": each.may_prepare,
            }
            for each in self.moments
        ]

    def screens(self) -> list[str]:
        """Each distinct screen once, as a PNG in a data URL."""
        return ["data:image/png;base64," + base64.b64encode(small_png(each.screen)).decode() for each in self._distinct()]

    def _distinct(self) -> list[Moment]:
        return list({id(each.screen): each for each in self.moments}.values())

    def sentence(self) -> str:
        """Say what the gate gains, and which gate would gain most."""
        gains = self.gains(self.gate)
        hits, misses = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        total, best = sum(gains), max(self.totals)
        return (
            f"Above a gate of {self.gate:.2f} {hits} of {len(gains)} steps were prepared for rightly and {misses} wrongly: "
            f"the purse holds {total:+.0f} ms. A hit saves {self.price.saving_ms:.0f} ms and a miss costs "
            f"{self.price.cost_ms:.0f} ms, so p* = cost / (cost + saving) is {self.price.gate:.2f}; "
            f"on these steps {self.best_gate:.2f} was best, with {best:+.0f} ms."
        )


def label(kind: str) -> str:
    """A kind of event in words.

    >>> label("tap:wechat"), label("finish:open_app"), label("home")
    ('tap WeChat', 'finish open app', 'home')
    """
    verb, _, thing = kind.partition(":")
    return f"{verb} {named(thing).name('en') if verb == 'tap' else thing.replace('_', ' ')}".strip()


def point_of(kind: str, state: State) -> Point | None:
    """Point that a finger would touch for a kind of event; None where nothing of the kind is on the screen."""
    verb, _, thing = kind.partition(":")
    if verb == "swipe":
        return SWIPES[thing][0]
    target = find(state, concept=thing) if verb == "tap" else None
    return None if target is None else target.centre


def moments(seed: int = 3, steps: int = 48, tasks: int = TASKS, others: int = OTHERS) -> tuple[Moment, ...]:
    """Steps of one persona around the day on which its habits change, guessed from its own past, calibrated on other people.

    ValueError when there are not so many steps from there on.
    """
    states: list[State] = []
    forecast = online(partial(Markov, len(KINDS), 3))
    mine = stream(Persona.random(seed), tasks, lambda phone, _: states.append(deepcopy(phone.state)))
    theirs = [stream(Persona.random(1000 * (seed + 1) + other), tasks) for other in range(others)]
    fitting = Forecasts.join(Forecasts.of(n, each, forecast(each.events)) for n, each in enumerate(theirs))
    forecasts = Forecasts.of(seed, mine, forecast(mine.events))
    news = np.flatnonzero(np.diff(mine.events, prepend=-1) != 0)
    first_step, end = int((forecasts.age < BEGIN).sum()), len(forecasts)
    if not 0 < steps <= end - first_step:
        raise ValueError(f"steps is {steps}; of {tasks} tasks there are 1 to {end - first_step} steps to show")
    sure = calibrate(fitting.between(WARM / 2, DRIFT), forecasts)
    screens: dict[bytes, Image.Image] = {}

    def moment(n: int) -> Moment:
        state, guess, came = states[news[n]], KINDS[forecasts.guess[n]], KINDS[forecasts.real[n]]
        image = draw(state, SCREEN)
        image = screens.setdefault(image.tobytes(), image)
        return Moment(image, guess, point_of(guess, state), float(sure[n]), came, point_of(came, state), bool(forecasts.first[n]))

    return tuple(moment(n) for n in range(first_step, first_step + steps))


def picture(purse: Purse) -> Image.Image:
    """The purse under every gate, beside the screen with the surest ghost finger at the first step of a task."""
    drawing, axes = canvas("What each gate leaves in the purse", "gate on the calibrated probability", height=3.6)
    axes.plot(GATES, purse.totals, color=COLOURS[0], drawstyle="steps-post")
    axes.axhline(0, color="#b0b6bd", linewidth=0.8)
    for gate, name, style in ((purse.gate, "your gate", "-"), (purse.price.gate, "p*", "--")):
        axes.axvline(gate, color=COLOURS[1], linestyle=style, label=f"{name} = {gate:.2f}")
    axes.plot([purse.best_gate], [max(purse.totals)], "o", color=COLOURS[2], label=f"best = {purse.best_gate:.2f}")
    axes.set_ylabel("ms")
    axes.legend(frameon=False, fontsize=9)
    chart, screen = drawn(drawing), _ghost(purse)
    both = Image.new("RGB", (screen.width + chart.width + 24, max(screen.height, chart.height)), "white")
    both.paste(screen, (8, (both.height - screen.height) // 2))
    both.paste(chart, (screen.width + 24, (both.height - chart.height) // 2))
    return both


def _ghost(purse: Purse) -> Image.Image:
    pointing = [each for each in purse.moments if each.guess_at] or list(purse.moments)
    sure = max(pointing, key=lambda each: (each.first, each.probability))
    image = sure.screen.convert("RGB")
    if sure.guess_at is not None:
        layer = Image.new("RGBA", image.size)
        x, y = (value * side / 1000 for value, side in zip(sure.guess_at, image.size, strict=True))
        ImageDraw.Draw(layer).ellipse((x - 13, y - 13, x + 13, y + 13), (201, 111, 10, int(255 * sure.probability)), (0, 0, 0))
        image.paste(layer, mask=layer)
    return image
