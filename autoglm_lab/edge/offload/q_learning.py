"""Learning what actions are worth from samples: a table, and a network of two hidden layers in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from autoglm_lab.edge.offload.simulation import Environment, Sampler
from autoglm_lab.edge.offload.world import ACTIONS, World

Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Settings:
    """Settings of a learner. Exploration falls in a line from 1 to `last_exploration` over the first half of the steps."""

    steps: int = 8000  # of all copies
    copies: int = 16
    discount: float = 0.95
    last_exploration: float = 0.05
    hidden: int = 64
    learning_rate: float = 1e-3  # of Adam; falls in a line to a tenth
    batch: int = 64
    memory: int = 40_000  # transitions that are remembered
    target_every: int = 250  # steps after which the target network takes over what was learned

    def exploration(self, step: int) -> float:
        """The share of actions that are drawn at random."""
        return max(self.last_exploration, 1 - 2 * step / self.steps)


def table_q(world: World, settings: Settings, seed: int) -> Int[np.ndarray, " S"]:
    """The greedy policy of a table of action values (Q-learning; Watkins 1989).

    A value moves by one over its number of visits to the power 0.7; what was never tried keeps the value 0.
    """
    rng, phones = np.random.default_rng([seed, 1]), Sampler(world, settings.copies, seed)
    values, visits = np.where(np.isfinite(world.table.possible), 0.0, -np.inf), np.zeros(world.table.possible.shape)
    for step in range(settings.steps):
        before = phones.state
        actions = _explore(rng, values[before], phones.possible(), settings.exploration(step))
        reward = phones.act(actions)
        target = reward + settings.discount * values[phones.state].max(axis=1)
        for state, action, goal in zip(before, actions, target, strict=True):
            visits[state, action] += 1
            values[state, action] += (goal - values[state, action]) / visits[state, action] ** 0.7
    return np.asarray(values.argmax(axis=1))


def _explore(
    rng: np.random.Generator, values: Float[np.ndarray, "N A"], possible: Bool[np.ndarray, "N A"], share: float
) -> Int[np.ndarray, " N"]:
    """The best possible action of each copy, or for a share of them any possible one."""
    at_random = rng.random(len(values))[:, None] < share
    return np.asarray(np.where(possible, np.where(at_random, rng.random(values.shape), values), -np.inf).argmax(axis=1))


class Network:
    """Two hidden layers of rectified units, and Adam (Kingma and Ba 2015)."""

    def __init__(self, sizes: tuple[int, ...], rng: np.random.Generator) -> None:
        self.weights = [rng.normal(0, np.sqrt(2 / rows), (rows, columns)) for rows, columns in pairwise(sizes)]
        self.weights += [np.zeros(columns) for columns in sizes[1:]]
        self.layers = len(sizes) - 1
        self.mean, self.square, self.updates = [0.0 * w for w in self.weights], [0.0 * w for w in self.weights], 0

    def activations(self, rows: Float[np.ndarray, "N F"]) -> list[Float[np.ndarray, "N D"]]:
        """The input, each hidden layer, and the action values."""
        outputs = [rows]
        for layer in range(self.layers):
            summed = outputs[-1] @ self.weights[layer] + self.weights[self.layers + layer]
            outputs.append(np.maximum(summed, 0) if layer < self.layers - 1 else summed)
        return outputs

    def __call__(self, rows: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N A"]:
        """The value of each action."""
        return self.activations(rows)[-1]

    def gradients(self, outputs: list[Float[np.ndarray, "N D"]], error: Float[np.ndarray, "N A"]) -> list[np.ndarray]:
        """Back-propagate the gradient of a loss with respect to the action values: of matrices [D, D'], then of biases [D']."""
        matrices, biases = [], []
        for layer in reversed(range(self.layers)):
            matrices.append(outputs[layer].T @ error)
            biases.append(error.sum(axis=0))
            error = (error @ self.weights[layer].T) * (outputs[layer] > 0)
        return matrices[::-1] + biases[::-1]

    def descend(self, gradients: list[np.ndarray], rate: float) -> None:
        """One step of Adam; the gradients have the shapes of the weights."""
        self.updates += 1
        correction = np.sqrt(1 - 0.999**self.updates) / (1 - 0.9**self.updates)
        for weight, gradient, mean, square in zip(self.weights, gradients, self.mean, self.square, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            weight -= rate * correction * mean / (np.sqrt(square) + 1e-8)

    def copy_from(self, other: Network) -> None:
        """Take over another network's weights."""
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            mine[:] = theirs


class Replay:
    """The last transitions, of which batches are drawn (Lin 1992); `possible` are the actions after each."""

    def __init__(self, size: int, features: int) -> None:
        self.before, self.after = np.zeros((size, features)), np.zeros((size, features))
        self.action, self.reward = np.zeros(size, np.int64), np.zeros(size)
        self.possible = np.zeros((size, len(ACTIONS)), bool)
        self.added = 0

    def add(self, **rows: np.ndarray) -> None:
        """Remember one transition of each copy (`before`, `action`, `reward`, `after`, `possible`), in place of the oldest."""
        count = len(rows["action"])
        at = np.arange(self.added, self.added + count) % len(self.action)
        for name, values in rows.items():
            getattr(self, name)[at] = values
        self.added += count

    def draw(self, rng: np.random.Generator, count: int) -> Int[np.ndarray, " N"]:
        """Draw the places of some transitions."""
        return rng.integers(min(self.added, len(self.action)), size=count)


def deep_q(environment: Environment, settings: Settings, seed: int, progress: Progress = iter) -> Network:
    """Learn action values by a network (DQN; Mnih et al. 2015), with double Q (van Hasselt, Guez, Silver 2016).

    The online network picks the best next action, the target network says what it is worth.
    """
    rng, now = np.random.default_rng([seed, 2]), environment.observe()
    online, target = (Network((now.shape[1], settings.hidden, settings.hidden, len(ACTIONS)), rng) for _ in range(2))
    replay = Replay(settings.memory, now.shape[1])
    target.copy_from(online)
    for step in progress(range(settings.steps)):
        actions = _explore(rng, online(now), environment.possible(), settings.exploration(step))
        reward, before, now = environment.act(actions), now, environment.observe()
        replay.add(before=before, action=actions, reward=reward, after=now, possible=environment.possible())
        if step % settings.target_every == 0:
            target.copy_from(online)
        _learn(online, target, replay, replay.draw(rng, settings.batch), settings, 1 - 0.9 * step / settings.steps)
    return online


def _learn(online: Network, target: Network, replay: Replay, at: Int[np.ndarray, " N"], settings: Settings, rate: float) -> None:
    """One step towards reward plus the discounted value of the best next action; errors above 1 pull no harder than 1 (Huber)."""
    rows = np.arange(len(at))
    best = np.where(replay.possible[at], online(replay.after[at]), -np.inf).argmax(axis=1)
    goal = replay.reward[at] + settings.discount * target(replay.after[at])[rows, best]
    outputs = online.activations(replay.before[at])
    error = np.zeros_like(outputs[-1])
    error[rows, replay.action[at]] = np.clip(outputs[-1][rows, replay.action[at]] - goal, -1, 1) / len(at)
    online.descend(online.gradients(outputs, error), settings.learning_rate * rate)


def network_policy(world: World, network: Network, features: Float[np.ndarray, "S F"]) -> Int[np.ndarray, " S"]:
    """The action that a network values most in each state, of those that are possible."""
    return np.asarray((network(features) + world.table.possible).argmax(axis=1))
