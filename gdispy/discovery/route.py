"""Routes to a node: direct, or through a relay. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gdispy.discovery.beacon import Packet
from gdispy.net import RelayAddress
from gdispy.protocol.address import Address
from gdispy.transport.interfaces import is_reachable


@dataclass(frozen=True)
class Route:
    """One route to a node."""

    host: str
    port: int
    relay: RelayAddress | None = None

    @property
    def place(self) -> str:
        return str(Address(self.host, self.port))


def routes_of(packet: Packet, source: str, key: bytes) -> list[Route]:
    """The routes to a node that has sent HERE, best first."""
    places: list[tuple[str, int]] = []
    if packet.address:
        try:
            host, port = Address.parse(packet.address)
        except ValueError:
            host, port = "", None
        if is_reachable(host):
            places.append((host, port or packet.port))
    relay = None
    if packet.via:
        try:
            host, port = Address.parse(packet.via)
        except ValueError:
            host, port = "", None
        relay = RelayAddress(host, port, key) if port and is_reachable(host) else None
        return [Route(*each) for each in places] + [Route(*each, relay) for each in places if relay is not None]
    if (source, packet.port) not in places:
        places.append((source, packet.port))
    return [Route(*each) for each in places]
