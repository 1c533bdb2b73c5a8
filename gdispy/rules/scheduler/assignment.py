"""A computation on a node: its stage there, and the jobs placed there."""

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

#: Seconds of work that is sent ahead to a node for each CPU, to hide the round trip.
AHEAD = 0.16
#: The same, at least, when few jobs are left.
AHEAD_LEAST = 0.02
#: Jobs longer than this are not sent ahead at all.
LONG = 0.25
#: Maximum number of jobs sent ahead for one CPU.
AHEAD_LIMIT = 8000


class AssignmentStage(Enum):
    """The stage of a computation on a node."""

    #: The node has not loaded it and is not requested to: it was not offered, or the node could not load it.
    IDLE = auto()
    #: The node was requested to prepare it.
    LOADING = auto()
    #: The node has loaded it.
    READY = auto()
    #: The node was requested to release it. This is requested once: a second request would release the computation
    #: when it has been loaded again after the first.
    RELEASING = auto()


#: The legal transitions. From IDLE to READY: a node that could not load it before may report that it has.
MOVES: dict[AssignmentStage, set[AssignmentStage]] = {
    AssignmentStage.IDLE: {AssignmentStage.LOADING, AssignmentStage.READY, AssignmentStage.RELEASING},
    AssignmentStage.LOADING: {AssignmentStage.IDLE, AssignmentStage.READY, AssignmentStage.RELEASING},
    AssignmentStage.READY: {AssignmentStage.IDLE, AssignmentStage.RELEASING},
    AssignmentStage.RELEASING: {AssignmentStage.IDLE},
}


class Consent(Enum):
    """The decision of a client that decides about each node itself (`Open.asks`)."""

    UNASKED = auto()
    ASKED = auto()
    ACCEPTED = auto()
    DECLINED = auto()


class Use(Enum):
    """Whether a client lets a node take jobs of a computation."""

    OPEN = auto()
    #: It takes no further jobs until it is allocated again.
    CLOSED = auto()
    #: The node leaves the computation when no job is left there, and is CLOSED then.
    CLOSING = auto()
    #: The node leaves the computation when no job is left there, and is set up again then.
    RESETTING = auto()

    @property
    def is_leaving(self) -> bool:
        return self is Use.CLOSING or self is Use.RESETTING


