"""The jobs of one computation that no node has."""

from __future__ import annotations

from gdispy.protocol.ids import Instance
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.job_queue import ByCpus, JobQueue

#: The capacity of a computation is to be counted again.
UNKNOWN = -1


class Backlog:
    """Queues of jobs, and beside them the jobs that ask for more CPUs than any node has."""

    __slots__ = ("cancelled", "capacity", "judged_at", "oversized", "oversized_since", "pinned", "queue", "wide")

    def __init__(self) -> None:
        #: Cancelled jobs in the queues are skipped. Jobs for one node have a queue of their own.
        self.queue = JobQueue()
        self.pinned: dict[Instance, JobQueue] = {}
        #: How many of the jobs in the queues are cancelled.
        self.cancelled = 0
        #: Those in the queues that ask for several CPUs and are not cancelled.
        self.wide = ByCpus()
        #: Jobs that wait outside the queues, since they ask for more CPUs than any node has: since when there are any,
        #: and when it is decided whether they should wait at all.
        self.oversized = ByCpus()
        self.oversized_since = 0.0
        self.judged_at: float | None = None
        #: CPUs that a job can have on the largest node of the computation, or UNKNOWN.
        self.capacity = UNKNOWN

    def __len__(self) -> int:
        """How many jobs are in the queues, cancelled ones included."""
        return len(self.queue) + (sum(map(len, self.pinned.values())) if self.pinned else 0)

    def add(self, task: Task, first: bool = False) -> None:
        """Have a job wait, behind its like or before them."""
        pinned = task.pinned
        queue = self.queue if pinned is None else self.pinned.setdefault(pinned, JobQueue())
        (queue.appendleft if first else queue.append)(task)
        if task.cpus > 1:
            self.wide.add(task)

    def cancel(self, task: Task) -> None:
        """A job in the queues is cancelled: it is skipped when its turn comes."""
        task.cancelled = True
        self.cancelled += 1
        if task.cpus > 1:
            self.wide.discard(task)

    def pop_cancelled(self) -> bool:
        """Drop the cancelled jobs at the head of the common queue; whether there were any."""
        queue = self.queue
        head, dropped = queue.head(), False
        while head is not None and head.cancelled:
            queue.popleft()
            self.cancelled -= 1
            head, dropped = queue.head(), True
        return dropped

    def pop_pinned(self, node: Instance) -> list[Task]:
        """Take out the jobs that only this node may run, but for cancelled ones."""
        stranded = list(self.pinned.pop(node, ()))
        self.wide.pop_where(lambda only, cpus: only == node)
        waiting = [task for task in stranded if not task.cancelled]
        self.cancelled -= len(stranded) - len(waiting)
        return waiting

    def jobs(self) -> list[Task]:
        """All that is in the queues."""
        return [task for queue in (self.queue, *self.pinned.values()) for task in queue]

    def clear(self) -> None:
        """Empty the queues; what is oversized stays."""
        self.queue.clear()
        self.pinned.clear()
        self.wide.clear()
        self.cancelled = 0
