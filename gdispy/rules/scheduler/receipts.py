"""Reports that have arrived from a node, until they are acknowledged to it."""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.messages import Ended, Message, OutcomesAcked, Progress, ProgressAcked

#: At least this number of outcomes are acknowledged with the next jobs.
MANY_RECEIPTS = 32
_BYTES = frozenset((bytes,))


class Receipts:
    """Reports that have arrived from a node and were not acknowledged to it."""

    __slots__ = ("_outcomes", "_progress", "_weight", "due_at")

    def __init__(self) -> None:
        self._outcomes: dict[ComputationId, tuple[list[JobId], list[int]]] = {}
        #: The number of provisional results of each job and attempt.
        self._progress: dict[ComputationId, dict[tuple[JobId, int], int]] = {}
        #: The number of outcomes; large ones count as `MANY_RECEIPTS`, since they occupy memory on the node.
        self._weight = 0
        #: The latest time for the acknowledgement.
        self.due_at: float | None = None

    def note_ended(self, message: Ended, latest: float) -> bool:
        """The node may forget these outcomes. They are acknowledged with the next jobs if there are many, or a little
        later; returns whether no acknowledgement was pending before."""
        self._weight += len(message.jobs) if _BYTES.issuperset(map(type, message.results)) else MANY_RECEIPTS
        jobs, attempts = self._outcomes.setdefault(message.computation, ([], []))
        jobs += message.jobs
        attempts += message.attempts
        return self._set_due(latest)

    def note_progress(self, message: Progress, count: int, latest: float) -> bool:
        """The same for the first `count` provisional results of a job."""
        self._progress.setdefault(message.computation, {})[message.job, message.attempt] = count
        return self._set_due(latest)

    def _set_due(self, latest: float) -> bool:
        is_first = self.due_at is None
        self.due_at = latest if is_first else self.due_at
        return is_first

    def are_many(self) -> bool:
        """Whether to acknowledge with the next jobs: a separate message delays those."""
        return self._weight >= MANY_RECEIPTS

    def take(self) -> list[Message]:
        """Remove and return the acknowledgements of all arrived reports."""
        found: list[Message] = []
        for number, shown in self._progress.items():
            jobs, attempts = [job for job, _ in shown], [attempt for _, attempt in shown]
            found.append(ProgressAcked(number, jobs, attempts, list(shown.values())))
        found += [OutcomesAcked(number, *columns) for number, columns in self._outcomes.items()]
        self.clear()
        return found

    def clear(self) -> None:
        """The acknowledgements were sent, or the connection has ended: then the node repeats unacknowledged reports."""
        self._outcomes, self._progress, self._weight, self.due_at = {}, {}, 0, None