class Assignment:
    """A computation on a node: its stage there, and the jobs placed there."""

    __slots__ = (
        *("consent", "cpus", "depth", "done", "error", "is_unable", "load", "met", "note", "owner", "pace", "placed"),
        *("prepared_at", "recalling", "received", "running", "seconds", "sent", "shown", "special", "stage", "told"),
        "use",
    )

    def __init__(self, owner: ClientShare) -> None:
        self.owner = owner
        self.stage = AssignmentStage.IDLE
        #: Why the node does not load it, or could not.
        self.error = ""
        #: A remark of the node about a computation that it has loaded.
        self.note = ""
        #: The error is permanent: the node cannot run the computation in its present form.
        self.is_unable = False
        self.consent = Consent.UNASKED
        self.use = Use.OPEN
        #: How many CPUs the client may use there, and the values for this node, as in `UseNode`.
        self.cpus = NO_LIMIT
        self.special: UseNode | None = None
        #: The time since which it is LOADING, None in other stages; and whether the user was notified of the duration.
        self.prepared_at: float | None = None
        self.told = False
        self.placed: dict[JobId, Task] = {}
        #: Those that the node has reported as running, None for none; short jobs are reported when they have ended.
        self.running: set[JobId] | None = None
        #: The CPUs of those jobs.
        self.load = 0
        #: The provisional results that have arrived.
        self.shown = NOTHING_SHOWN
        #: Jobs for each CPU that may be on the node, running or sent ahead.
        self.depth = 1
        #: Whether the computation's journal contains the node.
        self.met = False
        #: Average duration of a job in seconds; None until one has ended.
        self.pace: float | None = None
        #: A recall was sent and is not answered.
        self.recalling = False
        self.done = 0
        self.seconds = 0.0
        #: Bytes of arguments sent, and of results received.
        self.sent = self.received = 0

    def note_running(self, jobs: list[JobId]) -> None:
        """The node has reported these jobs as running."""
        self.running = self.running or set()
        self.running.update(jobs)

    def running_jobs(self, cpus: int) -> int:
        """How many of the placed jobs run on a node with this number of CPUs: the others were sent ahead."""
        reported = len(self.running) if self.running else 0
        return max(reported, min(cpus, len(self.placed)))

    def move(self, to: AssignmentStage) -> None:
        """Change to another stage; the same stage is ignored. Raises InternalError if `MOVES` does not allow it."""
        if to is self.stage:
            return
        if to not in MOVES[self.stage]:
            raise InternalError(f"an assignment cannot go from {self.stage.name} to {to.name}")
        self.stage = to
        if to is not AssignmentStage.LOADING:
            self.prepared_at = None

    def begin_loading(self, now: float) -> None:
        """The node is requested to prepare the computation."""
        self.move(AssignmentStage.LOADING)
        self.prepared_at = now

    def deallocate(self) -> None:
        """The client lets the node take no further jobs."""
        self.use = Use.CLOSING if self.use.is_leaving else Use.CLOSED

    def allocate(self) -> None:
        """The client uses the node again. A release that was sent already cannot be withdrawn: the computation is set
        up again after it."""
        self.use = Use.RESETTING if self.stage is AssignmentStage.RELEASING else Use.OPEN
        self.forget_refusal()

    def forget_refusal(self) -> None:
        """Let the client be asked again, unless it has accepted the node."""
        if self.consent is not Consent.ACCEPTED:
            self.consent = Consent.UNASKED

    def decide(self, message: UseNode) -> bool:
        """The client has decided about the node; returns whether it accepts it."""
        is_accepted = message.cpus > 0
        self.consent = Consent.ACCEPTED if is_accepted else Consent.DECLINED
        self.cpus, self.special = message.cpus or NO_LIMIT, message
        self.error = "" if is_accepted else "not selected by this program"
        if is_accepted and self.use is Use.CLOSED:
            self.use = Use.OPEN
        return is_accepted

    def left(self) -> None:
        """The node has left the computation."""
        self.move(AssignmentStage.IDLE)
        self.use = Use.OPEN if self.use is Use.RESETTING else Use.CLOSED
        self.consent = Consent.UNASKED

    def prepare(self, prepare: Prepare) -> Prepare:
        """The `Prepare` for this node; the node requests the contents of files that it does not have."""
        special = self.special
        if special is None:
            return replace(prepare, contents=[])
        files, arguments = [*prepare.files, *special.files], special.arguments or prepare.arguments
        return replace(prepare, files=files, contents=[], arguments=arguments)

    def note_shown(self, job: JobId, attempt: int, index: int) -> int:
        """A provisional result has arrived; returns how many have arrived without a gap, counted from the first."""
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
        """Measure the duration of jobs that have ended, to decide how many to send ahead."""
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
            # In steps, since a few short jobs at the beginning prove little; in few steps, since each takes a round
            # trip, and those are slow while the program submits and the hub waits for the interpreter.
            self.depth = min(wanted, 4 * self.depth)

    def fair_load(self, cpus: int, part: int) -> int:
        """The number of jobs to have on a node with `cpus` CPUs if all jobs, equally divided, are `part` for each node.
        Half of them remain available to any node: fewer are sent ahead towards the end, so that no node has much work
        when others have none. But the node always has the jobs that hide the round trip."""
        pace = max(self.pace if self.pace is not None else LONG, 1e-6)
        return min(cpus * self.depth, max(-(-part // 2), cpus * (1 + int(AHEAD_LEAST / pace))))
