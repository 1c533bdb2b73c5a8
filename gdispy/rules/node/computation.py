"""A computation on a node: its jobs, the state of its processes, and the outcomes held for its scheduler."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from gdispy.errors import InternalError
from gdispy.protocol.ids import JobId, WorkerId
from gdispy.protocol.messages import NO_LIMIT, Prepare
from gdispy.protocol.payload import Bulk
from gdispy.rules.moving_average import averaged
from gdispy.rules.node.job import Job, release
from gdispy.rules.node.outcome import Outcome
from gdispy.rules.node.progress import UnackedProgress
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.worker import Worker

#: Jobs that take longer, in seconds on average, are handed to workers one by one.
SHORT = 0.02
#: Maximum number of jobs, and of seconds of work, in one portion of shorter jobs. A worker has up to two portions in
#: hand. With fewer of the shortest jobs it is idle at times while the node does not get a processor: a fifth of the
#: time on two processors, with 100 jobs of microseconds. Node and client are also notified once for each portion: that
#: wake-up costs 0.3 ms of a processor that jobs need, and finds the caches filled by others.
PORTION_LIMIT = 400
PORTION_SECONDS = 0.04
#: Minimum seconds of work in one portion: shorter portions are not worth these wake-ups.
PORTION_LEAST = 0.002
#: The jobs that are here are divided into this number of portions for each worker. So portions become smaller, and all
#: workers finish at about the same time.
PORTIONS = 4


class RequestedFiles:
    """Files of a computation that were requested from its scheduler, by their indexes in `Prepare.files`."""

    __slots__ = ("_arrived", "_places")

    def __init__(self) -> None:
        self._places: list[int] = []
        self._arrived: dict[int, Bulk] = {}

    def __bool__(self) -> bool:
        """Whether any files are requested."""
        return bool(self._places)

    def ask(self, places: list[int]) -> None:
        """Request these, and forget earlier requests."""
        self.drop()
        self._places = places

    def missing(self) -> list[int]:
        """Indexes of files that have not arrived."""
        return [place for place in self._places if place not in self._arrived]

    def take(self, places: list[int], contents: list[Bulk]) -> bool:
        """Store files that have arrived, all or some; returns whether these were the last of the requested ones."""
        missing = set(self.missing())
        for place, content in zip(places, contents, strict=True):
            if place in missing:
                self._arrived[place] = content
            else:
                release(content)
        return bool(missing) and missing <= set(places)

    def hand_over(self) -> dict[int, Bulk]:
        """Return the contents by index, to be put in place; afterwards nothing is requested any more."""
        arrived, self._places, self._arrived = self._arrived, [], {}
        return arrived

    def drop(self) -> None:
        """Forget the requests and the contents that have arrived."""
        for content in self._arrived.values():
            release(content)
        self._places, self._arrived = [], {}


class ProcessStage(Enum):
    """The stage of a computation's processes."""

    #: The template is being loaded, for the first time or since it has ended unexpectedly.
    LOADING = auto()
    #: The template can fork workers.
    READY = auto()
    #: The computation could not be loaded.
    FAILED = auto()
    #: They have ended for good, and the outcomes wait for a scheduler that takes the computation over.
    OVER = auto()


#: The legal transitions. What is reported late of processes that are OVER is ignored.
PROCESS_MOVES: dict[ProcessStage, set[ProcessStage]] = {
    ProcessStage.LOADING: {ProcessStage.READY, ProcessStage.FAILED, ProcessStage.OVER},
    ProcessStage.READY: {ProcessStage.LOADING, ProcessStage.FAILED, ProcessStage.OVER},
    ProcessStage.FAILED: {ProcessStage.READY, ProcessStage.LOADING, ProcessStage.OVER},
    ProcessStage.OVER: {ProcessStage.LOADING},
}


class ProcessState:
    """The stage of a computation's processes, and how often they have failed."""

    __slots__ = ("error", "lost_templates", "note", "ready", "stage", "stillborn")

    def __init__(self) -> None:
        self.stage = ProcessStage.LOADING
        #: Whether the stage is READY: read for each portion of jobs.
        self.ready = False
        #: Why it could not be loaded, when FAILED.
        self.error = ""
        #: A note on its loading for its user.
        self.note = ""
        #: Consecutive workers that ended before their first job.
        self.stillborn = 0
        #: How often its template has ended unexpectedly.
        self.lost_templates = 0

    @property
    def is_over(self) -> bool:
        return self.stage is ProcessStage.OVER

    def _move(self, to: ProcessStage, error: str = "") -> None:
        """Raises InternalError if `PROCESS_MOVES` does not allow it; the same stage is no transition."""
        if to is not self.stage and to not in PROCESS_MOVES[self.stage]:
            raise InternalError(f"processes cannot go from {self.stage.name} to {to.name}")
        self.stage, self.ready, self.error = to, to is ProcessStage.READY, error

    def loaded(self, error: str) -> None:
        """The template was loaded, or could not be."""
        self._move(ProcessStage.FAILED if error else ProcessStage.READY, error)

    def template_ended(self) -> None:
        """The template has ended unexpectedly; it is loaded again."""
        self._move(ProcessStage.LOADING)

    def retire(self) -> None:
        self._move(ProcessStage.OVER)

    def load_again(self) -> None:
        """They had ended, and are started again."""
        self._move(ProcessStage.LOADING)


