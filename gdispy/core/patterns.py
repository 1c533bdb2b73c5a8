"""Whom `nodes=[...]` lets in: addresses and names, with optional port, `*` standing for anything.

Floor 1: pure. A pattern must fit the whole of an address: '10.0.0.1' is not '10.0.0.15'.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

from gdispy.core.limits import NAME_LIMIT

#: Characters of one part of a host name at most.
LABEL_LIMIT = 63


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


def host_flaw(host: str) -> str:
    """What keeps a text from being the name or address of a host, or ''; whether there is one is not looked up.

    `*` may stand in it, as in patterns.
    """
    if not host:
        return "it names no host"
    if ":" in host:
        return "" if _is_address(host) else "it is no address of IPv6"
    if not host.isascii():
        return "a host name has ASCII characters only: write it in the form that begins with xn--"
    odd = next((char for char in host if not (char.isalnum() or char in "-_.*")), "")
    if odd:
        return f"a host name must not hold {odd!r}"
    if len(host) > NAME_LIMIT:
        return f"a host name has at most {NAME_LIMIT} characters, and this one {len(host):,}"
    labels = host.removesuffix(".").split(".")
    if "" in labels:
        return "between two dots of a host name there must be something"
    long = next((label for label in labels if len(label) > LABEL_LIMIT), "")
    return f"a part of a host name has at most {LABEL_LIMIT} characters, not {len(long)}" if long else ""


def _is_address(host: str) -> bool:
    bare = host.partition("%")[0]
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return "*" in bare and all(char in "0123456789abcdefABCDEF:.*" for char in bare)
    return host.isprintable() and not any(char.isspace() for char in host)


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
