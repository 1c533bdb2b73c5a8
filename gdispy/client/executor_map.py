"""The results of `Executor.map`: calls are sent in chunks, each of which is one job.

Runs in the user's thread. A chunk is pickled as one list, and so are its results: that is several times as fast as a
single call. The calls of a chunk run one after the other in one process, and share its fate.

Invariants:
1. A bounded number of items is read ahead, and a result is not kept once the program has it.
2. Results come in the order of the items; the first failure is raised in its turn, and ends them.
"""

from __future__ import annotations

import itertools
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any

from gdispy.client.futures import RemoteTraceback, failure_of
from gdispy.client.job import DispyJob
from gdispy.client.job_errors import stand_in
from gdispy.client.map_results import LOOK_INTERVAL, Submitter, Window
from gdispy.protocol import job_status
from gdispy.protocol.error_lines import error_line
from gdispy.protocol.payload import Bulk
from gdispy.worker import pickling
from gdispy.worker.function_calls import unpack_results

if TYPE_CHECKING:
    from gdispy.client.executor import Executor

logger = logging.getLogger("gdispy")

#: Target run time of a chunk in seconds, its maximum number of calls, and how fast that grows.
CHUNK_SECONDS = 0.02
CHUNK_LIMIT = 10_000
GROWTH = 8
#: Items that are read at a shutdown, at most: the iterator may be infinite.
REST_LIMIT = 1_000_000
#: Bytes of arguments from which chunks do not grow.
CHUNK_BYTES = 256 * 1024


class ChunkSize:
    """The number of calls of a chunk: a fixed number, or, with None, adapted to their run time and their size."""

    def __init__(self, fixed: int | None) -> None:
        self.is_auto = fixed is None
        self.calls = fixed or 1
        #: Bytes of the arguments of a call.
        self._bytes = 1.0

    def note_size(self, calls: int, size: int) -> None:
        """A chunk of `calls` calls has `size` bytes."""
        self._bytes = max(1.0, size / calls)

    def note_time(self, calls: int, seconds: float) -> None:
        """A chunk of `calls` calls took `seconds`."""
        if self.is_auto and calls:
            wanted = int(CHUNK_SECONDS * calls / max(seconds, 1e-7))
            most = min(GROWTH * self.calls, CHUNK_LIMIT, int(CHUNK_BYTES / self._bytes) + 1)
            self.calls = max(1, min(wanted, most))