class HeldOutcomes:
    """Outcomes of a computation's jobs until its scheduler has acknowledged them."""

    __slots__ = ("answers", "done", "fresh", "has_spool", "spooled", "tell_at", "unacked")

    def __init__(self) -> None:
        self.unacked: dict[JobId, Outcome] = {}
        #: Outcomes to be sent at the end of this turn.
        self.fresh: list[Outcome] = []
        #: The latest time to send them; None if they need not wait.
        self.tell_at: float | None = None
        #: How many portions workers have answered since outcomes were last sent.
        self.answers = 0
        #: Jobs that have ended here.
        self.done = 0
        #: Jobs whose outcomes are written to the spool and not acknowledged; and whether there is a spool file.
        self.spooled: set[JobId] = set()
        self.has_spool = False


class Computation:
    """A computation on this node."""

    __slots__ = (
        "cpus",
        "early",
        "epoch",
        "files",
        "id",
        "jobs",
        "outcomes",
        "pace",
        "prepare",
        "processes",
        "progress",
        "queue",
        "session",
        "succeeding",
        "workers",
    )

    def __init__(self, prepare: Prepare, session: SchedulerSession) -> None:
        self.id = prepare.computation
        self.prepare = prepare
        self.session = session
        #: How often it was taken over; a scheduler with a lower number no longer owns it.
        self.epoch = prepare.epoch
        #: CPUs that its jobs may occupy.
        self.cpus = NO_LIMIT
        #: Jobs that wait for a worker; `jobs` holds these and those in workers' hands.
        self.queue: deque[Job] = deque()
        self.jobs: dict[JobId, Job] = {}
        #: Later attempts of jobs whose previous attempt has not ended.
        self.succeeding: dict[JobId, Job] = {}
        #: Cancels that arrived before their jobs (wire.py: messages may overtake payloads): (job, attempt).
        self.early: set[tuple[JobId, int]] = set()
        self.workers: dict[WorkerId, Worker] = {}
        #: Average seconds of a job, None until one has ended.
        self.pace: float | None = None
        self.processes = ProcessState()
        self.files = RequestedFiles()
        self.outcomes = HeldOutcomes()
        self.progress = UnackedProgress()

    @property
    def has_token(self) -> bool:
        """Whether another scheduler can prove ownership of the computation, and take it over."""
        return bool(self.prepare.token)

    def held(self) -> dict[JobId, int]:
        """The jobs that are here, ended or not, with the latest attempt of each."""
        held = {number: job.attempt for number, job in (self.jobs | self.succeeding).items()}
        return held | {number: outcome.attempt for number, outcome in self.outcomes.unacked.items()}

    def holder(self, job: Job) -> Worker | None:
        """The worker that has a job in hand."""
        for worker in self.workers.values():
            if job in worker.hand:
                return worker
        return None

    def load(self) -> int:
        """The CPUs that its jobs occupy."""
        return sum(worker.cpus for worker in self.workers.values() if worker.hand)

    def room(self) -> int:
        """CPUs that more of its jobs may occupy; negative if it has more than it may have now."""
        return self.cpus if self.cpus == NO_LIMIT else self.cpus - self.load()

    def note_pace(self, seconds: float, jobs: int) -> None:
        """Record that `jobs` jobs took `seconds` on average."""
        self.pace = averaged(self.pace, seconds, jobs)

    @property
    def has_short_jobs(self) -> bool:
        """Whether a worker may have several jobs in hand."""
        return self.prepare.isolation != "job" and self.pace is not None and self.pace <= SHORT

    def portion(self, workers: int) -> int:
        """How many short jobs to hand to one of `workers` workers at a time."""
        pace = max(self.pace or 0.0, 1e-6)
        part = -(-len(self.jobs) // (PORTIONS * workers))
        return max(1, min(max(part, int(PORTION_LEAST / pace)), PORTION_LIMIT, round(PORTION_SECONDS / pace)))
