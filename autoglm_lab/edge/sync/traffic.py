"""Writes as a phone's owner makes them, drawn from the simulated phone; and what they would take at least."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.tasks import Task, sample

WRITE_BYTES = b"\0"  # between a key and its value, in the model


class Operation(NamedTuple):
    """A write: its kind, its key and its value."""

    kind: str
    key: str
    value: bytes


def operations(count: int, seed: int = 0) -> list[Operation]:
    """Draw `count` writes of sampled tasks, in both languages: a switch, an alarm, a line of chat, else the command itself."""
    rng = np.random.default_rng([seed, 23])
    phones = [SimulatedPhone(seed * 100 + number) for number in range(10)]
    return [_operation(sample(phones[number % 10].state, rng), number) for number in range(count)]


def _operation(task: Task, number: int) -> Operation:
    slots = dict(task.slots)
    if task.kind in ("toggle_on", "toggle_off"):
        return Operation("switch", f"set/{slots['setting']}", b"1" if task.kind == "toggle_on" else b"0")
    if task.kind == "alarm":
        return Operation("alarm", f"alarm/{slots['time']}", b"1")
    if task.kind == "send":
        return Operation("chat line", f"chat/{slots['contact']}/{number}", slots["message"].encode())
    return Operation("command", f"log/{number}", task.text.encode())


class ByteModel:
    """Probabilities of bytes after the two before, mixed with shorter contexts (Witten and Bell 1991), learnt from texts.

    What a coder that knows these texts would need is no bound for all coders, but none of the formats comes near it.
    """

    def __init__(self, texts: Iterable[bytes], order: int = 2) -> None:
        self._order = order
        self._counts: defaultdict[bytes, Counter[int]] = defaultdict(Counter)
        for text in texts:
            for place, byte in enumerate(text):
                for length in range(min(order, place) + 1):
                    self._counts[text[place - length : place]][byte] += 1

    def bits(self, text: bytes) -> float:
        """The bits that a perfect coder with this model needs for a text."""
        contexts = (text[max(0, place - self._order) : place] for place in range(len(text)))
        return sum(-math.log2(self._probability(context, byte)) for context, byte in zip(contexts, text, strict=True))

    def _probability(self, context: bytes, byte: int) -> float:
        counts = self._counts.get(context, Counter())
        shorter = self._probability(context[1:], byte) if context else 1 / 256
        return (counts[byte] + len(counts) * shorter) / (counts.total() + len(counts)) if counts else shorter


def model_of(writes: Iterable[Operation]) -> ByteModel:
    """Learn a model of keys and values."""
    return ByteModel(text_of(write) for write in writes)


def text_of(write: Operation) -> bytes:
    """Join key and value to one text, with an end."""
    return write.key.encode() + WRITE_BYTES + write.value + WRITE_BYTES
