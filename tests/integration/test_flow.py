"""Streams of results, jobs in the order of their ends, coroutines, and dispy's other names, on a real node."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gdispy import ClusterClosed, ConfigError, DispyJob, JobCluster, JobFailed
from gdispy.protocol.payload import Payload
from tests.support.daemons import Daemon
from tests.support.jobs import become_slow, wait_for_go
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]

#: Seconds until a test gives up.
LIMIT = 30


def square(number: int) -> int:
    return number * number


def fail_at_times(number: int) -> Any:
    if number % 10 == 3:
        raise ValueError(f"not {number}")
    if number % 10 == 4:
        return (each for each in ())
    return number


def test_map_gives_results_in_order_and_puts_short_calls_together(cluster: Make) -> None:
    made = cluster(square)
    assert list(made.map(range(20_000))) == [number * number for number in range(20_000)]
    (node,) = made.status().nodes
    assert 0 < node.jobs_done < 2000


def test_map_takes_several_iterables_and_stops_at_the_end_of_the_shortest(cluster: Make) -> None:
    made = cluster(pow)
    assert list(made.map([2, 3, 4], itertools.count(1))) == [2, 9, 64]
    assert list(cluster(len).map([(1, 2), "abc", []])) == [2, 3, 0]


def test_map_reads_no_further_than_needed_from_an_endless_source(cluster: Make) -> None:
    made, numbers = cluster(square), itertools.count()
    found = made.map(numbers)
    assert next(numbers) == 0, "it was read before it was asked for"
    assert [next(found) for _ in range(5000)] == [number * number for number in range(1, 5001)]
    read = next(numbers)
    found.close()
    assert read < 200_000
    assert next(numbers) == read + 1
    assert made.wait(LIMIT), "what had not ended was not cancelled"


@pytest.mark.parametrize("size", ["auto", 1, 7])
def test_an_item_that_fails_raises_at_its_place_and_spoils_no_other(cluster: Make, size: Any) -> None:
    found = cluster(fail_at_times).map(range(40), chunksize=size)
    for number in range(40):
        if number % 10 not in (3, 4):
            assert next(found) == number
            continue
        with pytest.raises(JobFailed) as raised:
            next(found)
        told = "in fail_at_times" if number % 10 == 3 else "a generator, cannot be pickled"
        assert told in str(raised.value) and raised.value.job.status == DispyJob.Terminated
    assert next(found, None) is None


def crash_at(number: int, where: int) -> int:
    if number == where:
        os._exit(3)
    return number


def test_a_crash_fails_the_items_of_its_job_and_no_others(cluster: Make) -> None:
    found = cluster(crash_at).map(range(12), itertools.repeat(5), chunksize=4)
    seen: list[Any] = []
    for _ in range(12):
        try:
            seen.append(next(found))
        except JobFailed as error:
            seen.append("had 4 items of map" in str(error) and "exit" in str(error))
    assert seen == [0, 1, 2, 3, True, True, True, True, 8, 9, 10, 11]


def test_items_that_become_slow_are_given_back_and_spread(cluster: Make) -> None:
    """Jobs made up when items were quick would otherwise keep one worker busy with many slow ones."""
    made = cluster(become_slow)
    seen = list(made.map(range(3100)))
    assert [number for number, _ in seen] == list(range(3100))
    slow = collections.Counter(pid for _, pid in seen[3000:])
    assert len(slow) == 2 and min(slow.values()) > 20, slow


def test_closing_a_map_ends_what_runs(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_go)
    found = made.map(str(tmp_path / str(number)) for number in itertools.count())
    (tmp_path / "0.go").touch()
    assert next(found) == str(tmp_path / "0")
    eventually(lambda: (tmp_path / "1").exists())
    found.close()
    assert made.wait(LIMIT), "jobs were left"


def test_map_of_a_program_takes_words(cluster: Make) -> None:
    made = cluster("/bin/sh", depends=[])
    assert list(made.map([("-c", "exit 3"), ["-c", "exit 0"], ("-c", "exit 5")])) == [3, 0, 5]
    with pytest.raises(ConfigError, match="since it is a program"):
        made.map([["-c", "exit"]], chunksize=2)


def test_with_a_callback_and_with_processes_of_their_own_each_item_is_a_job(cluster: Make) -> None:
    told: list[DispyJob] = []
    made = cluster(square, callback=told.append)
    assert list(made.map(range(50))) == [number * number for number in range(50)]
    eventually(lambda: len(told) == 50)
    own = cluster(pid_of, isolation="job")
    assert len(set(own.map(range(6)))) == 6
    for each in (made, own):
        with pytest.raises(ConfigError, match="chunksize must be 1 or 'auto' here"):
            each.map(range(3), chunksize=3)


def pid_of(number: int) -> int:
    return os.getpid()


def test_a_map_of_a_cluster_that_is_closed_says_so(cluster: Make) -> None:
    made = cluster(square)
    found = made.map(itertools.count(), chunksize=1)
    assert next(found) == 0
    made.close(timeout=0, terminate=True)
    with pytest.raises(ClusterClosed):
        for _ in range(100_000):
            with contextlib.suppress(JobFailed):
                next(found)


def test_items_begin_in_the_directory_of_the_computation(cluster: Make) -> None:
    seen = list(cluster(go_elsewhere).map(range(6), chunksize=6))
    assert len(set(seen)) == 1 and seen[0] != "/"


def go_elsewhere(number: int) -> str:
    before = os.getcwd()
    os.chdir("/")
    return before


# Ends


def test_as_completed_gives_jobs_as_they_end(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_go)
    marks = [tmp_path / name for name in ("first", "second")]
    jobs = [made.submit(str(mark)) for mark in marks]
    found = made.as_completed(jobs)
    (tmp_path / "second.go").touch()
    assert next(found) is jobs[1]
    (tmp_path / "first.go").touch()
    assert next(found) is jobs[0] and next(found, None) is None
    assert list(made.as_completed(reversed(jobs))) == [jobs[1], jobs[0]]


def test_as_completed_gives_up_when_time_is_up(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_go)
    job = made.submit(str(tmp_path / "mark"))
    with pytest.raises(TimeoutError):
        next(made.as_completed([job], timeout=0.05))
    (tmp_path / "mark.go").touch()
    assert next(made.as_completed([job], timeout=LIMIT)) is job


def test_as_completed_of_thousands(cluster: Make) -> None:
    made = cluster(square)
    jobs = [made.submit(number) for number in range(5000)]
    found = list(made.as_completed(jobs, timeout=LIMIT))
    assert len(found) == 5000 and {job.result for job in found} == {number * number for number in range(5000)}


def test_coroutines_await_jobs(cluster: Make) -> None:
    made = cluster(square)

    async def main() -> list[int]:
        jobs = [made.submit(number) for number in range(500)]
        return list(await asyncio.wait_for(asyncio.gather(*(result_of(job) for job in jobs)), LIMIT))

    async def result_of(job: DispyJob) -> int:
        return int(await job)

    before = threading.active_count()
    assert asyncio.run(main()) == [number * number for number in range(500)]
    assert threading.active_count() <= before + 1


def test_cancelling_a_coroutine_leaves_its_job_running(cluster: Make, tmp_path: Path) -> None:
    made = cluster(wait_for_go)
    job = made.submit(str(tmp_path / "mark"))

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.ensure_future(wait(job)), 0.05)

    async def wait(job: DispyJob) -> Any:
        return await job

    asyncio.run(main())
    (tmp_path / "mark.go").touch()
    assert job.result_or_raise(LIMIT) == str(tmp_path / "mark")


def test_result_or_raise_tells_the_traceback_of_the_node(cluster: Make) -> None:
    job = cluster(fail_at_times).submit(3)
    with pytest.raises(JobFailed, match=r"(?s)Terminated.*in fail_at_times.*ValueError: not 3") as raised:
        job.result_or_raise(LIMIT)
    assert raised.value.job is job
    assert job.finish.is_set() and job.finish.wait(0) and job(clear=True) is None


def zeros(size: int) -> bytes:
    return bytes(size)


def test_a_result_that_the_callback_drops_frees_its_memory(cluster: Make) -> None:
    dropped: list[int] = []

    def drop(job: DispyJob) -> None:
        size = len(job.result)
        job.result = None
        dropped.append(size)

    made = cluster(zeros, callback=drop)
    jobs = [made.submit(5_000_000) for _ in range(8)]
    eventually(lambda: dropped == [5_000_000] * 8)
    assert [job() for job in jobs] == [None] * 8
    # One that nobody has asked for is still there as it came.
    other = cluster(zeros).submit(6_000_000)
    assert other.wait(LIMIT)
    gc.collect()
    payloads = [each for each in gc.get_objects() if isinstance(each, Payload)]
    large = [
        size for each in payloads if (size := getattr(each, "size", 0)) > 1_000_000
    ]  # Other tests have empty ones.
    assert len(large) == 1 and 6_000_000 <= large[0] < 6_001_000


# Names of dispy


def test_waiting_shows_a_bar_and_calling_the_cluster_waits(cluster: Make, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    made = cluster(square)
    jobs = [made.submit(number) for number in range(30)]
    assert made.wait(LIMIT, progress=True) and all(job.finish.is_set() for job in jobs)
    assert "30/30" in capsys.readouterr().err
    made.submit(1)
    assert made(LIMIT) and made() and made.status().jobs_pending == 0


def test_a_bar_ends_when_time_is_up(cluster: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    made = cluster(wait_for_go)
    made.submit(str(tmp_path / "mark"))
    assert not made.wait(0.3, progress=True) and "0/1" in capsys.readouterr().err
    (tmp_path / "mark.go").touch()


def test_a_cluster_takes_the_names_of_later_versions(node: Daemon, secret_file: str) -> None:
    told: list[Any] = []
    with JobCluster(
        square,
        nodes=node.place,
        host="127.0.0.1",
        ext_host=None,
        job_status=lambda job: told.append(job.result),
        poll_interval=10,
        ipv4_udp_multicast=False,
        recover_file=None,
        secret_file=secret_file,
    ) as made:
        assert made.submit(3)() == 9
    assert told == [9]


def test_status_tells_when_no_node_can_be_expected(node: Daemon, tmp_path: Path) -> None:
    with JobCluster(square, nodes=[node.place], secret="x" * 43 + "=") as made:
        eventually(lambda: made.status().is_hopeless)
        assert "secret" in made.status().problems[0]
        made.submit(1)
        made.close(timeout=0, terminate=True)
