"""A computation and its client, in the scheduler's rules."""

from __future__ import annotations

from gdispy.protocol.address import NodePatterns
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import Open, Prepare
from gdispy.protocol.payload import Bulk, bulk_size
from gdispy.rules.scheduler.backlog import Backlog
from gdispy.rules.scheduler.job import Task


class ClientShare:
    """A client's share of the nodes."""

    __slots__ = ("load", "waiting", "weight")

    def __init__(self, weight: float = 1.0) -> None:
        #: CPUs of its placed jobs.
        self.load = 0
        #: The weight of its share, relative to other clients.
        self.weight = weight
        #: Its computations with jobs that wait.
        self.waiting: dict[ComputationId, Computation] = {}


class Computation:
    """A function or program of a client."""

    __slots__ = (
        *("absent", "backlog", "client", "closing", "fenced", "given_back", "held", "id", "kept", "objection"),
        *("open", "opened", "owner", "patterns", "places", "prepare", "reentrant", "refused", "releasing"),
        *("served", "stuck", "tasks", "turn", "waiting_since", "withdrawn"),
    )

    def __init__(self, message: Open, client: Peer, owner: ClientShare, number: int) -> None:
        self.id = message.computation
        self.client = client
        self.owner = owner
        #: The numbers of its opening and of its last turn; and the stamp of its valid entry among those that wait.
        self.opened = self.served = number
        self.turn = -1
        #: CPUs of its next job if no node could take that job; 0 if a node may be able to.
        self.stuck = 0
        #: As its client opened it; with a token, a journal is kept. And whether another scheduler has taken it over.
        self.open = message
        self.kept = bool(message.token)
        self.fenced = False
        #: No job is placed before its nodes have reported their inventories or are lost: they may have unknown jobs.
        self.held = False
        #: `open.nodes`, prepared for comparison with many nodes.
        self.patterns = NodePatterns(message.nodes)
        self.reentrant = message.reentrant
        self.prepare: Prepare | None = None
        #: Why it is not sent to any node, or ''.
        self.objection = ""
        #: Jobs that are not placed.
        self.backlog = Backlog()
        #: Jobs that the client must send again: the number of their next placement, and how many of their nodes were
        #: lost.
        self.given_back: dict[JobId, tuple[int, int]] = {}
        #: Jobs on nodes whose arguments only their client has.
        self.absent: set[JobId] = set()
        #: All jobs that have not ended.
        self.tasks: dict[JobId, Task] = {}
        #: Nodes that have loaded it.
        self.places: set[Instance] = set()
        #: Nodes that `nodes` does not match.
        self.refused: set[Instance] = set()
        #: Its client has released it: it is not sent to nodes any more.
        self.closing = False
        #: Nodes that have not yet confirmed its release.
        self.releasing: set[Instance] = set()
        #: The time since which jobs wait and no node is usable; None while one is.
        self.waiting_since: float | None = None
        #: Jobs on nodes that the client has withdrawn: those that come back unbegun end.
        self.withdrawn: set[JobId] = set()

    @property
    def name(self) -> str:
        """The name of its function or program, '?' as long as it is not known."""
        return self.prepare.name if self.prepare is not None else "?"

    @property
    def waiting(self) -> int:
        """The number of jobs that wait for a node."""
        return len(self.backlog) - self.backlog.cancelled + len(self.backlog.oversized)

    @property
    def is_over(self) -> bool:
        """Whether it is not sent to nodes any more: released, or taken over by another scheduler."""
        return self.closing or self.fenced

    def fill(self, job: JobId, arguments: Bulk) -> bool:
        """Store the arguments of a job that is on a node already; returns whether it is such a job."""
        task = self.tasks.get(job) if job in self.absent else None
        self.absent.discard(job)
        if task is None:
            return False
        task.arguments = arguments
        if task.node is not None:
            task.node.add_bytes(bulk_size(arguments))
        return True

    def take_again(self, task: Task) -> None:
        """The client has sent a job again: its attempt numbers continue."""
        task.attempt, task.losses = self.given_back.pop(task.job, (task.attempt, task.losses))
