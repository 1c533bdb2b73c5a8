"""A node in the scheduler's rules: its offer, and the jobs placed on it."""

from __future__ import annotations

from enum import Enum, auto

from gdispy.errors import InternalError
from gdispy.protocol.address import Address
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import (
    NO_LIMIT,
    Hello,
    Message,
)
from gdispy.protocol.rows import NodeRow
from gdispy.rules.effects import Effects, Send
from gdispy.rules.scheduler.assignment import Assignment, AssignmentStage, Use
from gdispy.rules.scheduler.computation import Computation
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.receipts import Receipts

#: Bytes of arguments on a node beyond which no job is sent ahead.
BULK_LIMIT = 32 * 1024 * 1024


class NodeStage(Enum):
    """The state of the connection to a node."""

    #: It has no connection, and may return.
    AWAY = auto()
    #: It is connected, and has not reported its inventory on this connection.
    JOINED = auto()
    #: It is connected, and its inventory is known.
    ACTIVE = auto()
    #: It was given up; if it returns, it gets another record.
    LOST = auto()


#: The legal transitions. A connected node joins again when a newer connection replaces the old one.
MOVES: dict[NodeStage, set[NodeStage]] = {
    NodeStage.AWAY: {NodeStage.JOINED, NodeStage.LOST},
    NodeStage.JOINED: {NodeStage.ACTIVE, NodeStage.AWAY, NodeStage.LOST},
    NodeStage.ACTIVE: {NodeStage.JOINED, NodeStage.AWAY, NodeStage.LOST},
    NodeStage.LOST: set(),
}

_ACTIVE = NodeStage.ACTIVE
_READY = AssignmentStage.READY
_OPEN = Use.OPEN


class CpuOffer:
    """The CPUs that a node offers, and the number of them that the user allows."""

    __slots__ = ("allowed", "most", "offered", "reason")

    def __init__(self, cpus: int) -> None:
        #: CPUs offered now, 0 while it accepts no jobs; and the maximum that it ever offered.
        self.offered = self.most = cpus
        #: The node's reason for offering none.
        self.reason = ""
        #: The number that may be used.
        self.allowed = NO_LIMIT

    def change(self, cpus: int, reason: str) -> None:
        """The node has changed the number that it offers."""
        self.offered, self.reason = cpus, reason
        self.most = max(self.most, cpus)

    def allow(self, cpus: int) -> None:
        """Use at most this number; negative: all but that number."""
        self.allowed = cpus if cpus >= 0 else max(0, self.offered + cpus)

    def usable(self) -> int:
        return min(self.offered, self.allowed)


