"""What the node's rules know of jobs, workers, computations and schedulers: the records behind
`job_table.py`, `requests.py` and `node_rules.py`.

Pure. Only these rules change them.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from gdispy.protocol.ids import Instance, JobId, Peer, WorkerId
from gdispy.protocol.messages import NO_LIMIT, Prepare
from gdispy.protocol.payload import Bulk, Payload, bulk_size

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
#: Bytes, payloads aside, and jobs in one message about outcomes at most.
MESSAGE_BYTES = 256 * 1024
MESSAGE_JOBS = 4096

#: A job's outcome: the columns of `Ended`, in their order.
Row = tuple[Any, ...]


class Job:
    """A job that this node has accepted and not ended."""

    __slots__ = ("arguments", "attempt", "cancelled", "expired", "limit", "number", "options", "reported")

    def __init__(self, number: JobId, attempt: int, arguments: Bulk, options: list[Any] | None = None) -> None:
        self.number = number
        self.attempt = attempt
        self.arguments = arguments
        #: Seconds that it may run; 0 is no limit.
        self.limit = 0.0
        #: As in `Run`; None also where nothing in it is for the worker, which then may have it in hand with others.
        self.options: list[Any] | None = None
        if options is not None:
            self.limit = float(options[2])
            self.options = options if options[3] > 1 or any(options[4:]) else None
        self.cancelled = False
        #: It has taken longer than it may.
        self.expired = False
        #: Whether the scheduler was told that it runs.
        self.reported = False

    @property
    def cpus(self) -> int:
        """How many CPUs it occupies."""
        return 1 if self.options is None else max(1, self.options[3])

    def release(self) -> None:
        """Give back what it needed to run."""
        release(self.arguments)
        if self.options is not None:
            release(self.options[5])
            for value in self.options[7]:
                release(value)


class Worker:
    """A worker process, from the order to fork it until its exit is known."""

    __slots__ = (
        "computation",
        "cpus",
        "ending",
        "hand",
        "interrupted",
        "latest",
        "number",
        "proven",
        "since",
        "slow",
        "told",
        "why",
    )

    def __init__(self, number: WorkerId, computation: Computation) -> None:
        self.number = number
        self.computation = computation
        #: What it was handed and has not answered, oldest first; only the first can have begun.
        self.hand: deque[Job] = deque()
        #: How many of them it was handed at last.
        self.latest = 0
        #: CPUs that those occupy; they run one after the other.
        self.cpus = 1
        #: It has finished a job.
        self.proven = False
        #: When the first in hand can have begun at the earliest.
        self.since = 0.0
        #: When the first in hand was interrupted; None where it was not.
        self.interrupted: float | None = None
        self.told = False
        #: Whether its job was taken for short and is not: nothing is put behind it.
        self.slow = False
        #: Whether it was told to end: it gets no more jobs. And why, where that is not its own doing.
        self.ending = False
        self.why = ""


class Computation:
    """A computation on this node."""

    def __init__(self, prepare: Prepare, session: SchedulerSession) -> None:
        self.id = prepare.computation
        self.prepare = prepare
        self.session = session
        self.ready = False
        self.error = ""
        #: What its user should know of how it was loaded.
        self.note = ""
        #: CPUs that its jobs may occupy.
        self.cpus = NO_LIMIT
        #: Places of the files that were asked for, and what has arrived of them.
        self.lacking: list[int] = []
        self.arrived: dict[int, Bulk] = {}
        #: Jobs that wait for a worker; `jobs` holds them and those in a worker's hand.
        self.queue: deque[Job] = deque()
        self.jobs: dict[JobId, Job] = {}
        #: Later attempts of jobs whose former attempt has not ended yet.
        self.succeeding: dict[JobId, Job] = {}
        #: Outcomes that nobody has collected.
        self.ended: dict[JobId, Row] = {}
        #: Outcomes of this turn, to be sent at its end.
        self.fresh: list[Row] = []
        #: When those are told at the latest; None where they need not wait.
        self.tell_at: float | None = None
        #: How many portions workers have answered since they were told.
        self.answers = 0
        #: Provisional results that the scheduler has not said it has: job -> (attempt, index, value).
        self.shown: dict[JobId, deque[tuple[int, int, Bulk]]] = {}
        #: Cancels that arrived before their jobs (wire.py: messages may overtake payloads).
        self.early: set[tuple[JobId, int]] = set()
        #: Files that jobs have sent, and no answer yet: (job, attempt, number) -> row, contents, worker.
        self.uploads: dict[tuple[JobId, int, int], tuple[list[Any], Bulk, WorkerId]] = {}
        self.workers: dict[WorkerId, Worker] = {}
        #: Average seconds of a job, None as long as none has ended.
        self.pace: float | None = None
        #: Jobs that have ended here.
        self.done = 0
        self.stillborn = 0
        self.lost_templates = 0
        #: How often it was taken over; who knows of fewer times has nothing more to do with it.
        self.epoch = prepare.epoch
        #: Its processes have ended for good, and its outcomes wait for somebody who takes it over.
        self.over = False
        #: Outcomes that are written down, not collected yet; and whether there is a file of it at all.
        self.spooled: set[JobId] = set()
        self.is_spooled = False

    def missing(self) -> list[int]:
        """Places of the files that were asked for and have not arrived."""
        return [place for place in self.lacking if place not in self.arrived]

    def take_contents(self, places: list[int], contents: list[Bulk]) -> bool:
        """Files that were asked for have arrived, all or some; whether these were the last."""
        missing = set(self.missing())
        for place, content in zip(places, contents, strict=True):
            if place in missing:
                self.arrived[place] = content
            else:
                release(content)
        return bool(missing) and missing <= set(places)

    def drop_contents(self) -> None:
        """Forget what was asked for, and what of that has arrived."""
        for content in self.arrived.values():
            release(content)
        self.lacking, self.arrived = [], {}

    def load(self) -> int:
        """The CPUs that its jobs occupy."""
        return sum(worker.cpus for worker in self.workers.values() if worker.hand)

    def room(self) -> int:
        """The CPUs that more of its jobs may occupy; less than 0 where it has more than it may have now."""
        return self.cpus if self.cpus == NO_LIMIT else self.cpus - self.load()

    @property
    def has_short_jobs(self) -> bool:
        """Whether a worker may have several jobs in hand."""
        return self.prepare.isolation != "job" and self.pace is not None and self.pace <= SHORT

    def portion(self, workers: int) -> int:
        """How many short jobs to hand to one of so many workers at a time."""
        pace = max(self.pace or 0.0, 1e-6)
        part = -(-len(self.jobs) // (PORTIONS * workers))
        return max(1, min(max(part, int(PORTION_LEAST / pace)), PORTION_LIMIT, round(PORTION_SECONDS / pace)))


class SchedulerSession:
    """A scheduler that this node works for."""

    def __init__(self, instance: Instance, name: str) -> None:
        self.instance = instance
        self.name = name
        self.peer: Peer | None = None
        #: When it is forgotten, while it is away.
        self.expires: float | None = None
        #: Seconds for which it is remembered while it is away.
        self.lease = 0.0
        #: CPUs that it wants to use.
        self.cpus = NO_LIMIT
        #: Whether it ever had a computation here.
        self.was_served = False
        #: Its life, as its journal counts them.
        self.epoch = 0
        #: It only takes what is here, and brings nothing.
        self.recovers = False


def release(value: Bulk) -> None:
    """Give back what a payload occupies."""
    if isinstance(value, Payload):
        value.release()


def row_bytes(row: Row) -> int:
    """About how many bytes an outcome has, its payloads included: a message arrives when they all have."""
    return sum(map(bulk_size, row[3:6])) + 4 * len(row[6]) + 64


def _fit(rows: list[Row]) -> bool:
    """Whether outcomes fit into one message; by columns, since that is fast for many short ones."""
    columns = list(zip(*rows, strict=True))
    size = 64 * len(rows) + 4 * sum(map(len, columns[6]))
    for column in columns[3:6]:
        if set(map(type, column)) != {bytes}:
            return False
        size += sum(map(len, column))
    return len(rows) <= MESSAGE_JOBS and size <= MESSAGE_BYTES


def portions(rows: list[Row]) -> list[list[Row]]:
    """Outcomes in as many lists as make messages of a size that the other side takes."""
    if not rows or _fit(rows):
        return [rows] if rows else []
    found: list[list[Row]] = []
    room = 0
    for row in rows:
        size = row_bytes(row)
        if not found or size > room or len(found[-1]) >= MESSAGE_JOBS:
            found.append([])
            room = MESSAGE_BYTES
        found[-1].append(row)
        room -= size
    return found
