"""Numbers in as few bytes as they need, seven bits in each (LEB128), and a reader that believes no length."""

from __future__ import annotations

MOST = 2**63 - 1


def varint(number: int) -> bytes:
    r"""Encode a number of 0 to 2^63 - 1, in 1 to 9 bytes. ValueError for another.

    >>> varint(5), varint(300)
    (b'\x05', b'\xac\x02')
    """
    if not 0 <= number <= MOST:
        raise ValueError(f"{number} is no number of 0 to 2^63 - 1")
    digits = [number >> shift & 0x7F for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


class ByteReader:
    """Read a message from its front. ValueError for a length beyond its end, a number that has a shorter form, and a rest."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def n_left(self) -> int:
        """The number of bytes that were not read."""
        return len(self._data) - self._place

    def take(self, count: int) -> bytes:
        """Read so many bytes."""
        if count > self.n_left:
            raise ValueError(f"a length of {count:,} bytes is announced, {self.n_left:,} are left; the message is cut or damaged")
        self._place += count
        return self._data[self._place - count : self._place]

    def varint(self) -> int:
        """Read a number."""
        number, shift = 0, 0
        while (byte := self.take(1)[0]) & 0x80:
            number, shift = number | (byte & 0x7F) << shift, shift + 7
            if shift > 56:
                raise ValueError("a number of more than nine bytes is none; the message is damaged")
        if shift and not byte:
            raise ValueError("a number ends in a zero byte; it has a shorter form, and only that one is read")
        return number | byte << shift

    def end(self) -> None:
        """Check that everything was read."""
        if self.n_left:
            raise ValueError(f"{self.n_left:,} bytes follow the end of the message; it is damaged")
