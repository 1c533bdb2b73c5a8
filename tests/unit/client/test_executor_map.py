"""The results of `Executor.map`: chunks, their order, failures, limits, and what is cancelled. No processes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import pytest

from gdispy import DispyJob, WorkerDied
from gdispy.client.executor_map import CHUNK_BYTES, CHUNK_LIMIT, GROWTH, ChunkSize, ExecutorMap
from gdispy.client.futures import RemoteTraceback
from gdispy.client.parameters import function_call
from gdispy.protocol import job_status
from gdispy.protocol.payload import Bulk, joined
from gdispy.worker import pickling
from gdispy.worker.calls import call_function
from gdispy.worker.frames import FINISHED
from gdispy.worker.function_calls import CHUNK, FunctionCalls
from tests.unit.ends import end_with


class Source:
    """Runs each chunk in this process as a worker does; with `waits`, when `work` is called."""

    def __init__(self, waits: bool = False, seconds: float = 1e-6) -> None:
        self.waits, self.seconds = waits, seconds
        self.jobs: list[DispyJob] = []
        self.sizes: list[int] = []
        self.cancelled: list[DispyJob] = []
        self.dies = False
        self._run = call_function(FunctionCalls("key"))
        self._waiting: list[tuple[DispyJob, bytes]] = []

    def _enqueue(self, payload: Bulk) -> DispyJob:
        job = DispyJob._new(len(self.jobs) + 1, 0.0)
        self.jobs.append(job)
        data = joined(payload)
        self.sizes.append(len(pickling.loads(data)[0][3]))
        self._waiting.append((job, data))
        if not self.waits:
            self.work()
        return job

    def work(self) -> None:
        waiting, self._waiting = self._waiting, []
        for job, data in waiting:
            if self.dies:
                end_with(job, b"", job_status.TERMINATED, "its process was killed by signal 9\n")
                continue
            status, result, _ = self._run(data, None)  # type: ignore[arg-type]
            assert status == FINISHED
            payload = b"".join(result) if isinstance(result, list) else result
            end_with(job, payload, FINISHED, None, self.seconds * self.sizes[job._number - 1])

    def _cancel_jobs(self, jobs: list[DispyJob]) -> None:
        self.cancelled += jobs

    def _count_cpus(self) -> int:
        return 2


def made(
    source: Source,
    function: Callable[..., Any],
    items: Iterable[Any],
    size: int | None = None,
    are_rows: bool = False,
    **options: Any,
) -> ExecutorMap:
    def encode(rows: list[Any], seconds: float) -> Bulk:
        return function_call((CHUNK, 0, function, rows, are_rows, seconds), {})

    return ExecutorMap(None, source, iter(items), encode, ChunkSize(size), **options)  # type: ignore[arg-type]


def test_results_come_in_order_and_chunks_grow() -> None:
    source = Source()
    assert list(made(source, abs, range(30_000)).results()) == list(range(30_000))
    assert source.sizes[0] == 1 and max(source.sizes) == CHUNK_LIMIT and sum(source.sizes) == 30_000


def test_rows_are_the_arguments_of_calls() -> None:
    source = Source()
    assert list(made(source, pow, zip([2, 3], [3, 2], strict=True), are_rows=True).results()) == [8, 9]


@pytest.mark.parametrize("size", [1, 7])
def test_fixed_size_is_that_of_all_chunks_but_the_last(size: int) -> None:
    source = Source()
    assert list(made(source, abs, range(20), size).results()) == list(range(20))
    assert set(source.sizes[:-1]) == {size}


def test_size_grows_by_a_factor_to_what_is_worth_it_and_stays_where_arguments_are_large() -> None:
    size = ChunkSize(None)
    sizes = []
    for _ in range(6):
        size.note_time(size.calls, 1e-9)
        sizes.append(size.calls)
    assert sizes == [min(GROWTH**power, CHUNK_LIMIT) for power in range(1, 7)]
    size.note_size(10, 10 * CHUNK_BYTES)
    size.note_time(size.calls, 1e-9)
    assert size.calls == 2
    size.note_time(2, 1.0)
    assert size.calls == 1


def test_exception_is_raised_in_its_turn_and_nothing_comes_after_it() -> None:
    source = Source()
    found = made(source, divmod, [(4, 2), (1, 0), (9, 3)], 3, are_rows=True).results()
    assert next(found) == (2, 0)
    with pytest.raises(ZeroDivisionError) as raised:
        next(found)
    assert isinstance(raised.value.__cause__, RemoteTraceback) and "ZeroDivisionError" in str(raised.value.__cause__)
    assert list(found) == []


def test_result_that_cannot_be_pickled_fails_by_itself() -> None:
    found = made(Source(), lambda number: iter if number < 2 else (each for each in "abc"), range(3), 3).results()
    assert [next(found), next(found)] == [iter, iter]
    with pytest.raises(TypeError, match="generator"):
        next(found)


def test_exception_that_cannot_be_pickled_has_a_stand_in() -> None:
    def fail(number: int) -> None:
        error = ValueError("no")
        error.args = ((each for each in "a"),)
        raise error

    with pytest.raises(Exception) as raised:
        next(made(Source(), fail, range(3)).results())
    assert type(raised.value).__name__ == "ValueError"


def test_argument_that_cannot_be_pickled_is_raised_in_its_turn() -> None:
    items = [1, 2, (each for each in "abc"), 4]
    source = Source()
    found = made(source, abs, items, 4).results()
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(TypeError, match="cannot be pickled"):
        next(found)
    assert sum(source.sizes) == 2


def test_items_that_fail_to_come_raise_after_the_results_before_them() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("no more")

    found = made(Source(), abs, items()).results()
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(found)


def test_process_that_dies_is_raised_once() -> None:
    source = Source()
    source.dies = True
    found = made(source, abs, range(10), 5).results()
    with pytest.raises(WorkerDied, match="signal 9"):
        next(found)
    assert list(found) == []


def test_calls_that_a_worker_has_not_begun_are_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdispy.worker.function_calls.perf_counter", itertools.count().__next__)
    source = Source()
    assert list(made(source, abs, range(8)).results()) == list(range(8))
    assert len(source.sizes) == 8


@pytest.mark.parametrize(("size", "limit"), [(None, 1), (None, 50), (7, 20), (3, 3)])
def test_no_more_items_than_the_limit_are_read_ahead(size: int | None, limit: int) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    found = made(Source(), abs, items(), size, limit=limit).results()
    for number in range(500):
        assert next(found) == number
        # Those of the chunk that is taken count as taken.
        assert len(read) - number <= 2 * limit


def test_result_that_is_not_there_in_time_raises_timeout_and_cancels() -> None:
    source = Source(waits=True)
    found = made(source, abs, range(3), until=time.monotonic() - 1.0).results()
    with pytest.raises(FutureTimeout):
        next(found)
    assert source.cancelled == source.jobs != []


def test_what_was_read_runs_if_no_result_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    source = Source(waits=True)
    found = made(source, abs, range(3)).results()
    del found
    assert source.cancelled == [] and sum(source.sizes) == 3 and not caplog.text
    found = made(source, abs, itertools.count()).results()
    del found
    assert "were dropped before all of its items were read: the others do not run" in caplog.text


def test_calls_are_cancelled_if_the_results_are_dropped_after_the_first() -> None:
    source = Source(waits=True)
    found = made(source, abs, itertools.count()).results()
    source.work()
    assert next(found) == 0
    del found
    assert source.cancelled == source.jobs[1:]


def test_no_result_is_kept_while_the_program_has_it() -> None:
    import weakref

    class Thing:
        pass

    source = Source(waits=True)
    calls = made(source, abs, range(2), 2)
    calls._ready = [Thing(), Thing()]
    found = calls.results()
    thing = next(found)
    reference = weakref.ref(thing)
    del thing
    assert reference() is None


def test_shutdown_reads_what_is_left_and_sees_calls_to_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdispy.worker.function_calls.perf_counter", itertools.count().__next__)
    source = Source()
    calls = made(source, abs, range(200))
    calls.finish()
    begun = len(source.jobs)
    assert calls._rows is None and sum(len(rows) for _, rows in calls._pending) == 200
    assert list(calls.results()) == list(range(200)) and len(source.jobs) == begun


def test_shutdown_reads_no_further_than_a_limit_and_nothing_of_a_map_that_has_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gdispy.client.executor_map.REST_LIMIT", 100)
    endless = made(Source(), abs, itertools.count())
    endless.finish()
    assert "more than 100 items that were not read before the shutdown" in caplog.text
    limited = made(Source(), abs, itertools.count(), limit=5)
    before = limited._ahead
    limited.finish()
    assert limited._ahead == before
