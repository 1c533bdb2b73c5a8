"""What all parts of the scheduler's rules read: computations, nodes, timers and numbers.

Plain data, shared by reference. Each entry is changed by the object whose task it is: computations are added and
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
        #: In the order in which they were opened, until nothing is left of them on any node.
        self.computations: dict[ComputationId, Computation] = {}
        #: From their first connection until they are lost.
        self.nodes: dict[Instance, NodeRecord] = {}
        #: Files that clients have sent to nodes and that are not confirmed: (computation, question) -> node.
        self.deliveries: dict[tuple[ComputationId, int], NodeRecord] = {}
        self.timers = Timers()
        #: Growing numbers: they order what was opened or served, and tell the valid entries of a heap from stale ones.
        self.numbers = count()
