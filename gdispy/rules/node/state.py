"""What is on a node: computations, their workers, and what is still being unloaded."""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, WorkerId
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.worker import Worker


class NodeState:
    """The tables that the objects of the node's rules share. Whoever has it may read them; they change by its methods.

    Invariant: a worker is here exactly as long as in the table of its computation, which is here too.
    """

    def __init__(self, clock_offset: float = 0.0) -> None:
        #: What to add to a time here to have seconds since the epoch, as users are shown them.
        self.clock_offset = clock_offset
        self.computations: dict[ComputationId, Computation] = {}
        self.workers: dict[WorkerId, Worker] = {}
        #: Computations whose processes and files are not gone yet, with who is told when they are.
        self.unloading: dict[ComputationId, SchedulerSession] = {}

    def add(self, computation: Computation) -> None:
        self.computations[computation.id] = computation

    def remove(self, computation: Computation) -> None:
        """The computation is not here any more; `unload` says that its processes still are."""
        del self.computations[computation.id]

    def of(self, session: SchedulerSession) -> list[Computation]:
        """The computations of a scheduler."""
        return [each for each in self.computations.values() if each.session is session]

    def own(self, session: SchedulerSession, number: ComputationId) -> Computation | None:
        """This computation, where it is here and the scheduler's own."""
        computation = self.computations.get(number)
        return computation if computation is not None and computation.session is session else None

    def has_anything_of(self, session: SchedulerSession | None) -> bool:
        """Whether something is here for a scheduler, if only that it has to be told when it is gone."""
        held = [*(each.session for each in self.computations.values()), *self.unloading.values()]
        return session in held

    def unload(self, number: ComputationId, owner: SchedulerSession) -> None:
        self.unloading[number] = owner

    def unloaded(self, number: ComputationId) -> SchedulerSession | None:
        """Nothing is left of it; who is told so."""
        return self.unloading.pop(number, None)

    def add_worker(self, worker: Worker) -> None:
        self.workers[worker.number] = worker.computation.workers[worker.number] = worker

    def remove_worker(self, worker: Worker) -> None:
        del self.workers[worker.number]
        del worker.computation.workers[worker.number]
