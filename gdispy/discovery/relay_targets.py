"""The addresses that a relay may connect to: those of nodes that have answered it, and no others.

Pure. A discovery packet can contain any address, so its source is checked first, and an announced address is accepted
only if it can be that of a node in a neighbouring network.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

#: Seconds for which a node that has answered may be connected to; it answers again as long as requests arrive.
NODE_LIFE = 1200.0
#: Maximum number of nodes to remember.
NODES = 4096
#: Addresses at which clouds provide credentials and settings to machines: never a node.
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
    """The address that a host text denotes, also an IPv4 address in IPv6 notation; None for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_source(host: str) -> bool:
    """Whether a node can be at the source address of a packet."""
    address = address_of(host)
    return address is not None and _is_of_a_host(address)


def is_plausible(host: str) -> bool:
    """Whether an announced node can be at an address: not loopback or link-local addresses, which mean nothing to
    another machine. A name is checked after its resolution."""
    address = address_of(host)
    if address is None:
        return bool(host)
    return _is_of_a_host(address) and not address.is_loopback and not address.is_link_local


def _is_of_a_host(address: _Address) -> bool:
    is_none = address.is_unspecified or address.is_multicast or address in _METADATA
    return not is_none and int(address) != 0xFFFFFFFF and not _is_of_no_network(address)


def _is_of_no_network(address: _Address) -> bool:
    """0.0.0.0/8 and 240.0.0.0/4, which systems treat as the machine itself or as invalid."""
    return isinstance(address, ipaddress.IPv4Address) and (address.packed[0] == 0 or address.packed[0] >= 240)


class RelayTargets:
    """The addresses of nodes, with the time of their last packet."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, int], float] = OrderedDict()

    def hear(self, host: str, port: int, now: float) -> None:
        """A node has announced this address."""
        self._places.pop((host, port), None)
        self._places[host, port] = now
        if len(self._places) > NODES:
            self._places.popitem(last=False)

    def may_connect(self, host: str, port: int, now: float) -> bool:
        known = self._places.get((host, port))
        return known is not None and now - known <= NODE_LIFE
