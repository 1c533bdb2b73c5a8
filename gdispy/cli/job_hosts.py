"""The hosts of jobs that have ended, for logs: the address of the node, with its port if other nodes have it, too.

`note` is called in the hub, before the main thread learns of the ends; `take` in the main thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from gdispy.client.status import DispyNode
from gdispy.protocol.address import Address


class JobHosts:
    """The nodes of jobs that have ended, until they are taken."""

    def __init__(self) -> None:
        #: Returns all nodes of the run.
        self.nodes: Callable[[], Sequence[DispyNode]] = tuple
        self._places: dict[int, DispyNode] = {}
        #: The number of nodes with each address, at the last look.
        self._addresses: Counter[str] = Counter()

    def note(self, jobs: Sequence[int], node: DispyNode) -> None:
        """These jobs of the cluster have ended on a node."""
        self._places.update(dict.fromkeys(jobs, node))

    def take(self, job: int, address: str) -> str:
        """The host of a job, which has ended at this address."""
        node = self._places.pop(job, None)
        if node is None or node.ip_addr != address:
            return address
        nodes = self.nodes()
        if len(nodes) != self._addresses.total():
            self._addresses = Counter(each.ip_addr for each in nodes)
        return str(Address(address, node.port)) if self._addresses[address] > 1 else address
