"""A scheduler that this node works for."""

from __future__ import annotations

from gdispy.errors import InternalError
from gdispy.protocol.ids import Instance, Peer
from gdispy.protocol.messages import NO_LIMIT


class SchedulerSession:
    """A scheduler that this node works for, connected or away."""

    __slots__ = ("cpus", "epoch", "expires", "instance", "lease", "name", "peer", "recovers", "was_served")

    def __init__(self, instance: Instance, name: str) -> None:
        self.instance = instance
        self.name = name
        #: Its connection; None while it is away.
        self.peer: Peer | None = None
        #: When it is forgotten, if it is still away.
        self.expires: float | None = None
        #: Seconds for which it is remembered while it is away.
        self.lease = 0.0
        #: CPUs that it wants to use.
        self.cpus = NO_LIMIT
        #: Whether it has ever had a computation here.
        self.was_served = False
        #: The number of its run, as counted by its journal.
        self.epoch = 0
        #: It only collects outcomes, and submits nothing.
        self.recovers = False

    def connected(self) -> Peer:
        """Its connection, when it must have one."""
        if self.peer is None:
            raise InternalError("a message came from a scheduler that is away")
        return self.peer
