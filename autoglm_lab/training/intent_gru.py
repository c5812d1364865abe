"""A small recurrent network that predicts the next of a sequence of numbers, trained on the sequences of many people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Events = Int[np.ndarray, " events"]
Table = Float[np.ndarray, "events kinds"]
IGNORE = -100  # label that the cross entropy skips: it pads the shorter sequences


@dataclass(frozen=True)
class GRUConfig:
    """Size and training of the network. ValueError unless all of them are above 0."""

    width: int = 64
    epochs: int = 12
    window: int = 64  # events that are unrolled at once; the state of one window goes on into the next
    learning_rate: float = 5e-3

    def __post_init__(self) -> None:
        if min(self.width, self.epochs, self.window, self.learning_rate) <= 0:
            raise ValueError(f"width, epochs, window and learning_rate have to be above 0, not {self}")


class IntentGRU(nn.Module):
    """Embedding, one GRU layer (Cho et al. 2014) and a linear layer over the kinds; `kinds` stands before the first event."""

    def __init__(self, kinds: int, width: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.embed = nn.Embedding(kinds + 1, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, kinds)

    def forward(self, ids: Int[Tensor, "B T"], state: Tensor | None = None) -> tuple[Float[Tensor, "B T kinds"], Tensor]:
        """Logits of the event after each of `ids`, and the state [1, B, width] to go on from."""
        hidden, state = self.gru(self.embed(ids), state)
        return self.head(hidden), state

    @torch.inference_mode()
    def forecast(self, events: Events) -> Table:
        """The probability of each kind before each event, from those before it alone. ValueError for a number that is no kind."""
        _check([events], self.kinds)
        before = torch.tensor([[self.kinds, *events[:-1].tolist()]])
        logits: Tensor = self(before)[0]
        return np.asarray(logits[0].double().softmax(dim=-1).numpy())


def fit(sequences: Sequence[Events], kinds: int, seed: int, config: GRUConfig | None = None) -> Callable[[Events], Table]:
    """Train on the sequences of several people and return a function that forecasts another one; the same for the same seed.

    ValueError without sequences, for an empty one, or a number that is no kind.
    """
    config = config or GRUConfig()
    _check(sequences, kinds)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = IntentGRU(kinds, config.width)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate)
    before, after = _padded(sequences, kinds)
    for _ in range(config.epochs):
        state: Tensor | None = None
        for begin in range(0, before.shape[1], config.window):
            stretch = slice(begin, begin + config.window)
            logits, state = network(before[:, stretch], state)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), after[:, stretch].flatten(), ignore_index=IGNORE)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            state = state.detach()
    return network.eval().forecast


def _padded(sequences: Sequence[Events], kinds: int) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Each sequence behind its start, and the events to predict."""
    longest = max(map(len, sequences))
    before, after = torch.full((len(sequences), longest), kinds), torch.full((len(sequences), longest), IGNORE)
    for row, events in enumerate(sequences):
        numbers = torch.from_numpy(np.asarray(events, np.int64))
        before[row, 1 : len(events)], after[row, : len(events)] = numbers[:-1], numbers
    return before, after


def _check(sequences: Sequence[Events], kinds: int) -> None:
    if not sequences or not all(len(events) for events in sequences):
        raise ValueError("there is no sequence, or an empty one; give one event at least of each person")
    if not all(((events >= 0) & (events < kinds)).all() for events in sequences):
        raise ValueError(f"an event is no number from 0 to {kinds - 1}")
