"""Computations, sessions and jobs for the tests of the node's rules, and the objects that several of them need."""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import Instance, JobId, Peer, WorkerId
from gdispy.protocol.messages import Hello, Prepare
from gdispy.rules.effects import Effects
from gdispy.rules.node.assigner import Assigner
from gdispy.rules.node.capacity import Capacity
from gdispy.rules.node.computation import Computation
from gdispy.rules.node.job import Job
from gdispy.rules.node.job_table import JobTable
from gdispy.rules.node.outcome import Outcome
from gdispy.rules.node.outcomes import Outcomes
from gdispy.rules.node.ownership import Ownership
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.sessions import Sessions
from gdispy.rules.node.state import NodeState
from gdispy.rules.node.turn import Turn
from gdispy.rules.node.worker import Worker
from tests.unit.builders import C, hello, outcome

A, B = Peer(1), Peer(2)
W1, W2 = WorkerId(1), WorkerId(2)
TOKEN = b"t" * 16
LEASE = 50.0


def session(instance: bytes = b"c" * 16, peer: Peer | None = A) -> SchedulerSession:
    made = SchedulerSession(Instance(instance), "client")
    made.peer = peer
    return made


def computation(owner: SchedulerSession | None = None, number: Any = C, token: bytes = b"") -> Computation:
    """A computation that is loaded."""
    prepare = Prepare(number, "f", "function", "", "3.11", "", True, b"body", [], [], token=token, epoch=1)
    made = Computation(prepare, owner or session())
    made.processes.loaded("")
    return made


def job(number: int, attempt: int = 1, options: list[Any] | None = None) -> Job:
    return Job(JobId(number), attempt, b"", options)


def of(number: int, attempt: int = 1, **fields: Any) -> Outcome:
    return Outcome._make(outcome(number, attempt, **fields))


class Jobs:
    """A job table with what is below it, and one computation with jobs that wait."""

    def __init__(self, *numbers: int, cpus: int = 2, token: bytes = b"") -> None:
        self.state = NodeState()
        self.capacity = Capacity(cpus)
        self.outcomes = Outcomes()
        self.table = JobTable(self.state, self.capacity, self.outcomes)
        self.computation = computation(token=token)
        self.state.add(self.computation)
        for number in numbers:
            self.table.accept(self.computation, job(number), 0.0)
        self.table.wait(self.computation)

    def worker(self, number: int = 1) -> Worker:
        made = Worker(WorkerId(number), self.computation)
        self.state.add_worker(made)
        return made

    def queued(self) -> list[int]:
        return [each.number for each in self.computation.queue]


class Served:
    """Sessions with what is below them; nobody is there, and nothing is here."""

    def __init__(self, serve: int = -1) -> None:
        jobs = self.jobs = Jobs()
        self.state = jobs.state
        self.state.remove(jobs.computation)
        below: Any = (jobs.state, jobs.capacity, jobs.outcomes, jobs.table)
        turn = Turn(*below, Assigner(jobs.state, jobs.capacity, jobs.table))
        self.ownership = Ownership(jobs.state)
        self.sessions = Sessions(LEASE, serve, 100.0, *below, self.ownership, turn)

    def join(self, peer: Peer = A, message: Hello | None = None) -> Effects:
        message = message or hello()
        admitted = self.sessions.admit(message)
        assert isinstance(admitted, SchedulerSession), admitted
        return self.sessions.joined(admitted, peer, message, 0.0)

    def bring(self, token: bytes = b"") -> None:
        """The scheduler of A has a computation here."""
        owner = self.sessions.at(A)
        assert owner is not None
        owner.was_served = True
        self.state.add(computation(owner, token=token))
