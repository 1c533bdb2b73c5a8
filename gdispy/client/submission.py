"""The way of new jobs from the threads of the user into the hub.

`put` is called in any thread, `drain` in the hub.

Invariants:
1. A job that `put` has returned is drained, or the queue has been refused for a reason that its job ends with.
2. The hub is woken at least once after each job was put; not for each, which would cost more than the job.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gdispy.client.completion import Completion
from gdispy.client.job import DispyJob, KeptJob, next_number
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol.ids import JobId
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions


class Submitted(NamedTuple):
    """Jobs in the order in which they were submitted; `options` is [] where none has any."""

    jobs: list[DispyJob]
    options: list[JobOptions | None]


class SubmissionQueue:
    """Jobs of one cluster that the hub has not taken yet."""

    def __init__(self, recovery: RecoveryFile | None, count: Completion, wake: Callable[[], None]) -> None:
        self._recovery, self._count = recovery, count
        #: Has the hub call `drain` soon.
        self._wake = wake
        self._lock = threading.Lock()
        #: What is raised for one who puts a job; None while jobs are taken.
        self._refusal: Callable[[], Exception] | None = None
        #: Not in tuples: each would be an object more for the garbage collector, whose work is a good part of what a
        #: short job costs.
        self._jobs: deque[DispyJob] = deque()
        #: The options of those that have any.
        self._options: dict[JobId, JobOptions] = {}
        self._has_woken = False

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, payload: Bulk, options: JobOptions | None, name: object) -> DispyJob:
        """Make a job and queue it; `name` is its `id`, None for its number. Raises what `refuse` was given, and
        JournalError."""
        with self._lock:
            if self._refusal is not None:
                raise self._refusal()
            number = next_number()
            if self._recovery is None:
                job = object.__new__(DispyJob)  # As `_new` does it, a call less.
                job._make(number, time.time(), payload)
            else:
                self._recovery.submitted(number, payload, options, name)
                job = KeptJob._kept(number, time.time(), self._recovery, payload)
            if name is not None:
                job._id = name
            if options is not None:
                self._options[JobId(number)] = options
            self._jobs.append(job)
            self._count.made += 1
            # Looked at and then set: where the hub, which clears it first and empties the queue then, comes in between,
            # it is woken for nothing, and never not at all.
            wakes = not self._has_woken
            if wakes:
                self._has_woken = True
        if wakes:
            self._wake()
        return job

    def drain(self) -> Submitted:
        """All jobs that were put so far."""
        self._has_woken = False
        queued, options = self._jobs, self._options
        jobs = [queued.popleft() for _ in range(len(queued))]
        if not options:
            return Submitted(jobs, [])
        found = [options.pop(JobId(job._number), None) for job in jobs]
        return Submitted(jobs, found if any(found) else [])

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Take no more jobs, and say why."""
        with self._lock:
            self._refusal = error

    def forget_in_child(self, error: Callable[[], Exception]) -> None:
        """This is a forked child: whoever had the lock has stayed with the parent."""
        self._lock = threading.Lock()
        self._refusal = error
