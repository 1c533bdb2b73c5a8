"""The nodes of a cluster as shown to the user: one `DispyNode` per node during the life of the cluster.

Written in the hub, and read in any thread.
"""

from __future__ import annotations

import contextlib
import socket
import time

from gdispy.client.status import DispyNode, DispyNodeAvailInfo
from gdispy.protocol.messages import Event, Status
from gdispy.protocol.rows import NodeRow


class NodeTable:
    """All nodes ever reported, and which of them are set up."""

    def __init__(self) -> None:
        #: All nodes ever reported, by address, port and name: nodes behind the same router share an address and have no
        #: port.
        self._known: dict[tuple[str, int, str], DispyNode] = {}
        #: The nodes that are set up, by instance.
        self._ready: dict[bytes, DispyNode] = {}
        #: The nodes that were set up and are closed or lost.
        self._closed: dict[bytes, DispyNode] = {}
        #: Since when nodes are set up, or were, by instance.
        self.since: dict[bytes, float] = {}

    def get(self, instance: bytes) -> DispyNode | None:
        """A node that is set up."""
        return self._ready.get(instance)

    def ready(self) -> dict[bytes, DispyNode]:
        """A copy of the nodes that are set up, by instance."""
        return dict(self._ready)

    def closed(self) -> dict[bytes, DispyNode]:
        """A copy of the nodes that were set up and are closed or lost, by instance."""
        return dict(self._closed)

    def all(self) -> list[DispyNode]:
        return list(self._known.values())

    def of_row(self, row: NodeRow) -> DispyNode:
        """The node of a row of `Status`, updated from it."""
        place = (row.address, row.port, row.name)
        node = self._known.get(place)
        if node is None:
            node = self._known[place] = DispyNode.of(row)
        else:
            node.update(row)
        return node

    def take_status(self, status: Status) -> list[DispyNode]:
        """The nodes of a report, updated from it."""
        nodes = [self.of_row(row) for row in status.nodes]
        for node, versions in zip(nodes, status.versions, strict=False):
            node.versions = versions
        return nodes

    def take(self, event: Event) -> DispyNode:
        """The node of an event, updated from it."""
        node = self._ready.get(event.node)
        if node is None:
            node = self._ready[event.node] = self.of_row(event.rows[0])
            self.since[event.node] = time.time()
        else:
            node.update(event.rows[0])
        node.avail_info = DispyNodeAvailInfo.of(event.free) or node.avail_info
        if event.what == DispyNode.Closed:
            node.closed()
            del self._ready[event.node]
            self._closed[event.node] = node
        else:
            self._closed.pop(event.node, None)
        return node

    def find(self, node: object, host: str, port: int | None) -> bytes | None:
        """The instance of a node that is set up: by its object, or by address, name or host name."""
        return _find(self._ready, node, host, port)

    def find_closed(self, node: object, host: str, port: int | None) -> bytes | None:
        """The same for a node that is no longer set up."""
        return _find(self._closed, node, host, port)


def _find(nodes: dict[bytes, DispyNode], node: object, host: str, port: int | None) -> bytes | None:
    known = list(nodes.items())
    for instance, each in known:
        if each is node:
            return instance
    for names in ({host}, _addresses(host)):
        for instance, each in known:
            if (each.ip_addr in names or each.name in names) and port in (None, each.port):
                return instance
    return None


def _addresses(host: str) -> set[str]:
    """The addresses of a host name; empty if it cannot be resolved."""
    with contextlib.suppress(OSError, UnicodeError):
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return set()
