"""What has arrived from a node, until that is acknowledged to it."""

from __future__ import annotations

from gdispy.protocol.ids import ComputationId, JobId
from gdispy.protocol.messages import Ended, Message, OutcomesAcked, Progress, ProgressAcked

#: From this number of outcomes on they are acknowledged with the next jobs.
MANY_RECEIPTS = 32
_BYTES = frozenset((bytes,))


class Receipts:
    """What has arrived from a node and was not acknowledged to it."""

    __slots__ = ("_outcomes", "_progress", "_weight", "due_at")

    def __init__(self) -> None:
        self._outcomes: dict[ComputationId, tuple[list[JobId], list[int]]] = {}
        #: How many provisional results of each job and attempt.
        self._progress: dict[ComputationId, dict[tuple[JobId, int], int]] = {}
        #: How many outcomes these are; large ones count for many, since they take memory on the node.
        self._weight = 0
        #: When the node must be told at the latest.
        self.due_at: float | None = None

    def note_ended(self, message: Ended, latest: float) -> bool:
        """The node may forget these outcomes. It is told with jobs that it gets when there are many, or a little later;
        whether nothing was to be told before."""
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
        """Whether it is worth while to tell the node with the next jobs: a message of its own delays those."""
        return self._weight >= MANY_RECEIPTS

    def take(self) -> list[Message]:
        """What the node is to be told of all that has arrived from it."""
        found: list[Message] = []
        for number, shown in self._progress.items():
            jobs, attempts = [job for job, _ in shown], [attempt for _, attempt in shown]
            found.append(ProgressAcked(number, jobs, attempts, list(shown.values())))
        found += [OutcomesAcked(number, *columns) for number, columns in self._outcomes.items()]
        self.clear()
        return found

    def clear(self) -> None:
        """They were sent, or the connection is gone: the node then reports again what it was not told of."""
        self._outcomes, self._progress, self._weight, self.due_at = {}, {}, 0, None
