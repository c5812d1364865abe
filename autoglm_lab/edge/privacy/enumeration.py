"""An attacker who undoes hashes of phone numbers by hashing all numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from autoglm_lab.edge.privacy.pseudonym import plain_hash

Hash = Callable[[str], str]


def numbers(prefix: str, digits: int) -> Iterator[str]:
    """All phone numbers with a prefix and so many digits after it. ValueError for digits outside 1 to 10."""
    if not 1 <= digits <= 10:
        raise ValueError(f"digits is {digits}; a phone number has 1 to 10 digits after its prefix")
    return (f"{prefix}{number:0{digits}d}" for number in range(10**digits))


def enumerate_hashes(hashes: Collection[str], prefix: str, digits: int, guess: Hash = plain_hash) -> dict[str, str]:
    """The number behind each hash that `guess` reaches. Keyed hashes are not reached without their key. ValueError as `numbers`."""
    targets = set(hashes)
    return {digest: number for number in numbers(prefix, digits) if (digest := guess(number)) in targets}


def hashes_per_second(clock: Callable[[], float], count: int = 100_000, guess: Hash = plain_hash) -> float:
    """Rate at which this process hashes numbers. `clock` gives seconds. ValueError for a count below 1."""
    if count < 1:
        raise ValueError(f"count is {count}; a rate needs 1 hash or more")
    begin = clock()
    for number in range(count):
        guess(f"138{number:08d}")
    return count / (clock() - begin)
