"""A computation on a node: its jobs, how far its processes are, and what is still held for its scheduler."""

from __future__ import annotations

from collections import deque

from gdispy.protocol.ids import JobId, WorkerId
from gdispy.protocol.messages import NO_LIMIT, Prepare
from gdispy.protocol.payload import Bulk
from gdispy.rules.moving_average import averaged
from gdispy.rules.node.job import Job, release
from gdispy.rules.node.outcome import Outcome
from gdispy.rules.node.progress import UnackedProgress
from gdispy.rules.node.scheduler_session import SchedulerSession
from gdispy.rules.node.worker import Worker

#: Jobs that are longer, in seconds on average, are handed to workers one by one.
SHORT = 0.02
#: Jobs, and seconds of work, of one portion of others at most. A worker has up to two in hand: with fewer of the
#: shortest it has nothing to do at times while the node is kept from the processor, a fifth of the time on two
#: processors, with 100 jobs of microseconds. And of each portion node and client hear once: to be woken up costs them
#: 0.3 ms of a processor that jobs need, with caches that others have used meanwhile.
PORTION_LIMIT = 400
PORTION_SECONDS = 0.04
#: Seconds of work of one portion at least: shorter ones are not worth those wake-ups.
PORTION_LEAST = 0.002
#: In so many portions for each worker goes what is here, so that they become smaller, and workers have done all that is
#: here at about the same time.
PORTIONS = 4


class RequestedFiles:
    """Files of a computation that its scheduler was asked for, by their places in `Prepare.files`."""

    __slots__ = ("_arrived", "_places")

    def __init__(self) -> None:
        self._places: list[int] = []
        self._arrived: dict[int, Bulk] = {}

    def __bool__(self) -> bool:
        """Whether some were asked for."""
        return bool(self._places)

    def ask(self, places: list[int]) -> None:
        """Ask for these, and forget what was asked for before."""
        self.drop()
        self._places = places

    def missing(self) -> list[int]:
        """Places of those that have not arrived."""
        return [place for place in self._places if place not in self._arrived]

    def take(self, places: list[int], contents: list[Bulk]) -> bool:
        """Files have arrived, all or some; whether these were the last that were asked for."""
        missing = set(self.missing())
        for place, content in zip(places, contents, strict=True):
            if place in missing:
                self._arrived[place] = content
            else:
                release(content)
        return bool(missing) and missing <= set(places)

    def hand_over(self) -> dict[int, Bulk]:
        """The contents by their places, for who puts the files in place; nothing is asked for after that."""
        arrived, self._places, self._arrived = self._arrived, [], {}
        return arrived

    def drop(self) -> None:
        """Forget what was asked for, and what of that has arrived."""
        for content in self._arrived.values():
            release(content)
        self._places, self._arrived = [], {}


class ProcessState:
    """How far the processes of a computation are, and how often they have failed."""

    __slots__ = ("error", "is_over", "lost_templates", "note", "ready", "stillborn")

    def __init__(self) -> None:
        #: Whether its template can fork workers.
        self.ready = False
        #: Why it could not be loaded.
        self.error = ""
        #: What its user should know of how it was loaded.
        self.note = ""
        #: They have ended for good, and its outcomes wait for a scheduler that takes it over.
        self.is_over = False
        #: Workers in a row that ended before their first job.
        self.stillborn = 0
        #: How often its template has ended without having been told to.
        self.lost_templates = 0

    def loaded(self, error: str) -> None:
        self.ready, self.error = not error, error

    def template_ended(self) -> None:
        self.ready = False

    def retire(self) -> None:
        self.ready, self.is_over = False, True

    def load_again(self) -> None:
        """They were over, and are started afresh."""
        self.is_over = False


class HeldOutcomes:
    """Outcomes of a computation's jobs, until its scheduler has acknowledged them."""

    __slots__ = ("answers", "done", "fresh", "has_spool", "spooled", "tell_at", "unacked")

    def __init__(self) -> None:
        self.unacked: dict[JobId, Outcome] = {}
        #: Those to be sent at the end of this turn.
        self.fresh: list[Outcome] = []
        #: When those are sent at the latest; None where they need not wait.
        self.tell_at: float | None = None
        #: How many portions workers have answered since outcomes were sent.
        self.answers = 0
        #: Jobs that have ended here.
        self.done = 0
        #: Jobs whose outcomes are written down, not acknowledged yet; and whether there is a file of it at all.
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
        #: How often it was taken over; a scheduler that knows of fewer times has nothing more to do with it.
        self.epoch = prepare.epoch
        #: CPUs that its jobs may occupy.
        self.cpus = NO_LIMIT
        #: Jobs that wait for a worker; `jobs` holds them and those in a worker's hand.
        self.queue: deque[Job] = deque()
        self.jobs: dict[JobId, Job] = {}
        #: Later attempts of jobs whose former attempt has not ended yet.
        self.succeeding: dict[JobId, Job] = {}
        #: Cancels that arrived before their jobs (wire.py: messages may overtake payloads): (job, attempt).
        self.early: set[tuple[JobId, int]] = set()
        self.workers: dict[WorkerId, Worker] = {}
        #: Average seconds of a job, None as long as none has ended.
        self.pace: float | None = None
        self.processes = ProcessState()
        self.files = RequestedFiles()
        self.outcomes = HeldOutcomes()
        self.progress = UnackedProgress()

    @property
    def has_token(self) -> bool:
        """Whether another scheduler can prove that the computation is its own, and take it over."""
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
        """The CPUs that more of its jobs may occupy; less than 0 where it has more than it may have now."""
        return self.cpus if self.cpus == NO_LIMIT else self.cpus - self.load()

    def note_pace(self, seconds: float, jobs: int) -> None:
        """So many jobs took this long on average."""
        self.pace = averaged(self.pace, seconds, jobs)

    @property
    def has_short_jobs(self) -> bool:
        """Whether a worker may have several jobs in hand."""
        return self.prepare.isolation != "job" and self.pace is not None and self.pace <= SHORT

    def portion(self, workers: int) -> int:
        """How many short jobs to hand to one of so many workers at a time."""
        pace = max(self.pace or 0.0, 1e-6)
        part = -(-len(self.jobs) // (PORTIONS * workers))
        return max(1, min(max(part, int(PORTION_LEAST / pace)), PORTION_LIMIT, round(PORTION_SECONDS / pace)))
