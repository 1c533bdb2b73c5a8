"""Where a relay may connect to: where nodes are that it has heard itself, and nowhere else.

Pure. Called by `relay.py`. A packet of discovery can say any address, so its own source counts first, and an
address that it announces only where it can be that of a node in one of the networks around.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

#: Seconds that a node which has answered may be connected to; it answers again as long as somebody asks.
NODE_LIFE = 1200.0
#: Nodes remembered at most.
NODES = 4096
#: Where hosts of clouds hand out credentials and settings to their machines: no node is there.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            *("169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16"),
            *("192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fe80::a9fe:a9fe"),
        ),
    )
)

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_of(host: str) -> _Address | None:
    """The address that a host is written as, one of IPv4 also where it is written as one of IPv6; None for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_source(host: str) -> bool:
    """Whether a node can be at the address that a packet came from."""
    address = address_of(host)
    return address is not None and _is_of_a_host(address)


def is_plausible(host: str) -> bool:
    """Whether a node that a packet announces can be at an address: not on the machine itself, nor on a link alone,
    since neither says to another machine where it is. A name is judged when it was looked up."""
    address = address_of(host)
    if address is None:
        return bool(host)
    return _is_of_a_host(address) and not address.is_loopback and not address.is_link_local


def _is_of_a_host(address: _Address) -> bool:
    is_none = address.is_unspecified or address.is_multicast or address in _METADATA
    return not is_none and int(address) != 0xFFFFFFFF and not _is_of_no_network(address)


def _is_of_no_network(address: _Address) -> bool:
    """0.0.0.0/8 and 240.0.0.0/4, which systems take for the machine itself or for nothing."""
    return isinstance(address, ipaddress.IPv4Address) and (address.packed[0] == 0 or address.packed[0] >= 240)


class RelayTargets:
    """The places that nodes were heard from, each with when that was last."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, int], float] = OrderedDict()

    def hear(self, host: str, port: int, now: float) -> None:
        """A node says that it is reached there."""
        self._places.pop((host, port), None)
        self._places[host, port] = now
        if len(self._places) > NODES:
            self._places.popitem(last=False)

    def may_connect(self, host: str, port: int, now: float) -> bool:
        known = self._places.get((host, port))
        return known is not None and now - known <= NODE_LIFE
