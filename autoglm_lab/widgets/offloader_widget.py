"""The reader as the offloader of a phone. `offloader_view` computes game, plans and picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets
from PIL import Image

from autoglm_lab.edge.offload.planning import Policy
from autoglm_lab.edge.offload.world import ACTIONS, World
from autoglm_lab.widgets import offloader_view as view
from autoglm_lab.widgets.base import LabWidget, source
from autoglm_lab.widgets.offloader_game import Chances, Game


class OffloaderWidget(LabWidget):
    """See `autoglm_lab.widgets.offloader`."""

    _esm = source("offloader.js")
    _css = source("offloader.css")

    rules = traitlets.Unicode("").tag(sync=True)
    game = traitlets.Dict().tag(sync=True)  # view.Comparison.data
    plan = traitlets.Dict().tag(sync=True)  # view.Plan.data
    said = traitlets.Unicode("").tag(sync=True)

    def __init__(self, world: World, seed: int, policies: Mapping[str, Policy]) -> None:
        self._world, self._seed, self._policies = world, seed, view.players(world, policies)
        self._plans: dict[float, view.Plan] = {}
        self._plan = self._planned(min(max(-world.rewards.expired, 0.0), view.MOST_PRICE))
        self._deal()
        super().__init__(rules=view.rules(world))
        self._show("The first request waits.")

    @property
    def regrets(self) -> list[float]:
        """The reward that each of your decisions gave up in expectation."""
        return self._comparison.regrets(self._comparison.you.decisions)

    def decide(self, action: str) -> None:
        """Do this with the request that waits: "local", "edge" or "wait". ValueError for another word, or after the last one."""
        if action not in ACTIONS:
            raise ValueError(f"there is no action {action!r}; there are {', '.join(ACTIONS)}")
        words = view.outcome(self._comparison.you.act(ACTIONS.index(action)), self._world)
        if self._comparison.you.is_over:
            self._is_open, words = True, f"{words} All have ended. {self._comparison.standing()}"
        self._show(words)

    def compare(self) -> None:
        """Let the policies play the same requests, and show what each of your decisions gave up."""
        self._is_open = True
        self._show(self._comparison.standing())

    def again(self, seed: int | None = None) -> None:
        """Start over: with the same requests, or with those of another seed."""
        self._seed = self._seed if seed is None else seed
        self._deal()
        self._show("The first request waits.")

    def set_price(self, price: float) -> None:
        """Plan anew where what expires or is blocked costs `price`; the game keeps its prices. ValueError outside 0 to 8."""
        self._plan = self._planned(price)
        self._show(self._plan.sentence())

    def handle(self, content: dict[str, Any]) -> None:
        """Do what one message of the page asks: decide (`action`), compare, again (`fresh` or the same), price (`price`)."""
        match content.get("kind"):
            case "decide":
                self.decide(content["action"])
            case "compare":
                self.compare()
            case "again":
                self.again(self._seed + 1 if content["fresh"] else None)
            case "price":
                self.set_price(float(content["price"]))
            case other:
                raise ValueError(f"the page asked for {other!r}")

    def picture(self) -> Image.Image:
        """The reward so far of every player."""
        return view.picture(self._comparison)

    def sentence(self) -> str:
        """Say who gained what, which decisions cost most, and what the price of expiry leads to."""
        return f"{self._comparison.sentence()} {self._plan.sentence()}"

    def _deal(self) -> None:
        game = Game(self._world, Chances.draw(self._world, self._seed))
        self._comparison, self._is_open = view.Comparison(game, self._policies), False

    def _planned(self, price: float) -> view.Plan:
        if price not in self._plans:
            self._plans[price] = view.Plan.at(self._world, price, self._policies[view.OPTIMUM])
        return self._plans[price]

    def _show(self, words: str) -> None:
        with self.hold_sync():
            self.game, self.plan, self.said = self._comparison.data(self._is_open), self._plan.data(), words
