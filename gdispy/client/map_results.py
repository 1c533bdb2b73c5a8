"""Streams of jobs: results in the order of their arguments, and jobs in the order of their ends.

Runs in the user's thread.

Invariants of a stream of results:
1. Input is read ahead of consumption by a bounded number of jobs, and a result is kept only until it is consumed.
2. Every item yields its result, or its own failure, in input order.
"""

from __future__ import annotations

import functools
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, NoReturn, Protocol

from gdispy.client.job import DispyJob
from gdispy.client.packaging import bulk
from gdispy.client.result_payload import Plain, unreadable
from gdispy.errors import ConfigError
from gdispy.protocol import job_status
from gdispy.protocol.limits import INLINE
from gdispy.protocol.payload import Bulk, joined
from gdispy.runtime.gate import Gate
from gdispy.worker import batch, pickling, plain

#: Read ahead: jobs per CPU at least, seconds of consumption, and jobs at most.
JOBS_PER_CPU = 4
SECONDS_AHEAD = 1.0
JOBS_LIMIT = 10_000
#: Number of CPUs to assume while no node has been found.
ASSUMED_CPUS = 16
#: Seconds between two measurements of the number of CPUs and of the rate of consumption.
LOOK_INTERVAL = 0.25
#: Seconds of reading ahead after which available results are returned first.
READ_LIMIT = 0.005

#: Target run time of a job of several items, and the time after which a worker returns the items not started.
CHUNK_SECONDS = 0.02
CHUNK_SECONDS_LIMIT = 0.2
#: Maximum number of items and bytes of arguments in such a job.
CHUNK_LIMIT = 5000
CHUNK_BYTES = 256 * 1024

#: The arguments of a call.
Row = tuple[Any, ...]


class Submitter(Protocol):
    """The part of a cluster that a stream uses."""

    def _enqueue(self, payload: Bulk) -> DispyJob: ...
    def _cancel_jobs(self, jobs: list[DispyJob]) -> None: ...
    def _count_cpus(self) -> int: ...


def rows(iterables: tuple[Iterable[Any], ...], are_words: bool) -> Iterator[Row]:
    """The arguments of each call. With `are_words`, an item that is a tuple or list holds all of them."""
    for each in iterables:
        if not isinstance(each, Iterable):
            raise ConfigError(f"map takes iterables, such as lists, not {type(each).__name__}")
    found = zip(*iterables, strict=False)
    return map(_words, found) if are_words and len(iterables) == 1 else found


def _words(row: Row) -> Row:
    return tuple(row[0]) if isinstance(row[0], tuple | list) else row


class ChunkSize:
    """The number of items per job: a fixed number, or, with None, adapted to their run time."""

    def __init__(self, fixed: int | None) -> None:
        self.is_auto = fixed is None
        self.items = fixed or 1
        self._each: float | None = None

        self.seconds_limit = CHUNK_SECONDS_LIMIT if self.is_auto else 0.0
        self.bytes_limit = CHUNK_BYTES if self.is_auto else math.inf

    def learn(self, items: int, seconds: float) -> None:
        """A job of `items` items took `seconds`."""
        if not self.is_auto or not items:
            return
        each = max(seconds, 1e-7) / items
        self._each = each if self._each is None else 0.7 * self._each + 0.3 * each
        self.items = max(1, min(int(CHUNK_SECONDS / self._each), 2 * self.items, CHUNK_LIMIT))


def chunk_size(wanted: object, only_single: str) -> ChunkSize:
    """Read `chunksize`; `only_single` is the reason why a job can have only one item, '' if it can have more.

    Raises ConfigError.
    """
    if wanted == "auto":
        return ChunkSize(1 if only_single else None)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 1:
        raise ConfigError(f"chunksize must be 'auto' or a whole number of at least 1, not {wanted!r}")
    if wanted > 1 and only_single:
        raise ConfigError(f"chunksize must be 1 or 'auto' here, since {only_single}")
    return ChunkSize(wanted)


class _Entry(NamedTuple):
    """A job of the stream; `calls` are the calls in it, None for a single ordinary call."""

    job: DispyJob
    calls: batch.Calls | None


