"""A job on a node, from its acceptance to its end."""

from __future__ import annotations

from gdispy.protocol.ids import JobId
from gdispy.protocol.payload import Bulk, Payload
from gdispy.protocol.rows import JobOptions
from gdispy.protocol.texts import TOO_LONG


class Job:
    """A job that this node has accepted and that has not ended."""

    __slots__ = (
        *("arguments", "attempt", "cancelled", "cpus", "expired", "limit", "number"),
        *("options", "reported", "withdrawn"),
    )

    def __init__(self, number: JobId, attempt: int, arguments: Bulk, options: JobOptions | None = None) -> None:
        self.number = number
        self.attempt = attempt
        self.arguments = arguments
        #: Seconds that it may run; 0 for no limit.
        self.limit = 0.0
        #: How many CPUs it occupies.
        self.cpus = 1
        #: As in `Run`; None also if no option concerns the worker, which then may have it in hand with others.
        self.options: JobOptions | None = None
        if options is not None:
            self.limit = float(options.timeout)
            if options.concern_worker:
                self.options, self.cpus = options, max(1, options.cpus)
        self.cancelled = False
        #: It must not begin if it has not.
        self.withdrawn = False
        #: It has exceeded its time limit.
        self.expired = False
        #: Whether the scheduler was notified that it runs.
        self.reported = False

    def release(self) -> None:
        """Release the payloads that it needed to run."""
        release(self.arguments)
        if self.options is not None:
            release(self.options.names)
            for value in self.options.contents:
                release(value)

    def took_too_long(self) -> str:
        """The text for its user if it was ended for its time limit."""
        return f"{TOO_LONG} of {self.limit:g} s (dispy_timeout) and was terminated.\n"


def release(value: Bulk) -> None:
    """Release the memory of a payload."""
    if isinstance(value, Payload):
        value.release()
