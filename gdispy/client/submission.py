"""The queue of new jobs between the user's threads and the hub.

`put` may be called in any thread; `drain` is called in the hub.

Invariants:
1. A job that `put` has returned is drained, or it ends with the reason for which the queue was closed.
2. The hub is woken at least once after each `put`, but not once per job, which would cost more than the job.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gdispy.client.completion import Completion
from gdispy.client.job import DispyJob, KeptJob
from gdispy.client.job_numbers import next_number
from gdispy.client.job_source import JobSource
from gdispy.journal.recovery_file import RecoveryFile
from gdispy.protocol.ids import JobId
from gdispy.protocol.payload import Bulk
from gdispy.protocol.rows import JobOptions

#: Number of queued jobs at which `put` yields to the hub, so that nodes start while a program still submits.
HAND_OVER = 512


class Submitted(NamedTuple):
    """Jobs in the order of submission; `options` is [] if no job has any."""

    jobs: list[DispyJob]
    options: list[JobOptions | None]


class SubmissionQueue:
    """The jobs of one cluster that the hub has not taken yet."""

    def __init__(
        self,
        recovery: RecoveryFile | None,
        count: Completion,
        wake: Callable[[], None],
        let_run: Callable[[], None],
    ) -> None:
        self._recovery, self._count = recovery, count
        #: That of all its jobs.
        self.source: JobSource | None = None
        #: Makes the hub call `drain` soon.
        self._wake = wake
        #: Lets the hub run what it was woken for, now.
        self._let_run = let_run
        self._lock = threading.Lock()
        #: Returns the exception to raise in `put`; None while jobs are accepted.
        self._refusal: Callable[[], Exception] | None = None
        #: Two containers instead of tuples: an object less per job for the garbage collector.
        self._jobs: deque[DispyJob] = deque()
        #: The options of the jobs that have any.
        self._options: dict[JobId, JobOptions] = {}
        self._has_woken = False

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, payload: Bulk, options: JobOptions | None, name: object) -> DispyJob:
        """Create a job and queue it; `name` is its `id`, None for its number. Raises the exception of `refuse`, and
        JournalError."""
        with self._lock:
            if self._refusal is not None:
                raise self._refusal()
            number = next_number()
            if self._recovery is None:
                job = object.__new__(DispyJob)  # `_new`, inlined.
                job._make(number, time.time(), payload, None, self.source)
            else:
                self._recovery.submitted(number, payload, options, name)
                job = KeptJob._kept(number, time.time(), self._recovery, payload, self.source)
            if name is not None:
                job._id = name
            if options is not None:
                self._options[JobId(number)] = options
            self._jobs.append(job)
            self._count.made += 1
            # Read, then set. The hub clears it and then drains: if it runs in between, it is woken once too often, but
            # never too rarely.
            wakes = not self._has_woken
            if wakes:
                self._has_woken = True
        if wakes:
            if self.source is not None:
                self.source.warn_if_redefined()
            self._wake()
        if len(self._jobs) >= HAND_OVER:
            self._let_run()
        return job

    def drain(self) -> Submitted:
        """All jobs queued so far."""
        self._has_woken = False
        queued, options = self._jobs, self._options
        jobs = [queued.popleft() for _ in range(len(queued))]
        if not options:
            return Submitted(jobs, [])
        found = [options.pop(JobId(job._number), None) for job in jobs]
        return Submitted(jobs, found if any(found) else [])

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Accept no more jobs; `put` raises this error."""
        with self._lock:
            self._refusal = error

    def forget_in_child(self, error: Callable[[], Exception]) -> None:
        """In a forked child: the owner of the lock stayed in the parent."""
        self._lock = threading.Lock()
        self._refusal = error