#: Returns the result of an item, or raises its failure.
_Outcome = Callable[[], Any]

#: What to do with a failed item: raise its error in its turn, skip it, or yield the error as its result.
RAISE, SKIP, YIELD = ON_ERROR = ("raise", "skip", "yield")


def error_rule(on_error: object, return_exceptions: object) -> str:
    """Read these two parameters of `map`. Raises ConfigError."""
    if on_error is None:
        return YIELD if return_exceptions else RAISE
    if on_error not in ON_ERROR:
        raise ConfigError(f"on_error must be 'raise', 'skip' or 'yield', not {on_error!r}")
    if return_exceptions and on_error != YIELD:
        raise ConfigError(
            f"return_exceptions=True means on_error='yield', but on_error is {on_error!r}; give one of them"
        )
    return str(on_error)


class MapResults(Iterator[Any]):
    """The results of many calls, in the order of `rows`, which are read while results are consumed.

    With `RAISE`, a failed item raises in its turn; the next call continues with the item after it.
    """

    def __init__(
        self,
        cluster: Submitter,
        rows: Iterator[Row],
        encode: Callable[[Row], Bulk],
        size: ChunkSize,
        on_error: str = RAISE,
    ) -> None:
        self._cluster = cluster
        self._on_error = on_error
        self._rows: Iterator[Row] | None = rows
        self._encode = encode
        self._size = size
        #: Calls that were read for the next job.
        self._calls: batch.Calls = []
        self._entries: deque[_Entry | _Outcome] = deque()
        self._ready: deque[_Outcome] = deque()
        self._window = Window(cluster)

    def __iter__(self) -> MapResults:
        return self

    def __repr__(self) -> str:
        state = "all items are read" if self._rows is None else "reading ahead"
        jobs = sum(isinstance(entry, _Entry) for entry in self._entries)
        return f"<MapResults: {state}, {jobs:,} jobs and {len(self._ready):,} results to come>"

    def __next__(self) -> Any:
        while True:
            outcome = self._next_outcome()
            if self._on_error == RAISE:
                return outcome()
            try:
                return outcome()
            except Exception as error:
                if _is_of_all(outcome):
                    raise
                if self._on_error == YIELD:
                    return error

    def _next_outcome(self) -> _Outcome:
        while not self._ready:
            self._read_ahead()
            if not self._entries:
                raise StopIteration
            self._take(self._entries.popleft())
        return self._ready.popleft()

    def close(self) -> None:
        """Stop reading, and cancel all unfinished jobs."""
        self._rows = None
        jobs = [entry.job for entry in self._entries if isinstance(entry, _Entry)]
        self._entries.clear()
        self._ready.clear()
        self._calls.clear()
        if jobs:
            self._cluster._cancel_jobs(jobs)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # A default argument, since module globals are gone at interpreter exit. And `__init__` may not have finished.
        if not is_finalizing() and hasattr(self, "_window"):
            self.close()

    # Reading

    def _read_ahead(self) -> None:
        limit = self._window.jobs(self._size.items)
        until = time.monotonic() + READ_LIMIT
        while self._rows is not None and len(self._entries) < limit:
            if self._is_first_ready() and time.monotonic() > until:
                return
            self._read_job()

    def _is_first_ready(self) -> bool:
        if not self._entries:
            return False
        first = self._entries[0]
        return not isinstance(first, _Entry) or first.job._done

    def _read_job(self) -> None:
        """Read the calls of one job, and submit it."""
        until = time.monotonic() + CHUNK_SECONDS
        size = sum(map(len, self._calls))
        while len(self._calls) < self._size.items and size < self._size.bytes_limit:
            payload = self._read_call()
            if payload is None:
                break
            if self._size.items == 1 or type(payload) is not bytes or len(payload) > INLINE:
                self._submit_calls()
                self._submit(payload, None)
                return
            self._calls.append(payload)
            size += len(payload)
            # If the source of the items is slow, the first of them should not wait for many others.
            if self._size.is_auto and time.monotonic() > until:
                break
        self._submit_calls()

    def _read_call(self) -> Bulk | None:
        """The next call, encoded; None if it or reading failed, and at the end."""
        assert self._rows is not None
        try:
            row = next(self._rows)
        except StopIteration:
            self._rows = None
            return None
        except Exception as error:
            self._fail(functools.partial(_raise_for_all, error))
            self._rows = None
            return None
        try:
            return self._encode(row)
        except Exception as error:
            self._fail(functools.partial(_raise, error))
            return None

    def _fail(self, outcome: _Outcome) -> None:
        self._submit_calls()
        self._entries.append(outcome)

    def _submit_calls(self) -> None:
        calls, self._calls = self._calls, []
        if len(calls) == 1:
            self._submit(calls[0], None)
        elif calls:
            self._submit(bulk(batch.pack_calls(calls, self._size.seconds_limit)), calls)

    def _submit(self, payload: Bulk, calls: batch.Calls | None) -> None:
        try:
            self._entries.append(_Entry(self._cluster._enqueue(payload), calls))
        except Exception as error:  # The cluster was closed.
            self._entries.append(functools.partial(_raise_for_all, error))
            self._rows = None

    # Taking

    def _take(self, entry: _Entry | _Outcome) -> None:
        """Wait for the first job, and make its outcomes ready."""
        if not isinstance(entry, _Entry):
            self._ready.append(entry)
            return
        try:
            while not entry.job.wait(LOOK_INTERVAL):
                self._read_ahead()
        except BaseException:
            self._entries.appendleft(entry)
            raise
        self._window.taken += 1 if entry.calls is None else len(entry.calls)
        self._learn(entry)
        if entry.calls is None:
            self._ready.append(entry.job.result_or_raise)
        else:
            self._take_chunk(entry.job, entry.calls)

    def _learn(self, entry: _Entry) -> None:
        job = entry.job
        if entry.calls is None and job.start_time and job.end_time:
            self._size.learn(1, job.end_time - job.start_time)

    def _take_chunk(self, job: DispyJob, calls: batch.Calls) -> None:
        if job._status != job_status.FINISHED:
            # Some calls may have run, so none is run again.
            self._ready.extend(functools.partial(_fail, job, call, len(calls)) for call in calls)
            return
        try:
            results, failures, is_plain = _results_of(job, len(calls))
        except Exception as error:  # The bytes were not written by a worker.
            text = (
                f"The results of {len(calls)} items of map arrived, but are invalid: {type(error).__name__}: {error}\n"
            )
            self._ready.extend(functools.partial(_refuse, job, call, text) for call in calls)
            return
        job.result = None
        assert job.start_time and job.end_time
        self._size.learn(len(results), job.end_time - job.start_time)
        for place, result in enumerate(results):
            self._ready.append(functools.partial(_item, job, calls[place], result, failures.get(place), is_plain))
        self._resubmit(calls[len(results) :])

    def _resubmit(self, calls: batch.Calls) -> None:
        """Submit these calls next: the worker returned them because of the time limit."""
        later, self._entries = self._entries, deque()
        rows, unread = self._rows, self._calls
        for place in range(0, len(calls), self._size.items):
            self._calls = calls[place : place + self._size.items]
            self._submit_calls()
        self._entries += later
        self._calls, self._rows = unread, rows


