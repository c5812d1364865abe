"""Constraints on tokens: a message, a query or a time is one of the command, and is typed as the goal has it.

A small model copies well and not perfectly: it leaves out a word, ends a word early, takes nine at night for nine. Where a text can
only be one of a few, it need not be trusted with the letters, only with the choice. Both classes below tell which tokens may come
(`allowed`); all others count as impossible, as in a grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.clock import times_in
from autoglm_lab.phone.goals import THEN, goal_beginnings, goal_openers, plain, tails, time_openers, typed_words
from autoglm_lab.runtime.prompt import END, END_THINK

Pick = Callable[[NDArray[np.float32]], int]
Encode = Callable[[str], list[int]]
TYPE = 'do(action="Type", text="'
GOAL = 'do(action="Goal", text="'
CLOSED = '")'
_JOINTS = tuple(joint.encode() for joint in THEN.values())
# a word, an escape of the quoted text, a letter of another script, or a sign
_WORD = re.compile(rb"\\(?:u[0-9a-f]{4}|.)|[a-z0-9']+|[\xc0-\xff][\x80-\xbf]*|[^\sa-z0-9'\x80-\xff]")


class Constraint(Protocol):
    """The interface of a constraint, which tells which tokens may come."""

    def allowed(self, prefix: Sequence[int]) -> list[int] | None:
        """The tokens that may come after `prefix`; None where any may."""


def chooser(constraint: Constraint | None, pick: Pick, prefix: Sequence[int] = ()) -> Pick:
    """Pick as `pick` does among the tokens that a constraint allows after `prefix`; without a constraint, `pick` itself."""
    if constraint is None:
        return pick
    before = [*prefix]

    def choose(scores: NDArray[np.float32]) -> int:
        allowed = constraint.allowed(before)
        token = pick(scores) if allowed is None else max(allowed, key=lambda number: scores[number])
        before.append(token)
        return token

    return choose


class Typing:
    """Restrict typed text to the goal: after `Type`, only the tokens of one of its texts may come."""

    def __init__(self, goal: str, encode: Encode) -> None:
        opener = encode(TYPE)
        texts = dict.fromkeys(typed_words(goal))
        self._ways = [encode(format_action(Action("Type", text=text)) + END) for text in texts]
        self._opener = opener if all(way[: len(opener)] == opener for way in self._ways) else []
        self._thought = encode(END_THINK)[0]

    def allowed(self, prefix: Sequence[int]) -> list[int] | None:
        """The tokens that may come after `prefix`; None where any may. A thought may hold anything."""
        if self._thought in prefix:
            prefix = prefix[len(prefix) - [*prefix][::-1].index(self._thought) :]
        if not self._opener or len(prefix) < len(self._opener) or [*prefix[: len(self._opener)]] != self._opener:
            return None
        ways = [way for way in self._ways if len(way) > len(prefix) and way[: len(prefix)] == [*prefix]]
        return sorted({way[len(prefix)] for way in ways}) or None

    def draft(self, prefix: Sequence[int], most: int) -> list[int]:
        """Up to `most` tokens that have to come after `prefix`, without the one that ends the answer."""
        tokens: list[int] = []
        while len(tokens) < most and len(allowed := self.allowed([*prefix, *tokens]) or []) == 1:
            tokens += allowed
        return tokens[:-1] if tokens and self._ends([*prefix, *tokens]) else tokens

    def _ends(self, prefix: list[int]) -> bool:
        return any(prefix[-len(way) :] == way for way in self._ways)


class Spelling:
    """A vocabulary by the bytes that its tokens stand for."""

    def __init__(self, tokens: Mapping[int, bytes], encode: Encode) -> None:
        self.tokens = tokens
        self.by_bytes = {spelt: number for number, spelt in tokens.items() if spelt}
        self.longest = max(map(len, self.by_bytes))
        self.closed = encode(CLOSED)[0]
        self.joins = {encode(joint)[0] for joint in THEN.values()}

    def of(self, before: bytes, text: bytes) -> Iterable[int]:
        """The tokens that spell the beginning of a text, with something before it."""
        for length in range(1, min(self.longest - len(before), len(text)) + 1):
            number = self.by_bytes.get(before + text[:length])
            if number is not None:
                yield number
        if before in self.by_bytes:
            yield self.by_bytes[before]


class Quotes:
    """Restrict quotes in a goal to the command: after "text Mum: " only words that stand there one after the other may come.

    The model chooses where they begin, and, at the end of each word, whether they end. After "set an alarm for" only a clock time
    may come that the command names, in whatever form (`phone.clock`).
    """

    def __init__(self, command: str, spelling: Spelling) -> None:
        self._spelling = spelling
        self._command = json.dumps(plain(command), ensure_ascii=False)[1:-1].encode()  # as it stands in a quoted text
        words = [match.span() for match in _WORD.finditer(self._command)]
        self._starts, self._ends = {start for start, _ in words}, {end for _, end in words}
        self._times = [time.encode() for time in times_in(plain(command))]

    def allowed(self, prefix: Sequence[int]) -> list[int] | None:
        """The tokens that may come after `prefix`; None where any may."""
        text = b"".join(self._spelling.tokens.get(token, b"") for token in prefix)
        openings = [*_openers().finditer(text)]
        if not openings or not self._starts:
            return None
        blank = b" " if openings[-1]["spaced"] or openings[-1]["spaced_time"] else b""
        quote = text[openings[-1].end() :]
        if openings[-1]["time"] or openings[-1]["spaced_time"]:
            return self._of_times(openings[-1]["time"] or b"", quote, blank)
        if not quote:
            return sorted({number for place in self._starts for number in self._spelling.of(blank, self._command[place:])}) or None
        quote = quote.removeprefix(blank)
        places = [place for place in self._starts if self._command.startswith(quote, place)]
        if not places or self._is_whole(quote):
            return None  # another wish has begun
        tokens = {number for place in places for number in self._spelling.of(b"", self._command[place + len(quote) :])}
        if quote and any(place + len(quote) in self._ends for place in places):
            tokens |= {self._spelling.closed, *self._spelling.joins}
        for joint in _JOINTS:
            for begun in range(1, len(joint)):
                if quote.endswith(joint[:begun]) and self._stands(quote[:-begun]):
                    rest = joint[begun:]  # a token may hold the end of the joint and the beginning of the next goal
                    tokens |= {number for text in _beginnings() for number in self._spelling.of(rest, text)}
                    tokens |= {*self._spelling.of(b"", rest)}
        return sorted(tokens) or None

    def _of_times(self, opener: bytes, prefix: bytes, blank: bytes) -> list[int] | None:
        """The tokens with which one of the command's times goes on, or another goal that begins alike; None where any may come."""
        ways = [blank + time for time in self._times]
        ways += [tail.encode() for tail in tails(opener.decode())] if opener else []
        remaining = [way[len(prefix) :] for way in ways if way.startswith(prefix) and len(way) > len(prefix)]
        if not self._times or not remaining:
            return None
        return sorted({number for rest in remaining for number in self._spelling.of(b"", rest)})

    def _is_whole(self, quote: bytes) -> bool:
        """True if a quoted text may have ended before a joint in it."""
        cuts = (match.start() for joint in _JOINTS for match in re.finditer(re.escape(joint), quote))
        return any(self._stands(quote[:cut]) for cut in cuts)

    def _stands(self, words: bytes) -> bool:
        """True if these words, whole ones, stand in the command."""
        return any(self._command.startswith(words, place) and place + len(words) in self._ends for place in self._starts)


@cache
def _beginnings() -> tuple[bytes, ...]:
    return tuple(text.encode() for text in goal_beginnings())


@cache
def _openers() -> re.Pattern[bytes]:
    """The pattern of what stands in a goal before quoted words or a clock time; of a language with blanks one follows."""
    starts = "|".join(map(re.escape, (GOAL, *THEN.values())))
    spaced, close = ("|".join(goal_openers(lang)) for lang in ("en", "zh"))
    spaced_time, time = ("|".join(map(re.escape, time_openers(lang))) for lang in ("en", "zh"))
    kinds = f"(?P<spaced>{spaced})|{close}|(?P<spaced_time>{spaced_time})|(?P<time>{time})"
    return re.compile(f"(?:{starts})(?:{kinds})".encode())
