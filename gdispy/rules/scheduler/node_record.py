"""A node, as the scheduler's rules know it: what it offers, and what is placed on it."""

from __future__ import annotations

from typing import Any

from gdispy.errors import InternalError
from gdispy.protocol.address import join
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import (
    NO_LIMIT,
    Ended,
    Hello,
    Message,
    OutcomesAcked,
    Progress,
    ProgressAcked,
)
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.assignment import Assignment
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task

#: Bytes of arguments on a node beyond which nothing is sent ahead.
BULK_LIMIT = 32 * 1024 * 1024
#: So many outcomes are acknowledged with the next jobs.
MANY_RECEIPTS = 32
_BYTES = frozenset((bytes,))


class NodeRecord:
    """A node, from its first connection until it is lost."""

    __slots__ = (
        *("_collected", "_seen", "_unsaid", "allowed", "bulk", "cpus", "deepest", "early", "formers"),
        *("free", "greeted", "instance", "load", "lost_at", "most_offered", "name", "names", "offered"),
        *("peer", "place", "platform", "port", "python", "reason", "receipts_at", "returned", "sharers"),
        *("assignments", "silent", "stamp"),
    )

    def __init__(self, hello: Hello, names: list[str], port: int) -> None:
        self.instance = hello.instance
        self.name = hello.name
        self.python = hello.python
        self.platform = hello.platform
        #: CPUs that it offers, 0 at times when it takes no jobs, and the most it ever did; how many of them the user
        #: allows; and what comes of both.
        self.offered = self.most_offered = hello.cpus
        self.allowed = NO_LIMIT
        self.cpus = hello.cpus
        #: Why it offers none, as it says.
        self.reason = ""
        #: What is free on it, as in `Availability`.
        self.free: list[float] = []
        #: Addresses and names it is known by; the first is what users are shown.
        self.names = [*names, hello.name]
        self.port = port
        #: Address and port, as messages to the user name it.
        self.place = join(names[0], port)
        #: Its connection; None while there is none.
        self.peer: Peer | None = None
        #: Whether it has said what it holds since it was connected.
        self.greeted = False
        #: What it has said before that, having overtaken it.
        self.early: list[Message] = []
        #: When it counts as lost, while it is away.
        self.lost_at: float | None = None
        #: No sign of life for some time: it gets no new jobs.
        self.silent = False
        #: It was given up before: what it says of jobs that have ended without it is news.
        self.returned = False
        #: Nodes that were at the same place before, and are given up when this one has said what it holds.
        self.formers: list[Instance] = []
        self.assignments: dict[ComputationId, Assignment] = {}
        #: The greatest depth that any assignment ever had: while it is 1, nothing is sent ahead.
        self.deepest = 1
        #: Computations that have jobs here; CPUs of those jobs, and the bytes of their arguments.
        self.sharers = 0
        self.load = 0
        self.bulk = 0
        #: Outcomes and provisional results received that the node has not been told of, and when it must
        #: be told at the latest.
        self._collected: dict[ComputationId, tuple[list[JobId], list[int]]] = {}
        self._seen: dict[ComputationId, dict[tuple[JobId, int], int]] = {}
        self.receipts_at: float | None = None
        #: How many outcomes these are; large ones count for many, since they take memory there.
        self._unsaid = 0
        #: Its valid place in the heap.
        self.stamp = -1

    def note_ended(self, message: Ended, latest: float) -> bool:
        """The node may forget these outcomes. It is told with jobs that it gets when there are many, or a little later;
        whether nothing was to be told before."""
        self._unsaid += len(message.jobs) if _BYTES.issuperset(map(type, message.results)) else MANY_RECEIPTS
        jobs, attempts = self._collected.setdefault(message.computation, ([], []))
        jobs += message.jobs
        attempts += message.attempts
        is_first = self.receipts_at is None
        self.receipts_at = latest if is_first else self.receipts_at
        return is_first

    def note_progress(self, message: Progress, count: int, latest: float) -> bool:
        """The same for the first so many provisional results of a job."""
        self._seen.setdefault(message.computation, {})[message.job, message.attempt] = count
        is_first = self.receipts_at is None
        self.receipts_at = latest if is_first else self.receipts_at
        return is_first

    def assignment_of(self, computation: Computation) -> Assignment:
        """What the node has of a computation, made where there is nothing yet."""
        assignment = self.assignments.get(computation.id)
        if assignment is None:
            assignment = self.assignments[computation.id] = Assignment(computation.owner)
        return assignment

    def has_many_receipts(self) -> bool:
        """Whether it is worth while to tell the node with the next jobs: one that comes alone is there later for it
        (15 of 436 us, there and back)."""
        return self._unsaid >= MANY_RECEIPTS

    def take_receipts(self) -> list[Message]:
        """What the node is to be told of all that has arrived from it."""
        found: list[Message] = []
        for number, seen in self._seen.items():
            jobs, attempts = [job for job, _ in seen], [attempt for _, attempt in seen]
            found.append(ProgressAcked(number, jobs, attempts, list(seen.values())))
        found += [OutcomesAcked(number, *columns) for number, columns in self._collected.items()]
        self.forget_receipts()
        return found

    def forget_receipts(self) -> None:
        """They were sent, or the connection is gone: the node then reports again what it was not told of."""
        self._collected, self._seen, self.receipts_at, self._unsaid = {}, {}, None, 0

    def is_ready(self, computation: ComputationId) -> bool:
        assignment = self.assignments.get(computation)
        return assignment is not None and assignment.ready

    def put(self, assignment: Assignment, task: Task) -> None:
        """Count a job as placed here."""
        task.node = self
        assignment.placed[task.job] = task
        self.sharers += not assignment.load
        cpus, size = task.cpus, task.size
        assignment.load += cpus
        assignment.sent += size
        assignment.owner.load += cpus
        self.load += cpus
        self.bulk += size

    def remove(self, assignment: Assignment, job: JobId) -> None:
        """The same back."""
        task = assignment.placed.pop(job)
        task.node = None
        cpus = task.cpus
        assignment.load -= cpus
        self.sharers -= not assignment.load
        assignment.owner.load -= cpus
        self.load -= cpus
        self.bulk -= task.size

    def forget(self, assignment: Assignment) -> None:
        """The same back for all jobs of a computation."""
        for job in list(assignment.placed):
            self.remove(assignment, job)

    def is_full_of_bytes(self) -> bool:
        return self.bulk >= BULK_LIMIT

    def room_for(self, assignment: Assignment) -> int:
        """How many more jobs of a computation may be placed here now."""
        if (
            not assignment.ready
            or assignment.closed
            or assignment.leaving
            or self.peer is None
            or self.silent
            or not self.greeted
        ):
            return 0
        own = min(self.cpus, assignment.cpus)
        depth = 1 if self.bulk >= BULK_LIMIT else assignment.depth
        room = min(self.cpus * depth - self.load, own * depth - assignment.load)
        # What is sent ahead goes in portions: a message for each job would cost more than short jobs do.
        if self.free_for(assignment) > 0 or 2 * room >= own * depth:
            return room
        if self.load == self.cpus:
            return 0
        # What others have sent ahead is short, and must not keep this one out: it has its part beside that.
        part = max(own, own * depth // (self.sharers + (assignment.load == 0)))
        left = part - assignment.load
        return left if assignment.load < own or 2 * left >= part else 0

    def free_for(self, assignment: Assignment) -> int:
        """How many CPUs no job is on that this computation may use; less than 0 where jobs wait here for some."""
        return min(self.cpus - self.load, assignment.cpus - assignment.load)

    def most_for(self, computation: ComputationId) -> int:
        """How many CPUs a job of a computation finds here when nothing else runs; 0 where the node gets none now."""
        assignment = self.assignments.get(computation)
        if assignment is None or not assignment.ready or assignment.closed or assignment.leaving:
            return 0
        is_there = self.peer is not None and self.greeted and not self.silent
        return min(self.cpus, assignment.cpus) if is_there else 0

    def has_room_for(self, assignment: Assignment, task: Task) -> bool:
        """Whether a job that occupies several CPUs finds them free; such a job is never sent ahead."""
        return task.cpus <= self.free_for(assignment)

    def has_room(self) -> bool:
        """Whether any computation could place a job here; found without asking all of them, as a rule."""
        if self.load >= self.cpus and self.deepest == 1:
            return False
        for assignment in self.assignments.values():  # noqa: SIM110 - `any` makes a generator, for each job once more.
            if self.room_for(assignment) > 0:
                return True
        return False

    def excess(self, computation: ComputationId) -> int:
        """How many jobs of a computation are here beyond what its CPUs can run."""
        assignment = self.assignments.get(computation)
        return min(len(assignment.placed), -self.free_for(assignment)) if assignment is not None else 0

    def row(self, assignment: Assignment) -> list[Any]:
        """What `Status` says of the node."""
        busy = min(self.cpus, len(assignment.placed))
        return [
            self.name,
            self.names[0],
            self.port,
            min(self.cpus, assignment.cpus),
            busy,
            assignment.done,
            assignment.seconds,
            assignment.sent,
            assignment.received,
        ]


def to_node(node: NodeRecord, message: Message) -> Send:
    """A message to a node that is connected."""
    if node.peer is None:
        raise InternalError("a node that is away is spoken to")
    return Send(node.peer, message)


def receipts_to(node: NodeRecord) -> Effects:
    """Tell a node what has arrived from it."""
    return [to_node(node, message) for message in node.take_receipts()]
