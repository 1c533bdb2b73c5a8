"""What happened to each job, and whether all that is promised of jobs was kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdispy.protocol.ids import ComputationId, Instance, JobId
from gdispy.protocol.job_status import ABANDONED, CANCELLED, FINAL, FINISHED, TERMINATED
from gdispy.protocol.messages import Cancel, Ended, Progress, Run, Started
from gdispy.rules.node.supervision import INVALID_ANSWER
from gdispy.rules.scheduler.membership import ATTEMPTS
from tests.simulation.links import content
from tests.simulation.processes import DIED, FAILED, INTERRUPTED, NOT_LOADED, Plan
from tests.simulation.processes import Run as RunOfJob
from tests.simulation.timeline import Broken, JobKey, Timeline

#: What `rules/node/supervision.py` says of a job whose workers died too often before they could begin it.
TOO_WIDE = "The job requires"
STILLBORN = "The worker process ended before the job could start"

#: How often a job may be sent to nodes in all; most of these times it is asked back, or not taken.
ATTEMPT_LIMIT = 25

#: In the text of a job that was cancelled, and whose process the node has killed.
HAD_TO_BE_KILLED = "had to be killed"


@dataclass
class Entry:
    """What is known of one job."""

    key: JobKey
    plan: Plan
    is_reentrant: bool
    #: Its runs, with the life of the node where each began and how often that was cut off by then.
    runs: list[tuple[RunOfJob, Instance, int]] = field(default_factory=list)
    #: Whether its client has wanted it cancelled.
    is_cancelled: bool = False
    #: Whether its client has wanted it ended if it had not begun.
    is_withdrawn: bool = False
    #: Whether the scheduler has been told so.
    is_refused: bool = False
    #: Provisional results that were shown, by their places.
    shown: list[int] = field(default_factory=list)
    #: The scheduler was killed before it was resolved: provisional results may be missing.
    is_orphaned: bool = False
    #: The scheduler was killed before it heard that the client has its end: if it may run twice, it may run now.
    is_uncollected: bool = False
    #: The only node that may run it; nothing where any may.
    pinned: bytes = b""
    #: Its final status.
    status: int | None = None


class Book:
    """All jobs of a world."""

    def __init__(self, timeline: Timeline, seed: int) -> None:
        self._timeline = timeline
        self.seed = seed
        self.entries: dict[JobKey, Entry] = {}
        self._runs: list[RunOfJob] = []
        #: CPUs of a node that jobs of a computation may occupy, where that is limited.
        self.limits: dict[ComputationId, int] = {}
        #: How often each life of a node was cut off from the scheduler, or joined to it.
        self.breaks: dict[Instance, int] = {}
        #: Attempts that were on a node when it counted as lost: what they do is nobody's concern.
        self._lost: set[tuple[JobKey, int]] = set()
        #: How many nodes counted as lost; and which lives.
        self._losses = 0
        self._given_up: set[Instance] = set()

    def key(self, computation: ComputationId, job: JobId) -> JobKey:
        return int(computation), job

    def note(self, computation: ComputationId, jobs: list[JobId], text: str) -> None:
        for job in jobs:
            self._timeline.note(self.key(computation, job), text)

    # What clients do

    def submitted(self, key: JobKey, plan: Plan, is_reentrant: bool) -> None:
        self.entries[key] = Entry(key, plan, is_reentrant)
        self._timeline.note(key, f"submitted{', reentrant' if is_reentrant else ''}: {plan}")

    def cancelled(self, key: JobKey) -> None:
        self.entries[key].is_cancelled = True
        self._timeline.note(key, "its client wants it cancelled")

    def withdrawn(self, key: JobKey) -> None:
        self.entries[key].is_withdrawn = True
        self._timeline.note(key, "its client withdraws it")

    # What the scheduler does

    def cancel_arrived(self, cancel: Cancel) -> None:
        """The scheduler knows that these jobs are not wanted any more."""
        for job in cancel.jobs:
            self.entries[self.key(cancel.computation, job)].is_refused = True
        self.note(cancel.computation, cancel.jobs, "the scheduler hears that it is cancelled")

    def placed(self, run: Run) -> None:
        """The scheduler has sent these jobs to a node."""
        for job, attempt in zip(run.jobs, run.attempts, strict=True):
            key = self.key(run.computation, job)
            if attempt > ATTEMPT_LIMIT:
                raise Broken("a job goes to and fro between the scheduler and nodes without end", key)
            if self.entries[key].is_refused:
                raise Broken("a job is sent to a node though it was cancelled", key)

    # What nodes do

    def begun(self, key: JobKey, attempt: int, life: Instance) -> RunOfJob:
        """A worker has taken the job."""
        self._timeline.note(key, f"begun on {life!r}, attempt {attempt}")
        entry = self.entries.get(key)
        if entry is None:
            raise Broken("a job begins that nobody submitted", key)
        if any(run.attempt == attempt for run, _, _ in entry.runs):
            raise Broken(f"attempt {attempt} begins twice", key)
        if entry.pinned not in (b"", life):
            raise Broken("a job begins on another node than the one it was submitted to", key)
        if entry.runs and not entry.is_reentrant:
            raise Broken("a job that is not reentrant begins twice", key)
        if len(entry.runs) >= ATTEMPTS:
            raise Broken(f"a job begins more than {ATTEMPTS} times", key)
        is_forgotten = entry.is_uncollected and entry.is_reentrant
        if entry.status is not None and (key, attempt) not in self._lost and not is_forgotten:
            raise Broken("a job begins that has ended", key)
        run = RunOfJob(len(self._runs), JobId(key[1]), attempt, entry.plan, self._timeline.now)
        self._runs.append(run)
        entry.runs.append((run, life, self.breaks[life]))
        return run

    def lost(self, life: Instance, attempts: list[tuple[JobKey, int]]) -> None:
        """The scheduler has given a node up that may still hold these."""
        self._losses += 1
        self._given_up.add(life)
        self._lost.update(attempts)
        for key, attempt in attempts:
            self._timeline.note(key, f"{life!r}, which holds attempt {attempt}, counts as lost")

    def scheduler_killed(self, uncollected: set[tuple[ComputationId, JobId]]) -> None:
        for computation, job in uncollected:
            self.entries[self.key(computation, job)].is_uncollected = True
        for entry in self.entries.values():
            entry.is_orphaned = entry.is_orphaned or entry.status is None

    # What clients are told

    def started(self, started: Started) -> None:
        self.note(started.computation, started.jobs, "its client hears that it runs")

    def provided(self, progress: Progress) -> None:
        key = self.key(progress.computation, progress.job)
        entry = self.entries[key]
        self._timeline.note(key, f"provisional result {progress.index} is shown")
        if entry.status is not None:
            raise Broken("a provisional result is shown after the end", key)
        if entry.shown and progress.index <= entry.shown[-1]:
            raise Broken("provisional results are shown out of order", key)
        if content(progress.value) != b"%d" % progress.index:
            raise Broken("a provisional result is another one's", key)
        entry.shown.append(progress.index)

    def resolved(self, ended: Ended, place: int) -> None:
        key = self.key(ended.computation, ended.jobs[place])
        entry, status = self.entries[key], ended.statuses[place]
        text = ended.exceptions[place]
        self._timeline.note(key, f"resolved with {status} by attempt {ended.attempts[place]}: {text!r}")
        if entry.status is not None:
            raise Broken("a job is resolved twice", key)
        if status not in FINAL:
            raise Broken(f"a job ends with {status}", key)
        entry.status = status
        if status == FINISHED:
            self._check_finished(entry, content(ended.results[place]), ended.attempts[place])
        elif status == TERMINATED:
            self._check_terminated(entry, text, ended.attempts[place])
        elif status == CANCELLED and not entry.is_cancelled:
            self._check_withdrawn(entry)
        elif status == ABANDONED and not entry.pinned and self._losses < (ATTEMPTS if entry.is_reentrant else 1):
            raise Broken("a job is abandoned though no node was lost", key)

    def _check_finished(self, entry: Entry, result: bytes, attempt: int) -> None:
        known = [found for found in entry.runs if b"%d" % found[0].number == result]
        if not known or known[0][0].outcome != "finished" or known[0][0].attempt != attempt:
            raise Broken("a result is told of a run that did not happen or did not finish", entry.key)
        run, life, breaks = known[0]
        # Nothing may be missing where the connection has held all the time.
        if entry.is_orphaned:
            return
        if len(entry.runs) == 1 and self.breaks[life] == breaks and len(entry.shown) != run.shown:
            raise Broken(f"{len(entry.shown)} of {run.shown} provisional results were shown", entry.key)

    def _check_terminated(self, entry: Entry, text: str, attempt: int) -> None:
        runs = [run for run, _, _ in entry.runs if run.attempt == attempt]
        if NOT_LOADED in text or STILLBORN in text or TOO_WIDE in text:
            # While it is loaded again, what had begun must have ended with its worker before.
            if runs:
                raise Broken("a job that had begun is said not to have", entry.key)
            return
        is_dead = DIED in text or INVALID_ANSWER in text or HAD_TO_BE_KILLED in text
        if runs and runs[0].is_spoiled and is_dead:
            return
        if not runs or not runs[0].outcome:
            raise Broken("a job is told to have died that has not begun or still runs", entry.key)
        if (INTERRUPTED in text or "SIGTERM" in text) and not entry.is_cancelled:
            raise Broken("a job is ended that nobody wanted cancelled", entry.key)
        if HAD_TO_BE_KILLED in text and not entry.is_cancelled:
            raise Broken("a job is killed that nobody wanted cancelled", entry.key)
        expected = next((each for each in (FAILED, INTERRUPTED) if each in text), DIED if is_dead else None)
        if expected is None or expected not in runs[0].outcome:
            raise Broken(f"a job is told to have ended otherwise than it did: {runs[0].outcome}", entry.key)

    def _check_withdrawn(self, entry: Entry) -> None:
        if not entry.is_withdrawn:
            raise Broken("a job is cancelled that nobody wanted cancelled", entry.key)
        # One that may run twice can have begun on a node that was given up, and waited to begin again.
        if any(not entry.is_reentrant or life not in self._given_up for _, life, _ in entry.runs):
            raise Broken("a job ends as withdrawn that has begun", entry.key)

    def check_all_resolved(self, clients: set[int]) -> None:
        """Every job of these clients has ended."""
        for key, entry in self.entries.items():
            if entry.status is None and key[0] in clients:
                raise Broken("a job was never resolved", key)
