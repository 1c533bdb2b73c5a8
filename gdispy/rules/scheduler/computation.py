"""A computation and the client that it belongs to, as the scheduler's rules know them."""

from __future__ import annotations

from gdispy.protocol.address import NodePatterns
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import Open, Prepare
from gdispy.protocol.payload import Bulk, bulk_size
from gdispy.rules.scheduler.backlog import Backlog
from gdispy.rules.scheduler.job import Task


class ClientShare:
    """A client, as far as its part of the nodes is concerned."""

    __slots__ = ("load", "waiting", "weight")

    def __init__(self, weight: float = 1.0) -> None:
        #: CPUs of its jobs that are placed.
        self.load = 0
        #: How large its part is, compared with the others'.
        self.weight = weight
        #: Its computations with jobs that wait.
        self.waiting: dict[ComputationId, Computation] = {}


class Computation:
    """A function or program that a client wants to run."""

    __slots__ = (
        *("absent", "backlog", "client", "closing", "fenced", "given_back", "held", "id", "kept", "objection"),
        *("open", "opened", "owner", "patterns", "places", "prepare", "reentrant", "refused", "releasing"),
        *("served", "stuck", "tasks", "turn", "waiting_since"),
    )

    def __init__(self, message: Open, client: Peer, owner: ClientShare, number: int) -> None:
        self.id = message.computation
        self.client = client
        self.owner = owner
        #: When it was opened, counted; when it was last served; and its valid place among those that wait.
        self.opened = self.served = number
        self.turn = -1
        #: CPUs of its next job when no node could take that; 0 where one may be able to.
        self.stuck = 0
        #: As its client opened it; where there is a token, a journal is kept. And whether another scheduler has it now.
        self.open = message
        self.kept = bool(message.token)
        self.fenced = False
        #: Nothing is placed before its nodes have said what they hold, or are lost: they may have more than is known.
        self.held = False
        #: `open.nodes`, ready to be compared with many nodes.
        self.patterns = NodePatterns(message.nodes)
        self.reentrant = message.reentrant
        self.prepare: Prepare | None = None
        #: Why no node gets it, or ''.
        self.objection = ""
        #: Jobs that no node has.
        self.backlog = Backlog()
        #: Jobs that the client is to send again: the number of their next placement, and how many nodes they have lost.
        self.given_back: dict[JobId, tuple[int, int]] = {}
        #: Jobs on nodes of which only their client knows what they are called with.
        self.absent: set[JobId] = set()
        #: All jobs that have not ended.
        self.tasks: dict[JobId, Task] = {}
        #: Nodes that have loaded it.
        self.places: set[Instance] = set()
        #: Nodes that `nodes` does not name.
        self.refused: set[Instance] = set()
        #: Its client has released it: no node gets it any more.
        self.closing = False
        #: Nodes that have not yet said that nothing is left of it.
        self.releasing: set[Instance] = set()
        #: Since when jobs wait and no node is usable; None while one is.
        self.waiting_since: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether no node gets it any more: released, or taken over by another scheduler."""
        return self.closing or self.fenced

    def fill(self, job: JobId, arguments: Bulk) -> bool:
        """Fill in the arguments of a job that is on a node already; whether it is such a job."""
        task = self.tasks.get(job) if job in self.absent else None
        self.absent.discard(job)
        if task is None:
            return False
        task.arguments = arguments
        if task.node is not None:
            task.node.add_bytes(bulk_size(arguments))
        return True

    def take_again(self, task: Task) -> None:
        """The client has sent a job again: its placements are counted on."""
        task.attempt, task.losses = self.given_back.pop(task.job, (task.attempt, task.losses))
