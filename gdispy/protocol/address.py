"""Addresses of hosts with ports, and matching nodes against the patterns in `nodes=[...]`.

Pure. `*` in a pattern matches anything. A pattern must match the whole address: '10.0.0.1' does not match '10.0.0.15'.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from gdispy.protocol.limits import NAME_LIMIT

#: Maximum length of one part of a host name.
LABEL_LIMIT = 63
_IPV4_PARTS = 4
#: Maximum length of one pattern: a name, a port, and their separators.
PATTERN_LIMIT = NAME_LIMIT + len("[]:65535")


class Address(NamedTuple):
    """A host, by name or address, and a port; None if no port is given."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Address:
        """From 'host', 'host:port', '[v6]:port' or a bare IPv6 address. Raises ValueError for an invalid port."""
        if text.startswith("["):
            host, _, rest = text[1:].partition("]")
            return cls(host, _port(rest[1:]) if rest.startswith(":") else None)
        if text.count(":") == 1:
            host, _, port = text.partition(":")
            return cls(host, _port(port))
        return cls(text, None)

    def __str__(self) -> str:
        """In the form that `parse` reads, with brackets around an IPv6 address before a port."""
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"{text if text.isdigit() else repr(text)} is not a port (1 to 65535)")
    return int(text)


def host_flaw(host: str) -> str:
    """The reason why a text is not a valid host name or address, or ''. The name is not resolved.

    `*` is allowed, as in patterns.
    """
    if not host:
        return "it does not name a host"
    if ":" in host:
        return "" if _is_address(host) else "it is not an IPv6 address"
    if not host.isascii():
        return "a host name has ASCII characters only: write it in the form that begins with xn--"
    odd = next((char for char in host if not (char.isalnum() or char in "-_.*")), "")
    if odd:
        return f"a host name must not contain {odd!r}"
    if len(host) > NAME_LIMIT:
        return f"a host name has at most {NAME_LIMIT} characters, and this one {len(host):,}"
    labels = host.removesuffix(".").split(".")
    if "" in labels:
        return "a host name must not contain an empty part"
    if len(labels) == _IPV4_PARTS and all(map(str.isdecimal, labels)) and not all(int(label) < 256 for label in labels):
        return "it is not an IPv4 address: its parts are at most 255"
    long = next((label for label in labels if len(label) > LABEL_LIMIT), "")
    return f"a part of a host name has at most {LABEL_LIMIT} characters, not {len(long)}" if long else ""


def _is_address(host: str) -> bool:
    bare = host.partition("%")[0]
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return "*" in bare and all(char in "0123456789abcdefABCDEF:.*" for char in bare)
    return host.isprintable() and not any(char.isspace() for char in host)


def pattern_flaw(text: str) -> str:
    """The reason why a text is not a valid pattern, or ''. Patterns of peers are checked with it before they are
    stored."""
    if len(text) > PATTERN_LIMIT:
        return f"a pattern has at most {PATTERN_LIMIT} characters, and this one {len(text):,}"
    try:
        host, _ = Address.parse(text)
    except ValueError as error:
        return str(error)
    return "" if host else "it does not name a host"


class NodePatterns:
    """The elements of `nodes`, prepared for matching many nodes.

    Raises ValueError for an invalid pattern; see `pattern_flaw`.
    """

    __slots__ = ("_globs", "_hosts")

    def __init__(self, patterns: Iterable[str]) -> None:
        #: The ports (None for any) of names and addresses without `*`; and the parts between the `*` of the others.
        self._hosts: dict[str, set[int | None]] = {}
        self._globs: dict[tuple[str, ...], set[int | None]] = {}
        for pattern in patterns:
            host, port = Address.parse(pattern)
            if "*" in host:
                self._globs.setdefault(_glob(host), set()).add(port)
            else:
                self._hosts.setdefault(host.casefold(), set()).add(port)

    def match(self, names: Iterable[str], port: int) -> bool:
        """Whether a node, with these `names` (addresses, host name) and port, matches a pattern.

        Port 0 is that of a node which has connected to us; it matches any.
        """
        known = [name.casefold() for name in names]
        for name in known:
            ports = self._hosts.get(name)
            if ports is not None and (not port or port in ports or None in ports):
                return True
        for parts, ports in self._globs.items():
            if (not port or port in ports or None in ports) and any(_fits(parts, name) for name in known):
                return True
        return False


def _glob(host: str) -> tuple[str, ...]:
    """The parts before, between and after the `*` of a pattern. Consecutive `*` count as one."""
    first, *others = host.casefold().split("*")
    return first, *(part for part in others[:-1] if part), others[-1]


def _fits(parts: tuple[str, ...], name: str) -> bool:
    """Whether a name contains these parts in this order, the first at its beginning, the last at its end.

    Each part is matched at its first occurrence, so the search never backtracks.
    """
    first, *between, last = parts
    end = len(name) - len(last)
    begin = len(first)
    if end < begin or not name.startswith(first) or not name.endswith(last):
        return False
    for part in between:
        begin = name.find(part, begin, end)
        if begin < 0:
            return False
        begin += len(part)
    return True


def matches(patterns: Iterable[str], names: Iterable[str], port: int) -> bool:
    """Whether a node matches one of a few patterns; `NodePatterns` is for many nodes."""
    return NodePatterns(patterns).match(names, port)
