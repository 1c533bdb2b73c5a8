"""Results in the order of the arguments, jobs in the order of their ends; chunks, windows, failures. No processes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gdispy import ConfigError, DispyJob, JobFailed
from gdispy.client import map_results
from gdispy.client.parameters import function_call
from gdispy.protocol.payload import Bulk, joined
from gdispy.worker import batch
from gdispy.worker.calls import call_function
from gdispy.worker.frames import FINISHED, TERMINATED
from gdispy.worker.runner import Job
from tests.unit.ends import end, end_with


class Worker:
    """What a job needs of its worker."""

    homecomings = 0

    def go_home(self, _now: float) -> bool:
        self.homecomings += 1
        return True


class Cluster:
    """Runs each job at once, in this process, as a worker does; with `waits`, when `work` is called."""

    def __init__(self, function: Callable[..., Any], seconds: float = 1e-5, waits: bool = False) -> None:
        self.cpus = 2
        self.seconds = seconds
        self.waits = waits
        self.jobs: list[DispyJob] = []
        self.sizes: list[int] = []
        self.cancelled: list[DispyJob] = []
        self.error: Exception | None = None
        self._run = call_function(function)
        self._waiting: list[tuple[DispyJob, bytes]] = []

    def _enqueue(self, payload: Bulk) -> DispyJob:
        if self.error is not None:
            raise self.error
        data = joined(payload)
        job = DispyJob._new(len(self.jobs) + 1, 0.0, b"")
        self.jobs.append(job)
        self.sizes.append(len(batch.unpack_calls(data)[1]) if data[0] == batch.MARK else 1)
        self._waiting.append((job, data))
        if not self.waits:
            self.work()
        return job

    def work(self) -> None:
        waiting, self._waiting = self._waiting, []
        for job, data in waiting:
            try:
                status, result, exception = self._run(data, Job(job._number, 1, Worker()))  # type: ignore[arg-type]
            except BaseException as error:
                status, result, exception = TERMINATED, b"", f"{type(error).__name__}: {error}"
            payload = b"".join(result) if isinstance(result, list) else result
            end_with(job, payload, status, exception or None, self.seconds * self.sizes[job._number - 1])

    def _cancel_jobs(self, jobs: list[DispyJob]) -> None:
        self.cancelled += jobs

    def _count_cpus(self) -> int:
        return self.cpus


def results(cluster: Cluster, arguments: Any, size: int | None = None) -> map_results.MapResults:
    rows = map_results.rows((arguments,), False)
    return map_results.MapResults(cluster, rows, lambda row: function_call(row, {}), map_results.ChunkSize(size))


def outcomes(found: Iterator[Any]) -> list[Any]:
    """Results, and for each failure the last line of what is told."""
    seen: list[Any] = []
    while True:
        try:
            seen.append(next(found))
        except StopIteration:
            return seen
        except Exception as error:
            seen.append(str(error).splitlines()[-1])


def test_results_come_in_order_and_chunks_grow_to_what_is_worth_it() -> None:
    cluster = Cluster(lambda number: number * 2, seconds=1e-4)
    assert list(results(cluster, range(20_000))) == [2 * number for number in range(20_000)]
    assert cluster.sizes[0] == 1 and 150 <= max(cluster.sizes) <= 250


@pytest.mark.parametrize(("each", "goal"), [(1.0, 1), (0.001, 20), (1e-9, map_results.CHUNK_LIMIT)])
def test_size_of_a_chunk_comes_to_20_ms_within_bounds(each: float, goal: int) -> None:
    size = map_results.ChunkSize(None)
    for _ in range(30):
        size.learn(size.items, each * size.items)
    assert goal - 1 <= size.items <= goal
    size.learn(size.items, 100.0)
    assert size.items == 1 or size.items < goal / 100


def test_a_fixed_size_is_kept() -> None:
    cluster = Cluster(lambda number: number, seconds=1.0)
    assert list(results(cluster, range(10), 4)) == list(range(10))
    assert cluster.sizes == [4, 4, 2]
    assert list(results(Cluster(lambda number: number), [], 4)) == []


def test_nothing_is_read_ahead_beyond_the_window_and_nothing_before_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The window follows how many are taken in a second: here none passes.
    monkeypatch.setattr(map_results.time, "monotonic", lambda: 100.0)
    cluster, read = Cluster(lambda number: number, seconds=1.0), itertools.count()
    found = results(cluster, read)
    assert cluster.jobs == []
    bound = map_results.JOBS_PER_CPU * cluster.cpus
    for taken in range(1, 2000):
        assert next(found) == taken - 1
        assert len(cluster.jobs) - taken <= bound
    assert next(read) <= 2000 + bound


def test_what_the_nodes_are_to_be_busy_with_is_read_at_once() -> None:
    cluster = Cluster(lambda number: number, waits=True)
    found = results(cluster, itertools.count())
    found._read_ahead()
    assert len(cluster.jobs) == map_results.JOBS_PER_CPU * cluster.cpus
    cluster.cpus = 0
    found = results(cluster, itertools.count())
    found._read_ahead()
    assert len(cluster.jobs) == map_results.JOBS_PER_CPU * (2 + map_results.ASSUMED_CPUS)


def test_window_follows_what_is_taken_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(map_results.time, "monotonic", lambda: now)
    window = map_results.Window(Cluster(abs))
    assert window.jobs(1) == 8
    for taken, expected in ((1000, int(map_results.SECONDS_AHEAD * 1000)), (0, 8), (10**9, map_results.JOBS_LIMIT)):
        now += 1
        window.taken = taken
        assert window.jobs(1) == expected
        window.taken = 5 * 10**5
        assert window.jobs(1) == expected
    now += 1
    assert window.jobs(5000) == 5 * 10**5 // 5000


def test_results_that_are_there_do_not_wait_for_a_slow_source(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(map_results.time, "monotonic", lambda: now)

    def source() -> Iterator[int]:
        nonlocal now
        for number in itertools.count():
            now += 1.0
            yield number

    cluster = Cluster(lambda number: number, seconds=1e-6)
    found = results(cluster, source())
    assert [next(found) for _ in range(20)] == list(range(20))
    assert len(cluster.jobs) <= 23 and set(cluster.sizes) == {1}


def test_each_item_that_fails_raises_at_its_place_and_spoils_no_other() -> None:
    def compute(number: int) -> Any:
        if number == 3:
            raise ValueError("three")
        if number == 4:
            raise SystemExit("four")
        if number == 5:
            return (each for each in ())
        return number

    for size in (1, 4, None):
        found = outcomes(results(Cluster(compute), [0, 1, 2, 3, 4, 5, 6, None, 8], size))
        assert found[:5] == [0, 1, 2, "ValueError: three", "SystemExit: four"], size
        assert "cannot be pickled" in found[5] or "cannot pickle" in found[5]
        assert found[6:] == [6, None, 8]


def test_the_failure_of_an_item_carries_a_job_of_its_own() -> None:
    cluster = Cluster(lambda number: 1 // number)
    found = results(cluster, [1, 0, 1], 3)
    assert next(found) == 1
    with pytest.raises(JobFailed, match="ZeroDivisionError") as raised:
        next(found)
    job = raised.value.job
    assert job.status == DispyJob.Terminated and "ZeroDivisionError" in job.exception and job() is None
    assert cluster.jobs[0].status == DispyJob.Finished and next(found) == 1


def test_an_argument_that_cannot_travel_is_told_at_its_place() -> None:
    for size in (1, 3, None):
        bad = (each for each in ())
        found = outcomes(results(Cluster(lambda value: 1), [1, 2, bad, 4, 5], size))
        assert found[:2] == [1, 1] and "cannot be pickled" in found[2] and found[3:] == [1, 1], size


def test_what_the_source_raises_comes_after_the_results_before_it() -> None:
    def source() -> Iterator[int]:
        yield from (1, 2, 3)
        raise OSError("the source has dried up")

    for size in (1, 2, None):
        assert outcomes(results(Cluster(abs), source(), size)) == [1, 2, 3, "the source has dried up"]


def test_a_job_that_dies_fails_all_of_its_items_and_no_others() -> None:
    cluster = Cluster(abs, waits=True)
    found = results(cluster, range(6), 3)
    found._read_ahead()
    end(cluster.jobs[0], None, DispyJob.Terminated, "killed by SIGKILL\n")
    cluster._waiting.pop(0)
    cluster.work()
    for item in range(3):
        with pytest.raises(JobFailed, match=r"SIGKILL\nThe job had 3 items") as raised:
            next(found)
        failed = raised.value.job
        assert (failed.id, failed.status, failed.args) == (cluster.jobs[0].id, DispyJob.Terminated, (item,))
    assert list(found) == [3, 4, 5]


def test_what_a_worker_had_no_time_for_is_run_next_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_results, "CHUNK_SECONDS_LIMIT", 1e-9)
    ran: list[int] = []
    cluster = Cluster(lambda number: ran.append(number) or number, seconds=1e-3)
    assert list(results(cluster, range(300))) == list(range(300))
    assert sorted(ran) == list(range(300)) and max(cluster.sizes) > 1


def test_arrays_and_large_values_pass() -> None:
    numpy = pytest.importorskip("numpy")
    found = list(results(Cluster(lambda count: numpy.zeros(count)), [10, 100_000, 10], 3))
    assert [len(each) for each in found] == [10, 100_000, 10]
    found[1][0] = 1.0
    cluster = Cluster(len)
    assert list(results(cluster, [b"x", b"y" * 100_000, b"zz", b""], 4)) == [1, 100_000, 2, 0]
    assert cluster.sizes == [1, 1, 2]


def test_closing_cancels_what_has_not_been_taken() -> None:
    cluster = Cluster(abs, waits=True)
    found = results(cluster, itertools.count(), 1)
    found._read_ahead()
    found.close()
    assert cluster.cancelled == cluster.jobs != []
    assert next(found, "over") == "over"
    count = len(cluster.cancelled)
    found.close()
    assert len(cluster.cancelled) == count


def test_dropping_it_cancels_too() -> None:
    cluster = Cluster(abs, waits=True)
    found = results(cluster, itertools.count(), 1)
    found._read_ahead()
    del found
    assert cluster.cancelled == cluster.jobs != []


def test_what_is_interrupted_can_be_gone_on_with() -> None:
    items = iter([1, 2, KeyboardInterrupt(), 4])

    def source() -> Any:
        item = next(items)
        if isinstance(item, KeyboardInterrupt):
            raise item
        return item

    class Source:
        def __iter__(self) -> Source:
            return self

        def __next__(self) -> Any:
            return source()

    found = results(Cluster(abs), Source(), 3)
    with pytest.raises(KeyboardInterrupt):
        next(found)
    assert list(found) == [1, 2, 4]


def test_a_cluster_that_is_closed_meanwhile_is_told_after_the_results() -> None:
    cluster = Cluster(abs)
    found = results(cluster, range(10_000), 1)
    assert next(found) == 0
    cluster.error = RuntimeError("closed")
    rest = outcomes(found)
    assert rest[-1] == "closed" and rest[:-1] == list(range(1, len(rest)))


@pytest.mark.parametrize("wanted", [0, -1, 1.5, "many", True, None])
def test_a_size_that_is_none_is_refused(wanted: Any) -> None:
    with pytest.raises(ConfigError, match="chunksize"):
        map_results.chunk_size(wanted, "")


def test_where_only_single_items_are_possible_auto_means_that() -> None:
    assert map_results.chunk_size("auto", "it is a program").items == 1
    assert not map_results.chunk_size("auto", "it is a program").is_auto
    assert map_results.chunk_size("auto", "").is_auto
    with pytest.raises(ConfigError, match="since it is a program"):
        map_results.chunk_size(2, "it is a program")


def test_rows_are_those_of_the_builtin_and_words_for_programs() -> None:
    assert list(map_results.rows(([(1, 2), 3],), False)) == [((1, 2),), (3,)]
    assert list(map_results.rows(([1, 2, 3], "ab"), False)) == [(1, "a"), (2, "b")]
    assert list(map_results.rows(([("a", 1), ["b"], "c", 4],), True)) == [("a", 1), ("b",), ("c",), (4,)]
    assert list(map_results.rows(([("a", 1)], "b"), True)) == [(("a", 1), "b")]
    with pytest.raises(ConfigError, match="map takes iterables, such as lists, not int"):
        map_results.rows((5,), False)  # type: ignore[arg-type]


# The worker's part


def run_chunk(function: Callable[..., Any], calls: int, job: Job) -> Any:
    payload = batch.pack_calls([joined(function_call((number,), {})) for number in range(calls)], 0.0)
    return call_function(function)(payload, job)


def test_each_call_of_a_chunk_begins_at_home() -> None:
    worker = Worker()
    status, _, _ = run_chunk(abs, 5, Job(1, 1, worker))  # type: ignore[arg-type]
    assert status == FINISHED and worker.homecomings == 5


@pytest.mark.parametrize("catches", [False, True])
def test_an_interrupt_is_for_all_calls_of_a_chunk(catches: bool) -> None:
    job = Job(1, 1, Worker())  # type: ignore[arg-type]
    ran: list[int] = []

    def compute(number: int) -> None:
        ran.append(number)
        if number == 2:
            job.cancelled = True
            if not catches:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_chunk(compute, 5, job)
    assert ran == [0, 1, 2]


# Jobs in the order of their ends


@pytest.fixture
def jobs() -> list[DispyJob]:
    return [DispyJob._new(number, 0.0, b"") for number in range(6)]


def test_jobs_come_in_the_order_of_their_ends_each_once(jobs: list[DispyJob]) -> None:
    end(jobs[4])
    end(jobs[1])
    found = map_results.as_completed([*jobs, jobs[2], jobs[4]])
    assert [next(found), next(found)] == [jobs[1], jobs[4]]
    for number in (5, 0, 3):
        end(jobs[number])
    assert [next(found), next(found), next(found)] == [jobs[5], jobs[0], jobs[3]]
    thread = threading.Thread(target=end, args=(jobs[2],))
    thread.start()
    assert next(found) is jobs[2] and next(found, None) is None
    thread.join()


def test_no_jobs_are_over_at_once() -> None:
    assert list(map_results.as_completed([])) == [] and list(map_results.as_completed(iter([]), 0)) == []


def test_when_time_is_up_the_ended_ones_come_first(jobs: list[DispyJob]) -> None:
    end(jobs[3])
    found = map_results.as_completed(iter(jobs), timeout=0.01)
    assert next(found) is jobs[3]
    with pytest.raises(TimeoutError, match=r"5 of 6 jobs have not ended within 0\.01 s"):
        next(found)
    assert all(job._gate is not None and job._gate._wakers == [] for job in jobs if job is not jobs[3])


def test_nothing_is_left_with_the_jobs(jobs: list[DispyJob]) -> None:
    found = map_results.as_completed(jobs)
    end(jobs[0])
    assert next(found) is jobs[0]
    found.close()  # type: ignore[attr-defined]
    assert all(job._gate is None or job._gate._wakers == [] for job in jobs)


def test_what_is_no_job_is_refused_at_once(jobs: list[DispyJob]) -> None:
    with pytest.raises(ConfigError, match="as_completed takes jobs, not str"):
        map_results.as_completed([*jobs, "job"])  # type: ignore[list-item]


def test_a_hundred_thousand_jobs_are_no_burden() -> None:
    many = [DispyJob._new(number, 0.0, b"") for number in range(100_000)]
    found = map_results.as_completed(many)
    end(many[0])
    assert next(found) is many[0]
    for job in reversed(many[1:]):
        end(job)
    assert list(found) == many[:0:-1]


def test_threads_that_end_jobs_meanwhile_lose_none() -> None:
    many = [DispyJob._new(number, 0.0, b"") for number in range(4000)]
    parts = [threading.Thread(target=lambda part=part: [end(job) for job in many[part::4]]) for part in range(4)]
    for part in parts:
        part.start()
    assert set(map_results.as_completed(many, 20)) == set(many)
    for part in parts:
        part.join()