class NodeRecord:
    """A node, from its first connection until it is lost."""

    __slots__ = (
        *("bulk", "cpus", "deepest", "early", "formers", "free", "hello", "instance", "load", "lost_at"),
        *("names", "offer", "peer", "place", "port", "receipts", "returned", "sharers", "assignments"),
        *("silent", "stage", "stamp"),
    )

    def __init__(self, hello: Hello, names: list[str], port: int) -> None:
        self.instance = hello.instance
        #: Its first `Hello`: its name, Python and platform.
        self.hello = hello
        self.offer = CpuOffer(hello.cpus)
        #: CPUs that may be used: the result of its offer.
        self.cpus = hello.cpus
        #: Its free resources, as in `Availability`.
        self.free: list[float] = []
        #: Its known addresses and names; users are shown the first.
        self.names = [*names, hello.name]
        self.port = port
        #: Address and port, as in messages to the user.
        self.place = str(Address(names[0], port))
        #: Its connection; None while there is none.
        self.peer: Peer | None = None
        self.stage = NodeStage.AWAY
        #: Messages that have overtaken its inventory.
        self.early: list[Message] = []
        #: The time at which it counts as lost, while it is AWAY.
        self.lost_at: float | None = None
        #: No heartbeat for some time: it gets no new jobs.
        self.silent = False
        #: It was given up before: its reports about jobs that have been ended since then are new.
        self.returned = False
        #: Nodes that had the same address before; they are given up when this one has reported its inventory.
        self.formers: list[Instance] = []
        self.assignments: dict[ComputationId, Assignment] = {}
        #: The greatest depth that any assignment ever had: while it is 1, no job is sent ahead.
        self.deepest = 1
        #: Computations that have jobs here; CPUs of those jobs, and the bytes of their arguments.
        self.sharers = 0
        self.load = 0
        self.bulk = 0
        self.receipts = Receipts()
        #: The stamp of its valid entry in the heap.
        self.stamp = -1

    def move(self, to: NodeStage) -> None:
        """Change to another stage; the same stage is ignored. Raises InternalError if `MOVES` does not allow it."""
        if to is self.stage:
            return
        if to not in MOVES[self.stage]:
            raise InternalError(f"a node cannot go from {self.stage.name} to {to.name}")
        self.stage = to

    @property
    def name(self) -> str:
        return self.hello.name

    @property
    def python(self) -> str:
        return self.hello.python

    @property
    def platform(self) -> str:
        return self.hello.platform

    @property
    def versions(self) -> str:
        """The versions of its programs, as a text."""
        return f"gdispy {self.hello.version}, Python {self.hello.python}, {self.hello.platform}"

    def assignment_of(self, computation: Computation) -> Assignment:
        """The assignment of a computation to the node, created if it does not exist."""
        assignment = self.assignments.get(computation.id)
        if assignment is None:
            assignment = self.assignments[computation.id] = Assignment(computation.owner)
        return assignment

    def is_ready(self, computation: ComputationId) -> bool:
        assignment = self.assignments.get(computation)
        return assignment is not None and assignment.stage is _READY

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
        """Undo `put`."""
        task = assignment.placed.pop(job)
        if assignment.running:
            assignment.running.discard(job)
        task.node = None
        cpus = task.cpus
        assignment.load -= cpus
        self.sharers -= not assignment.load
        assignment.owner.load -= cpus
        self.load -= cpus
        self.bulk -= task.size

    def busy(self) -> int:
        """CPUs in use. Jobs that run when the node offers fewer CPUs, or none, continue."""
        reported = sum(
            each.placed[job].cpus for each in self.assignments.values() if each.running for job in each.running
        )
        return max(reported, min(self.load, self.cpus))

    def forget(self, assignment: Assignment) -> None:
        """Remove all jobs of a computation."""
        for job in list(assignment.placed):
            self.remove(assignment, job)

    def add_bytes(self, size: int) -> None:
        """The arguments of a job that is placed here have become known."""
        self.bulk += size

    def is_full_of_bytes(self) -> bool:
        return self.bulk >= BULK_LIMIT

    def room_for(self, assignment: Assignment) -> int:
        """The number of further jobs of a computation that may be placed here now."""
        if assignment.stage is not _READY or assignment.use is not _OPEN:
            return 0
        if self.stage is not _ACTIVE or self.silent:
            return 0
        own = min(self.cpus, assignment.cpus)
        depth = 1 if self.bulk >= BULK_LIMIT else assignment.depth
        room = min(self.cpus * depth - self.load, own * depth - assignment.load)
        # Jobs are sent ahead in portions: a message for each job would cost more than a short job does.
        if self.free_for(assignment) > 0 or 2 * room >= own * depth:
            return room
        if self.load == self.cpus:
            return 0
        # Jobs that other computations have sent ahead are short, and must not block this one: it gets its own share.
        part = max(own, own * depth // (self.sharers + (assignment.load == 0)))
        left = part - assignment.load
        return left if assignment.load < own or 2 * left >= part else 0

    def free_for(self, assignment: Assignment) -> int:
        """The number of idle CPUs that this computation may use; negative if jobs wait here for CPUs."""
        return min(self.cpus - self.load, assignment.cpus - assignment.load)

    def most_for(self, computation: ComputationId) -> int:
        """The number of CPUs for a job of a computation if no other job runs here; 0 if the node gets no jobs now."""
        assignment = self.assignments.get(computation)
        if assignment is None or assignment.stage is not _READY or assignment.use is not _OPEN:
            return 0
        is_there = self.stage is _ACTIVE and not self.silent
        return min(self.cpus, assignment.cpus) if is_there else 0

    def has_room_for(self, assignment: Assignment, task: Task) -> bool:
        """Whether enough CPUs are free for a job that occupies several; such a job is never sent ahead."""
        return task.cpus <= self.free_for(assignment)

    def has_room(self) -> bool:
        """Whether any computation could place a job here; usually decided without checking each of them."""
        if self.load >= self.cpus and self.deepest == 1:
            return False
        for assignment in self.assignments.values():  # noqa: SIM110 - `any` creates a generator, again for each job.
            if self.room_for(assignment) > 0:
                return True
        return False

    def excess(self, computation: ComputationId) -> int:
        """The number of jobs of a computation that are here and exceed its CPUs."""
        assignment = self.assignments.get(computation)
        return min(len(assignment.placed), -self.free_for(assignment)) if assignment is not None else 0

    def row(self, assignment: Assignment) -> NodeRow:
        """The node's row in `Status`."""
        busy = min(self.cpus, len(assignment.placed))
        return NodeRow(
            self.name,
            self.names[0],
            self.port,
            min(self.cpus, assignment.cpus),
            busy,
            assignment.done,
            assignment.seconds,
            assignment.sent,
            assignment.received,
        )


def to_node(node: NodeRecord, message: Message) -> Send:
    """A message to a node that is connected."""
    if node.peer is None:
        raise InternalError("a node that is away is spoken to")
    return Send(node.peer, message)


def receipts_to(node: NodeRecord) -> Effects:
    """Acknowledge to a node the messages that have arrived from it."""
    return [to_node(node, message) for message in node.receipts.take()]
