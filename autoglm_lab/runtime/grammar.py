"""The action grammar over tokens: which may come next, which has to, and which usually does.

Where only one token may follow, the model need not be asked: it is written down and read together with the next question.
Willard and Louf (2023) compile a grammar to such an automaton; the jumps are described by Zheng et al. (2024, SGLang). Where an
answer is not held to the grammar it still says what will probably come: a draft, which the model reads and confirms in one pass
(speculative decoding, Leviathan et al. 2023).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from autoglm_lab.phone.actions import POINTS, SIGNATURES
from autoglm_lab.runtime.prompt import END, END_THINK, FRAGMENTS, SPECIAL_TOKENS

# what stands for a number, and for any text
NUMBER, TEXT = "#", "*"
UNDERSTOOD = ("finish", "Goal")  # what a command that is to be understood is answered with
USUAL = 'do(action="Tap'  # the action that tasks consist of more than of any other
POINT, QUOTED = f"[{NUMBER},{NUMBER}]", f'"{TEXT}"'
# bytes below 32 as the byte-level alphabet writes them; a string may not hold them, nor a quote, nor begin an escape
NO_TEXT = re.compile(r'["\\\u0100-\u011f]')


Pick = Callable[[NDArray[np.float32]], int]  # a token, by the scores [V] of all


@dataclass(eq=False, repr=False)  # states lead to states: written out they would have no end
class State:
    """A place in an answer: the tokens that lead on from here, and whether others may come that stay here."""

    edges: dict[int, State] = field(default_factory=dict)
    free: NDArray[np.bool_] | None = None  # [V] mask of the tokens that continue a text or a thought
    last: bool = False
    least: int = 0  # tokens to the end, at least
    usual: int | None = None  # the token that comes most often where several may

    @cached_property
    def _tokens(self) -> NDArray[np.int64]:
        return np.fromiter(self.edges, np.int64)

    @cached_property
    def _needs(self) -> NDArray[np.int64]:
        return np.array([state.least for state in self.edges.values()])

    @property
    def forced(self) -> int | None:
        """The only token that may come, if there is only one."""
        return next(iter(self.edges)) if len(self.edges) == 1 and self.free is None else None

    def chooser(self, left: int) -> Pick:
        """Return a picker of one token after the other, as `choose` does, from here on, in an answer with room for `left` more."""
        state = self

        def pick(scores: NDArray[np.float32]) -> int:
            nonlocal state, left
            token = state.choose(scores, left)
            state, left = state.after(token), left - 1
            return token

        return pick

    def leads(self, token: int) -> State | None:
        """The state that a token leads to, None for one that may not come."""
        if token in self.edges:
            return self.edges[token]
        in_vocabulary = self.free is not None and token < len(self.free)  # a model may have more tokens than the tokenizer
        return self if in_vocabulary and self.free[token] else None  # type: ignore[index]

    def after(self, token: int) -> State:
        """The state that a token leads to. ValueError for one that may not come."""
        state = self.leads(token)
        if state is None:
            raise ValueError(f"token {token} may not come here")
        return state

    def draft(self, most: int) -> list[int]:
        """Up to `most` tokens that have to come, or usually do, without the one that ends the answer."""
        tokens: list[int] = []
        state = self
        while len(tokens) < most:
            token = state.usual if state.forced is None else state.forced
            if token is None or state.edges[token].last:
                break
            tokens.append(token)
            state = state.edges[token]
        return tokens

    def choose(self, scores: NDArray[np.float32], left: int) -> int:
        """The likeliest token, by `scores` [V], that may come and lets the answer end with `left` tokens, this one included."""
        allowed = np.full(len(scores), -np.inf, np.float32)
        if self.free is not None and self.least < left:
            free = np.flatnonzero(self.free)  # a model may have more tokens than the tokenizer
            allowed[free] = scores[free]
        tokens = self._tokens[self._needs < left]
        allowed[tokens] = scores[tokens]
        return int(allowed.argmax())


class Grammar:
    """Grammar of the agent's answers: a thought or none, then an action with the fields that it must have and no others."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        special = {vocabulary[token] for token in (*SPECIAL_TOKENS, *FRAGMENTS)}
        size = max(vocabulary.values()) + 1
        self._text, self._thought = np.zeros(size, bool), np.zeros(size, bool)
        for token, number in vocabulary.items():
            self._text[number] = number not in special and not NO_TEXT.search(token)
            self._thought[number] = number not in special and "(" not in token  # what looks like an action would be read as one
        self._numbers = [vocabulary[str(number)] for number in range(1000)]
        self.action, self.understanding, end = State(), State(), State(last=True)
        for name, (needed, _) in SIGNATURES.items():
            parts = [f"{part}={POINT if part in POINTS else QUOTED}" for part in needed]
            arguments = ", ".join(parts if name == "finish" else [f'action="{name}"', *parts])
            for root in ([self.action] if name != "Goal" else []) + ([self.understanding] if name in UNDERSTOOD else []):
                self._add(root, f"finish({arguments})" if name == "finish" else f"do({arguments})", end)
        self.thinking = State({vocabulary[END_THINK]: self.action}, free=self._thought)
        _count(self.thinking)
        _count(self.understanding)
        state = self.action
        for number in tokenizer.encode(USUAL, add_special_tokens=False).ids:
            state.usual, state = number, state.edges[number]

    def start(self, *, think: bool, command: bool = False) -> State:
        """The state where an answer begins: with a thought or without, or, for a command to be understood, with its meaning."""
        if command:
            return self.understanding
        return self.thinking if think else self.action

    def drafts(self, most: int) -> dict[str, Any]:
        """Tables of drafts (`State.draft`, up to `most` tokens) and of the states tokens lead to, for hosts that are not Python.

        `states[0]` is where an action begins; each has its `draft`, its `edges` {token: state}, the state after a `number` (one of
        `numbers`), and `text`: whether other tokens stay here.
        """
        numbers, places, rows = set(self._numbers), {self.action: 0}, []
        for state in (queue := [self.action]):
            for following in state.edges.values():
                if following not in places:
                    places[following] = len(queue)
                    queue.append(following)
            number = state.edges.get(self._numbers[0])
            edges = {token: places[to] for token, to in state.edges.items() if number is None or token not in numbers}
            after = None if number is None else places[number]
            rows.append({"draft": state.draft(most), "edges": edges, "number": after, "text": state.free is not None})
        return {"numbers": self._numbers, "states": rows}

    def _add(self, state: State, pattern: str, end: State) -> None:
        """Add one way through the grammar from a state; it shares its beginning with those that are there."""
        for piece in re.split(f"([{NUMBER}{TEXT}])", pattern + END):
            if piece == NUMBER:
                following = state.edges.get(self._numbers[0]) or State()
                state.edges |= dict.fromkeys(self._numbers, following)
                state = following
            elif piece == TEXT:
                state.free = self._text
            else:
                for token in self._tokenizer.encode(piece, add_special_tokens=False).ids:
                    state = state.edges.setdefault(token, end if token == self._tokenizer.token_to_id(END) else State())


def _count(state: State) -> int:
    """Fill in the least number of tokens to the end; the only cycles are those of texts and thoughts, which need no turn."""
    if not state.last and not state.least:
        state.least = 1 + min(_count(following) for following in {id(s): s for s in state.edges.values()}.values())
    return state.least
