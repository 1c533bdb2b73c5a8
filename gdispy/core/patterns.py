"""Whom `nodes=[...]` lets in: addresses and names, with optional port, `*` standing for anything.

Floor 1: pure. A pattern must fit the whole of an address: '10.0.0.1' is not '10.0.0.15'.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache


def join(host: str, port: int | None) -> str:
    """'host:port' in the form that `split` reads, with brackets around an IPv6 address."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(text: str) -> tuple[str, int | None]:
    """Host and port of 'host', 'host:port', '[v6]:port' or a bare IPv6 address.

    Raises ValueError for a port that is not one.
    """
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, _port(rest[1:]) if rest.startswith(":") else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, _port(port)
    return text, None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"{text if text.isdigit() else repr(text)} is not a port (1 to 65535)")
    return int(text)


@lru_cache(maxsize=1024)
def _expression(host: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, host.split("*"))), re.IGNORECASE)


def matches(patterns: Iterable[str], names: Iterable[str], port: int) -> bool:
    """Whether a node, known by `names` (addresses, host name) and its port, fits a pattern.

    Port 0 is that of a node which has come by itself; it fits any.
    """
    known = list(names)
    for pattern in patterns:
        host, wanted = split(pattern)
        if port and wanted not in (None, port):
            continue
        expression = _expression(host)
        if any(expression.fullmatch(name) for name in known):
            return True
    return False
