"""Large arguments and results in memory files that are used again: each job sees its own, and nobody another's."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from collections.abc import Callable
from typing import Any

import pytest

from gdispy import DispyJob, JobCluster
from tests.support.daemons import Daemon
from tests.support.jobs import make_at_gate
from tests.support.waiting import eventually

Make = Callable[..., JobCluster]

SIZE = 400_000


def echo(data: Any) -> Any:
    return data


def turned(data: Any) -> Any:
    return data[::-1]


def shorter(data: bytes, size: int) -> bytes:
    return data[:size]


def longer(data: bytes) -> bytes:
    return data * 3


def keep(data: memoryview) -> list[int]:
    """Keeps what it is given, as programs keep arrays, and says what is in all that it has kept."""
    kept = globals().setdefault("kept_by_this_test", [])
    data[SIZE // 2] = 77  # It is the job's own.
    kept.append(data)
    return [each[0] for each in kept] + [each[SIZE // 2] for each in kept]


def make(size: int, number: int) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


def close_all(data: bytes, path: str) -> bytes:
    """What a program that becomes a daemon does; then it opens files of its own under the same numbers."""
    for fd in range(3, 100):
        if not os.path.exists(f"/proc/self/fd/{fd}") or "socket" in os.readlink(f"/proc/self/fd/{fd}"):
            continue
        if "gdispy-pooled" in os.readlink(f"/proc/self/fd/{fd}"):
            os.close(fd)
            own = os.open(path, os.O_RDWR | os.O_CREAT)
            if own != fd:
                os.dup2(own, fd)
            os.ftruncate(fd, 2 * SIZE)
            os.pwrite(fd, b"mine", 0)
            return data
    raise AssertionError("there is no such file")


def ended_by_itself(data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(data: bytes) -> None:
    raise ValueError(len(data))


def pieces(data: bytes) -> int:
    dispy_provisional_result(data[: SIZE // 2])  # type: ignore[name-defined]
    dispy_provisional_result(data[SIZE // 2 :])  # type: ignore[name-defined]
    return len(data)


def open_pool_files(node: Daemon) -> int:
    """How many such files the node and its workers have open."""
    count = 0
    for pid in [node.pid, *node.below()]:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            with contextlib.suppress(OSError):  # It was closed meanwhile.
                count += "gdispy-pooled" in os.readlink(f"/proc/{pid}/fd/{name}")
    return count


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("function", [echo, turned])
def test_each_job_gets_its_own_and_gives_its_own(cluster: Make, function: Callable[..., Any], kind: Any) -> None:
    runner = cluster(function)
    sent = [kind(os.urandom(SIZE + 1000 * number)) for number in range(40)]
    jobs = [runner.submit(data) for data in sent]
    for data, job in zip(sent, jobs, strict=True):
        assert job() == function(data), job.exception


def test_results_of_other_sizes_than_the_arguments(cluster: Make) -> None:
    runner = cluster(shorter)
    data = os.urandom(SIZE)
    for size in (0, 1, 30_000, 40_000, 200_000, SIZE):
        assert runner.submit(data, size)() == data[:size]
    runner = cluster(longer)
    for _ in range(5):
        assert runner.submit(data)() == data * 3


def test_what_a_job_keeps_of_its_arguments_stays_as_it_is(
    cluster: Make, start_node: Callable[..., Daemon], secret_file: str
) -> None:
    runner = cluster(keep, nodes=[start_node("--cpus", "1").place])
    for count in range(1, 9):
        job = runner.submit(pickle.PickleBuffer(bytearray([count]) * SIZE))
        assert job() == [*range(1, count + 1), *[77] * count], job.exception


def test_file_of_the_job_itself_is_left_alone(cluster: Make, tmp_path: Any) -> None:
    runner = cluster(close_all)
    data = os.urandom(SIZE)
    for number in range(4):
        path = tmp_path / str(number)
        job = runner.submit(data, str(path))
        assert job() == data, job.exception
        assert path.read_bytes() == b"mine" + bytes(2 * SIZE - 4)


def test_provisional_results_leave_the_arguments_alone(cluster: Make) -> None:
    seen: list[Any] = []
    runner = cluster(pieces, callback=lambda job: seen.append(job.result))
    for _ in range(4):
        data = os.urandom(SIZE)
        seen.clear()
        job = runner.submit(data)
        assert job() == SIZE, job.exception
        eventually(lambda: len(seen) == 3)
        assert seen[0] + seen[1] == data


def test_jobs_that_fail_and_die_take_nothing_from_others(cluster: Make) -> None:
    failing, dying, echoing = cluster(fail), cluster(ended_by_itself), cluster(echo)
    for _ in range(5):
        data = os.urandom(SIZE)
        jobs = [failing.submit(data), dying.submit(data), echoing.submit(data)]
        jobs[0].wait()
        assert f"ValueError: {SIZE}" in str(jobs[0].exception)
        jobs[1].wait()
        assert jobs[1].status == DispyJob.Terminated
        assert jobs[2]() == data, jobs[2].exception


def test_few_files_do_for_many_jobs_and_none_is_left(start_node: Callable[..., Daemon], secret_file: str) -> None:
    node = start_node("--cpus", "2")
    with JobCluster(echo, nodes=[node.place], secret_file=secret_file) as runner:
        data = os.urandom(SIZE)
        for _ in range(20):
            for job in [runner.submit(data) for _ in range(4)]:
                assert job() == data, job.exception
        assert 0 < open_pool_files(node) < 30
    eventually(lambda: open_pool_files(node) == 0, within=30)


def test_results_are_no_files_of_the_job(start_node: Callable[..., Daemon], secret_file: str) -> None:
    node = start_node("--cpus", "1", "--job_file_size", "4k")
    with JobCluster(turned, nodes=[node.place], secret_file=secret_file) as runner:
        data = os.urandom(SIZE)
        for _ in range(3):
            job = runner.submit(data)
            assert job() == data[::-1], job.exception


def test_large_results_of_small_arguments(cluster: Make) -> None:
    runner = cluster(make)
    sizes = [SIZE, SIZE, SIZE, 100, SIZE, 2 * SIZE, 2 * SIZE, 200_000, 40_000, SIZE]
    jobs = [runner.submit(size, number) for number, size in enumerate(4 * sizes)]
    for number, job in enumerate(jobs):
        assert job() == make(4 * sizes[number % len(sizes)] // 4, number), job.exception


def test_results_of_small_arguments_go_round_too(start_node: Callable[..., Daemon], secret_file: str) -> None:
    node = start_node("--cpus", "1")
    with JobCluster(make, nodes=[node.place], secret_file=secret_file) as runner:
        for number in range(30):
            assert runner.submit(SIZE, number)() == make(SIZE, number)
        assert 0 < open_pool_files(node) < 12
    eventually(lambda: open_pool_files(node) == 0, within=30)


def test_worker_that_dies_with_a_blank_file_spoils_nothing(cluster: Make, node: Daemon, tmp_path: Any) -> None:
    runner, log, gate = cluster(make_at_gate), tmp_path / "log", tmp_path / "gate"
    for number in range(4):
        assert runner.submit(SIZE, str(log), number)() == b"x" * SIZE
    job = runner.submit(SIZE, str(log), 4, str(gate))
    eventually(lambda: len(log.read_text().splitlines()) == 5)
    for pid in node.below()[2:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    job.wait()
    assert job.status == DispyJob.Terminated
    for number in range(4):
        job = runner.submit(SIZE, str(log), number)
        assert job() == b"x" * SIZE, job.exception
