"""The objects of the scheduler's rules, each with those below it, and nodes and computations as they read them."""

from __future__ import annotations

from typing import Any

from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import Open
from gdispy.protocol.rows import JobOptions
from gdispy.rules.scheduler.assignment import Assignment, AssignmentStage
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task, new_task
from gdispy.rules.scheduler.job_lifecycle import JobLifecycle
from gdispy.rules.scheduler.membership import Membership
from gdispy.rules.scheduler.node_record import NodeRecord, NodeStage
from gdispy.rules.scheduler.placement import Placement
from gdispy.rules.scheduler.provisioning import Provisioning
from gdispy.rules.scheduler.refusals import Inability
from gdispy.rules.scheduler.reminders import Reminders
from gdispy.rules.scheduler.state import SchedulerState
from gdispy.rules.scheduler.turns import FAIR, Turns
from gdispy.rules.scheduler.wide_jobs import WideJobs
from tests.unit.builders import C, hello, prepare

CLIENT, OTHER = Peer(100), Peer(101)
A, B = Peer(1), Peer(2)


class Parts:
    """The objects up to `Membership`, and what tests do to their tables."""

    def __init__(self, policy: str = FAIR, lease: float = 30.0) -> None:
        self.state = SchedulerState()
        self.reminders = Reminders(self.state)
        self.turns = Turns(self.state, self.reminders, policy)
        self.wide_jobs = WideJobs(self.state, self.reminders, self.turns)
        self.inability = Inability(self.state, self.turns)
        self.placement = Placement(self.state, self.turns, self.wide_jobs)
        shared = self.state, self.turns, self.wide_jobs, self.placement
        self.provisioning = Provisioning(
            self.state, self.reminders, self.turns, self.wide_jobs, self.inability, self.placement
        )
        self.lifecycle = JobLifecycle(*shared, self.provisioning)
        self.membership = Membership(*shared, self.provisioning, self.lifecycle, lease)

    def open(
        self, number: ComputationId = C, client: Peer = CLIENT, nodes: tuple[str, ...] = ("*",), **options: Any
    ) -> Computation:
        """A computation that nodes can load."""
        options = {"reentrant": False, **options}
        computation = self.turns.open(Open(number, list(nodes), **options), client)
        computation.prepare = prepare(number)
        return computation

    def join(self, peer: Peer = A, cpus: int = 2, port: int = 51348) -> NodeRecord:
        """A connected node whose inventory is known."""
        word = hello(bytes([peer]) * 16, f"node{peer}", cpus)
        self.membership.joined(peer, word, [f"10.0.0.{peer}"], port)
        node = self.state.nodes[Instance(bytes([peer]) * 16)]
        node.move(NodeStage.ACTIVE)
        return node

    def load(self, node: NodeRecord, computation: Computation) -> Assignment:
        """A node has loaded a computation."""
        assignment = node.assignment_of(computation)
        assignment.move(AssignmentStage.READY)
        computation.places.add(node.instance)
        self.wide_jobs.note_nodes(computation)
        self.placement.push(node)
        return assignment

    def submit(self, computation: Computation, *jobs: int, now: float = 0.0, **options: Any) -> list[Task]:
        """Jobs wait."""
        tasks = [task(job, **options) for job in jobs]
        for each in tasks:
            computation.tasks[each.job] = each
            computation.backlog.add(each)
        if computation.backlog.wide:
            self.wide_jobs.note_jobs(computation)
        self.turns.wait(computation, now)
        return tasks

    def check(self) -> None:
        for each in (self.turns, self.wide_jobs, self.placement, self.provisioning):
            each.check()


def task(job: int, cpus: int = 0, node: bytes = b"", priority: float = 0.0) -> Task:
    asks = cpus or node or priority
    return new_task(JobId(job), b"", JobOptions(node=node, priority=priority, cpus=cpus) if asks else None)
