"""A job that has not ended, in the scheduler's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdispy.protocol.ids import Instance, JobId
from gdispy.protocol.payload import Bulk, bulk_size
from gdispy.protocol.rows import JobOptions

if TYPE_CHECKING:
    from gdispy.rules.scheduler.node_record import NodeRecord


class Task:
    """A job that has not ended. There may be millions, and almost all have no options: see `JobWithOptions`."""

    __slots__ = ("arguments", "attempt", "cancelled", "job", "losses", "node")

    #: As in `Run`; and as sent to its node.
    options: JobOptions | None = None
    needs: JobOptions | None = None
    priority = 0.0
    #: CPUs that it occupies.
    cpus = 1

    def __init__(self, job: JobId, arguments: Bulk) -> None:
        self.job = job
        self.arguments = arguments
        #: Attempt number of its current or next placement.
        self.attempt = 1
        #: The number of its nodes that were lost.
        self.losses = 0
        self.node: NodeRecord | None = None
        self.cancelled = False

    @property
    def size(self) -> int:
        """The number of bytes that its node must hold for it."""
        arguments = self.arguments
        return len(arguments) if type(arguments) is bytes else bulk_size(arguments)

    @property
    def pinned(self) -> Instance | None:
        """The only node that may run it."""
        return Instance(self.options.node) if self.options is not None and self.options.node else None


class JobWithOptions(Task):
    """A job with options."""

    __slots__ = ("cpus", "needs", "options", "priority")

    def __init__(self, job: JobId, arguments: Bulk, options: JobOptions) -> None:
        super().__init__(job, arguments)
        self.options = options
        self.priority, self.cpus = options.priority, max(1, options.cpus)
        # The required node and the priority are not sent to its node: there it is a job like any other, and short ones
        # share messages, which multiplies throughput.
        self.needs = options if options.timeout or options.concern_worker else None

    @property
    def size(self) -> int:
        """The number of bytes that its node must hold for it, including the files that it needs."""
        assert self.options is not None
        return bulk_size(self.arguments) + sum(map(bulk_size, self.options.contents))


def new_task(job: JobId, arguments: Bulk, options: JobOptions | None) -> Task:
    """A job, with options or without."""
    return Task(job, arguments) if options is None else JobWithOptions(job, arguments, options)
