"""The tables that all parts of the scheduler's rules read: computations, nodes, timers and numbers.

Plain data, shared by reference. Each table is changed by the responsible object only: computations are added and
removed with their turns, nodes with their membership.
"""

from __future__ import annotations

from itertools import count

from gdispy.protocol.ids import ComputationId, Instance
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.node_record import NodeRecord
from gdispy.rules.timers import Timers


class SchedulerState:
    """The tables of the scheduler's rules."""

    def __init__(self) -> None:
        #: In order of opening; each until all nodes have released it.
        self.computations: dict[ComputationId, Computation] = {}
        #: From their first connection until they are lost.
        self.nodes: dict[Instance, NodeRecord] = {}
        #: The number of nodes that were lost without having been stopped.
        self.lost_nodes = 0
        #: Files that clients have sent to nodes and that are not confirmed: (computation, question) -> node.
        self.deliveries: dict[tuple[ComputationId, int], NodeRecord] = {}
        self.timers = Timers()
        #: Growing numbers: the order of opening and serving, and the stamps that mark the valid entries of a heap.
        self.numbers = count()
