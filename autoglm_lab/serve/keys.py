"""Keys of clients: a file with a name for each of them, and from whom a request comes."""

from __future__ import annotations

import hmac
import re
import sys
from collections.abc import Mapping
from pathlib import Path

LEAST = 16  # letters of a key that nobody guesses
_LINE = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]{1,40}):[ \t]+)?(?P<key>\S.*)")


class Keys:
    """Keys by the names of their holders; a single key may do without a name. ValueError for an empty or doubled key."""

    def __init__(self, keys: Mapping[str, str] | str | None = None) -> None:
        named = {"": keys} if isinstance(keys, str) else dict(keys or {})
        if not all(named.values()) or len(set(named.values())) < len(named):
            raise ValueError("a key is empty, or two names have the same one; each name needs a key of its own")
        self._keys = {name: key.encode() for name, key in named.items()}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def first(self) -> str | None:
        """One of the keys, None if there are none."""
        return next((key.decode() for key in self._keys.values()), None)

    def holder(self, authorization: str) -> str | None:
        """The name whose key an Authorization header holds, or None; the time that takes is no hint how much of it was right."""
        scheme, _, key = authorization.partition(" ")
        content, holder = key.strip().encode("latin-1"), None
        for name, own in self._keys.items():
            if hmac.compare_digest(content, own) and scheme.lower() == "bearer":
                holder = name
        return holder


def read_keys(path: Path) -> dict[str, str]:
    """Keys by name from a file with one a line, `name: key` or only `key`; empty lines and those that begin with # say nothing.

    FileNotFoundError if there is no such file, ValueError for one without keys, or with a name or key twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no key file {str(path)!r}")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as text ({type(error).__name__}); write one key a line into it") from None
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line.strip())
        if match is None or line.lstrip().startswith("#"):
            continue
        name = match["name"] or (f"key{number}" if keys else "key")
        if name in keys or match["key"] in keys.values():
            raise ValueError(f"line {number} of {path.name} has a name or a key that was there before")
        keys[name] = match["key"]
    if not keys:
        raise ValueError(f"{path.name} holds no key; write one on its first line")
    return keys


def weaknesses(path: Path, keys: Mapping[str, str]) -> list[str]:
    """Sentences about keys that are easily guessed, and about a file that others may read."""
    short = [name for name, key in keys.items() if len(key) < LEAST]
    warnings = [f"the key of {name} has fewer than {LEAST} letters and may be guessed" for name in short]
    if sys.platform != "win32" and path.stat().st_mode & 0o077:
        warnings.append(f"{path.name} can be read by others; chmod 600 {path.name}")
    return warnings
