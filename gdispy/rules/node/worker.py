"""A worker process of a node, as the rules know it."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from gdispy.errors import InternalError
from gdispy.protocol.ids import JobId, WorkerId
from gdispy.protocol.messages import Started

if TYPE_CHECKING:
    from gdispy.rules.node.computation import Computation
    from gdispy.rules.node.job import Job


class WorkerStage(Enum):
    """The last action taken to end the first job in a worker's hand, or the worker."""

    #: Nothing.
    WORKING = "working"
    #: KeyboardInterrupt was raised in it.
    INTERRUPTED = "interrupted"
    #: Then it got SIGTERM.
    TERMINATED = "terminated"
    #: It got SIGTERM, but that job is not to be ended any more: if another interrupt follows, SIGKILL is next.
    SPARED = "spared"
    #: SIGKILL: it gets no more jobs, and only its exit is awaited.
    ENDING = "ending"


_MOVES: dict[WorkerStage, tuple[WorkerStage, ...]] = {
    WorkerStage.WORKING: (WorkerStage.INTERRUPTED, WorkerStage.ENDING),
    WorkerStage.INTERRUPTED: (WorkerStage.WORKING, WorkerStage.TERMINATED, WorkerStage.ENDING),
    WorkerStage.TERMINATED: (WorkerStage.WORKING, WorkerStage.SPARED, WorkerStage.ENDING),
    WorkerStage.SPARED: (WorkerStage.WORKING, WorkerStage.TERMINATED, WorkerStage.ENDING),
    WorkerStage.ENDING: (),
}


class Worker:
    """A worker process, from the request to fork it until its exit is known."""

    __slots__ = (
        "computation",
        "cpus",
        "hand",
        "interrupted_at",
        "latest",
        "number",
        "proven",
        "since",
        "slow",
        "stage",
        "why",
    )

    def __init__(self, number: WorkerId, computation: Computation) -> None:
        self.number = number
        self.computation = computation
        #: Jobs that it was handed and has not answered, oldest first; only the first can have begun.
        self.hand: deque[Job] = deque()
        #: How many of them were in the last portion that it was handed.
        self.latest = 0
        #: CPUs that those occupy; they run one after the other.
        self.cpus = 1
        self.stage = WorkerStage.WORKING
        #: When the first in hand was interrupted; None if it was not.
        self.interrupted_at: float | None = None
        #: Why the node ended it, if it did.
        self.why = ""
        #: It has finished a job.
        self.proven = False
        #: The earliest time at which the first in hand can have begun.
        self.since = 0.0
        #: Whether its job was taken for short but is long: nothing is queued behind it.
        self.slow = False

    # Its stage

    @property
    def is_ending(self) -> bool:
        return self.stage is WorkerStage.ENDING

    def interrupt(self, now: float) -> None:
        """The first job in hand is to end."""
        self.interrupted_at = now
        self._move(WorkerStage.TERMINATED if self.stage is WorkerStage.SPARED else WorkerStage.INTERRUPTED)

    def terminate(self) -> None:
        self._move(WorkerStage.TERMINATED)

    def spare(self) -> None:
        """The first job in hand is not to end, or there is none."""
        self.interrupted_at = None
        if self.stage is WorkerStage.INTERRUPTED:
            self._move(WorkerStage.WORKING)
        elif self.stage is WorkerStage.TERMINATED:
            self._move(WorkerStage.SPARED)

    def answered(self, now: float) -> None:
        """It has finished its first jobs: a pending attempt to end one of them is over."""
        self.proven, self.since, self.slow, self.interrupted_at = True, now, False, None
        if self.stage is not WorkerStage.WORKING:
            self._move(WorkerStage.WORKING)

    def end(self, why: str) -> None:
        """It is to end, with the jobs in its hand."""
        self.why = why or self.why
        self._move(WorkerStage.ENDING)

    def _move(self, stage: WorkerStage) -> None:
        """Move to a stage, except from the last, which only the worker's exit ends."""
        if self.stage is WorkerStage.ENDING:
            return
        if stage not in _MOVES[self.stage]:
            raise InternalError(f"a worker that is {self.stage.value} cannot be {stage.value}")
        self.stage = stage

    # Its hand

    def is_free(self) -> bool:
        """Whether it can be given its next job."""
        return not self.hand and not self.is_ending

    def may_have_more(self) -> bool:
        """Whether short jobs may be queued behind those in its hand. One with options for its worker is alone there."""
        is_alone = self.hand[0].options is not None
        return self.interrupted_at is None and not self.slow and not is_alone and len(self.hand) <= self.latest

    def take_out(self, numbers: set[JobId]) -> list[Job]:
        """Take these jobs out of its hand, and return them in order."""
        taken = [job for job in self.hand if job.number in numbers]
        self.hand = deque(job for job in self.hand if job.number not in numbers)
        return taken

    def report(self, clock_offset: float) -> Started:
        """The report that its first job runs."""
        job = self.hand[0]
        job.reported = True
        return Started(self.computation.id, [job.number], [job.attempt], [self.since + clock_offset], "")
