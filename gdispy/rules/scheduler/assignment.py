"""What one node does for one computation."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

from gdispy.errors import InternalError
from gdispy.protocol.ids import JobId
from gdispy.protocol.messages import NO_LIMIT, Ended, Prepare, UseNode
from gdispy.protocol.payload import bulk_size
from gdispy.rules.moving_average import averaged
from gdispy.rules.scheduler.computation import ClientShare
from gdispy.rules.scheduler.job import Task
from gdispy.rules.scheduler.shown_results import NOTHING_SHOWN, ShownResults

#: Seconds of work that a node has ahead of it for each CPU, to hide the way there and back.
AHEAD = 0.16
#: As little as that where few jobs are left.
AHEAD_LEAST = 0.02
#: Jobs longer than this are not sent ahead at all.
LONG = 0.25
#: Jobs that one CPU has ahead of it at most.
AHEAD_LIMIT = 8000


class AssignmentStage(Enum):
    """How far a node is with a computation."""

    #: The node has not loaded it, and is not told to: it was not offered, or the node could not load it.
    IDLE = auto()
    #: The node was told to prepare it.
    LOADING = auto()
    #: The node has loaded it.
    READY = auto()
    #: The node was told to release it. It is not told twice, or the second would end what comes after the first.
    RELEASING = auto()


#: The legal moves between stages. From IDLE to READY: a node that could not load it before may report that it has.
MOVES: dict[AssignmentStage, set[AssignmentStage]] = {
    AssignmentStage.IDLE: {AssignmentStage.LOADING, AssignmentStage.READY, AssignmentStage.RELEASING},
    AssignmentStage.LOADING: {AssignmentStage.IDLE, AssignmentStage.READY, AssignmentStage.RELEASING},
    AssignmentStage.READY: {AssignmentStage.IDLE, AssignmentStage.RELEASING},
    AssignmentStage.RELEASING: {AssignmentStage.IDLE},
}


class Assignment:
    """What one node does for one computation."""

    __slots__ = (
        *("asked", "closed", "cpus", "depth", "done", "error", "is_unable", "leaving", "load", "met", "note", "owner"),
        *("pace", "placed", "prepared_at", "recalling", "received", "seconds", "sent", "shown", "special", "stage"),
        *("taken", "told"),
    )

    def __init__(self, owner: ClientShare) -> None:
        self.owner = owner
        self.stage = AssignmentStage.IDLE
        #: Why the node does not load it, or could not.
        self.error = ""
        #: What the node says besides of a computation that it has loaded.
        self.note = ""
        #: The error is no matter of the moment: as the computation is, the node cannot run it.
        self.is_unable = False
        #: Whether the client was asked about the node, and has taken it: how many CPUs it may use there, and what
        #: is special to this node, as in `UseNode`.
        self.asked = self.taken = False
        self.cpus = NO_LIMIT
        self.special: UseNode | None = None
        #: The client wants no more jobs here.
        self.closed = False
        #: The node is to leave the computation when no job is left: '' or not, 'close' for good, 'resetup' to be
        #: set up again.
        self.leaving = ""
        #: Since when it is LOADING, None in other stages; and whether the user was told how long that takes.
        self.prepared_at: float | None = None
        self.told = False
        self.placed: dict[JobId, Task] = {}
        #: CPUs of those.
        self.load = 0
        #: Which provisional results have arrived.
        self.shown = NOTHING_SHOWN
        #: Jobs for each CPU that may be on the node, running or ahead.
        self.depth = 1
        #: Whether the computation's journal knows the node.
        self.met = False
        #: Average seconds of a job; None as long as none has ended.
        self.pace: float | None = None
        #: A recall is on its way.
        self.recalling = False
        self.done = 0
        self.seconds = 0.0
        #: Bytes of arguments sent, and of results received.
        self.sent = self.received = 0

    def move(self, to: AssignmentStage) -> None:
        """Go on to a stage, if it is another one. Raises InternalError where `MOVES` does not allow that."""
        if to is self.stage:
            return
        if to not in MOVES[self.stage]:
            raise InternalError(f"an assignment cannot go from {self.stage.name} to {to.name}")
        self.stage = to
        if to is not AssignmentStage.LOADING:
            self.prepared_at = None

    def begin_loading(self, now: float) -> None:
        """The node is told to prepare the computation."""
        self.move(AssignmentStage.LOADING)
        self.prepared_at = now

    def prepare(self, prepare: Prepare) -> Prepare:
        """What this node is to prepare; it asks for the contents of files that it has not."""
        special = self.special
        if special is None:
            return replace(prepare, contents=[])
        files, arguments = [*prepare.files, *special.files], special.arguments or prepare.arguments
        return replace(prepare, files=files, contents=[], arguments=arguments)

    def note_shown(self, job: JobId, attempt: int, index: int) -> int:
        """A provisional result has arrived; returns how many have, from the first on without a gap."""
        return self._own_shown().note(job, attempt, index)

    def note_end(self, job: JobId, attempt: int, shown: int) -> None:
        """A job has ended that made `shown` provisional results."""
        self._own_shown().note_end(job, attempt, shown)

    def inherit(self, job: JobId, attempt: int) -> None:
        """A job of a previous run is here."""
        self._own_shown().inherited.add((job, attempt))

    def _own_shown(self) -> ShownResults:
        if self.shown is NOTHING_SHOWN:
            self.shown = ShownResults()
        return self.shown

    def count(self, message: Ended, fresh: int) -> None:
        """Learn from jobs that have ended how long they take, and so how many to send ahead."""
        total = sum(message.ends) - sum(message.starts)
        took = max(0.0, total / len(message.jobs))
        self.done += fresh
        self.seconds += took * fresh
        self.received += sum(map(bulk_size, message.results))
        self.pace = averaged(self.pace, took, len(message.jobs))
        if self.pace > LONG:
            self.depth = 1
        else:
            wanted = 1 + min(AHEAD_LIMIT, int(AHEAD / max(self.pace, 1e-6)) + 1)
            # In steps, since a few short jobs at the beginning prove little; in few of them, since each is a way there
            # and back, and those take long while the program submits and lets the hub wait for the interpreter.
            self.depth = min(wanted, 4 * self.depth)

    def fair_load(self, cpus: int, part: int) -> int:
        """How many jobs to have on a node with `cpus` CPUs where `part` is what each node would have of all jobs. Half
        of it stays where any node can get it: what each has ahead becomes less towards the end, and none has much to
        do when others have nothing. But what hides the way there and back, it has."""
        pace = max(self.pace if self.pace is not None else LONG, 1e-6)
        return min(cpus * self.depth, max(-(-part // 2), cpus * (1 + int(AHEAD_LEAST / pace))))
