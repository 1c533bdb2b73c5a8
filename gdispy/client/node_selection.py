"""The nodes that a cluster wants, and how it uses them. Used in the hub unless noted otherwise."""

from __future__ import annotations

from gdispy.client import node_allocate
from gdispy.client.local_node import LocalNode
from gdispy.discovery import targets
from gdispy.protocol.ids import ComputationId
from gdispy.protocol.messages import NodeFound, UseNode


class NodeSelection:
    """The parameter `nodes`, with the additions of `allocate_node`."""

    def __init__(self, wanted: node_allocate.Allocation, local: LocalNode | None) -> None:
        self.targets = wanted.targets
        #: The nodes that are not used, by instance.
        self._declined: dict[bytes, NodeFound] = {}
        self._allocations = wanted.nodes
        #: The private node of the cluster, if it has one, and whether that could not be used.
        self.local = local
        self.has_lost_local = False
        #: The patterns that nodes must match, as in `Open`.
        self.patterns: list[str] = list(wanted.targets.patterns)
        if local is not None:
            self.patterns.append(local.name)

    def name_local(self) -> None:
        """Replace 'local' by the name of the private node."""
        if self.local is None:
            return
        name = self.local.name
        if not any(each.host == targets.LOCAL for each in self._allocations):
            self._allocations.append(node_allocate.NodeAllocate(targets.LOCAL))
        self._allocations = [each.named(name) if each.host == targets.LOCAL else each for each in self._allocations]

    def add(self, wanted: node_allocate.Allocation) -> None:
        """Use more nodes than before."""
        self.targets.add(wanted.targets)
        self._allocations += wanted.nodes
        self.patterns += wanted.targets.patterns

    @property
    def asks(self) -> bool:
        """Whether the user's own code decides about each node. In any thread."""
        return not all(each.is_plain() for each in self._allocations)

    def decide(self, cluster: object, computation: ComputationId, found: NodeFound) -> UseNode:
        """Whether and how to use a node. Calls the user's code: outside the hub."""
        answer = node_allocate.decide(self._allocations, cluster, computation, found)
        self._declined.pop(found.node, None)
        if not answer.cpus:
            self._declined[found.node] = found
        return answer

    def left(self, node: bytes) -> list[NodeFound]:
        """A node is closed or lost: the nodes to decide about again. Called where `decide` is."""
        may_use_others = [each.left(node) for each in self._allocations]
        return list(self._declined.values()) if any(may_use_others) else []

    def without_local(self) -> node_allocate.Allocation:
        """The same nodes for another cluster, which uses the private node of this one."""
        found = self.targets.copy()
        found.local, found.patterns = False, list(self.patterns)
        return node_allocate.Allocation(found, list(self._allocations))

    @property
    def is_only_local(self) -> bool:
        """Whether the private node is the only one. In any thread."""
        return self.targets.local and not self.targets.targets and not self.targets.look