class ExecutorMap:
    """Calls of a function for each of `rows`: its argument, or the tuple of its arguments, as `encode` takes them."""

    def __init__(
        self,
        executor: Executor,
        source: Submitter,
        rows: Iterator[Any],
        encode: Callable[[list[Any], float], Bulk],
        size: ChunkSize,
        until: float | None = None,
        limit: int | None = None,
    ) -> None:
        """`encode` makes the payload of a chunk, with the seconds after which it begins no further call. `until`, by
        the monotonic clock, is when waiting for a result raises TimeoutError; `limit` is the maximum number of items
        that are read ahead."""
        self._executor, self._source, self._encode, self._size = executor, source, encode, size
        self._rows: Iterator[Any] | None = rows
        self._until, self._limit = until, limit
        self._window = Window(source)
        self._pending: deque[tuple[DispyJob, list[Any]]] = deque()
        #: Items of these that have not been taken.
        self._ahead = 0
        #: Results that are there, the last first; and what is raised after them.
        self._ready: list[Any] = []
        self._failure: BaseException | None = None
        #: What is raised when all that was read before has been taken: reading the items failed.
        self._last: BaseException | None = None
        #: No result was asked for yet.
        self._is_new = True
        #: Held while items are read, by the program's iteration or by the shutdown of the executor.
        self._lock = threading.RLock()
        self._read_ahead()

    def results(self) -> Iterator[Any]:
        """The results. A generator, since that is twice as fast as a method for each."""
        self._is_new = False
        try:
            while True:
                ready = self._ready
                while ready:
                    yield ready.pop()
                if self._failure is not None:
                    raise self._failure
                if not self._take_next():
                    return
        finally:
            self._failure = None
            self.close()

    def close(self) -> None:
        """Read no more, and cancel the calls that have not begun."""
        self._rows = self._last = None
        jobs = [job for job, _ in self._pending]
        self._pending.clear()
        self._ready.clear()
        if jobs:
            self._source._cancel_jobs(jobs)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # A default argument, since module globals are gone at interpreter exit. And `__init__` may not have finished.
        if is_finalizing() or not self.__dict__.get("_is_new"):
            return
        if self._rows is not None:  # What was read runs all the same.
            logger.warning("the results of a map were dropped before all of its items were read: the others do not run")

    # Reading

    def finish(self) -> None:
        """The executor is about to be shut down: read the other items, and wait for the ends of all calls."""
        if self._limit is not None:
            return
        with self._lock:
            place, left = 0, REST_LIMIT
            while True:
                while self._rows is not None and left > 0 and self._has_room(len(self._pending) - place):
                    left -= self._size.calls
                    self._read_chunk(self._rows, self._size.calls)
                if place == len(self._pending):
                    break
                self._complete(place)
                place += 1
            if self._rows is not None:
                logger.warning("a map has more than %s items that were not read before the shutdown", f"{REST_LIMIT:,}")

    def _has_room(self, jobs: int) -> bool:
        """Whether another job may be submitted while `jobs` have not ended."""
        return jobs < self._window.jobs(self._size.calls)

    def _complete(self, place: int) -> None:
        """Wait for a chunk; if its worker has not begun all calls, the others are submitted again."""
        job, rows = self._pending[place]
        job.wait()
        if job.status != job_status.FINISHED:
            return
        results, failure = unpack_results(job.result)
        if job.start_time and job.end_time:
            self._size.note_time(len(results), job.end_time - job.start_time)
        self._window.taken += len(results)
        if failure is None and len(results) < len(rows):
            before, later = list(self._pending)[:place], list(self._pending)[place + 1 :]
            self._pending = deque([*before, (job, rows[: len(results)])])
            self._submit(rows[len(results) :])
            self._pending += later

    def _read_ahead(self) -> None:
        with self._lock:
            self._read_some()

    def _read_some(self) -> None:
        while self._rows is not None and self._has_room(len(self._pending)):
            calls = self._size.calls
            if self._limit is not None:
                calls = min(calls, self._limit - self._ahead)
            if calls < 1 or not self._read_chunk(self._rows, calls):
                return

    def _read_chunk(self, source: Iterator[Any], calls: int) -> bool:
        """Read the calls of one chunk and submit it; returns whether there may be more."""
        rows: list[Any] = []
        try:
            rows.extend(itertools.islice(source, calls))
        except Exception as error:
            self._end(error)
        if len(rows) < calls:
            self._rows = None
        if rows:
            self._submit(rows)
        return self._rows is not None

    def _submit(self, rows: list[Any]) -> None:
        try:
            payload = self._encode(rows, 10 * CHUNK_SECONDS if self._size.is_auto else 0.0)
        except Exception as error:
            if len(rows) == 1:
                self._end(error)
                return
            for row in rows:  # Which of them it is; what was read before it runs.
                if self._last is None:
                    self._submit([row])
            return
        try:
            job = self._source._enqueue(payload)
        except Exception as error:  # It was shut down.
            self._end(error)
            return
        self._size.note_size(len(rows), len(payload) if isinstance(payload, bytes) else payload.size)
        self._pending.append((job, rows))
        self._ahead += len(rows)

    def _end(self, error: Exception) -> None:
        self._rows = None
        if self._last is None:
            self._last = error

    # Taking

    def _take_next(self) -> bool:
        """Wait for the next chunk, and take its results; False if there is none."""
        self._read_ahead()
        if not self._pending:
            if self._last is not None:
                raise self._last
            return False
        job, rows = self._pending[0]
        while not job.wait(self._patience()):
            if self._until is not None and time.monotonic() >= self._until:
                raise FutureTimeout
            self._read_ahead()
        with self._lock:
            job, rows = self._pending.popleft()
        self._window.taken += len(rows)
        self._ahead -= len(rows)
        self._take(job, rows)
        return True

    def _patience(self) -> float:
        return LOOK_INTERVAL if self._until is None else min(LOOK_INTERVAL, max(0.0, self._until - time.monotonic()))

    def _take(self, job: DispyJob, rows: list[Any]) -> None:
        packed = job.result
        if job.status != job_status.FINISHED:
            self._failure = failure_of(job, self._executor)
            return
        job.result = None
        results, failure = unpack_results(packed)
        if job.start_time and job.end_time:
            self._size.note_time(len(results), job.end_time - job.start_time)
        results.reverse()
        self._ready = results
        if failure is not None:
            self._failure = _raised(*failure)
        elif len(results) < len(rows):
            self._submit_first(rows[len(results) :])

    def _submit_first(self, rows: list[Any]) -> None:
        """The worker has not begun these, since the others took long: they are the next."""
        later, self._pending = self._pending, deque()
        for begin in range(0, len(rows), self._size.calls):
            self._submit(rows[begin : begin + self._size.calls])
        self._pending += later


def _raised(payload: bytes, text: str) -> BaseException:
    """The exception of a call."""
    error: Any = None
    if payload:
        try:
            error = pickling.loads(payload[1:])
        except Exception:
            error = None
    found = error if isinstance(error, BaseException) else stand_in(error_line(text))
    found.__cause__ = RemoteTraceback(text)
    return found
