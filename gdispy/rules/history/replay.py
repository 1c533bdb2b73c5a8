"""Replay of a journal: facts -> the state of each computation and each job, and the fewest facts that express it.

Pure. For a restarted scheduler, a program that resumes the work of a crashed one, and the recovery functions.

Invariants:
1. A job is known from its `Run` until it was collected, or its computation was released.
2. Replaying the `facts()` of a state gives the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.job_status import FINISHED
from gdispy.protocol.limits import INLINE
from gdispy.protocol.message import Message, picked
from gdispy.protocol.messages import (
    Cancel,
    Ended,
    JobNames,
    Open,
    OutcomesAcked,
    Prepare,
    Progress,
    ProgressAcked,
    Release,
    Released,
    Run,
    SetPriority,
)
from gdispy.protocol.payload import ABSENT, Bulk, MemoryPayload
from gdispy.protocol.rows import JobOptions
from gdispy.rules.arrivals import Arrivals
from gdispy.rules.history.facts import Announced, Began, GivenUp, Met, Owned, Placed, Submitted, Told, Unplaced

#: Maximum number of jobs in one fact.
PORTION = 1000


class Job:
    """The known state of a job."""

    __slots__ = ("arguments", "attempt", "cancelled", "losses", "name", "node", "options", "outcome", "shown", "told")

    def __init__(self, arguments: Bulk, options: JobOptions | None) -> None:
        self.arguments = arguments
        #: As in `Run`.
        self.options = options
        #: The user's id for it, pickled; empty if that is its number.
        self.name: bytes = b""
        self.cancelled = False
        #: The node where it is, or was; None if it is on none. And the number of this placement, or of the next.
        self.node: Instance | None = None
        self.attempt = 1
        #: How many of its nodes were lost.
        self.losses = 0
        #: Provisional results that its client has not seen, by attempts and indexes; None for none.
        self.shown: dict[tuple[int, int], Progress] | None = None
        #: The message that reports its end, and its index in there.
        self.outcome: tuple[Ended, int] | None = None
        #: The user's callback was called for its end.
        self.told = False


class ComputationHistory:
    """The known state of a computation."""

    def __init__(self, message: Open) -> None:
        self.open = message
        self.prepare: Prepare | None = None
        self.owned: Owned | None = None
        self.jobs: dict[JobId, Job] = {}
        #: The greatest number of any of its jobs.
        self.last = 0
        self.nodes: dict[Instance, Met] = {}
        self.submissions = Arrivals()
        #: The machine was switched off since: the last facts may be missing.
        self.rebooted = False

    @property
    def id(self) -> ComputationId:
        return self.open.computation

    def absent(self) -> tuple[list[JobId], list[JobId]]:
        """Jobs whose arguments only their client has: those on no node, and those on one."""
        absent = [(number, job) for number, job in self.unfinished().items() if job.arguments is ABSENT]
        waiting = [number for number, job in absent if job.node is None]
        return waiting, [number for number, job in absent if job.node is not None]

    def unfinished(self) -> dict[JobId, Job]:
        return {number: job for number, job in self.jobs.items() if job.outcome is None}

    def lost_with(self, nodes: set[Instance]) -> list[JobId]:
        """The jobs that have not ended and were on these lost nodes."""
        return [number for number, job in self.unfinished().items() if job.node in nodes]

    def failed(self) -> list[JobId]:
        """The jobs that have ended without a result."""
        ended = ((number, job.outcome) for number, job in self.jobs.items() if job.outcome is not None)
        return [number for number, (message, place) in ended if message.statuses[place] != FINISHED]

    def run_again(self, numbers: list[JobId]) -> list[Message]:
        """Run these jobs again, as if they had not begun: returns the facts that record this."""
        for number in numbers:
            _reset(self.jobs[number], self.jobs[number].attempt + 1)
        portions = (numbers[begin : begin + PORTION] for begin in range(0, len(numbers), PORTION))
        return [self._unplaced([(number, self.jobs[number]) for number in each]) for each in portions]

    def _unplaced(self, jobs: list[tuple[JobId, Job]]) -> Unplaced:
        columns = zip(*[(number, job.attempt, job.losses) for number, job in jobs], strict=True)
        return Unplaced(self.id, *(list(column) for column in columns))

    def facts(self) -> Iterator[Message]:
        """The fewest facts that express this state."""
        yield self.open
        yield from (each for each in (self.owned, self.prepare, *self.nodes.values()) if each is not None)
        numbers = list(self.jobs)
        self.submissions.forget_before(min(numbers, default=None))
        first, times = self.submissions.entries()
        if first:
            yield Submitted(self.id, first, times)
        for begin in range(0, len(numbers), PORTION):
            yield from self._jobs(numbers[begin : begin + PORTION])

    def _jobs(self, numbers: list[JobId]) -> Iterator[Message]:
        jobs = [(number, self.jobs[number]) for number in numbers]
        # Ended jobs are not run again, so their arguments are needed for display only.
        here = [(number, job) for number, job in jobs if job.arguments is not ABSENT]
        absent = [(number, job) for number, job in jobs if job.arguments is ABSENT]
        if here:
            arguments = [job.arguments for _, job in here]
            yield Run(self.id, [number for number, _ in here], [1] * len(here), arguments, _options(here))
        if absent:
            yield Announced(self.id, [number for number, _ in absent], _options(absent))
        named = [(number, job.name) for number, job in jobs if job.name]
        if named:
            yield JobNames(self.id, [number for number, _ in named], [name for _, name in named])
        again = [(number, job) for number, job in jobs if job.attempt > 1]
        if again:
            yield self._unplaced(again)
        cancelled = [number for number, job in jobs if job.cancelled]  # After `Run`, which undoes it.
        if cancelled:
            yield Cancel(self.id, cancelled, [0] * len(cancelled))
        for node in {job.node for _, job in jobs if job.node is not None}:
            placed = [(number, job.attempt) for number, job in jobs if job.node == node]
            yield Placed(self.id, node, [number for number, _ in placed], [attempt for _, attempt in placed])
        yield from (progress for _, job in jobs for progress in (job.shown or {}).values())
        yield from outcomes(job for _, job in jobs)
        told = [number for number, job in jobs if job.told]
        if told:
            yield Told(self.id, told)


class JournalState:
    """The state that all facts of a journal express."""

    def __init__(self) -> None:
        #: The process that kept it last.
        self.began: Began | None = None
        self.histories: dict[ComputationId, ComputationHistory] = {}

    def take(self, fact: Message) -> None:
        """Apply one more fact. A fact about an unknown computation or job has no effect."""
        if isinstance(fact, Began):
            self.began = fact
        elif isinstance(fact, Open):
            history = self.histories.setdefault(fact.computation, ComputationHistory(fact))
            history.open = fact
        else:
            found = self.histories.get(fact.computation)  # type: ignore[attr-defined]
            if found is not None:
                self._TAKERS[type(fact)](self, found, fact)

    def facts(self) -> Iterator[Message]:
        """The fewest facts that express this state; `Began` is left to the writer."""
        for history in self.histories.values():
            yield from history.facts()

    def _owned(self, history: ComputationHistory, fact: Owned) -> None:
        history.owned = fact

    def _prepare(self, history: ComputationHistory, fact: Prepare) -> None:
        contents = [bulk(value) for value in fact.contents]
        bodies = bulk(fact.body), bulk(fact.arguments), bulk(fact.source)
        history.prepare = replace(fact, contents=contents, body=bodies[0], arguments=bodies[1], source=bodies[2])

    def _met(self, history: ComputationHistory, fact: Met) -> None:
        history.nodes[fact.node] = fact

    def _given_up(self, history: ComputationHistory, fact: GivenUp) -> None:
        history.nodes.pop(fact.node, None)

    def _run(self, history: ComputationHistory, fact: Run) -> None:
        options = fact.options or [None] * len(fact.jobs)
        for number, arguments, wishes in zip(fact.jobs, fact.arguments, options, strict=True):
            job = history.jobs.get(number)
            if job is None:
                history.jobs[number] = Job(bulk(arguments), _read(wishes))
            elif job.arguments is ABSENT:
                job.arguments = bulk(arguments)
        history.last = max(history.last, *fact.jobs) if fact.jobs else history.last

    def _submitted(self, history: ComputationHistory, fact: Submitted) -> None:
        for number, time in zip(fact.jobs, fact.times, strict=True):
            history.submissions.note(number, time)

    def _announced(self, history: ComputationHistory, fact: Announced) -> None:
        for number, wishes in zip(fact.jobs, fact.options or [None] * len(fact.jobs), strict=True):
            history.jobs.setdefault(number, Job(ABSENT, _read(wishes)))
        history.last = max(history.last, *fact.jobs) if fact.jobs else history.last

    def _named(self, history: ComputationHistory, fact: JobNames) -> None:
        for number, name in zip(fact.jobs, fact.names, strict=True):
            job = history.jobs.get(number)
            if job is not None and isinstance(name, bytes):
                job.name = name

    def _cancel(self, history: ComputationHistory, fact: Cancel) -> None:
        for number in fact.jobs:
            job = history.jobs.get(number)
            if job is not None:
                job.cancelled = True

    def _priority(self, history: ComputationHistory, fact: SetPriority) -> None:
        job = history.jobs.get(fact.job)
        if job is not None:
            job.options = (job.options or JobOptions())._replace(priority=fact.priority)

    def _placed(self, history: ComputationHistory, fact: Placed) -> None:
        for number, attempt in zip(fact.jobs, fact.attempts, strict=True):
            job = history.jobs.get(number)
            if job is not None:
                job.node, job.attempt = fact.node, attempt

    def _unplaced(self, history: ComputationHistory, fact: Unplaced) -> None:
        for number, attempt, losses in zip(fact.jobs, fact.attempts, fact.losses, strict=True):
            job = history.jobs.get(number)
            if job is None:
                continue
            if job.outcome is not None:
                _reset(job, attempt)
            job.node, job.attempt, job.losses = None, attempt, losses

    def _progress(self, history: ComputationHistory, fact: Progress) -> None:
        job = history.jobs.get(fact.job)
        if job is not None:
            job.shown = job.shown or {}
            job.shown[fact.attempt, fact.index] = replace(fact, value=bulk(fact.value))

    def _seen(self, history: ComputationHistory, fact: ProgressAcked) -> None:
        for number, attempt, count in zip(fact.jobs, fact.attempts, fact.counts, strict=True):
            job = history.jobs.get(number)
            if job is not None and job.shown:
                job.shown.pop((attempt, count - 1), None)

    def _ended(self, history: ComputationHistory, fact: Ended) -> None:
        results, outputs, errors = ([bulk(value) for value in row] for row in (fact.results, fact.outputs, fact.errors))
        fact = replace(fact, results=results, outputs=outputs, errors=errors)
        for place, number in enumerate(fact.jobs):
            job = history.jobs.get(number)
            if job is not None and job.outcome is None:
                job.outcome = fact, place

    def _collected(self, history: ComputationHistory, fact: OutcomesAcked) -> None:
        for number in fact.jobs:
            history.jobs.pop(number, None)

    def _told(self, history: ComputationHistory, fact: Told) -> None:
        for number in fact.jobs:
            job = history.jobs.get(number)
            if job is not None:
                job.told = True

    def _released(self, history: ComputationHistory, fact: Message) -> None:
        del self.histories[history.id]

    _TAKERS: dict[type[Message], Callable[..., None]] = {
        Owned: _owned,
        Prepare: _prepare,
        Met: _met,
        GivenUp: _given_up,
        Run: _run,
        Submitted: _submitted,
        Announced: _announced,
        JobNames: _named,
        Cancel: _cancel,
        SetPriority: _priority,
        Placed: _placed,
        Unplaced: _unplaced,
        Ended: _ended,
        Progress: _progress,
        ProgressAcked: _seen,
        OutcomesAcked: _collected,
        Told: _told,
        Release: _released,
        Released: _released,
    }


def _reset(job: Job, attempt: int) -> None:
    """The job runs again, under this number, as if it had not begun."""
    job.node, job.attempt, job.outcome, job.shown = None, attempt, None, None
    job.told = job.cancelled = False


def _options(jobs: list[tuple[JobId, Job]]) -> list[JobOptions | None]:
    options = [job.options for _, job in jobs]
    return options if any(options) else []


def _read(options: JobOptions | None) -> JobOptions | None:
    """Options that were read, with bytes in the form that messages have."""
    if options is None:
        return None
    return options._replace(names=bulk(options.names), contents=[bulk(value) for value in options.contents])


def outcomes(jobs: Iterable[Job]) -> Iterator[Ended]:
    """The ends of those of the jobs that have ended, in the messages that reported them."""
    places: dict[int, tuple[Ended, list[int]]] = {}
    for job in jobs:
        if job.outcome is not None:
            ended, place = job.outcome
            places.setdefault(id(ended), (ended, []))[1].append(place)
    for ended, each in places.values():
        yield ended if len(each) == len(ended.jobs) else picked(ended, sorted(each))


def bulk(value: Bulk) -> Bulk:
    """Bytes that were read, in the form that messages have."""
    return MemoryPayload([value]) if type(value) is bytes and len(value) > INLINE else value
