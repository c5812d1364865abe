"""Forty requests that a reader and some policies offload under the same chances: who gained what, and what each decision cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from autoglm_lab.edge.offload.planning import (
    Policy,
    action_values,
    evaluate,
    occupancy,
    optimum,
    probabilities,
    shares_of_ends,
    tabulate,
    worth,
)
from autoglm_lab.edge.offload.policies import greedy, least_latency
from autoglm_lab.edge.offload.world import ACTIONS, State, World
from autoglm_lab.widgets.charts import COLOURS, canvas, drawn
from autoglm_lab.widgets.offloader_game import Decision, Game, play

MOST_PRICE = 8.0  # of expiry, the end of the slider
OPTIMUM, YOU = "optimum", "you"
DONE = ("computed here", "sent", "kept waiting")  # by action
WOULD = ("compute it here", "send it", "wait")
RESULTS = {"in time": "in time", "late": "too late", "overload": "the processor's queue is full", "expired": "it expired"}
STYLES = ("-", "--", ":", "-.")


def players(world: World, more: Mapping[str, Policy]) -> dict[str, Int[np.ndarray, " S"]]:
    """Policies that play after you: two rules, the `more` of the caller, and the optimum. ValueError for one that does not fit."""
    base = tabulate(world, greedy)
    policies: dict[str, Policy] = {"greedy": base, "least latency": tabulate(world, least_latency), **more}
    return {name: _checked(world, name, policy) for name, policy in policies.items()} | {OPTIMUM: optimum(world, base)}


def _checked(world: World, name: str, policy: Policy) -> Int[np.ndarray, " S"]:
    table = np.asarray(policy)
    if table.shape not in ((len(world.states),), (len(world.states), len(ACTIONS))):
        raise ValueError(f"{name!r} is a policy of shape {table.shape}; this world has {len(world.states)} states")
    actions = probabilities(table).argmax(axis=1)
    if not np.isfinite(world.table.possible[np.arange(len(actions)), actions]).all():
        raise ValueError(f"{name!r} takes an action where none is possible but to wait")
    return np.asarray(actions)


@dataclass(frozen=True)
class Plan:
    """The best policy under one price of expiry, and its results in the long run.

    Rewards are those of a request: by this price, and by the prices of the world itself.
    """

    price: float
    policy: Int[np.ndarray, " S"]
    by_this_price: float
    by_own_price: float
    ends: Mapping[str, float]  # share of the requests
    waiting: float  # share of time in which a request waits

    @classmethod
    def at(cls, world: World, price: float, start: Policy) -> Plan:
        """Plan anew from a policy, where a request that expires or is blocked costs `price`. ValueError outside 0 to 8."""
        if not 0 <= price <= MOST_PRICE:
            raise ValueError(f"the price of expiry is {price}; it lies from 0 to {MOST_PRICE:g}")
        priced = replace(world, rewards=replace(world.rewards, expired=-price, blocked=-price))
        policy = optimum(priced, start)
        busy = np.array([state.age > 0 for state in world.states])
        shares = dict.fromkeys((*RESULTS, "blocked"), 0.0) | shares_of_ends(world, policy)
        return cls(price, policy, worth(priced, policy), worth(world, policy), shares, float(occupancy(world, policy)[busy].sum()))

    def sentence(self) -> str:
        """Say what the price leads to."""
        return (
            f"Where expiry costs {self.price:g}, the best plan earns {self.by_this_price:.2f} a request by that price "
            f"and {self.by_own_price:.2f} by the world's own; {self.ends['expired']:.1%} of the requests expire, "
            f"{self.ends['blocked']:.1%} are blocked, and a request waits in {self.waiting:.0%} of the time."
        )

    def data(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return {
            "price": self.price,
            "byThis": round(self.by_this_price, 2),
            "byOwn": round(self.by_own_price, 2),
            "ends": [[name, round(share, 4)] for name, share in self.ends.items()],
            "waiting": round(self.waiting, 4),
            "sentence": self.sentence(),
        }


@dataclass(frozen=True)
class Comparison:
    """Your game beside those of others on the same requests. `policies` holds the optimum, by which decisions are judged."""

    you: Game
    policies: Mapping[str, Int[np.ndarray, " S"]]

    @cached_property
    def others(self) -> dict[str, Game]:
        """The finished game of each policy."""
        return {name: play(self.you.world, self.you.chances, policy) for name, policy in self.policies.items()}

    @cached_property
    def values(self) -> Float[np.ndarray, "S A"]:
        """The value of each action if the optimum decides from the next slot on."""
        return action_values(self.you.world, evaluate(self.you.world, self.policies[OPTIMUM])[1])

    def regrets(self, decisions: Sequence[Decision]) -> list[float]:
        """The reward that each decision gave up against the best one, in expectation: luck is not in it."""
        rows = (self.values[self.you.world.number[each.state]] for each in decisions)
        losses = (float(row.max() - row[each.action]) for row, each in zip(rows, decisions, strict=True))
        return [loss if loss > 1e-6 else 0.0 for loss in losses]

    def costliest(self, count: int = 3) -> list[int]:
        """The numbers of your decisions that gave up most, of those that gave up anything."""
        regrets = self.regrets(self.you.decisions)
        return sorted((n for n, loss in enumerate(regrets) if loss), key=lambda n: -regrets[n])[:count]

    def in_words(self, number: int) -> str:
        """One of your decisions, its cost and its state."""
        world, each = self.you.world, self.you.decisions[number]
        [loss] = self.regrets([each])
        best = int(self.values[world.number[each.state]].argmax())
        state = "; ".join(f"{bar['name']}: {bar['words']}" for bar in bars(world, each.state))
        return f"Request {each.request + 1}, {DONE[each.action]}; best was to {WOULD[best]}; costs {loss:.1f} ({state})."

    def standing(self) -> str:
        """Say who gained what, and how much your decisions gave up."""
        standings, count = ", ".join(f"{name} {game.total:+.0f}" for name, game in self.others.items()), len(self.you.chances.luck)
        first = f"The same {count} requests under the same chances: {standings}."
        if not self.you.decisions:
            return f"{first} You have decided nothing yet."
        regrets = self.regrets(self.you.decisions)
        return (
            f"{first} You: {self.you.total:+.0f} after {len(self.you.ends)} of {count} requests. Your {len(regrets)} decisions "
            f"gave up {sum(regrets):.1f} in expectation; the rest is luck."
        )

    def sentence(self) -> str:
        """Say who gained what, and which of your decisions cost most."""
        costly = " ".join(map(self.in_words, self.costliest()))
        return f"{self.standing()} {costly or 'None of them cost anything.' if self.you.decisions else ''}".strip()

    def data(self, is_open: bool) -> dict[str, Any]:
        """The game as plain JSON values; the others and the regrets only where the cards are open."""
        game = self.you
        lines = {YOU: game.totals} | ({name: each.totals for name, each in self.others.items()} if is_open else {})
        return {
            "requests": len(game.chances.luck),
            "request": 0 if game.waiting is None else game.waiting + 1,
            "ended": len(game.ends),
            "total": game.total,
            "over": game.is_over,
            "open": is_open,
            "bars": [] if game.is_over else bars(game.world, game.state),
            "lines": [{"name": name, "totals": totals} for name, totals in lines.items()],
            "regrets": [round(loss, 2) for loss in self.regrets(game.decisions)] if is_open else [],
            "costliest": [{"decision": n, "words": self.in_words(n)} for n in self.costliest()] if is_open else [],
        }


def bars(world: World, state: State) -> list[dict[str, Any]]:
    """A state as bars with words: `share` is the length of each, 0 to 1."""
    load, bandwidth, local, radio, age = state
    sending, loads, rates = world.radio_slots[bandwidth], len(world.service), world.link.mbit
    more = " or more" if sending == world.most_radio else ""
    return [
        _bar("other work", (load + 1) / loads, f"level {load + 1} of {loads}, an answer takes {_slots(world.service[load])} here"),
        _bar("network", (bandwidth + 1) / len(rates), f"{rates[bandwidth]:g} Mbit/s, to send takes {_slots(sending)}{more}"),
        _bar("processor", local / world.most_local, f"{_slots(local)} of work before yours" if local else "free"),
        _bar("radio", radio / world.most_radio, f"busy for {_slots(radio)}" if radio else "free"),
        _bar("this request", age / world.deadline, f"in slot {age} of {world.deadline} until the deadline"),
    ]


def _bar(name: str, share: float, words: str) -> dict[str, Any]:
    return {"name": name, "share": round(share, 3), "words": words}


def _slots(count: int) -> str:
    return f"{count} slot{'s' * (count != 1)}"


def rules(world: World) -> str:
    """Say what the reader has to know of the world."""
    price = world.rewards
    return (
        f"A slot is {world.slot_s:g} s. An answer is in time within {_slots(world.deadline)}: {price.in_time:+g}. One that is late "
        f"costs {-price.failed:g}, one that expires unsent {-price.expired:g}, one that comes while another waits "
        f"{-price.blocked:g}, and a full queue of the processor {-price.overload:g}. "
        f"What is sent is back {_slots(world.away)} after it has left."
    )


def outcome(decision: Decision, world: World) -> str:
    """Say how a decision ended."""
    end = f"{RESULTS[decision.end.name]}, {decision.end.reward:+g}" if decision.end else "it waits on"
    words = f"Request {decision.request + 1}, {DONE[decision.action]}: {end}."
    if decision.blocked is None:
        return words
    return f"{words} Request {decision.blocked + 1} came and was turned away, {world.rewards.blocked:+g}."


def picture(comparison: Comparison) -> Image.Image:
    """The reward so far after each request, a line for each player."""
    drawing, axes = canvas("Reward so far, on the same requests", "request", height=3.4)
    games = {**comparison.others, **({YOU: comparison.you} if comparison.you.decisions else {})}
    for place, (name, game) in enumerate(games.items()):
        style = {"linewidth": 2.6, "color": "#24292f"} if name == YOU else {"color": COLOURS[place % len(COLOURS)]}
        axes.plot(range(1, len(game.totals) + 1), game.totals, STYLES[place % 4], label=f"{name}, {game.total:+.0f}", **style)
    axes.set_ylabel("reward")
    axes.legend(frameon=False, fontsize=9)
    return drawn(drawing)