class Window:
    """The maximum number of jobs in progress: enough to keep all CPUs busy, and bounded."""

    def __init__(self, cluster: Submitter) -> None:
        self._cluster = cluster
        self._looked = -LOOK_INTERVAL
        self._cpus = 0
        self._rate = 0.0
        #: Items consumed since the last measurement.
        self.taken = 0

    def jobs(self, items: int) -> int:
        """The maximum number of jobs of `items` items each."""
        now = time.monotonic()
        passed = now - self._looked
        if passed >= LOOK_INTERVAL or not self._cpus:
            self._cpus = self._cluster._count_cpus()
        if passed >= LOOK_INTERVAL:
            self._rate = self.taken / passed
            self._looked, self.taken = now, 0
        least = JOBS_PER_CPU * (self._cpus or ASSUMED_CPUS)
        return max(least, min(int(SECONDS_AHEAD * self._rate / items), JOBS_LIMIT))


def _raise(error: Exception) -> NoReturn:
    raise error


def _raise_for_all(error: Exception) -> NoReturn:
    """Raise an error of the stream itself: of the source of its items, or of the cluster."""
    raise error


def _is_of_all(outcome: _Outcome) -> bool:
    return isinstance(outcome, functools.partial) and outcome.func is _raise_for_all


def _fail(job: DispyJob, call: bytes, items: int) -> NoReturn:
    own = job._part(job._exception or "", call)
    own._status = job._status
    raise own._failed(f"The job had {items} items of map, which have all failed")


