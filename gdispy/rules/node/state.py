"""The contents of a node: computations, their workers, and computations that are being unloaded."""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, WorkerId
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.worker import Worker


class NodeState:
    """The tables that the objects of the node's rules share. All may read them; only its methods change them.

    Invariant: a worker is here exactly as long as in the table of its computation, which is here too.
    """

    def __init__(self, clock_offset: float = 0.0) -> None:
        #: Added to a time here to get seconds since the epoch, as shown to users.
        self.clock_offset = clock_offset
        self.computations: dict[ComputationId, Computation] = {}
        self.workers: dict[WorkerId, Worker] = {}
        #: Computations whose processes and files are not gone yet, with the sessions to be notified when they are.
        self.unloading: dict[ComputationId, SchedulerSession] = {}

    def add(self, computation: Computation) -> None:
        self.computations[computation.id] = computation

    def remove(self, computation: Computation) -> None:
        """Remove a computation; `unload` states that its processes are still here."""
        del self.computations[computation.id]

    def of(self, session: SchedulerSession) -> list[Computation]:
        """The computations of a scheduler."""
        return [each for each in self.computations.values() if each.session is session]

    def own(self, session: SchedulerSession, number: ComputationId) -> Computation | None:
        """This computation, if it is here and belongs to the scheduler."""
        computation = self.computations.get(number)
        return computation if computation is not None and computation.session is session else None

    def has_anything_of(self, session: SchedulerSession | None) -> bool:
        """Whether something is here for a scheduler, even if only a pending notification of an unloading."""
        held = [*(each.session for each in self.computations.values()), *self.unloading.values()]
        return session in held

    def unload(self, number: ComputationId, owner: SchedulerSession) -> None:
        self.unloading[number] = owner

    def unloaded(self, number: ComputationId) -> SchedulerSession | None:
        """The computation is gone; returns the session to be notified."""
        return self.unloading.pop(number, None)

    def add_worker(self, worker: Worker) -> None:
        self.workers[worker.number] = worker.computation.workers[worker.number] = worker

    def remove_worker(self, worker: Worker) -> None:
        del self.workers[worker.number]
        del worker.computation.workers[worker.number]
