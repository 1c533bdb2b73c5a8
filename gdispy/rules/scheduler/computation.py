"""A computation and the client that it belongs to, as the scheduler's rules know them."""

from __future__ import annotations

from gdispy.protocol.address import NodePatterns
from gdispy.protocol.ids import ComputationId, Instance, JobId, Peer
from gdispy.protocol.messages import Open, Prepare
from gdispy.protocol.payload import Bulk, bulk_size
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.job_queue import ByCpus, JobQueue


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
        *("absent", "asks", "cancelled", "capacity", "client", "closing", "epoch", "exclusive", "fenced"),
        *("given_back", "held", "id", "judged_at", "kept", "nodes", "objection", "opened", "oversized"),
        *(
            "oversized_since",
            "owner",
            "patterns",
            "pinned",
            "places",
            "prepare",
            "queue",
            "reentrant",
            "refused",
            "releasing",
        ),
        *("served", "stuck", "tasks", "token", "turn", "waiting_since", "waits", "watches", "wide"),
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
        self.exclusive = message.exclusive
        #: As in `Open`; where there is a token, a journal is kept. And whether somebody else has it now.
        self.token, self.epoch = message.token, message.epoch
        self.kept = bool(message.token)
        self.fenced = False
        #: Nothing is placed before its nodes have said what they hold, or are lost: they may have more than is known.
        self.held = False
        self.nodes = message.nodes
        #: `nodes`, ready to be compared with many nodes.
        self.patterns = NodePatterns(message.nodes)
        self.reentrant = message.reentrant
        #: Whether its client decides about each node, and wants to hear of what happens to them.
        self.asks = message.asks
        #: Whether its jobs wait for a node that can run them, though those that are there cannot.
        self.waits = message.waits
        self.watches = message.watches
        self.prepare: Prepare | None = None
        #: Why no node gets it, or ''.
        self.objection = ""
        #: Jobs that no node has; cancelled ones among them are skipped. Those for one node have a queue of their own.
        self.queue = JobQueue()
        self.pinned: dict[Instance, JobQueue] = {}
        #: How many of those are cancelled.
        self.cancelled = 0
        #: Those of them that ask for several CPUs; and jobs that wait outside the queues, since they ask for more than
        #: any node has (`wide_jobs.py`): since when there are any, and when it is seen whether they should wait at all.
        self.wide = ByCpus()
        self.oversized = ByCpus()
        self.oversized_since = 0.0
        self.judged_at: float | None = None
        #: CPUs that a job can have on the largest of its nodes; less than 0 where they are to be counted again.
        self.capacity = -1
        #: Jobs that the client is to say again: the number of their next placement, and how many nodes they have lost.
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
        """Whether no node gets it any more: released, or taken over by somebody else."""
        return self.closing or self.fenced

    def fill(self, job: JobId, arguments: Bulk) -> bool:
        """Fill in the arguments of a job that is on a node already; whether it is such a job."""
        task = self.tasks.get(job) if job in self.absent else None
        self.absent.discard(job)
        if task is None:
            return False
        task.arguments = arguments
        if task.node is not None:
            task.node.bulk += bulk_size(arguments)
        return True

    def take_again(self, task: Task) -> None:
        """The client has said a job again: its placements are counted on."""
        task.attempt, task.losses = self.given_back.pop(task.job, (task.attempt, task.losses))

    def add(self, task: Task, first: bool = False) -> None:
        """Have a job wait, behind its like or before them."""
        pinned = task.pinned
        queue = self.queue if pinned is None else self.pinned.setdefault(pinned, JobQueue())
        (queue.appendleft if first else queue.append)(task)
        if task.cpus > 1:
            self.wide.add(task)

    def waiting(self) -> int:
        """How many jobs wait, cancelled ones included."""
        return len(self.queue) + (sum(map(len, self.pinned.values())) if self.pinned else 0)

    def all_waiting(self) -> list[Task]:
        return [task for queue in (self.queue, *self.pinned.values()) for task in queue]

    def clear_waiting(self) -> None:
        self.queue.clear()
        self.pinned.clear()
        self.wide.clear()
        self.cancelled = 0
