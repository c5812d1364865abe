"""Pictures from other hosts: only from hosts that are named, at public addresses, and from the very address that was checked."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Collection
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import SplitResult, urlsplit

from autoglm_lab.serve.errors import ApiError

PORTS = {"http": 80, "https": 443}
FETCH_S = 5.0  # for a whole picture
PART_BYTES = 65_536
NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ALLOWED = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")


def check_image_hosts(allowed: Collection[str]) -> None:
    """ValueError for what is no host, or host:port."""
    for entry in allowed:
        match = _ALLOWED.fullmatch(entry)
        if match is None or not 0 < int(match["port"] or 1) < 65_536:
            raise ValueError(f"{entry!r} is no host; name one such as pictures.example, or pictures.example:8443")


def fetch(url: str, allowed: Collection[str], most_bytes: int, param: str) -> bytes:
    """The content at an address of a host that is allowed. ApiError 400 or 413 says what is wrong."""
    try:
        parts, port = _address(url, allowed)
    except ValueError:
        raise ApiError(
            400, "pictures are not fetched from other hosts or ports; send a data URL", param=param, code="invalid_image_url"
        ) from None
    try:
        content = get(parts, port, resolve(str(parts.hostname), port), most_bytes)
    except PermissionError as error:
        raise ApiError(400, str(error), param=param, code="invalid_image_url") from None
    except (OSError, ValueError, HTTPException) as error:
        raise ApiError(
            400, f"the picture could not be fetched ({type(error).__name__})", param=param, code="invalid_image_url"
        ) from None
    if len(content) > most_bytes:
        raise ApiError(413, f"the picture has more than {most_bytes:,} bytes", param=param, code="image_too_large")
    return content


def _address(url: str, allowed: Collection[str]) -> tuple[SplitResult, int]:
    """An address taken apart, and its port. ValueError unless its host is allowed, at that port or the usual one of its scheme."""
    parts = urlsplit(url)
    usual = PORTS[parts.scheme.lower()]
    port = parts.port or usual
    names = {entry.lower() for entry in allowed}
    host = parts.hostname or ""
    if parts.username is not None or not (f"{host}:{port}" in names or (host in names and port == usual)):
        raise ValueError("not allowed")
    return parts, port


def resolve(host: str, port: int) -> str:
    """Look a name up, once. PermissionError if any of its addresses is not a public one, OSError if there is none."""
    addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)]
    if not all(map(is_public, addresses)):
        raise PermissionError(f"{host} is not a public address")
    return addresses[0]


def is_public(text: str) -> bool:
    """True for a unicast address of the internet, also where one is wrapped into another.

    >>> is_public("8.8.8.8"), is_public("::ffff:10.0.0.1"), is_public("64:ff9b::7f00:1"), is_public("224.0.0.1")
    (True, False, False, False)
    """
    address = ipaddress.ip_address(text)
    inner = None
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None and address.is_site_local:
            return False
    if inner is not None:
        return is_public(str(inner))
    return address.is_global and not address.is_multicast and not address.is_reserved


def get(parts: SplitResult, port: int, address: str, most_bytes: int) -> bytes:
    """GET from `address`, whatever the name leads to by now; no proxy, no redirect. ValueError for anything but an answer 200."""
    until, host, secure = time.monotonic() + FETCH_S, str(parts.hostname), parts.scheme.lower() == "https"
    link = (HTTPSConnection if secure else HTTPConnection)(host, port, timeout=FETCH_S)
    link.sock = socket.create_connection((address, port), FETCH_S)
    try:
        if secure:
            link.sock = ssl.create_default_context().wrap_socket(link.sock, server_hostname=host)
        link.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        answer = link.getresponse()
        if answer.status != 200:
            raise ValueError(f"the answer is {answer.status}")
        content = bytearray()
        while len(content) <= most_bytes and (part := answer.read1(PART_BYTES)):
            content += part
            if time.monotonic() > until:
                raise TimeoutError
        return bytes(content)
    finally:
        link.close()
