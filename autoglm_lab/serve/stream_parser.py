"""Parser of an answer's stream: splits it into reasoning and content, and stops after the action's closing bracket."""

from __future__ import annotations

import codecs
import re
from typing import Literal, NamedTuple

from autoglm_lab.runtime.prompt import END, END_THINK

Channel = Literal["reasoning", "content"]
_ACTIONS = ("do(action=", "finish(message=")
_ACTION = re.compile("|".join(map(re.escape, _ACTIONS)))


class Piece(NamedTuple):
    """Some text of an answer."""

    channel: Channel
    text: str


class ActionEndDetector:
    """Finds where the first action of a text ends, which comes in pieces: each letter is read once."""

    def __init__(self) -> None:
        self._before = ""  # what may be the beginning of an action
        self._inside = self._quoted = self._escaped = False

    def end(self, text: str) -> int | None:
        """The place in this piece behind the closing bracket, None when it is not there yet."""
        at = 0
        if not self._inside:
            start = _ACTION.search(self._before + text)
            if start is None:
                self._before = _parted(self._before + text, _ACTIONS)[1]
                return None
            self._inside, at = True, start.end() - len(self._before)
        for place in range(at, len(text)):
            letter = text[place]
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._escaped, self._quoted = letter == "\\", letter != '"'
            elif letter == ")":
                return place + 1
            else:
                self._quoted = letter == '"'
        return None


class StreamParser:
    """Takes an answer piece by piece, hands on what may be shown, and says when the answer is over.

    It ends with the closing bracket of its action, because public phone agents take whatever follows for a part of it; and before
    one of the texts in `stop`. Half a character, and what might be the beginning of a stop, are held back: how an answer is cut
    into pieces changes nothing.
    """

    def __init__(self, *, think: bool, stop: tuple[str, ...] = ()) -> None:
        self.channel: Channel = "reasoning" if think else "content"
        self.ended = False
        self._stops = (*stop, END)
        self._pending = ""
        self._bracket = ActionEndDetector()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed_bytes(self, content: bytes) -> list[Piece]:
        """Add the bytes of one token; return the pieces that may be shown now."""
        return self.feed(self._decoder.decode(content))

    def feed(self, text: str) -> list[Piece]:
        """Add some text; return the pieces that may be shown now."""
        if self.ended:
            return []
        text, self._pending = self._pending + text, ""
        thought = content = ""
        if self.channel == "reasoning":
            thought, text = self._thought(text)
        if self.channel == "content" and not self.ended:
            content = self._content(text)
        return [piece for piece in (Piece("reasoning", thought), Piece("content", content)) if piece.text]

    def finish(self) -> list[Piece]:
        """End the answer; return the text that was held back."""
        pending, self._pending, self.ended = self._pending, "", True
        return [Piece(self.channel, pending)] if pending else []

    def _thought(self, text: str) -> tuple[str, str]:
        """Split some text into the reasoning that may be shown now, and the text after the end of the reasoning."""
        mark, at = _first(text, (*self._stops, END_THINK))
        if mark == END_THINK and mark not in self._stops:
            self.channel = "content"
            thought, rest = text[:at], text[at + len(mark) :]
        elif mark:
            self.ended = True
            thought, rest = text[:at], ""
        else:
            (thought, self._pending), rest = _parted(text, (*self._stops, END_THINK)), ""
        return thought, rest

    def _content(self, text: str) -> str:
        """Return the content in some text that may be shown now; it may end the answer."""
        mark, at = _first(text, self._stops)
        ready, pending = (text[:at], "") if mark else _parted(text, self._stops)
        end = self._bracket.end(ready)
        if mark or end is not None:
            self.ended = True
        else:
            self._pending = pending
        return ready[:end]


def _first(text: str, marks: tuple[str, ...]) -> tuple[str, int]:
    """The mark that is complete first, and where it begins; "" if there is none."""
    places = [(text.find(mark), mark) for mark in marks]
    ends = [(at + len(mark), at, mark) for at, mark in places if at >= 0]
    _, at, mark = min(ends, default=(0, 0, ""))
    return mark, at


def _parted(text: str, marks: tuple[str, ...]) -> tuple[str, str]:
    """A text in two: the end of it that may be the beginning of a mark, and what stands before that."""
    start = max(0, len(text) - max(map(len, marks)))
    cut = next((at for at in range(start, len(text)) if any(mark.startswith(text[at:]) for mark in marks)), len(text))
    return text[:cut], text[cut:]
