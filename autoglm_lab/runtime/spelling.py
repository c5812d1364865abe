"""Tokens as the bytes that they stand for."""

from __future__ import annotations

from tokenizers import Tokenizer

from autoglm_lab.runtime.constraints import Spelling


class Speller:
    """Tokens of a byte-level vocabulary as the bytes they stand for: text can be written token by token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        letters = _byte_letters()
        self._bytes = {
            number: token.encode() if token in special else bytes(letters[letter] for letter in token)
            for token, number in tokenizer.get_vocab().items()
        }

    def bytes(self, token: int) -> bytes:
        """The bytes of a token: none where the model has more places than the vocabulary has tokens."""
        return self._bytes.get(token, b"")


def _byte_letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies (Radford et al. 2019): printable ones for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def spelling(tokenizer: Tokenizer) -> Spelling:
    """A vocabulary by its bytes, for what is quoted from a command."""
    speller = Speller(tokenizer)
    tokens = {number: speller.bytes(number) for number in tokenizer.get_vocab().values()}
    return Spelling(tokens, lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
