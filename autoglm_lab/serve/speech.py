"""An answer on its way to a client: what is thought and what is said, cut where it ends."""

from __future__ import annotations

import codecs
from typing import Literal, NamedTuple

from tokenizers import Tokenizer

from autoglm_lab.phone.actions import parse
from autoglm_lab.runtime.prompt import END, END_THINK, THINK

Channel = Literal["reasoning", "content"]


class Piece(NamedTuple):
    """Some text of an answer."""

    channel: Channel
    text: str


class Speller:
    """Tokens of a byte-level vocabulary as the bytes they stand for: text can be written token by token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        letters = _byte_letters()
        self.bytes = [b""] * tokenizer.get_vocab_size()
        for token, number in tokenizer.get_vocab().items():
            self.bytes[number] = token.encode() if token in special else bytes(letters[letter] for letter in token)


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies (Radford et al. 2019): printable ones for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


class Speech:
    """Takes an answer piece by piece, hands on what may be shown, and says when the answer is over.

    It ends with the closing bracket of its action, because public phone agents take whatever follows for a part of it; and before
    one of the texts in `stop`. Half a character, and what might be the beginning of a stop, are held back.
    """

    def __init__(self, *, think: bool, stop: tuple[str, ...] = ()) -> None:
        self.channel: Channel = "reasoning" if think else "content"
        self.ended = False
        self._stop = stop
        self._said = self._held = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def spell(self, content: bytes) -> list[Piece]:
        """Hear the bytes of one token."""
        return self.hear(self._decoder.decode(content))

    def hear(self, text: str) -> list[Piece]:
        """Hear some text; what may be shown now."""
        if self.ended:
            return []
        thought = ""
        if self.channel == "reasoning":
            thought, mark, rest = (self._held + text).partition(END_THINK)
            self._held, text = "", rest
            if not mark:
                thought, self._held = _before(thought, (END_THINK,))
            else:
                self.channel = "content"
            thought = thought.replace(THINK, "")
        content = self._content(text) if self.channel == "content" else ""
        return [piece for piece in (Piece("reasoning", thought), Piece("content", content)) if piece.text]

    def finish(self) -> list[Piece]:
        """The answer ended by itself: what was held back."""
        held, self._held, self.ended = self._held, "", True
        return [Piece(self.channel, held)] if held else []

    def _content(self, text: str) -> str:
        """What of some text may be shown; it may end the answer."""
        text = (self._held + text).replace(END, "")
        self._held = ""
        places = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if places:
            text, self.ended = text[: min(places)], True
        elif ")" in text:
            whole = self._said + text
            for place in (at for at, letter in enumerate(text) if letter == ")"):
                if _is_action(whole[: len(self._said) + place + 1].strip()):
                    text, self.ended = text[: place + 1], True
                    break
        if not self.ended:
            text, self._held = _before(text, self._stop)
        self._said += text
        return text


def _before(text: str, marks: tuple[str, ...]) -> tuple[str, str]:
    """A text in two: the end of it that may be the beginning of a mark, and what stands before that."""
    held = next((at for at in range(len(text)) if any(mark.startswith(text[at:]) for mark in marks)), len(text))
    return text[:held], text[held:]


def _is_action(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True