def _refuse(job: DispyJob, call: bytes, text: str) -> NoReturn:
    raise job._part(text, call)._failed()


def _results_of(job: DispyJob, most: int) -> tuple[list[bytes], dict[int, str], bool]:
    """The results of the started calls of a job, and whether they are plain data. Raises any exception if the payload
    was not written by a worker."""
    payload = job._payload
    if type(payload) is not Plain:
        return *batch.unpack_results(joined(payload)), False
    return *batch.checked_results(joined(payload.payload), most), True


def _item(job: DispyJob, call: bytes, result: bytes, failure: str | None, is_plain: bool = False) -> Any:
    """The result of one item of a job."""
    cause: Bulk = b""
    if failure is None:
        if not result:
            return None
        try:
            if is_plain:
                return plain.loads(result)
            # A copy if it holds arrays, which are views of it and must be writable.
            return pickling.loads(bytearray(result) if result[0] == 0 else result)
        except Exception as error:
            failure = unreadable(error)
    elif not is_plain:
        cause = result
    raise job._part(failure, call, cause)._failed()


# Jobs in the order of their ends


def wait_for(jobs: Iterable[DispyJob], timeout: float | None) -> bool:
    """Wait until all these jobs have ended; False if `timeout` seconds pass first."""
    until = None if timeout is None else time.monotonic() + timeout
    awaited = list(jobs)
    for job in awaited:
        if not isinstance(job, DispyJob):
            raise ConfigError(f"wait takes jobs, not {type(job).__name__}")
    return all(job.wait(None if until is None else max(0.0, until - time.monotonic())) for job in awaited)


def as_completed(jobs: Iterable[DispyJob], timeout: float | None = None) -> Iterator[DispyJob]:
    """The jobs, each once, in the order in which they end. See `JobCluster.as_completed`."""
    awaited = list(dict.fromkeys(jobs))
    for job in awaited:
        if not isinstance(job, DispyJob):
            raise ConfigError(f"as_completed takes jobs, not {type(job).__name__}")
    return _arriving(awaited, None if timeout is None else time.monotonic() + timeout, timeout)


def _arriving(jobs: list[DispyJob], until: float | None, timeout: float | None) -> Iterator[DispyJob]:
    arrivals = _Arrivals(jobs)
    count = len(jobs)
    jobs.clear()  # Jobs that were yielded must not be kept alive here.
    try:
        for number in range(count):
            while not arrivals.ended:
                if not arrivals.wait(None if until is None else until - time.monotonic()):
                    raise TimeoutError(f"{count - number} of {count} jobs have not ended within {timeout} s")
            yield arrivals.ended.popleft()
    finally:
        arrivals.close()


class _Arrivals:
    """Collects jobs as they end."""

    def __init__(self, jobs: list[DispyJob]) -> None:
        self.ended: deque[DispyJob] = deque()
        self._gate: Gate | None = None
        self._awaited = {job: functools.partial(self._arrive, job) for job in jobs}
        for job in jobs:
            job._tell(self._awaited[job])

    def _arrive(self, job: DispyJob) -> None:
        wake = self._awaited.pop(job, None)
        if wake is None:  # A duplicate notification.
            return
        job._forget(wake)
        self.ended.append(job)
        gate = self._gate
        if gate is not None:
            gate.open()

    def wait(self, timeout: float | None) -> bool:
        """Wait until one has ended; False if `timeout` seconds pass first."""
        # Create the gate before checking `ended`: `_arrive` does both in the opposite order.
        gate = self._gate = Gate()
        return bool(self.ended) or gate.wait(timeout) or bool(self.ended)

    def close(self) -> None:
        for job, wake in list(self._awaited.items()):
            job._forget(wake)
        self._awaited.clear()
