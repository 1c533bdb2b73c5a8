"""The jobs of one computation that are not placed."""

from __future__ import annotations

from gdispy.protocol.ids import Instance
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.job_queue import ByCpus, JobQueue

#: The capacity of a computation must be counted again.
UNKNOWN = -1


class Backlog:
    """Queues of jobs, and separately the jobs that request more CPUs than any node has."""

    __slots__ = ("cancelled", "capacity", "judged_at", "oversized", "oversized_since", "pinned", "queue", "wide")

    def __init__(self) -> None:
        #: Cancelled jobs in the queues are skipped. Jobs for one node have a separate queue.
        self.queue = JobQueue()
        self.pinned: dict[Instance, JobQueue] = {}
        #: The number of cancelled jobs in the queues.
        self.cancelled = 0
        #: Jobs in the queues that request several CPUs and are not cancelled.
        self.wide = ByCpus()
        #: Jobs that wait outside the queues, since they request more CPUs than any node has; the time since which there
        #: are any; and the time at which it is decided whether they should wait at all.
        self.oversized = ByCpus()
        self.oversized_since = 0.0
        self.judged_at: float | None = None
        #: CPUs that a job can have on the largest node of the computation, or UNKNOWN.
        self.capacity = UNKNOWN

    def __len__(self) -> int:
        """The number of jobs in the queues, cancelled ones included."""
        return len(self.queue) + (sum(map(len, self.pinned.values())) if self.pinned else 0)

    def add(self, task: Task, first: bool = False) -> None:
        """Queue a job, behind or before the jobs of the same priority and node."""
        pinned = task.pinned
        queue = self.queue if pinned is None else self.pinned.setdefault(pinned, JobQueue())
        (queue.appendleft if first else queue.append)(task)
        if task.cpus > 1:
            self.wide.add(task)

    def cancel(self, task: Task) -> None:
        """A job in the queues is cancelled: it is skipped when it reaches the head."""
        task.cancelled = True
        self.cancelled += 1
        if task.cpus > 1:
            self.wide.discard(task)

    def pop_cancelled(self) -> bool:
        """Drop the cancelled jobs at the head of the common queue; returns whether there were any."""
        queue = self.queue
        head, dropped = queue.head(), False
        while head is not None and head.cancelled:
            queue.popleft()
            self.cancelled -= 1
            head, dropped = queue.head(), True
        return dropped

    def pop_pinned(self, node: Instance) -> list[Task]:
        """Remove the jobs that only this node may run; returns those that are not cancelled."""
        stranded = list(self.pinned.pop(node, ()))
        self.wide.pop_where(lambda only, cpus: only == node)
        waiting = [task for task in stranded if not task.cancelled]
        self.cancelled -= len(stranded) - len(waiting)
        return waiting

    def jobs(self) -> list[Task]:
        """All jobs in the queues."""
        return [task for queue in (self.queue, *self.pinned.values()) for task in queue]

    def clear(self) -> None:
        """Empty the queues; oversized jobs are kept."""
        self.queue.clear()
        self.pinned.clear()
        self.wide.clear()
        self.cancelled = 0
