"""Names and origins that a local server answers to.

A page of somebody else's can reach a server on this machine: from its own origin, or by a name of its own that it lets lead here
(DNS rebinding). A browser always says under which name it asks, and from which page it posts.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
FOREIGN_HOST = "this server is not asked under that name; use its own address, or start it with --allow-host NAME"
FOREIGN_ORIGIN = "a page of another origin may not ask this server; --allow-host NAME lets pages of NAME"


class AllowedHosts:
    """Names of one server: loopback names, the address it is bound to, and those in `more`. ValueError for what is no name."""

    def __init__(self, bound: str = "127.0.0.1", more: Iterable[str] = ()) -> None:
        for name in more:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no host; give a name such as phone.local, without http:// and port")
        self.more = frozenset(map(_plain, more))
        self.names = self.more | {_plain(bound), "localhost"}

    def refusal(self, host: str | None, origin: str | None, here: str = "") -> str | None:
        """Say why a request with these headers is not answered, or None. `here` is the address at which it arrived."""
        name = host_name(host or "")
        if name is None or not (name in self.names or name == _plain(here) or _loopback(name)):
            return FOREIGN_HOST
        if origin is None:
            return None
        scheme, _, place = origin.partition("://")
        own = scheme.lower() in ("http", "https") and (place.lower() == (host or "").lower() or host_name(place) in self.more)
        return None if own else FOREIGN_ORIGIN


def host_name(header: str) -> str | None:
    """The name in a Host header, without its port; None if it is none.

    >>> host_name("LocalHost:8000"), host_name("[::1]:80"), host_name("a b")
    ('localhost', '::1', None)
    """
    match = _HOST.fullmatch(header)
    return None if match is None else _plain(match["six"] or match["name"])


def _plain(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def _loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
