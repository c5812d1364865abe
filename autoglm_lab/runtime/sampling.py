"""Pick the next token from its scores: the likeliest, or one drawn at random from the likely ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sampling:
    """Settings by which tokens are picked. `temperature` 0 takes the likeliest; the defaults write what the model thinks best.

    `top_p` keeps the likeliest tokens that have this share of all probability together (Holtzman et al. 2020);
    `frequency_penalty` takes this much from a token's score for each time that it was written. ValueError outside the ranges
    that OpenAI's interface allows.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    frequency_penalty: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("frequency_penalty", -2, 2)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a number from {low} to {high}")

    def picker(self) -> Picker:
        """Return a picker for the tokens of one answer."""
        return Picker(self)


@dataclass
class Picker:
    """Picks the tokens of one answer, one after the other: it remembers which were written."""

    sampling: Sampling
    written: Counter[int] = field(default_factory=Counter)

    @cached_property
    def rng(self) -> np.random.Generator:
        """The generator, made for the first draw: numpy.random takes 7 MB and 20 ms, which greedy answers on a phone do without."""
        return np.random.default_rng(self.sampling.seed)

    def __call__(self, scores: NDArray[np.float32]) -> int:
        """The next token, by the scores [V] of all of them.

        >>> Sampling().picker()(np.array([0.1, 0.9, 0.3], np.float32))
        1
        """
        rules = self.sampling
        if rules.frequency_penalty:
            scores = scores.copy()
            for token, times in self.written.items():
                scores[token] -= rules.frequency_penalty * times
        token = int(scores.argmax()) if rules.temperature == 0 or rules.top_p == 0 else self._draw(scores)
        self.written[token] += 1
        return token

    def _draw(self, scores: NDArray[np.float32]) -> int:
        scaled = (scores - scores.max()).astype(np.float64) / self.sampling.temperature
        shares = np.exp(scaled)
        shares /= shares.sum()
        order = np.argsort(-shares)
        # a token stays while those before it do not yet have the share that was asked for
        stays = order[np.cumsum(shares[order]) - shares[order] < self.sampling.top_p]
        return int(self.rng.choice(stays, p=shares[stays] / shares[stays].sum()))
